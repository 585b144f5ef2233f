"""Starts synthetic servers for tests: real processes on free ports of the loopback."""

import asyncio
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import pytest

import labkit
from labkit.errors import TrialFailed
from labkit.launch import launcher, process
from labkit.launch.launcher import Progress
from labkit.launch.process import Child
from labkit.record import codes
from labkit.record.codec import decode, encode
from labkit.record.record import Record
from labkit.spec.trial import Trial

ROOT = Path(labkit.__file__).parents[1]
PATIENCE_S, STOPPED_S = 30.0, 0.5
LOOPS = ["uvloop", "asyncio"]
MIB = 1 << 20
WORKER, SERVER = "labkit.measured.worker", "labkit.measured.targets.http"


@dataclass(kw_only=True)
class Running:
    """A server that accepts connections; `stderr` holds what it wrote there once it has ended."""

    process: subprocess.Popen[str]
    url: str
    pid: int
    ca: str = ""
    stderr: str = ""

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return str(parts.hostname), int(parts.port or 0)

    def connect(self) -> HTTPConnection:
        """A connection of its own."""
        return HTTPConnection(*self.address, timeout=PATIENCE_S)

    def stats(self) -> dict[str, Any]:
        """What the server has counted; asked over a connection that it does not count."""
        connection = self.connect()
        try:
            connection.request("GET", "/-/stats")
            return dict(json.loads(connection.getresponse().read()))
        finally:
            connection.close()

    def wait_for(self, **counters: int) -> dict[str, Any]:
        """The first stats that show these counters, or those at the end of all patience."""
        deadline = monotonic() + PATIENCE_S
        while True:
            stats = self.stats()
            if counters.items() <= stats.items() or monotonic() > deadline:
                return stats

    def ended(self) -> int:
        """Wait for the end that a test has brought about; the exit status."""
        _, self.stderr = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode


def piped(module: str, settings: str, **how: Any) -> subprocess.Popen[str]:
    """A module of the lab's with pipes, not waited for."""
    how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how
    words = [sys.executable, "-m", module, settings]
    return subprocess.Popen(words, text=True, cwd=ROOT, **how)


def launch(
    stdin: int = subprocess.PIPE, descriptors: int | None = None, **settings: Any
) -> subprocess.Popen[str]:
    """A server process, not waited for. It ends when its standard input is closed.

    It may open so many files and sockets.
    """

    def limited() -> None:
        if descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    whole = json.dumps({"announce_json": True, "die_with_stdin": True, **settings})
    return piped(SERVER, whole, stdin=stdin, preexec_fn=limited)


@contextmanager
def serving(**settings: Any) -> Iterator[Running]:
    """A server with these settings of `parts.Server`; whatever it is asked, it stays quiet."""
    process = launch(**settings)
    announced = process.stdout.readline()
    assert announced, process.communicate(timeout=PATIENCE_S)[1]
    running = Running(process=process, **json.loads(announced))
    try:
        yield running
    finally:
        if process.returncode is None:
            running.ended()
    assert running.stderr == ""


# Names of modules: Python's, the lab's, those of packages, and some that a library looks for.
HOSTILE = (
    *("aiodns", "aiohttp", "asyncio", "brotlicffi", "conftest", "ipykernel_launcher", "json"),
    *("labkit", "msgspec", "multiprocessing", "pkgutil", "queue", "random", "runpy", "selectors"),
    *("sitecustomize", "socket", "usercustomize", "uvloop"),
)


def hostile(folder: Path) -> Path:
    """Fill a folder with such modules; each that is imported makes the file that is returned."""
    ran = folder / "ran"
    for name in HOSTILE:
        (folder / f"{name}.py").write_text(f"open({str(ran)!r}, 'a').write({name!r} + ' ')\n")
    return ran


class Children(dict[str, Child]):
    """Processes of the lab's by their modules."""

    @property
    def gone(self) -> bool:
        return all(child.status is not None for child in self.values())


@contextmanager
def noted_children() -> Iterator[Children]:
    """Take note of each process of the lab's that is started inside."""
    noted = Children()
    start = process.start

    def noting(module: str, *arguments: str, **job: Any) -> Child:
        noted[module] = start(module, *arguments, **job)
        return noted[module]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "start", noting)
        yield noted


@dataclass
class Ran:
    """A trial that has ended: its processes, their cores, its progress, its error and record."""

    children: Children
    cores: dict[str, set[int]] = field(default_factory=dict)
    progress: list[Progress] = field(default_factory=list)
    error: TrialFailed | None = None
    record: Record = field(init=False)


async def ran(
    trial: Trial,
    *,
    killing: str | None = None,
    number: signal.Signals = signal.SIGKILL,
    stopping: str | None = None,
    position: Any = None,
) -> Ran:
    """Run a trial; whatever becomes of it, one record is stored, and no process stays.

    The process of the module `killing` gets the signal `number` once a request was answered, that
    of `stopping` is stopped then for a while.
    """
    stored: list[Record] = []
    stopped: list[None] = []

    def watch(latest: Progress) -> None:
        found.progress.append(latest)
        for module, child in children.items():
            with contextlib.suppress(ProcessLookupError):
                found.cores[module] = set(os.sched_getaffinity(child.pid))
        if killing and latest.counts.ok:
            children[killing].signal(number)
        if stopping and latest.counts.ok and not stopped:
            stopped.append(children[stopping].signal(signal.SIGSTOP))
            asyncio.get_running_loop().call_later(
                STOPPED_S, children[stopping].signal, signal.SIGCONT
            )

    with noted_children() as children:
        found = Ran(children)
        try:
            result = await launcher.run(trial, position=position, watch=watch, keep=stored.append)
        except TrialFailed as failed:
            found.error, result = failed, failed.record
    [found.record] = stored
    assert result is found.record
    assert decode(encode(result)) == result
    assert result.verdict == codes.verdict(result.warnings)
    assert result.counts.conserved or "items-repeated" in [note.code for note in result.warnings]
    assert children.gone
    return found
