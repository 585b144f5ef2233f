"""The notebooks' exercises: what counts as an answer, and what is said of one that does not.

`answers` holds a module a notebook; the rest is what they share. Nothing here is measured, no
answer is judged by a time, and no answer whatever makes `check` raise.
`python -m labkit.notebook.exercises` writes `notebooks/exercises` from the notebooks' solutions.
"""

from __future__ import annotations

from labkit.notebook.exercises.checked import Checked
from labkit.notebook.exercises.register import check

__all__ = ["Checked", "check"]
