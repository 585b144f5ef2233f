"""Exercises of `31_measuring_honestly`."""

from __future__ import annotations

from collections.abc import Sequence

from . import grading, sandbox
from .register import Wrong, exercise

RATE, REQUESTS, STALL_S, SHARE = 200, 10_000, 4.0, 0.05
LINES: tuple[tuple[list[float], list[float]], ...] = (
    ([0.0, 1.0, 2.0], [0.5, 0.5, 0.5]),
    ([0.0, 1.0, 2.0, 3.0, 4.0], [0.5, 3.0, 0.5, 0.5, 0.5]),
    ([0.0, 0.0, 0.0], [1.0, 2.0, 1.0]),
    ([5.0, 6.0, 20.0, 20.5], [2.0, 2.0, 0.25, 1.0]),
    ([], []),
)
"""When each request was due, and how long the server took for each."""


@exercise("ex-31-1")
def percentile_of_a_stall(answer: object) -> str:
    """Check the p95 since due of an open workload whose server stood still, in seconds."""
    due_s = SHARE * REQUESTS / RATE
    mistakes = {
        STALL_S: "that is how long the first of them waited, and nobody else",
        STALL_S - 0.01 * REQUESTS / RATE: "that is p99: how many waited longer than p95 says?",
        (1 - SHARE) * STALL_S: "p95 is of the requests, and not of the stall",
        SHARE * STALL_S: "p95 is of the requests, and not of the stall",
        due_s: "that is how long it took the slowest 5 % to fall due: who waited longest?",
        REQUESTS / RATE: "that is how long the run took",
    }
    right = STALL_S - due_s
    grading.near(grading.number(answer, "seconds"), right, unit="seconds", mistakes=mistakes)
    return (
        "the 500 who waited longest fell due in the first 2.5 s of the stall. 800 fell due in it, "
        "which is 8 %, so p90 shows nothing: a percentile is silent about what is rarer than itself"
    )


def since_due(due: Sequence[float], took: Sequence[float]) -> list[float]:
    """Return what requests waited from when they were due, on a server that takes one at a time."""
    found, free = [], 0.0
    for at, seconds in zip(due, took, strict=True):
        free = max(free, at) + seconds
        found.append(free - at)
    return found


@exercise("ex-31-2")
def latencies_since_due(answer: object) -> str:
    """Check a function that computes latencies since due from due times and service times."""
    latencies = grading.function(answer, "(due, took)")
    for due, took in LINES:
        found = sandbox.value(latencies, list(due), list(took))
        if not isinstance(found, list | tuple) or len(found) != len(due):
            raise Wrong(
                f"for {len(due)} requests it returns {grading.shown(found)}: give a list of as many"
            )
        seconds = [grading.number(one, "seconds") for one in found]
        if not _same(seconds, since_due(due, took)):
            raise Wrong(_mistake(seconds, due, took))
    return (
        "one slow answer, and those behind it are late although the server was quick for each of "
        "them. `took` alone is what a closed benchmark reports"
    )


def _same(found: Sequence[float], right: Sequence[float]) -> bool:
    return all(map(grading.close, found, right, [1e-6] * len(right)))


def _mistake(found: list[float], due: list[float], took: list[float]) -> str:
    right = since_due(due, took)
    of = f"with due {due} and took {took} it gives {[round(one, 3) for one in found]}"
    if _same(found, took):
        return f"{of}: those are the latencies since sent. What of the wait before?"
    if _same(found, [at + one for at, one in zip(due, right, strict=True)]):
        return f"{of}: those are the moments of the answers. Since when did each wait?"
    if _same(found, [one - seconds for one, seconds in zip(right, took, strict=True)]):
        return f"{of}: that is the wait alone. The answer takes time, too"
    if any(one < 0 for one in found):
        return f"{of}: nobody is answered before being due. Does the server start early?"
    return f"{of}: follow the moment from which the server is free, request by request"
