"""What holds for every test: figures need no display, and slowness alone fails no property.

With `LABKIT_MISSING=fail`, as `.ci/run` sets it where it can install programs, a test that skips
for want of one fails.

Fixtures are in the test modules that use them, but for the store of a test's own.
"""

import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import settings

from labkit.spec.trial import OWN

os.environ.setdefault("MPLBACKEND", "Agg")

# A run in the background of a shell inherits that Ctrl-C is ignored, and so would what it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("labkit", deadline=None)
settings.load_profile("labkit")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """Fail what skips for want of something that can be installed."""
    report = yield
    why = report.longrepr[-1] if report.skipped and os.environ.get("LABKIT_MISSING") else ""
    if "is not installed" in why or "needs " in why:
        report.outcome, report.longrepr = "failed", f"{why}, and may not be skipped here"
    return report


@pytest.fixture(autouse=True)
def _own_strategies() -> Iterator[None]:
    """Forget the strategies that a test registered, which another would find by their names."""
    with patch.dict(OWN):
        yield


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let records go into a folder of the test's own."""
    monkeypatch.setenv("LABKIT_STORE", str(tmp_path / "store"))
    return tmp_path / "store"
