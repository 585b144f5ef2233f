"""The register of exercises: what `lab.check` looks in, and how an answer is taken to its check.

A module for each notebook registers a function for each exercise here. No answer is judged by a
real time, and no answer makes `graded` raise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from types import EllipsisType
from typing import Any, TypeAlias

from labkit.errors import BadInput
from labkit.spec.validation import did_you_mean

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


def exercise(name: str) -> Callable[[Grade], Grade]:
    """Register a grade under the name of its exercise, as in `@exercise("ex-03-2")`."""

    def registered(grade: Grade) -> Grade:
        _GRADES[name] = grade
        return grade

    return registered


def names() -> list[str]:
    """Return the names of the exercises of all modules that are loaded, in order."""
    return sorted(_GRADES)


def graded(exercise: str, answer: Any) -> tuple[bool, str]:
    """Return whether `answer` solves the exercise, and a sentence about it.

    Raises `BadInput` for an exercise that does not exist.
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
        return True, sentence(_GRADES[exercise](answer))
    except Wrong as wrong:
        return False, str(wrong)
    except Exception as error:  # noqa: BLE001  # an answer may raise anything when it is read
        why = f"looking at it raised {type(error).__name__}"
        return False, sentence(f"the answer cannot be read: {why}")
