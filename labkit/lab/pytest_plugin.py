"""The fixture `lab_compare` of pytest: times two coroutine functions, interleaved, and asserts.

pytest imports this module wherever labkit is installed: it imports the lab when a test asks for it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from labkit.stats import Comparison

Function = Callable[[], Awaitable[Any]]


@pytest.fixture
def lab_compare() -> Callable[..., Comparison]:
    """Compare two coroutine functions, as in `lab_compare(old, new, at_most=1.1)`: `compare`."""
    return compare


def compare(
    old: Function,
    new: Function,
    *,
    faster: float | None = None,
    at_most: float | None = None,
    repeats: int = 5,
    undecided: Literal["fail", "skip"] = "fail",
) -> Comparison:
    """Time both functions and return the comparison of the new one with the old one.

    Each is called without an argument, again and again for 0.2 s, in `repeats` fresh processes of
    its own, in random order. The test fails unless the interval of the ratio shows that the new one
    is `faster` so many times at least, or takes `at_most` so many times as long. What it does not
    show either way fails too, or skips the test where that is asked for.
    """
    from labkit import stats

    new_s, old_s = asyncio.run(_timed([new, old], repeats))
    found = stats.compare(new_s, old_s)
    most = min(at_most or math.inf, 1 / faster if faster else math.inf)
    low, high = (found.ratio and found.ratio.ends) or (0.0, math.inf)
    names = [getattr(one, "__name__", str(one)) for one in (new, old)]
    says = f"the time of {names[0]} over {names[1]} is {found.says}, to be {most:.3g} at most"
    if low > most:
        pytest.fail(says)
    if high > most:
        (pytest.skip if undecided == "skip" else pytest.fail)(f"not decided: {says}")
    return found


async def _timed(functions: Sequence[Function], repeats: int) -> list[list[float | None]]:
    """Return the seconds of a call of each function by repeat; None where others disturbed it."""
    from labkit.lab.runner import MAX_RETRIES
    from labkit.launch import experiment, preflight
    from labkit.record import codes, guards
    from labkit.spec.plan import Coded, interleave

    arms, times = [], [list[float | None]() for _ in functions]
    for n, function in enumerate(functions):
        sent = preflight.sendable(function, f"lab_compare has {function!r}")
        settings = {"function": sent, "path": preflight.path_of(sent)}
        arms.append(({"function": n}, Coded(name="timed", settings=settings)))
    for step in interleave(arms, repeats=repeats):
        assert isinstance(step.work, Coded)
        for _ in range(1 + MAX_RETRIES):
            figures, seen, notes = await experiment.measured("timed", step.work.settings, None)
            disturbed = codes.verdict([*notes, *guards.of_machine(seen)]) == "invalid"
            if not disturbed:
                break
        times[step.arm].append(None if disturbed else figures["call_s"])
    return times
