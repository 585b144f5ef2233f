"""Starts targets for tests: a process of the lab's own, and the server that it looks after."""

import json
import os
import select
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

import asyncpg
import psutil
import test_kills
from servers import PATIENCE_S, piped

from labkit.spec.addresses import POSTGRES_DSN, REDIS_URL


@dataclass(kw_only=True)
class Target:
    """A target that accepts connections; `pid` is of its server, None where that is the user's."""

    process: subprocess.Popen[str]
    url: str
    pid: int | None
    in_force: dict[str, Any]
    counts: bool = False

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def close_stdin(self) -> None:
        """Close the standard input of the process, as the end of its parent does."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.stdin = None

    def counted(self) -> dict[str, int]:
        """Return what the server has counted, as the lab asks for it."""
        assert self.process.stdout is not None
        self.process.send_signal(signal.SIGUSR1)
        return dict(json.loads(self.process.stdout.readline()))


def until(holds: Callable[[], object]) -> bool:
    """Return whether that holds before all patience is at an end."""
    patience_ends = monotonic() + PATIENCE_S
    while not (found := holds()) and monotonic() < patience_ends:
        select.select([], [], [], 0.01)
    return bool(found)


@contextmanager
def ending(*processes: psutil.Process) -> Iterator[None]:
    """Expect that these processes, no children of this one, end in the block or soon after it."""
    descriptors = [os.pidfd_open(process.pid) for process in processes]
    try:
        yield
        # Several times as long as is promised: the machine may be busy with other tests.
        assert test_kills.ended(descriptors, 5 * test_kills.GONE_WITHIN_S)
    finally:
        for fd in descriptors:
            os.close(fd)


def started(
    kind: str, environment: dict[str, str] | None = None, **settings: Any
) -> subprocess.Popen[str]:
    """Start a target's process, and do not wait for it."""
    named = (POSTGRES_DSN, REDIS_URL)
    others = {name: value for name, value in os.environ.items() if name not in named}
    module, env = f"labkit.measured.targets.{kind}", others | (environment or {})
    return piped(module, json.dumps(settings), env=env)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end; return the exit status and what was written to standard error."""
    _, errors = process.communicate(timeout=PATIENCE_S)
    return process.returncode, errors


def announced(process: subprocess.Popen[str]) -> Target:
    """Wait until it accepts connections."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, ended(process)
    return Target(process=process, **json.loads(line))


@asynccontextmanager
async def connected(target: Target) -> AsyncIterator[Any]:
    """Yield a connection of the test's own to a PostgreSQL server."""
    connection = await asyncpg.connect(target.url)
    try:
        yield connection
    finally:
        await connection.close()


@contextmanager
def running(
    kind: str, environment: dict[str, str] | None = None, **settings: Any
) -> Iterator[Target]:
    """Yield a target for the time of the block."""
    settings = {"die_with_stdin": kind != "valkey", **settings}  # that one watches it by itself
    target = announced(started(kind, environment, **settings))
    try:
        yield target
    finally:
        target.process.terminate()
        status, errors = ended(target.process)
    assert status in (0, -signal.SIGKILL)
    assert errors == "" or kind == "valkey"  # which warns of much
