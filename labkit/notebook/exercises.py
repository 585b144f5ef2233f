"""`check`, and the register of exercises that it looks in. The checks lie with the notebooks.

`notebooks/answers` has a module for each notebook and a function for each exercise, and what these
are written with: `grading` reads an answer, `sandbox` runs a learner's function in virtual time,
`schedules` runs a learner's strategy on a service with known delays. No answer is judged by a real
time, and no answer makes `check` raise.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Coroutine
from functools import cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from types import EllipsisType
from typing import Any, TypeAlias

import msgspec

from labkit import paths
from labkit.errors import BadInput
from labkit.escaping import escape
from labkit.report.html import prose
from labkit.spec.validation import did_you_mean

# The package `notebooks/answers`, by a name that no module of a learner's has.
ANSWERS = "labkit_answers"
# Takes an answer. Returns what to know about the right one; raises `Wrong` for any other.
Grade: TypeAlias = Callable[[Any], str]

_GRADES: dict[str, Grade] = {}


class Wrong(Exception):
    """Raised for an answer that is not right; the sentence says why."""

    def __init__(self, says: str) -> None:
        super().__init__(sentence(says))


def sentence(says: str) -> str:
    """Return `says` with the capital and the full stop of a sentence."""
    end = "" if says.endswith((".", "?", "!")) else "."
    return says[:1].upper() + says[1:] + end


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


def exercise(name: str) -> Callable[[Grade], Grade]:
    """Register a grade under the name of its exercise, as in `@exercise("ex-03-2")`."""

    def registered(grade: Grade) -> Grade:
        _GRADES[name] = grade
        return grade

    return registered


@cache
def names() -> tuple[str, ...]:
    """Load the answers of all notebooks; return the exercises' names in order.

    They are loaded from the folder that labkit ships, never from a learner's copy.
    """
    folder = paths.notebooks() / "answers"
    spec = spec_from_file_location(ANSWERS, folder / "__init__.py")
    assert spec is not None
    sys.modules[ANSWERS] = module_from_spec(spec)
    for path in sorted(folder.glob("[!_]*.py")):
        import_module(f"{ANSWERS}.{path.stem}")
    return tuple(sorted(_GRADES))


def check(exercise: str, answer: Any = ...) -> Checked:
    """Return whether `answer` solves the exercise, as in `lab.check("ex-03-2", answer)`.

    The result is true for a right answer, and says in a sentence what a wrong one lacks. An answer
    may be anything, a coroutine function too: it is run in a thread, for a few seconds at most.
    Raises `BadInput` for an exercise that does not exist, and nothing for any answer.
    """
    if exercise not in names():
        # 'ex-3-2' and '3-2' are as near to 'ex-03-2' as can be.
        parts = re.fullmatch(r"\D*(\d+)\D+(\d+)", str(exercise))
        meant = f"ex-{int(parts[1]):02}-{parts[2]}" if parts else str(exercise)
        same = [name for name in names() if name[:5] == meant[:5]]
        allowed = ", ".join(same or [names()[0], "...", names()[-1]])
        near = did_you_mean(meant, names())
        raise BadInput(f"exercise is {exercise!r}: it must be one of {allowed}{near}")
    try:
        if isinstance(answer, EllipsisType):
            raise Wrong("Not answered yet: put your answer in place of the three dots.")
        if isinstance(answer, Coroutine):
            answer.close()
            raise Wrong("This is a coroutine that has not run: put `await` before the call.")
        right, says = True, _GRADES[exercise](answer)
    except Wrong as wrong:
        right, says = False, str(wrong)
    except Exception as error:  # noqa: BLE001  # an answer may raise anything when it is read
        why = f"looking at it raised {type(error).__name__}"
        right, says = False, f"the answer cannot be read: {why}"
    return Checked(exercise=exercise, right=right, says=sentence(says))
