"""Read the answers of learners, and compare them with the right ones.

Each function returns what it read, or raises `Wrong`: one sentence that says what to think of, and
never what the answer is. These are pure.
"""

from __future__ import annotations

import inspect
import math
import numbers
import reprlib
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from .register import Wrong

if TYPE_CHECKING:
    from labkit.record.record import Record
    from labkit.spec.trial import Trial

MAX_SHOWN = 60
"""Characters of an answer that a sentence shows."""


def shown(answer: object) -> str:
    """Return an answer as a sentence shows it: short, on one line."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = MAX_SHOWN
    return " ".join(short.repr(answer).split())


def kind(answer: object) -> str:
    """Return the type of an answer as a sentence names it."""
    return "None" if answer is None else f"of the type {type(answer).__name__}"


def number(answer: object, unit: str) -> float:
    """Return a finite number, read from any number type; `unit` is a plural, such as 'seconds'."""
    if isinstance(answer, str):
        raise Wrong(f"the answer is text, {shown(answer)}: give a number of {unit}, without quotes")
    if isinstance(answer, bool) or not isinstance(answer, numbers.Real | Decimal):
        raise Wrong(f"the answer is {kind(answer)}: give one number, of {unit}")
    try:
        value = float(answer)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise Wrong(f"the answer is no finite number: give a number of {unit}")
    return value


def whole(answer: object, unit: str) -> int:
    """Return a whole number, also where it is written as a float."""
    value = number(answer, unit)
    if not value.is_integer():
        raise Wrong(f"the answer has a fraction: {unit} come in whole numbers, so which way round?")
    return int(value)


def close(value: float, truth: float, tolerance: float = 0.01) -> bool:
    """Return whether two numbers differ by at most `tolerance`, as a share of the second."""
    return math.isclose(value, truth, rel_tol=0, abs_tol=abs(truth) * tolerance + 1e-12)


def near(
    value: float,
    truth: float,
    *,
    unit: str,
    tolerance: float = 0.01,
    mistakes: Mapping[float, str] | None = None,
) -> None:
    """Raise `Wrong` unless `value` is `truth`, within `tolerance`.

    `mistakes` are the values that common mistakes give, each with what to think of then.
    """
    if close(value, truth, tolerance):
        return
    for mistake, why in (mistakes or {}).items():
        if close(value, mistake, min(tolerance, 0.01)):
            raise Wrong(why)
    if value * truth <= 0:
        raise Wrong(f"this cannot be: is it a number of {unit} that can happen?")
    for power, units in ((3, "thousand"), (6, "million"), (2, "hundred")):
        if any(close(value, truth * 10.0**sign) for sign in (power, -power)):
            raise Wrong(
                f"the digits are right, and it is off by a factor of a {units}: give {unit}"
            )
    if not 0.1 <= value / truth <= 10:
        raise Wrong(f"this is another order of magnitude: go through the units, and give {unit}")
    far = "close, but a little" if 0.9 <= value / truth <= 1.1 else "this is"
    raise Wrong(f"{far} too {'high' if value > truth else 'low'}: look at the hints")


def choice(answer: object, among: Collection[str]) -> str:
    """Return one word of `among`; case and surrounding blanks do not matter."""
    if not isinstance(answer, str):
        raise Wrong(f"the answer is {kind(answer)}: give one of {', '.join(among)}, in quotes")
    found = {one.casefold(): one for one in among}.get(answer.strip().casefold())
    if found is None:
        raise Wrong(f"the answer is {shown(answer)}: choose one of {', '.join(among)}")
    return found


def listed(answer: object, length: int, of: str) -> list[Any]:
    """Return a list of `length` values; `of` is what they are, in the plural."""
    if not isinstance(answer, list | tuple):
        raise Wrong(f"the answer is {kind(answer)}: give a list of {length} {of}")
    if len(answer) != length:
        raise Wrong(f"the answer holds {len(answer)}: give {length} {of}")
    return list(answer)


def words(answer: object, length: int, *, among: Collection[str], of: str = "words") -> list[str]:
    """Return a list of `length` words of `among`; `of` is what they are, in the plural."""
    return [choice(one, among) for one in listed(answer, length, of)]


def match_words(
    answer: object,
    right: Sequence[str],
    hints: Sequence[str],
    *,
    among: Collection[str],
    of: str = "words",
) -> None:
    """Raise `Wrong` with its hint for the first word that is not the right one for its place."""
    given = words(answer, len(right), among=among, of=of)
    for word, expected, hint in zip(given, right, hints, strict=True):
        if word != expected:
            raise Wrong(hint)


def function(answer: object, parameters: str, *, is_async: bool = False) -> Callable[..., Any]:
    """Return a function, which is plain or, where asked for, written with `async def`.

    `parameters` says how it is called.
    """
    if not callable(answer) or inspect.isclass(answer):
        raise Wrong(f"the answer is {kind(answer)}: give a function that takes {parameters}")
    if is_async and not inspect.iscoroutinefunction(answer):
        raise Wrong("the function is no coroutine function: write it with `async def`")
    return answer


def trial(answer: object) -> Trial:
    """Return a `lab.Trial`, which need not have run."""
    from labkit.spec.trial import Trial

    if not isinstance(answer, Trial):
        raise Wrong(f"the answer is {kind(answer)}: give a lab.Trial")
    return answer


def record(answer: object) -> Record:
    """Return the record of one trial, given itself or as what `await lab.run(...)` returned."""
    from labkit.record.record import Record
    from labkit.report.study import Run

    found = answer.record if isinstance(answer, Run) else answer
    if not isinstance(found, Record):
        raise Wrong(f"the answer is {kind(answer)}: give what `await lab.run(...)` gave you")
    return found
