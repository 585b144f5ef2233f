"""Runs programs to their end, labkit's own command among them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any


def ran(*words: object, check: bool = False, **options: Any) -> subprocess.CompletedProcess[str]:
    """Return what a program did and wrote."""
    return subprocess.run(
        [str(word) for word in words],
        capture_output=True, text=True, timeout=110, check=check, **options,
    )  # fmt: skip


def labkit(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command as a shell would."""
    return ran(sys.executable, "-m", "labkit", *words, **options)
