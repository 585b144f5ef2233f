"""How far the work is, on standard error: a live line on a terminal, a line a trial in a log."""

from __future__ import annotations

import shutil
import sys
import time

from labkit.cli import terminal
from labkit.escaping import visible
from labkit.lab.progress import Reporter, describe, remaining, step_label
from labkit.launch.launcher import Progress
from labkit.record.record import Record
from labkit.spec.plan import Step

BAR = 16
"""Characters of the bar."""


def reporter() -> Reporter:
    """Return the reporter for where standard error goes."""
    return Live() if sys.stderr.isatty() else Lines()


class Lines(Reporter):
    """One line for each finished trial: for logs."""

    def begin(self, trials: int) -> None:
        """Start counting."""
        self._done, self._trials, self._began = 0, trials, time.monotonic()

    def finished(self, record: Record) -> None:
        """Write the line."""
        self.passed(record.says)

    def passed(self, line: str) -> None:
        """Write the line."""
        self._done += 1
        if self._done < self._trials:
            line += f"; {remaining(self._done, self._trials, self._began)}"
        terminal.report(f"[{self._done}/{self._trials}] {visible(line, lines=False)}\n")


class Live(Lines):
    """A line that is rewritten while a trial runs; where several run, each leaves its own."""

    def started(self, step: Step) -> None:
        """Name the arm."""
        self._label = step_label(step)
        self._draw("starting", 0.0)

    def update(self, progress: Progress) -> None:
        """Move the bar."""
        share = progress.done / max(progress.counts.planned, 1)
        left = remaining(self._done + share, self._trials, self._began)
        self._draw(f"{describe(progress)}; {left}", share)

    def passed(self, line: str) -> None:
        """Count it, and leave a line where several run."""
        self.end()
        if self._trials > 1:
            super().passed(line)
        else:
            self._done += 1

    def end(self) -> None:
        """Take the line away."""
        terminal.report("\r\x1b[K")

    def _draw(self, status: str, share: float) -> None:
        """Draw over the line that is there, no wider than the terminal."""
        bar = "\N{FULL BLOCK}" * round(min(share, 1.0) * BAR)
        line = (
            f"{self._done + 1}/{self._trials} {bar:\N{LIGHT SHADE}<{BAR}} {self._label}: {status}"
        )
        width = shutil.get_terminal_size().columns
        terminal.report(f"\r\x1b[K{visible(line, lines=False)[: width - 1]}")
