"""Exercises of `19_your_turn`."""

from __future__ import annotations

import labkit as lab
from labkit.spec import delays

from . import grading, schedules
from .register import Wrong, exercise

CODES = (
    "over-limit",
    "loses-items",
    "repeats-items",
    "stops-at-first-failure",
    "swallows-failures",
    "unbounded-tasks",
    "leaves-tasks-behind",
    "polls-hot",
)
FAULTS = (
    "loses-items",
    "over-limit",
    "swallows-failures",
    "unbounded-tasks",
    "leaves-tasks-behind",
)
THINK_OF = (
    "snippet A: play it with seven items and a limit of three, to its end",
    "snippet B: how many tasks run when the next one is made?",
    "snippet C: an item fails. Who gets to know?",
    "snippet D: how many tasks are there before the first answer?",
    "snippet E: what still goes on when the loop over the items is over?",
)
ITEMS, LIMIT, FAILING = 24, 4, (0, 7, 8, 23)
MAX_REQUESTS = 100


@exercise("ex-19-1")
def faults_by_reading(answer: object) -> str:
    """Check the fault of each of five loops, by its code."""
    grading.match_words(answer, FAULTS, THINK_OF, among=CODES, of="codes")
    return (
        "each of them seems to work, with few items and a server that never fails. Look at the "
        "end of a loop, at its comparison, and at what it does with an exception"
    )


@exercise("ex-19-2")
def tells_what_failed(answer: object) -> str:
    """Check a strategy without a decorator that survives failing items and returns them."""
    done = schedules.check_schedule(
        schedules.run(answer, limit=LIMIT, delays=1.0, items=ITEMS, failing=FAILING)
    )
    if done.max_tasks > LIMIT + 2:
        raise Wrong(f"{done.max_tasks} tasks existed at once for a limit of {LIMIT}")
    if done.wall_s > ITEMS / LIMIT + 0.5:
        raise Wrong("places stood idle: does a failure cost its worker the rest of its work?")
    _check_report(done.returned)
    if schedules.run(answer, limit=LIMIT, items=ITEMS).returned not in ([], ()):
        raise Wrong("where nothing fails it is to return an empty list")
    return (
        "a failure ends neither the worker nor the others, and the caller knows what to do again. "
        "`except Exception` lets a cancellation pass, as it has to"
    )


def _check_report(returned: object) -> None:
    if returned is None:
        raise Wrong("it survives, and tells nobody: the caller believes that all went well")
    if not isinstance(returned, list | tuple):
        raise Wrong(f"it returns {grading.shown(returned)}: return a list of the items that failed")
    if sorted(map(str, returned)) != sorted(map(str, FAILING)):
        raise Wrong(f"it returns {grading.shown(returned)}: which items failed, all of them?")


@exercise("ex-19-3")
def hides_the_rounds(answer: object) -> str:
    """Check a trial in which going in rounds costs nothing, so that the board cannot show it."""
    trial = grading.trial(answer)
    if trial.requests > MAX_REQUESTS:
        raise Wrong(f"it has {trial.requests:,} requests, and {MAX_REQUESTS} are allowed")
    if not trial.floor_s:
        raise Wrong("it has no floor, as its server answers at once: give it a delay")
    if trial.limit < 2 or trial.requests < 2 * trial.limit:
        raise Wrong("there is nothing to go round: fill two rounds, each with two or more items")
    lost_s = rounds_s(trial) - trial.floor_s
    if lost_s > 1e-3 * trial.floor_s:
        raise Wrong(f"in rounds it takes {lost_s:.3g} s longer than its floor: who waits for whom?")
    drawn = delays_s(trial)
    if max(drawn) - min(drawn) > 1e-3 * max(drawn):
        raise Wrong(
            "its delays differ, and nobody waits by luck only: what if they are drawn anew?"
        )
    return (
        "all wait equally long, and so nobody waits for anybody. Before you believe that two are "
        "equal, ask whether the trial could show a difference"
    )


def rounds_s(trial: lab.Trial) -> float:
    """Return the time in seconds of a strategy that gathers `limit` items, then the next."""
    drawn = delays_s(trial)
    starts = range(0, trial.requests, trial.limit)
    return sum(max(drawn[start : start + trial.limit]) for start in starts)


def delays_s(trial: lab.Trial) -> list[float]:
    """Return the delay of each item in seconds."""
    delay = delays.parse(getattr(trial.target, "delay", "0"))
    return list(delays.of_items(delay, trial.seed, trial.requests))
