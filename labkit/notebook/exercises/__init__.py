"""The notebooks' exercises: what an answer is checked with. The checks lie with the notebooks.

`notebooks/answers` has a module for each notebook and a function for each exercise. They are
written with what this package hands on: `grading` reads an answer, `sandbox` runs a learner's
function in virtual time, `schedules` runs a learner's strategy on a service with known delays.
No answer is judged by a real time, and no answer makes `check` raise.
"""

from __future__ import annotations

from labkit.notebook.exercises import grading, sandbox, schedules
from labkit.notebook.exercises.grading import Checked, Wrong, check, exercise

__all__ = ["Checked", "Wrong", "check", "exercise", "grading", "sandbox", "schedules"]
