"""Starts PostgreSQL for tests: the lab's own process of the target, and all that it starts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from servers import ROOT

PATIENCE_S = 30.0


@dataclass(kw_only=True)
class Database:
    """A PostgreSQL that accepts connections; `pid` is its postmaster's."""

    process: subprocess.Popen[str]
    url: str
    pid: int
    in_force: dict[str, Any]
    counts: bool

    @property
    def folder(self) -> Path:
        """Where all its files are."""
        return Path(parse_qs(urlsplit(self.url).query)["host"][0])


def started(**settings: Any) -> Database:
    """One that nobody ends but the test."""
    process = subprocess.Popen(
        [sys.executable, "-m", "labkit.measured.targets.postgres", json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    announced = process.stdout.readline()
    assert announced, process.communicate(timeout=PATIENCE_S)[1]
    return Database(process=process, **json.loads(announced))


@contextmanager
def postgres(**settings: Any) -> Iterator[Database]:
    """One for the time of the block."""
    database = started(die_with_stdin=True, **settings)
    try:
        yield database
    finally:
        database.process.terminate()
        _, errors = database.process.communicate(timeout=PATIENCE_S)
    assert (database.process.returncode, errors) == (0, "")
