"""Starts Valkeys for tests: the lab's own process of the target, and what it looks after."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from servers import PATIENCE_S, ROOT

from labkit.spec.addresses import REDIS_URL


@dataclass
class Running:
    """A target's process, and what it said when it accepted connections."""

    process: subprocess.Popen[str]
    said: dict[str, Any]

    @property
    def url(self) -> str:
        return str(self.said["url"])

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)

    def counts(self) -> dict[str, int]:
        """What the server has counted, as the lab asks for it."""
        assert self.process.stdout is not None
        self.process.send_signal(signal.SIGUSR1)
        return dict(json.loads(self.process.stdout.readline()))

    def end(self) -> None:
        self.process.communicate(timeout=PATIENCE_S)


@contextmanager
def running(environment: dict[str, str] | None = None, **settings: Any) -> Iterator[Running]:
    process = started(environment, **settings)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()
    target = Running(process, json.loads(line))
    try:
        yield target
    finally:
        target.end()


def started(environment: dict[str, str] | None = None, **settings: Any) -> subprocess.Popen[str]:
    """A target's process, not waited for. It ends when its standard input is closed."""
    others = {name: value for name, value in os.environ.items() if name != REDIS_URL}
    return subprocess.Popen(
        [sys.executable, "-m", "labkit.measured.targets.valkey", json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=others | (environment or {}),
    )
