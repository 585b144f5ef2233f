"""Child processes of a trial: in sessions of their own, read line by line, ended surely."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from labkit.errors import TrialFailed

LONGEST_LINE = 1 << 26
GRACE_S = 1.0


class Child:
    """One `python -m module` process. Its standard input stays open: when it ends, so does it.

    Not `asyncio.subprocess`: that reaps the process itself and loses its resource usage.
    """

    def __init__(self, module: str, *args: str) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # `close` closes it
        self.started = time.perf_counter()
        self._popen = subprocess.Popen(  # noqa: S603  # our own interpreter and module
            [sys.executable, "-P", "-m", module, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            # Ctrl-C reaches the parent alone, which ends its children in order.
            start_new_session=True,
            env=_environment(),
        )
        self.pid = self._popen.pid
        self.usage: Any = None
        self.wall_s: float | None = None
        self.status: int | None = None
        self._reader: asyncio.StreamReader | None = None
        self._transport: asyncio.BaseTransport | None = None
        self._reaping = in_thread(self._wait)

    def _wait(self) -> None:
        _, status, self.usage = os.wait4(self.pid, 0)
        self.wall_s = time.perf_counter() - self.started
        self.status = self._popen.returncode = os.waitstatus_to_exitcode(status)

    async def write_line(self, message: Any) -> None:
        """Send one line of JSON."""
        assert self._popen.stdin is not None
        data = msgspec.json.encode(message) + b"\n"
        # In a thread: a strategy of the user's own may be larger than the pipe's buffer.
        with contextlib.suppress(BrokenPipeError):
            await in_thread(partial(_write_all, self._popen.stdin.fileno(), data))

    async def read_line(self) -> dict[str, Any] | None:
        """The next line of JSON; None once the process has closed its output."""
        if self._reader is None:
            self._reader = asyncio.StreamReader(limit=LONGEST_LINE)
            protocol = asyncio.StreamReaderProtocol(self._reader)
            loop = asyncio.get_running_loop()
            self._transport, _ = await loop.connect_read_pipe(lambda: protocol, self._popen.stdout)
        line = await self._reader.readline()
        if not line.endswith(b"\n"):
            return None
        message: dict[str, Any] = msgspec.json.decode(line)
        return message

    def said_on_stderr(self) -> str:
        """The last line that the process wrote to standard error, or the empty string."""
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:500] if lines else ""

    def signal(self, number: int) -> None:
        """Send a signal, unless the process is gone."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def exited(self, within_s: float) -> bool:
        """Wait for the process to end; whether it did."""
        done, _ = await asyncio.wait([self._reaping], timeout=within_s)
        return bool(done)

    async def end(self, grace_s: float = GRACE_S) -> None:
        """End the process: ask, wait `grace_s`, then kill. Gives back every resource."""
        if not self._reaping.done():
            self.signal(signal.SIGTERM)
            if not await self.exited(grace_s):
                self.signal(signal.SIGKILL)
                await self.exited(GRACE_S)
        self.close()

    def close(self) -> None:
        """Kill what still runs, without waiting, and close the pipes."""
        self.signal(signal.SIGKILL)
        if self._transport is not None:
            self._transport.close()
        for pipe in (self._popen.stdin, self._popen.stdout, self._errors):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


async def surely_ended(child: Child) -> None:
    """End a child even when this task is being cancelled meanwhile."""
    try:
        await asyncio.shield(asyncio.ensure_future(child.end()))
    finally:
        child.close()


def in_thread(work: Callable[[], None]) -> asyncio.Future[None]:
    """Run `work` in a thread of its own.

    Not in the loop's executor: it has few threads, and trials that run at the same time would wait
    for each other's.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def finish(error: BaseException | None) -> None:
        if not done.done():
            done.set_result(None) if error is None else done.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            work()
        except OSError as found:
            error = found
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(finish, error)

    threading.Thread(target=run, daemon=True).start()
    return done


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _environment() -> dict[str, str]:
    """This process's environment, with labkit importable whatever the current folder is."""
    home = Path(__file__).resolve().parents[2]
    if home.name == "site-packages":
        # Found anyway, and named here it would come before the standard library.
        return dict(os.environ)
    paths = [str(home), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def failed(child: Child, what: str) -> TrialFailed:
    """The error for a child that ended before it did its work."""
    said = child.said_on_stderr()
    status = "" if child.status is None else f" (exit status {child.status})"
    return TrialFailed(f"{what}{status}{': ' + said if said else ''}")
