"""Exercises of `30_profiling`."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

from . import grading, sandbox
from .register import Wrong, exercise

LOOKS = ("wall", "cpu", "lag", "none")
RIGHT = ("wall", "cpu", "none", "lag", "wall")
THINK_OF = (
    "question 1: the processor is idle. Which clock goes on while nothing is computed?",
    "question 2: the core is full. What is to be left out of the picture?",
    "question 3: what does a profiler do to the times of what it looks at?",
    "question 4: all are late at once, now and then. What do they have in common?",
    "question 5: is waiting to be seen, or to be left out?",
)
CALLS, TOTAL_S, WHOLE_S = 50, 6.0, 0.2
PIECES, AT_MOST = 95, 10


@exercise("ex-30-1")
def what_to_look_with(answer: object) -> str:
    """Check which tool answers each of five questions: a profile by one clock, the lag, or none."""
    grading.match_words(answer, RIGHT, THINK_OF, among=LOOKS)
    return (
        "the wall clock for waiting, the CPU's for work, the lag for what stops everybody. How "
        "much faster a version is, only runs without a profiler say, repeated and in turns"
    )


@exercise("ex-30-2")
def in_progress(answer: object) -> str:
    """Check how many calls were in progress on average."""
    mistakes = {
        CALLS: "that would be all of them, from the first moment to the last",
        TOTAL_S / CALLS: "that is how long one call took",
        WHOLE_S / TOTAL_S: "turn it round",
        CALLS / WHOLE_S: "that is a rate, calls in a second",
        CALLS * WHOLE_S: "do the calls take as long as the whole?",
    }
    calls = grading.number(answer, "calls")
    grading.near(calls, TOTAL_S / WHOLE_S, unit="calls", mistakes=mistakes)
    return (
        "a total is time of tasks: divided by the clock on the wall it says how many of them there "
        "were at a time. It is Little's law again, 250 calls a second of 0.12 s each"
    )


@exercise("ex-30-3")
def gives_way(answer: object) -> str:
    """Check a coroutine function that computes all pieces and gives way after at most ten."""
    in_pieces = grading.function(answer, "(compute, pieces)", is_async=True)
    done: list[int] = []
    turns: list[int] = []

    def compute(piece: int) -> int:
        _check_on_the_loop()
        done.append(piece)
        return piece * piece

    async def others() -> None:
        while True:  # a turn for each time that the loop comes round
            turns.append(len(done))
            await asyncio.sleep(0)

    async def tried() -> Any:
        other = asyncio.ensure_future(others())
        await asyncio.sleep(0)
        found = await in_pieces(compute, range(PIECES))
        other.cancel()
        return found

    found = sandbox.run(tried, of=in_pieces)
    _check_computed(found, done)
    most = max(after - before for before, after in pairwise([*turns, len(done)]))
    if most > AT_MOST:
        raise Wrong(f"{most} pieces were computed in one go: who else had a turn meanwhile?")
    return (
        "the work takes as long as before, and nobody waits for more than ten pieces of it. Where "
        "a single piece is too long, a thread or a process of its own is what is left"
    )


def _check_on_the_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise Wrong("a thread computes: let others have their turn on the loop itself") from None


def _check_computed(found: Any, done: list[int]) -> None:
    if not done:
        raise Wrong("nothing was computed: is the function still to be written?")
    if sorted(done) != list(range(PIECES)):
        raise Wrong(f"{len(done)} pieces were computed of {PIECES}: each is wanted once")
    if found is None:
        raise Wrong("all was computed, and nothing returned: where are the results?")
    if not isinstance(found, list | tuple) or list(found) != [one * one for one in range(PIECES)]:
        raise Wrong("it returns something else than the results of all pieces, in their order")
