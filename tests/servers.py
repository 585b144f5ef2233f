"""Starts synthetic servers for tests: real processes on free ports of the loopback."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import pytest

import labkit
from labkit.launch import process
from labkit.launch.launcher import Progress
from labkit.launch.process import Child

ROOT = Path(labkit.__file__).parents[1]
PATIENCE_S = 30.0
LOOPS = ["uvloop", "asyncio"]
MIB = 1 << 20


@dataclass(kw_only=True)
class Running:
    """A server that accepts connections; `stderr` holds what it wrote there once it has ended."""

    process: subprocess.Popen[str]
    url: str
    pid: int
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


def command(settings: str) -> list[str]:
    """The command line of a server with these settings."""
    return [sys.executable, "-m", "labkit.measured.targets.http", settings]


def launch(stdin: int = subprocess.PIPE, **settings: Any) -> subprocess.Popen[str]:
    """A server process, not waited for. It ends when its standard input is closed."""
    return subprocess.Popen(
        command(json.dumps({"announce_json": True, "die_with_stdin": True, **settings})),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


@contextmanager
def serving(**settings: Any) -> Iterator[Running]:
    """A server with these settings of `parts.Server`; whatever it is asked, it stays quiet."""
    process = launch(**settings)
    assert process.stdout is not None
    announced = process.stdout.readline()
    assert announced, process.communicate(timeout=PATIENCE_S)[1]
    running = Running(process=process, **json.loads(announced))
    try:
        yield running
    finally:
        if process.returncode is None:
            running.ended()
    assert running.stderr == ""


class Children(dict[str, Child]):
    """Processes of the lab's by their modules."""

    @property
    def gone(self) -> bool:
        return all(child.status is not None for child in self.values())

    def killing(self, module: str) -> Callable[[Progress], None]:
        """A watch that kills one of them once a request was answered."""
        return lambda seen: self[module].signal(signal.SIGKILL) if seen.counts.ok else None


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
