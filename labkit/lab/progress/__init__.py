"""Progress of long work: what a reporter is, the silent one, and the one that draws in a notebook.

A reporter only shows: it decides nothing and measures nothing.
"""

from __future__ import annotations

import os
import sys
from typing import cast

from labkit.lab.progress.notebook import Notebook
from labkit.lab.progress.reporter import Reporter, SafeReporter, remaining, report_cancellation

__all__ = ["Reporter", "SafeReporter", "default", "is_live", "remaining", "report_cancellation"]


def default() -> Reporter:
    """Return the notebook's reporter inside a live kernel, the silent one anywhere else."""
    return cast("Reporter", SafeReporter(Notebook())) if is_live() else Reporter()


def is_live() -> bool:
    """Return True in a kernel that somebody looks at.

    `LABKIT_LIVE=0`, or a test run, means headless: outputs that are checked hold results only.
    """
    headless = os.environ.get("LABKIT_LIVE") == "0" or "PYTEST_CURRENT_TEST" in os.environ
    return "ipykernel" in sys.modules and not headless
