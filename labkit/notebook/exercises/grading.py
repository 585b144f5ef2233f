"""Reading an answer and comparing it: each function returns what it read, or raises `Wrong`.

Pure. A `Wrong` is one sentence that says what to think of, and never what the answer is.
"""

from __future__ import annotations

import inspect
import math
import numbers
import reprlib
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labkit.record.record import Record
    from labkit.spec.trial import Trial

LONGEST = 60
"""As much of an answer as a sentence shows."""


class Wrong(Exception):
    """The answer is not right; the sentence says why."""

    def __init__(self, says: str) -> None:
        super().__init__(sentence(says))


def sentence(says: str) -> str:
    """`says` with the capital and the full stop of a sentence."""
    end = "" if says.endswith((".", "?", "!")) else "."
    return says[:1].upper() + says[1:] + end


def shown(answer: object) -> str:
    """An answer as a sentence shows it: short, on one line."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = LONGEST
    return " ".join(short.repr(answer).split())


def kind(answer: object) -> str:
    """The type of an answer as a sentence names it."""
    return "None" if answer is None else f"of the type {type(answer).__name__}"


def number(answer: object, unit: str) -> float:
    """A finite number, from any type that is one; `unit` names what is counted, in the plural."""
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
    """A whole number, also where it is written as a float."""
    value = number(answer, unit)
    if not value.is_integer():
        raise Wrong(f"the answer has a fraction: {unit} come in whole numbers, so which way round?")
    return int(value)


def close(value: float, truth: float, tolerance: float = 0.01) -> bool:
    """Whether two numbers differ by at most `tolerance`, as a share of the second."""
    return math.isclose(value, truth, rel_tol=0, abs_tol=abs(truth) * tolerance + 1e-12)


def near(
    value: float,
    truth: float,
    *,
    unit: str,
    tolerance: float = 0.01,
    slips: Mapping[float, str] | None = None,
) -> None:
    """Raise `Wrong` unless `value` is `truth`, within `tolerance`.

    `slips` are what usual mistakes give, each with what to think of then.
    """
    if close(value, truth, tolerance):
        return
    for slip, why in (slips or {}).items():
        if close(value, slip, min(tolerance, 0.01)):
            raise Wrong(why)
    raise Wrong(_distance(value, truth, unit))


def _distance(value: float, truth: float, unit: str) -> str:
    if value * truth <= 0:
        return f"this cannot be: is it a number of {unit} that can happen?"
    for power, units in ((3, "thousand"), (6, "million"), (2, "hundred")):
        if any(close(value, truth * 10.0**sign) for sign in (power, -power)):
            return f"the digits are right, and it is off by a factor of a {units}: give {unit}"
    if not 0.1 <= value / truth <= 10:
        return f"this is another order of magnitude: go through the units again, and give {unit}"
    far = "close, but a little" if 0.9 <= value / truth <= 1.1 else "this is"
    return f"{far} too {'high' if value > truth else 'low'}: look at the hints"


def choice(answer: object, among: Collection[str]) -> str:
    """One word of `among`, however it is written."""
    if not isinstance(answer, str):
        raise Wrong(f"the answer is {kind(answer)}: give one of {', '.join(among)}, in quotes")
    found = {one.casefold(): one for one in among}.get(answer.strip().casefold())
    if found is None:
        raise Wrong(f"the answer is {shown(answer)}: choose one of {', '.join(among)}")
    return found


def listed(answer: object, length: int, of: str) -> list[Any]:
    """A list, or a tuple, of so many; `of` names what they are."""
    if not isinstance(answer, list | tuple):
        raise Wrong(f"the answer is {kind(answer)}: give a list of {length} {of}")
    if len(answer) != length:
        raise Wrong(f"the answer holds {len(answer)}: give {length} {of}")
    return list(answer)


def function(answer: object, parameters: str) -> Callable[..., Any]:
    """A function, of either kind; `parameters` says how it is called."""
    if not callable(answer) or inspect.isclass(answer):
        raise Wrong(f"the answer is {kind(answer)}: give a function that takes {parameters}")
    return answer


def coroutine_function(answer: object, parameters: str) -> Callable[..., Any]:
    """A function written with `async def`."""
    found = function(answer, parameters)
    if not inspect.iscoroutinefunction(found):
        raise Wrong("the function is no coroutine function: write it with `async def`")
    return found


def trial(answer: object) -> Trial:
    """A `lab.Trial`, which need not have run."""
    from labkit.spec.trial import Trial

    if not isinstance(answer, Trial):
        raise Wrong(f"the answer is {kind(answer)}: give a lab.Trial")
    return answer


def record(answer: object) -> Record:
    """What one trial measured: what `await lab.run(...)` gave, or its record."""
    from labkit.record.record import Record
    from labkit.report.study import Run

    found = answer.record if isinstance(answer, Run) else answer
    if not isinstance(found, Record):
        raise Wrong(f"the answer is {kind(answer)}: give what `await lab.run(...)` gave you")
    return found
