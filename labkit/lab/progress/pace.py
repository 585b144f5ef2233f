"""How often a live picture is drawn, and of how many points. Pure: the time is given."""

from __future__ import annotations

POINTS = 120
"""Of an arm: a line of so many has a point for each second pixel or so."""


class Pace:
    """Says of what comes every 0.1 s whether a drawing is due, some `every_s` after the last.

    Each drawing costs the page some 15 ms of a core that the trial may want.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._due = 0.0

    def is_due(self, now: float) -> bool:
        """Whether to draw at `now`, in seconds of a clock that never goes back."""
        if now < self._due:
            return False
        # From when it was due, not from now: else each waits for the progress after the next.
        self._due = max(self._due, now - self._every_s / 2) + self._every_s
        return True
