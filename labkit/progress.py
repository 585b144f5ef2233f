"""Showing how far long work has come: what a reporter is, the silent one, and the notebook's.

A reporter only shows; it decides nothing and measures nothing.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from labkit.launch import Progress
from labkit.plan import Step
from labkit.record import Record


class Reporter:
    """Told of each thing as it happens. This one shows nothing; others override what they show."""

    def begin(self, trials: int) -> None:
        """`trials` trials are about to run."""

    def started(self, step: Step) -> None:
        """A trial starts."""

    def update(self, progress: Progress) -> None:
        """About ten times a second while a trial runs."""

    def finished(self, record: Record) -> None:
        """A trial has ended and its record is kept."""

    def passed(self, line: str) -> None:
        """A program of others has ended, of which there is no record; `line` says how."""

    def end(self) -> None:
        """No more will come, whether all trials ran or not."""


class Notebook(Reporter):
    """One line of text under the running cell, updated in place and gone at the end."""

    def __init__(self) -> None:
        from IPython import display

        self._display: Any = display
        self._handle: Any = None
        self._trials = self._done = 0
        self._began = self._shown = 0.0
        self._arm = ""

    def begin(self, trials: int) -> None:
        """Show the line."""
        self._done, self._trials, self._began = 0, trials, time.monotonic()
        self._handle = self._display.display(self._line(f"{trials} trials to run"), display_id=True)

    def started(self, step: Step) -> None:
        """Name the arm that runs."""
        self._arm = ", ".join(f"{name}={value}" for name, value in step.axes.items())

    def update(self, progress: Progress) -> None:
        """Redraw, at most four times a second."""
        if time.monotonic() - self._shown < 0.25:
            return
        self._shown = time.monotonic()
        counts, planned = progress.counts, progress.counts.planned
        left = remaining(self._done + progress.done / planned, self._trials, self._began)
        text = (
            f"trial {self._done + 1} of {self._trials} {self._arm}: "
            f"{counts.ok:,} of {planned:,} ok, {counts.failures:,} failed, "
            f"{progress.in_flight:,} in flight; {left}"
        )
        self._handle.update(self._line(text))

    def finished(self, record: Record) -> None:
        """Count it."""
        self._done += 1

    def passed(self, line: str) -> None:
        """Count it."""
        self._done += 1

    def end(self) -> None:
        """Take the line away: the result says the rest."""
        if self._handle is not None:
            self._handle.update(self._line(""))

    def _line(self, text: str) -> Any:
        return self._display.Pretty(text)


def remaining(done: float, of: int, began: float) -> str:
    """'about 40 s left', from the share done since `began` (`time.monotonic`)."""
    if done <= 0:
        return "estimating"
    left_s = (time.monotonic() - began) * (of - done) / done
    return f"about {left_s:,.0f} s left"


def default() -> Reporter:
    """The notebook's reporter inside a live kernel, the silent one anywhere else.

    `LABKIT_LIVE=0`, or a test run, means headless: outputs that are checked hold results only.
    """
    headless = os.environ.get("LABKIT_LIVE") == "0" or "PYTEST_CURRENT_TEST" in os.environ
    return Reporter() if headless or "ipykernel" not in sys.modules else Notebook()
