"""Runs programs to their end, labkit's own command among them."""

import contextlib
import io
import subprocess
import sys
from typing import Any
from unittest import mock

from labkit import cli


def ran(*words: object, check: bool = False, **options: Any) -> subprocess.CompletedProcess[str]:
    """Return what a program did and wrote."""
    return subprocess.run(
        [str(word) for word in words],
        capture_output=True, text=True, timeout=110, check=check, **options,
    )  # fmt: skip


def labkit(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command as a shell would."""
    return ran(sys.executable, "-m", "labkit", *words, **options)


def here(*words: object) -> subprocess.CompletedProcess[str]:
    """Run the command in this process: one of its own takes seconds to import what it needs."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    typed = ["labkit", *map(str, words)]
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", typed),
    ):
        try:
            cli.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
    return subprocess.CompletedProcess(typed, status, out.getvalue(), err.getvalue())
