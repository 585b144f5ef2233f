"""The register of exercises, and `check`, which finds one there and never fails over an answer."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import EllipsisType
from typing import Any, TypeAlias

from labkit.errors import BadInput
from labkit.notebook.exercises.checked import Checked
from labkit.notebook.exercises.grading import Wrong, sentence
from labkit.spec.validation import did_you_mean

Grade: TypeAlias = Callable[[Any], str]
"""Takes an answer; says what to know about the right one, and raises `Wrong` for others."""

_GRADES: dict[str, Grade] = {}


def exercise(name: str) -> Callable[[Grade], Grade]:
    """Put a grade into the register, as in `@exercise("ex-03-2")`."""

    def registered(grade: Grade) -> Grade:
        if name in _GRADES:
            raise ValueError(f"exercise {name} is there twice")
        _GRADES[name] = grade
        return grade

    return registered


@cache
def every() -> tuple[str, ...]:
    """The names of all exercises, in order."""
    from labkit.notebook.exercises import answers

    for module in iter_modules(answers.__path__):
        import_module(f"{answers.__name__}.{module.name}")
    return tuple(sorted(_GRADES))


def check(exercise: str, answer: Any = ...) -> Checked:
    """Say whether `answer` solves the exercise, as in `lab.check("ex-03-2", answer)`.

    What it hands back is true for a right answer, and says in a sentence what a wrong one lacks. An
    answer may be anything, a coroutine function too: that is tried in a thread, for a few seconds
    at most. Raises `BadInput` for an exercise that there is not, and nothing for any answer.
    """
    if exercise not in every():
        raise _unknown(exercise)
    try:
        says = _GRADES[exercise](_answered(answer))
    except Wrong as wrong:
        return Checked(exercise=exercise, right=False, says=str(wrong))
    except Exception as error:  # noqa: BLE001  # what an answer does when it is looked at is its own
        says = f"the answer cannot be read: looking at it raised {type(error).__name__}"
        return Checked(exercise=exercise, right=False, says=sentence(says))
    return Checked(exercise=exercise, right=True, says=sentence(says))


def _unknown(name: object) -> BadInput:
    # 'ex-3-2' and '3-2' are as near to 'ex-03-2' as can be.
    meant = re.sub(r"\D*(\d)\D+(\d)", r"ex-0\1-\2", str(name))
    there = [one for one in every() if one[:5] == meant[:5]] or [every()[0], "...", every()[-1]]
    return BadInput(
        f"exercise is {name!r}: it must be one of {', '.join(there)}{did_you_mean(meant, every())}"
    )


def _answered(answer: object) -> object:
    """The answer, unless there is none: nothing was put in place of the `...`, or not awaited."""
    if isinstance(answer, EllipsisType):
        raise Wrong("Not answered yet: put your answer in place of the three dots.")
    if inspect.iscoroutine(answer):
        answer.close()
        raise Wrong("This is a coroutine that has not run: put `await` before the call.")
    return answer
