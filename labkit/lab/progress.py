"""Progress of long work: what a reporter is, the silent one, and what all of them share.

A reporter only shows: it decides nothing and measures nothing. Here are those of a terminal: a live
line, and a line a trial in a log. The one of a notebook is in `live`.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

from labkit.escaping import arm_label, brief, visible
from labkit.launch.launcher import Progress
from labkit.record.record import Record
from labkit.spec.plan import Step

# Characters of the bar.
BAR = 16


class Reporter:
    """The silent reporter: it counts the trials that have ended. Subclasses show them."""

    _label, _began, _done, _trials, _until = "", 0.0, 0, 0, 0.0
    _clock: Callable[[], float] = staticmethod(time.monotonic)

    def begin(self, trials: int) -> None:
        """Count anew: so many trials are about to run."""
        self._done, self._trials, self._began, self._until = 0, trials, self._clock(), 0.0

    def announce(self, line: str) -> None:
        """Show what comes before the next trial: a study of several, an environment to build."""
        self._show(line)

    def started(self, step: Step) -> None:
        """Name the arm that runs, and show it."""
        self._label = step_label(step)
        self._show("starting")

    def update(self, progress: Progress) -> None:
        """Show how far the trial is, and the time left of all: about ten times a second."""
        share, least_s = progress.share, (progress.trial.floor_s or 0.0) - progress.t_s
        self._show(f"{describe(progress)}; {self._left(share, least_s)}", share)

    def finished(self, record: Record) -> None:
        """Count a trial that has ended and whose record is stored."""
        self._done += 1

    def passed(self, line: str) -> None:
        """Count a step without a record; `line` is the result in words."""
        self._done += 1

    def again(self, trials: int) -> None:
        """Count so many trials that run once more, and show why."""
        self._trials += trials
        self.announce(f"{trials:,} runs are made again, as the host ran other guests in them")

    def interrupted(self, sentence: str) -> None:
        """Show that the work was stopped before its end, and what of it is stored."""

    def end(self) -> None:
        """Show that no more will come, whether all trials ran or not."""

    def _left(self, share: float = 0.0, least_s: float = 0.0) -> str:
        """Return the time left, such as 'about 40 s left': extrapolated, `least_s` or more."""
        done, now = self._done + share, self._clock()
        if done <= 0:
            return "estimating"
        until = now + max((now - self._began) * (self._trials - done) / done, least_s)
        # It counts down: an end that is estimated a little later than before changes nothing.
        if not self._until < until < self._until + (self._until - now) / 2:
            self._until = until
        return f"about {self._until - now:,.0f} s left"

    def _show(self, status: str, share: float = 0.0) -> None:
        """Show the status of the trial that runs, of which that share is done."""


class Lines(Reporter):
    """One line for each finished trial: for logs. `write` puts it there."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def announce(self, line: str) -> None:
        """Write it."""
        self._write(f"{visible(line, lines=False)}\n")

    def finished(self, record: Record) -> None:
        """Write what the record says."""
        self.passed(record.says)

    def passed(self, line: str) -> None:
        """Write the line."""
        self._done += 1
        if self._done < self._trials:
            line += f"; {self._left()}"
        self._write(f"[{self._done}/{self._trials}] {visible(line, lines=False)}\n")


class LiveLine(Lines):
    """A line that is rewritten while a trial runs; where several run, each leaves its own."""

    def passed(self, line: str) -> None:
        """Count it, and leave a line where several run."""
        self.end()
        if self._trials > 1:
            super().passed(line)
        else:
            self._done += 1

    def end(self) -> None:
        """Take the line away."""
        self._write("\r\x1b[K")

    def _show(self, status: str, share: float = 0.0) -> None:
        """Draw over the line that is there, no wider than the terminal."""
        bar = f"{'█' * round(min(share, 1.0) * BAR):░<{BAR}}"
        width = shutil.get_terminal_size().columns
        line = f"{self._done + 1}/{self._trials} {bar} {brief(self._label, width // 2)}: {status}"
        self._write(f"\r\x1b[K{visible(line, lines=False)[: width - 1]}")


class SafeReporter:
    """Delegates to another reporter, and drops it after its first exception."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def __getattr__(self, name: str) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            try:
                getattr(self._reporter, name)(*arguments)
            except Exception as error:  # noqa: BLE001  # whatever it is, the trial is worth more
                self._reporter = Reporter()
                reason = visible(f"{type(error).__name__}: {error}", lines=False)
                sys.stderr.write(f"labkit: progress is shown no longer ({reason})\n")

        return call


def default() -> Reporter:
    """Return the notebook's reporter inside a live kernel, the silent one anywhere else."""
    if not is_live():
        return Reporter()
    from labkit.lab.live import Notebook  # here: it needs IPython, which only a kernel has

    return cast("Reporter", SafeReporter(Notebook()))


def is_live() -> bool:
    """Return True in a kernel that somebody looks at.

    `LABKIT_LIVE=0`, or a test run, means headless: outputs that are checked have results only.
    """
    headless = os.environ.get("LABKIT_LIVE") == "0" or "PYTEST_CURRENT_TEST" in os.environ
    return "ipykernel" in sys.modules and not headless


def step_label(step: Step) -> str:
    """Return the settings that name the arm of `step`, else its strategy."""
    return arm_label(step.axes, in_line=True) or step.trial.program or step.trial.strategy


def describe(progress: Progress) -> str:
    """Return '30 of 1,000 ok, 2 failed, 10 in flight'; of a program what it uses."""
    counts = progress.counts
    if progress.trial.program:
        memory = f"{(progress.client_rss_bytes or 0) / 1e6:,.0f} MB"
        return f"{progress.t_s:.1f} s, {memory}, CPU {progress.client_cpu_percent or 0:.0f} %"
    failed = f", {counts.failures:,} failed" if counts.failures else ""
    return f"{counts.ok:,} of {counts.planned:,} ok{failed}, {progress.in_flight:,} in flight"


@contextlib.contextmanager
def reporting(reporter: Reporter, trials: int, stored: Callable[[], str]) -> Iterator[None]:
    """Report the beginning and the end of so many trials, which run inside.

    Where they are cancelled, report what is `stored` of them, instead of a traceback. The same
    error goes on, since asyncio knows by its class and identity who asked for the end.

    The kernel's signal handler puts the cancellation into the kernel's loop without waking it.
    Where nothing else wakes the loop (the strategy blocks, no progress arrives) it would sleep on.
    So each signal wakes it, by a descriptor to which Python writes the signal's number. Only the
    main thread runs handlers; a loop with handlers of its own has such a descriptor already.
    """
    loop, before = asyncio.get_running_loop(), 0
    here, there = socket.socketpair()
    with here, there:
        reporter.begin(trials)
        try:
            if threading.current_thread() is threading.main_thread():
                there.setblocking(False)
                before = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
                if before != -1:
                    signal.set_wakeup_fd(before)
            loop.add_reader(here, here.recv, 64)
            yield
        except asyncio.CancelledError as error:
            sentence = stored()
            reporter.interrupted(sentence)
            error.args = (sentence,)
            # IPython calls this, if the error has it, instead of making a traceback.
            error.__dict__["_render_traceback_"] = lambda: [sentence]
            raise
        finally:
            if before == -1:
                signal.set_wakeup_fd(-1)
            loop.remove_reader(here)
            reporter.end()
