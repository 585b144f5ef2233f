"""Child processes: started in sessions of their own, read line by line, and surely ended.

The plan for their end. Whatever becomes of the parent, no child outlives its work by two seconds,
and what a child has used is known.

- The parent goes on (the work is done, has failed, is past its deadline, or was cancelled): whoever
  makes a `Child` awaits `stop` in a `finally`. It asks by SIGTERM, waits `GRACE_S`, and kills. If
  that waiting is cancelled as well, as by a second Ctrl-C, the child is killed at once.
- The parent is killed and can do nothing, or a child leaves processes of its own: see `orphans`.
- Ctrl-C reaches the parent alone, because each child has a session of its own: so the parent ends
  its children in order, and they can still report what they measured.

A thread waits for each child by `wait4`, as only that gives what the child has used. Rejected:
`asyncio.subprocess`, which reaps the child itself and loses that.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import msgspec

from labkit import paths
from labkit.errors import TrialFailed
from labkit.launch import orphans
from labkit.record.record import Process
from labkit.spec import variables

MAX_LINE_BYTES, MAX_OUTPUT_BYTES = 1 << 26, 1 << 22
GRACE_S = 1.0
# Seconds that a process which measures nothing may take.
START_S = 30.0


NONE: Mapping[str, str] = MappingProxyType({})
WATCH = orphans.Watch()
# Becomes the program after it once a line has come: all that the program starts has its mark.
_ONCE_MARKED = ["/bin/sh", "-c", 'read -r _ && exec "$@" </dev/null', "sh"]


class Child:
    """One process: with pipes, its standard input stays open and its `lines` are read.

    Without them it has no input, and writes to files. `core` is the one that it is to run on. A
    `stranger` may start processes at once that leave its session: it begins once it has its mark.
    Raises `OSError` where it cannot be started.
    """

    # Where it runs, if elsewhere; by how much it may begin later there than it is known to.
    place: str | None = None
    apart_s = 0.0

    def __init__(
        self,
        words: Sequence[str],
        *,
        pipes: bool = False,
        core: int | None = None,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        stranger: bool = False,
    ) -> None:
        if not WATCH.children:  # the first one of this process
            orphans.sweep()
            paths.sweep()
        with contextlib.ExitStack() as files, contextlib.ExitStack() as on_core:
            # This thread alone runs on `core`, and what it starts inherits that: so no code of
            # Python's runs between fork and exec, where other threads could have left a lock.
            if core is not None:
                on_core.callback(os.sched_setaffinity, 0, os.sched_getaffinity(0))
                os.sched_setaffinity(0, {core})
            new = tempfile.TemporaryFile
            self.out, self.errors = files.enter_context(new()), files.enter_context(new())
            self._started = time.perf_counter()
            self._popen = subprocess.Popen(  # noqa: S603  # our own, or a load generator by name
                [*_ONCE_MARKED, *words] if stranger else words,
                stdin=subprocess.PIPE if pipes or stranger else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else self.out,
                stderr=self.errors,
                start_new_session=True,
                cwd=folder,
                env=variables.clean(os.environ) if environment is None else environment,
            )
            self._files = files.pop_all()
        self.pid = self._popen.pid
        self._mark = WATCH.begin(self.pid)
        if stranger and self._popen.stdin is not None:
            with contextlib.suppress(BrokenPipeError), self._popen.stdin as gate:
                gate.write(b"\n")
        self.status: int | None = None
        self.usage: Any = None
        self.wall_s = 0.0
        loop = asyncio.get_running_loop()
        self.how: tuple[Any, ...] = (words, environment, loop)
        self.ended: asyncio.Future[None] = loop.create_future()
        threading.Thread(target=self._wait, args=[loop], daemon=True).start()
        self.lines = asyncio.StreamReader(limit=MAX_LINE_BYTES)
        self._connecting: asyncio.Future[Any] | None = None
        self._writing: threading.Thread | None = None
        if pipes:
            protocol = partial(asyncio.StreamReaderProtocol, self.lines)
            connecting = loop.connect_read_pipe(protocol, self._popen.stdout)
            self._connecting = asyncio.ensure_future(connecting)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for the end of the process. In a thread of its own: the loop's executor has few."""
        try:
            # Not reaped yet, where the system can do that: its number stays its own.
            reaped = None if hasattr(os, "waitid") else os.wait4(self.pid, 0)
            if reaped is None:
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            self.wall_s = time.perf_counter() - self._started
            orphans.kill(range(self._mark, self._mark + 1))
            _, status, self.usage = reaped or os.wait4(self.pid, 0)
            self.how = ()
            self.status = self._popen.returncode = os.waitstatus_to_exitcode(status)
        finally:
            WATCH.end()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self.ended.set_result, None)

    def used(self, peak_rss_bytes: int | None, *, waited_s: float = 0.0) -> Process:
        """Return what it has used, once it has ended; what it `waited_s` is none of its time."""
        user_s, system_s, wall_s = self.usage.ru_utime, self.usage.ru_stime, self.wall_s - waited_s
        return Process.of(user_s, system_s, wall_s, wall_s=wall_s, peak_rss_bytes=peak_rss_bytes)

    def send(self, job: Any) -> None:
        """Send a line of JSON, in a thread: it may be more than the pipe takes at once."""
        assert self._popen.stdin is not None
        data = msgspec.json.encode(job) + b"\n"
        # A descriptor of the thread's own: the other one is closed when the process is stopped.
        pipe = os.fdopen(os.dup(self._popen.stdin.fileno()), "wb")

        before = self._writing

        def write() -> None:
            if before is not None:
                before.join()
            with contextlib.suppress(BrokenPipeError), pipe:
                pipe.write(data)

        self._writing = threading.Thread(target=write, daemon=True)
        self._writing.start()

    async def line(self) -> dict[str, Any] | None:
        """Return the next line of JSON that it wrote; None once it has closed its output."""
        line = await self.lines.readline()
        return msgspec.json.decode(line) if line.endswith(b"\n") else None

    async def first_line(self, within_s: float, late: str, died: str) -> dict[str, Any]:
        """Return its first line; raise the failure that it is `late`, or that it `died` before."""
        try:
            async with asyncio.timeout(within_s):
                line = await self.line()
        except TimeoutError:
            raise self.failure(late) from None
        if line is None:
            await asyncio.wait([self.ended], timeout=GRACE_S)
            raise self.failure(died)
        return line

    @property
    def written(self) -> str:
        """Return the end of what it wrote for people to read."""
        return tail(self.errors).strip() or tail(self.out).strip()

    def failure(self, what: str, lines: int = 1, more: str = "") -> TrialFailed:
        """Return the error for a process that did not do its work, with what it wrote last."""
        last = " | ".join(self.written.splitlines()[-lines:])[-500:]
        status = "" if self.status is None else f" (exit status {self.status})"
        return TrialFailed(f"{what}{status}{more}{': ' + last if last else ''}")

    def signal(self, number: int) -> None:
        """Send a signal, unless the process is gone."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def stop(self, grace_s: float = GRACE_S) -> None:
        """End the process: ask, wait `grace_s`, kill. Give back every resource."""
        try:
            for number, within_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, GRACE_S)):
                if not self.ended.done():
                    self.signal(number)
                    await asyncio.wait([self.ended], timeout=within_s)
        finally:
            # Without waiting, and in any case: nothing but the kernel can keep it alive now.
            self.signal(signal.SIGKILL)
            if self._connecting is not None and not self._connecting.cancel():
                self._connecting.result()[0].close()
            for pipe in (self._popen.stdin, self._popen.stdout, self._files):
                if pipe is not None:
                    pipe.close()


# The process that was started ahead, if any, and how: `start` takes it where it is asked for that.
# It reads its job when it is ready, as any other does, so that it differs in nothing from a process
# that is started then. Of a study's run the client is started ahead when the one before it has
# ended: while that one's target is asked, ended, and its record kept, and nothing is measured.
# Rejected, as it changes what is measured: to fork clients from a process that has imported all
# (memory that is shared, files that are not read, one seed for the hashes of every repeat).
_AHEAD: list[Child] = []


def start_ahead(module: str, **how: Any) -> Child:
    """Start a module as `start` does, whose next call for the same gets it; `stop_ahead` ends it.

    It has no job yet.
    """
    _AHEAD.append(start(module, **how))
    return _AHEAD[-1]


async def stop_ahead() -> None:
    """End the process that was started ahead and that nothing took."""
    while _AHEAD:
        await _AHEAD.pop().stop(0)


def start(
    module: str, *words: str, job: Any = None, asked: Mapping[str, str] = NONE, python: str = ""
) -> Child:
    """Start a module of the lab's as a process that ends with this one: of this Python, or another.

    Its environment is clean, but for the variables that are `asked` for.
    """
    environment = {**variables.clean(os.environ), **asked}
    home = Path(__file__).resolve().parents[2]
    # Importable whatever the current folder is. An installed package is found anyway, and named
    # here it would come before the standard library.
    if home.name != "site-packages":
        listed = [str(home), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(listed)
    whole = [python or sys.executable, "-P", "-m", module, *words]
    fits = [one for one in _AHEAD if one.how == (whole, environment, asyncio.get_running_loop())]
    child = fits[0] if fits else Child(whole, pipes=True, environment=environment)
    _AHEAD[:] = [one for one in _AHEAD if one is not child]
    if job is not None:
        child.send(job)
    return child


def find(name: str) -> str | None:
    """Return the path of a program, on PATH or beside the interpreter; None where it is neither."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


async def run(
    words: Sequence[str], *, core: int | None, folder: Path, within_s: float = START_S, **how: Any
) -> tuple[Child, str, str]:
    """Run a program that is not the lab's to its end; return it, its output and its errors.

    It is gone when this returns. Raises `TrialFailed` where it does not start, or not end in time.
    """
    name = Path(words[0]).name
    try:
        child = Child(words, core=core, folder=folder, **how)
    except OSError as error:
        raise TrialFailed(f"{name} cannot be run: {error}") from None
    try:
        await asyncio.wait([child.ended], timeout=within_s)
        if child.status is None:
            raise TrialFailed(f"{name} did not end within {within_s:,.0f} s, and was ended")
        return child, tail(child.out), tail(child.errors)
    finally:
        await child.stop(0)


def tail(file: IO[bytes]) -> str:
    """Return the end of a file that a process has written."""
    file.seek(max(file.seek(0, os.SEEK_END) - MAX_OUTPUT_BYTES, 0))
    return file.read().decode("utf-8", "replace")
