"""Showing how far long work has come: what a reporter is, the silent one, and the notebook's.

A reporter only shows; it decides nothing and measures nothing.
"""

from __future__ import annotations

import os
import sys

from labkit.lab.progress.interrupts import told_if_interrupted
from labkit.lab.progress.notebook import Notebook
from labkit.lab.progress.reporter import Careful, Reporter, remaining

__all__ = [
    "Careful",
    "Notebook",
    "Reporter",
    "default",
    "is_live",
    "remaining",
    "told_if_interrupted",
]


def default() -> Reporter:
    """The notebook's reporter inside a live kernel, the silent one anywhere else."""
    return Careful(Notebook()) if is_live() else Reporter()


def is_live() -> bool:
    """Whether this is a kernel that somebody looks at.

    `LABKIT_LIVE=0`, or a test run, means headless: outputs that are checked hold results only.
    """
    headless = os.environ.get("LABKIT_LIVE") == "0" or "PYTEST_CURRENT_TEST" in os.environ
    return "ipykernel" in sys.modules and not headless
