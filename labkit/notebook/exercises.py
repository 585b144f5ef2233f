"""`check`, which looks up an exercise where the checks lie: with the notebooks.

`notebooks/answers` has a module for each notebook and a function for each exercise, and what these
are written with: `register` names them and grades an answer, `grading` reads one, `sandbox` runs a
learner's function in virtual time, `schedules` runs a learner's strategy on a service with known
delays.
"""

import sys
from functools import cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import msgspec

from labkit import paths
from labkit.escaping import escape
from labkit.report.html import prose

# The package `notebooks/answers`, by a name that no module of a learner's has.
ANSWERS = "labkit_answers"


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an answer is right, which is also the truth value, and a sentence about it."""

    exercise: str
    right: bool
    says: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return f"{'PASS' if self.right else 'FAIL'} {self.exercise}: {self.says}"

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, str]:
        look = paths.table("tables.toml")["answer"]["right" if self.right else "wrong"]
        words = {"name": escape(self.exercise), "says": prose(self.says)}
        return {"text/plain": repr(self), "text/html": paths.sentence("answer", **look, **words)}


@cache
def register() -> Any:
    """Load the answers of all notebooks; return the module that has their register.

    They are loaded from the folder that labkit ships, never from a learner's copy.
    """
    folder = paths.notebooks() / "answers"
    spec = spec_from_file_location(ANSWERS, folder / "__init__.py")
    assert spec is not None
    sys.modules[ANSWERS] = module_from_spec(spec)
    for path in sorted(folder.glob("[!_]*.py")):
        import_module(f"{ANSWERS}.{path.stem}")
    return sys.modules[f"{ANSWERS}.register"]


def check(exercise: str, answer: Any = ...) -> Checked:
    """Return whether `answer` solves the exercise, as in `lab.check("ex-03-2", answer)`.

    The result is true for a right answer, and says in a sentence what a wrong one lacks. An answer
    may be anything, a coroutine function too: it is run in a thread, for a few seconds at most.
    Raises `BadInput` for an exercise that does not exist, and nothing for any answer.
    """
    right, says = register().graded(exercise, answer)
    return Checked(exercise=exercise, right=right, says=says)
