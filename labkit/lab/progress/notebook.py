"""The notebook's reporter: under the cell that waits, a live picture; at the end a line or nothing.

IPython is imported only here, and only in a kernel. What is shown is made in `displays`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from labkit.lab.progress import card
from labkit.lab.progress.live import ARMS, Arm, Points
from labkit.lab.progress.pace import POINTS, Pace
from labkit.lab.progress.reporter import Reporter, left
from labkit.launch.launcher import Progress
from labkit.record.record import Record
from labkit.spec.plan import Step

EVERY_S = 0.15
"""Between two pictures. Progress comes every 0.1 s, so that it makes six or seven a second."""
_RECENT = 3


class Notebook(Reporter):
    """A picture under the running cell, updated in place.

    It is gone at the end: the result that a cell shows says it all. A cell that shows none keeps
    one line.
    """

    def __init__(
        self, spot: Spot | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._spot, self._clock = spot or Spot(), clock
        self._trials = self._done = 0
        self._began = 0.0
        self._pace = Pace(EVERY_S)
        self._first = clock()
        self._label = ""
        self._arms: dict[str, Points] = {}
        self._lines: list[str] = []
        self._verdicts: Counter[str] = Counter()

    def begin(self, trials: int) -> None:
        """Show that it begins. What began before on the same reporter goes on in the same place."""
        self._trials, self._done = trials, 0
        self._began = self._clock()
        self._show(f"{trials:,} to run" if trials > 1 else "starting")

    def started(self, step: Step) -> None:
        """Name the arm that runs."""
        arm = ", ".join(f"{name}={value}" for name, value in step.axes.items())
        self._label = arm or step.trial.strategy
        if self._label not in self._arms and len(self._arms) >= ARMS:
            del self._arms[next(iter(self._arms))]
        self._arms[self._label] = Points(POINTS)
        self._show("starting")

    def update(self, progress: Progress) -> None:
        """Take it in, and redraw where it is time to."""
        self._arms[self._label].add(progress)
        now = self._clock()
        if not self._pace.is_due(now):
            return
        counts, planned = progress.counts, progress.counts.planned
        share = progress.done / planned if planned else 0.0
        failed = f", {counts.failures:,} failed" if counts.failures else ""
        time_left = left(self._done + share, self._trials, now - self._began)
        said = f"{counts.ok:,} of {planned:,} ok{failed}, {progress.in_flight:,} in flight"
        self._show(f"{said}; {time_left}", share)

    def finished(self, record: Record) -> None:
        """Count it."""
        self._verdicts[record.verdict] += 1
        self.passed(record.says)

    def passed(self, line: str) -> None:
        """Count it."""
        self._done += 1
        self._lines.append(line)

    def interrupted(self, says: str) -> None:
        """Leave nothing: the error that ends the cell says it."""
        self._lines.clear()

    def end(self) -> None:
        """Take the picture away, and leave one line where the cell shows no result."""
        took_s = self._clock() - self._first
        line = card.closing(self._lines, self._verdicts, took_s)
        self._spot.close(card.quiet(line) if line else None)

    def _show(self, said: str, share: float = 0.0) -> None:
        place = f"{min(self._done + 1, self._trials):,} of {self._trials:,}"
        self._spot.show(
            card.of(
                place=place if self._trials > 1 else "",
                label=self._label,
                said=said,
                share=(self._done + share) / max(self._trials, 1),
                arms=[
                    Arm(label=label, points=points, done=label != self._label)
                    for label, points in self._arms.items()
                ],
                recent=self._lines[-_RECENT:] if self._trials > 1 else (),
            )
        )


class Spot:
    """One output of the cell that runs, which can be replaced until the cell has ended."""

    def __init__(self) -> None:
        from IPython import display, get_ipython

        self._display: Any = display
        self._shell: Any = get_ipython()
        self._handle: Any = None
        self._closing = False

    def show(self, bundle: card.Bundle) -> None:
        """Show this in its place."""
        if self._handle is None:
            self._handle = self._display.display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def close(self, bundle: card.Bundle | None) -> None:
        """Leave this behind, or nothing; and nothing where the cell turns out to show a result."""
        self.show(card.NOTHING if bundle is None else bundle)
        if bundle is not None and self._shell is not None and not self._closing:
            self._closing = True
            self._shell.events.register("post_run_cell", self._ended)

    def _ended(self, result: Any) -> None:
        self._closing = False
        self._shell.events.unregister("post_run_cell", self._ended)
        value = getattr(result, "result", None)
        if type(value).__module__.startswith("labkit."):
            self.show(card.NOTHING)
