"""A program that is not the lab's: run on one core, for a bounded time, and gone afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from labkit.errors import TrialFailed
from labkit.launch.process import GRACE_S, in_thread

LONGEST_OUTPUT = 1 << 22
START_S = 30.0
"""How long a program may take that is to measure nothing."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a program ended, what it said, and what it took."""

    status: int
    out: str
    errors: str
    cpu_s: float
    wall_s: float
    peak_rss_bytes: int
    others_percent: float | None
    """The share of that time in which other processes had its core; None without a core."""


async def run(
    words: Sequence[str], *, core: int | None, folder: str, within_s: float = START_S
) -> Ended:
    """Run a program to its end. Raises `TrialFailed` where it does not start, or not end in time.

    Whatever happens, cancellation included, the program is gone when this returns.
    """
    process = _Process(words, core, folder)
    ending = in_thread(process.run)
    try:
        await asyncio.wait([ending], timeout=within_s)
    finally:
        process.kill()
        await asyncio.wait([ending], timeout=GRACE_S)
        output = process.close()
    name = Path(words[0]).name
    if ending.done() and (error := ending.exception()) is not None:
        raise TrialFailed(f"{name} cannot be run: {error}")
    if process.killed or process.usage is None:
        raise TrialFailed(f"{name} did not end within {within_s:,.0f} s, and was ended")
    return Ended(
        status=process.status or 0,
        out=output[0],
        errors=output[1],
        cpu_s=process.usage.ru_utime + process.usage.ru_stime,
        wall_s=process.wall_s,
        peak_rss_bytes=process.usage.ru_maxrss * 1024,
        others_percent=process.others_percent,
    )


class _Process:
    """One program, run and waited for in a thread that shares its core with nobody else's."""

    def __init__(self, words: Sequence[str], core: int | None, folder: str) -> None:
        self._words, self._core, self._folder = list(words), core, folder
        self._files = [tempfile.TemporaryFile(), tempfile.TemporaryFile()]  # noqa: SIM115
        self._lock = threading.Lock()
        self._pid: int | None = None
        self._unwanted = self.killed = False
        self.status: int | None = None
        self.usage: Any = None
        self.wall_s = 0.0
        self.others_percent: float | None = None

    def run(self) -> None:
        """Start the program and wait for its end."""
        if self._core is not None:
            # Of this thread alone; what it starts inherits it, with no code between fork and exec.
            os.sched_setaffinity(0, {self._core})
        started, busy_s = time.perf_counter(), _busy_s(self._core)
        with self._lock:
            if self._unwanted:
                return
            process = subprocess.Popen(  # noqa: S603  # a program of the table above
                self._words,
                stdin=subprocess.DEVNULL,
                stdout=self._files[0],
                stderr=self._files[1],
                cwd=self._folder,
                # Ctrl-C reaches the parent alone, which ends its children in order.
                start_new_session=True,
            )
            self._pid = process.pid
        _, status, self.usage = os.wait4(process.pid, 0)
        self.status = process.returncode = os.waitstatus_to_exitcode(status)
        self.wall_s = time.perf_counter() - started
        if busy_s is not None:
            own_s = self.usage.ru_utime + self.usage.ru_stime
            others_s = (_busy_s(self._core) or 0.0) - busy_s - own_s
            self.others_percent = max(100 * others_s / self.wall_s, 0.0)

    def kill(self) -> None:
        """Kill the program unless it has ended, also where it has not started yet."""
        with self._lock:
            self._unwanted = True
            if self._pid is not None and self.status is None:
                self.killed = True
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pid, signal.SIGKILL)

    def close(self) -> tuple[str, str]:
        """What it wrote to standard output and to standard error; gives both files back."""
        texts = []
        for file in self._files:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - LONGEST_OUTPUT, 0))
            texts.append(file.read().decode("utf-8", "replace"))
            file.close()
        return texts[0], texts[1]


def _busy_s(core: int | None) -> float | None:
    """Seconds that processes have run on this core so far; interrupts belong to none of them."""
    cores = psutil.cpu_times(percpu=True)
    if core is None or core >= len(cores):
        return None
    times = cores[core]
    return float(times.user + times.nice + times.system)
