"""A folder of the learner's own: the lab's notebooks copied into it, and what they take and need.

What the learner changed is never written over.
"""

from __future__ import annotations

from labkit.cli.workspace.copying import INDEX, CopySummary, prepare
from labkit.cli.workspace.notebooks import NotebookInfo, needs, read_all

__all__ = ["INDEX", "CopySummary", "NotebookInfo", "needs", "prepare", "read_all"]
