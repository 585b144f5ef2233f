"""The notebook's reporter: a live picture under the cell that waits; at the end a line or nothing.

And what IPython cannot complete by itself: the kinds of charts in `plot("`.

IPython is imported only here, and only in a kernel.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from labkit.escaping import brief, escape, visible
from labkit.lab.picture import MAX_ARMS, Points, strips
from labkit.lab.progress import Counting, step_label
from labkit.launch.launcher import Progress
from labkit.record.record import Record
from labkit.spec.plan import Step

# Between two pictures: a drawing costs the page some 15 ms of a core that the trial may want.
#
# Progress comes every 0.1 s, so that it makes six or seven a second.
EVERY_S = 0.15
RECENT_LINES = 3
# MIME type to text, the same content in each.
Bundle = dict[str, str]
NOTHING: Bundle = {"text/html": "", "text/plain": ""}
_PLOT = re.compile(r"\.plot\(\s*(?:kind\s*=\s*)?[\"'](?P<begun>\w*)$")
_SMALL = "font-size:0.9em;opacity:0.8"


class Notebook(Counting):
    """A picture under the running cell, updated in place.

    It is gone at the end: the result that a cell shows is enough. A cell that shows none keeps
    one line.
    """

    def __init__(
        self, spot: LiveOutput | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(clock)
        self._spot, self._first, self._due = spot or LiveOutput(), clock(), 0.0
        self._arms: dict[str, Points] = {}
        self._lines: list[str] = []
        self._verdicts: Counter[str] = Counter()

    def begin(self, trials: int) -> None:
        """Show that it begins. What began before on the same reporter goes on in the same place."""
        super().begin(trials)
        self._show(f"{trials:,} to run" if trials > 1 else "starting")

    def started(self, step: Step) -> None:
        """Name the arm that runs."""
        label = step_label(step)
        if label not in self._arms and len(self._arms) >= MAX_ARMS:
            del self._arms[next(iter(self._arms))]
        self._arms[label] = Points()
        super().started(step)

    def update(self, progress: Progress) -> None:
        """Add the reading, and redraw if it is time to."""
        self._arms[self._label].add(progress)
        now = self._clock()
        if now < self._due:
            return
        # Counted from when it was due, not from now: else it waits for the reading after the next.
        self._due = max(self._due, now - EVERY_S / 2) + EVERY_S
        super().update(progress)

    def finished(self, record: Record) -> None:
        """Count it."""
        self._verdicts[record.verdict] += 1
        super().finished(record)

    def passed(self, line: str) -> None:
        """Count it."""
        self._done += 1
        self._lines.append(line)

    def interrupted(self, says: str) -> None:
        """Leave nothing: the error that ends the cell has the sentence."""
        self._lines.clear()

    def end(self) -> None:
        """Take the picture away, and leave one line where the cell shows no result."""
        line = "".join(self._lines)
        if len(self._lines) > 1:
            line = f"{len(self._lines):,} trials in {self._clock() - self._first:,.1f} s"
            counted = [(self._verdicts[name], name) for name in ("valid", "warn", "invalid")]
            line += "".join(f", {number} {name}" for number, name in counted if number)
        html = f'<div style="{_SMALL}">{escape(line)}</div>'
        self._spot.close({"text/html": html, "text/plain": visible(line)} if line else None)

    def _show(self, status: str, share: float = 0.0) -> None:
        """Show the card: which trial of how many, its arm, how far, and the last that ended."""
        several = self._trials > 1
        place = f"{min(self._done + 1, self._trials):,} of {self._trials:,}"
        words = [*([f"trial {place}"] if several else []), *filter(None, [brief(self._label)])]
        text = f"{', '.join(words)}: {status}" if words else status
        done = min((self._done + share) / max(self._trials, 1), 1.0)
        bar = f'<progress value="{done:.3f}" style="width:100%;max-width:1030px"></progress>'
        picture = strips(self._arms, self._label) if any(map(len, self._arms.values())) else ""
        recent = self._lines[-RECENT_LINES:] if several else []
        ended = "".join(f"<div>{escape(line)}</div>" for line in recent)
        html = f'<div>{escape(text)}</div>{bar}{picture}<div style="{_SMALL}">{ended}</div>'
        self._spot.show({"text/html": html, "text/plain": visible(text)})


class LiveOutput:
    """One output of the cell that runs, which can be replaced until the cell has ended."""

    def __init__(self) -> None:
        from IPython import display, get_ipython

        self._display: Any = display
        self._shell: Any = get_ipython()
        register(self._shell)
        self._handle: Any = None
        self._closing = False

    def show(self, bundle: Bundle) -> None:
        """Show this in its place."""
        if self._handle is None:
            self._handle = self._display.display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def close(self, bundle: Bundle | None) -> None:
        """Leave this behind, or nothing; and nothing where the cell turns out to show a result."""
        self.show(NOTHING if bundle is None else bundle)
        if bundle is not None and self._shell is not None and not self._closing:
            self._closing = True
            self._shell.events.register("post_run_cell", self._ended)

    def _ended(self, result: Any) -> None:
        self._closing = False
        self._shell.events.unregister("post_run_cell", self._ended)
        value = getattr(result, "result", None)
        if type(value).__module__.startswith("labkit."):
            self.show(NOTHING)


def kinds(context: Any) -> dict[str, Any]:
    """Return the kinds of charts that complete what stands before the cursor (a matcher)."""
    match = _PLOT.search(context.text_until_cursor)
    if match is None:
        return {"completions": []}
    from labkit.charts.kinds import KINDS  # takes a while

    found = [kind for kind in dict.fromkeys(KINDS) if kind.startswith(match["begun"])]
    named = [SimpleNamespace(text=kind, type="text") for kind in found]
    return {"completions": named, "suppress": True, "ordered": True}


kinds.matcher_api_version = 2  # type: ignore[attr-defined]  # so IPython knows what it returns
kinds.matcher_identifier = "labkit.kinds"  # type: ignore[attr-defined]


def register(shell: Any) -> None:
    """Let the shell complete the kinds; a second call changes nothing."""
    completer = getattr(shell, "Completer", None)
    if completer is not None and kinds not in completer.custom_matchers:
        completer.custom_matchers.append(kinds)
