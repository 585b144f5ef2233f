"""A folder of the learner's own: the lab's notebooks copied into it, and JupyterLab opened there.

What the learner changed is never written over. Nothing is asked of the network.
"""

from __future__ import annotations

from labkit.cli.workspace.copying import INDEX, prepare, sources, usual
from labkit.cli.workspace.jupyter import Opening, check_jupyterlab, opening
from labkit.cli.workspace.openings import About, needs, read_all
from labkit.cli.workspace.summary import Summary

__all__ = [
    "INDEX",
    "About",
    "Opening",
    "Summary",
    "check_jupyterlab",
    "needs",
    "opening",
    "prepare",
    "read_all",
    "sources",
    "usual",
]
