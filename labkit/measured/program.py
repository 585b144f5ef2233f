"""Run a program of the user's own, and measure it from outside.

The plan: this process starts it, reads its processes 50 times a second, and is no part of what is
measured: it leaves the program's core once that has begun. What must hold is what `/usr/bin/time`
says.

- Time: from the start to the end, for which a thread waits.
- CPU: what `wait4` gives of the program, with all that it has waited for, and of its orphans, which
  the kernel gives to this process.
- Memory: `ProgramReader`, and `ru_maxrss`, which misses nothing, but begins at what the process
  had that forked the program. This one has some 30 MB, `setsid` has one: so that forks it, and
  leaves it to this process as an orphan. Where there is no `setsid`, `ru_maxrss` counts from what
  this process had.

Rejected: a thread in the process of the lab, which a notebook keeps busy, and whose own memory of
over 100 MB would be the least that `ru_maxrss` says; and a shell in between, which leaves signals
ignored.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import partial
from typing import IO, TYPE_CHECKING, Any

import msgspec

from labkit.measured import lifeline
from labkit.measured.probes.meter import Meter
from labkit.measured.probes.sampler import Sampler, to_timeline
from labkit.measured.probes.window import ProcessReader, ProgramReader, Window, own_peak_bytes
from labkit.record import interference, stalls
from labkit.record.record import Client, Measurement, Note, Process

if TYPE_CHECKING:
    from labkit.measured.worker import Job, Reached

# How long a program may take to end that is asked to, and what of its output is read.
END_S, MAX_TAIL_BYTES = 0.3, 1 << 16
# The unit of `ru_maxrss`.
MAXRSS_BYTES = 1024 if sys.platform == "linux" else 1
SETSID = shutil.which("setsid") if sys.platform == "linux" else None


async def run(job: Job, target: Reached, processes: str, parent: Any) -> None:
    """Run a program to its end, or until SIGTERM; send what it used, and how it ended."""
    pids, core, loop = target.pids or target.pid, job.core, asyncio.get_running_loop()
    meter = Meter(0, str, Window(pids, processes))
    window, least_bytes = meter.window, 0 if SETSID else own_peak_bytes()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        lifeline.adopt_orphans()
        window.start()
        busy_s = interference.busy_s(core)
        try:
            program = _started(job, target, out, errors)
        except OSError as error:
            parent.send("failed", message=error.strerror or str(error))
            return
        window.open()
        if job.beside:
            os.sched_setaffinity(0, job.beside)
        window.of_client = reader = ProgramReader(program.pid)
        sampler = Sampler(meter, partial(parent.send_progress, meter), row_ticks=1)
        sampler.start()

        def end() -> None:
            program.terminate()
            loop.call_later(END_S, program.kill)

        def wait() -> None:
            os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
            window.close()

        loop.add_signal_handler(signal.SIGTERM, end)
        await asyncio.to_thread(wait)
        sampler.pause()
        after_s, waited_s = interference.busy_s(core), reader.waited_s()
        left, usages = _reaped(program)
        wall_s, waited = window.wall_s or 0.0, None
        user_s, system_s = (sum(getattr(one, f"ru_{k}time") for one in usages) for k in "us")
        peak_bytes = max(MAXRSS_BYTES * one.ru_maxrss for one in usages)
        peak_bytes = max(reader.peak_bytes(), peak_bytes if peak_bytes > least_bytes else 0)
        if busy_s is not None and after_s is not None and waited_s is not None:
            # Its own threads and processes wait for each other: for that nobody is to blame.
            others_s = after_s - busy_s - user_s - system_s
            waited = round(100 * max(min(waited_s, others_s), 0.0) / wall_s, 2)
        cpu, known = (user_s, system_s, wall_s), {"peak_rss_bytes": peak_bytes or None}
        message = f"the program ended and left {left:,} of its processes running"
        client = Client.of(*cpu, **known, waited_percent=waited)
        stopped = stalls.within("client", reader.stopped.found, window.spans_ns)
        measurement = Measurement(
            **window.of_both(meter.counts()) | {"wall_s": wall_s, "client": client},
            stalls=[*sampler.stalls(), *stopped],
            timeline=to_timeline(sampler.rows),
            warnings=[Note(code="children-left", message=message)] if left else [],
        )
        parent.send("window", ns=window.spans_ns)
        ended = {"status": program.returncode, "output": _tail(out), "errors": _tail(errors)}
        ended |= {"process": Process.of(*cpu, **known, wall_s=wall_s)}
        parent.send("measurement", measurement=msgspec.to_builtins(measurement), **ended)


def _started(
    job: Job, target: Reached, out: IO[bytes], errors: IO[bytes]
) -> subprocess.Popen[bytes]:
    words = [SETSID, "--fork", *target.words] if SETSID else target.words
    streams = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": errors}
    how: dict[str, Any] = {**streams, "cwd": target.folder, "env": job.environment}
    program = subprocess.Popen(words, start_new_session=True, **how)  # noqa: S603  # the user's own
    if SETSID:
        program.wait()
        [program.pid] = ProcessReader(os.getpid(), parent=True).children()
        program.returncode = None
    return program


def _reaped(program: subprocess.Popen[bytes]) -> tuple[int, list[Any]]:
    """Wait for a program that has ended, end all that it left, and wait for that.

    Return how many of its processes ran on, and what each used.
    """
    own, left = ProcessReader(os.getpid(), parent=True), set[int]()
    _, status, usage = os.wait4(program.pid, 0)
    program.returncode, usages = os.waitstatus_to_exitcode(status), [usage]
    with suppress(ChildProcessError):  # there are none any more
        while True:
            for pid in own.children():
                if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
                    left.add(pid)
                    os.kill(pid, signal.SIGKILL)
            usages.append(os.wait4(-1, 0)[2])
    return len(left), usages


def _tail(file: IO[bytes]) -> str:
    file.seek(max(file.seek(0, os.SEEK_END) - MAX_TAIL_BYTES, 0))
    return file.read().decode("utf-8", "replace")
