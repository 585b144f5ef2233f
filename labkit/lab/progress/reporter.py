"""`Reporter`: told of each thing as it happens. `Careful` lets none of another's faults out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from labkit.launch.launcher import Progress
from labkit.record.record import Record
from labkit.spec.plan import Step


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

    def interrupted(self, says: str) -> None:
        """The work is stopped before its end; `says` is what of it is kept."""

    def end(self) -> None:
        """No more will come, whether all trials ran or not."""


class Careful(Reporter):
    """Hands all on to another reporter until that one fails; what is measured notices nothing."""

    def __init__(self, shown: Reporter) -> None:
        self._shown: Reporter | None = shown

    def begin(self, trials: int) -> None:
        """Hand it on."""
        self._on(lambda shown: shown.begin(trials))

    def started(self, step: Step) -> None:
        """Hand it on."""
        self._on(lambda shown: shown.started(step))

    def update(self, progress: Progress) -> None:
        """Hand it on."""
        self._on(lambda shown: shown.update(progress))

    def finished(self, record: Record) -> None:
        """Hand it on."""
        self._on(lambda shown: shown.finished(record))

    def passed(self, line: str) -> None:
        """Hand it on."""
        self._on(lambda shown: shown.passed(line))

    def interrupted(self, says: str) -> None:
        """Hand it on."""
        self._on(lambda shown: shown.interrupted(says))

    def end(self) -> None:
        """Hand it on."""
        self._on(lambda shown: shown.end())

    def _on(self, tell: Callable[[Reporter], None]) -> None:
        if self._shown is None:
            return
        try:
            tell(self._shown)
        except Exception as error:  # noqa: BLE001  # whatever it is, the trial is worth more
            self._shown = None
            said = f"labkit: progress is shown no longer ({type(error).__name__}: {error})\n"
            sys.stderr.write(said)


def remaining(done: float, of: int, began: float) -> str:
    """'about 40 s left', from the share done since `began` (`time.monotonic`)."""
    return left(done, of, time.monotonic() - began)


def left(done: float, of: int, took_s: float) -> str:
    """The same from how long it took so far."""
    if done <= 0:
        return "estimating"
    left_s = took_s * (of - done) / done
    return f"about {left_s:,.0f} s left"
