"""Exercises of `17_batching_and_priorities`."""

from __future__ import annotations

import heapq

from . import grading
from .register import Wrong, exercise

LOOKUPS, CALLERS, BATCH, BATCH_DELAY_S = 6_000, 30, 50, 0.01
ARRIVED = ((2, "A"), (1, "B"), (2, "C"), (1, "D"), (0, "E"), (1, "F"))
"""Rank and name, in the order in which they came."""


@exercise("ex-17-1")
def batches_that_do_not_fill(answer: object) -> str:
    """Check the round trips, and the least time in seconds, of lookups by few callers."""
    trips, seconds = grading.listed(answer, 2, "numbers: round trips, and seconds")
    right = LOOKUPS / min(BATCH, CALLERS)
    grading.near(
        grading.number(trips, "round trips"),
        right,
        unit="round trips",
        tolerance=1e-6,
        mistakes={
            LOOKUPS / BATCH: "the first number supposes batches that fill: who could fill them?",
            LOOKUPS: "the first number supposes no batches at all",
            BATCH * CALLERS: "callers and batch are not multiplied: which of them is the smaller?",
        },
    )
    grading.near(
        grading.number(seconds, "seconds"),
        right * BATCH_DELAY_S,
        unit="seconds",
        mistakes={
            BATCH_DELAY_S: "the second number is that of one batch: how many follow each other?",
            LOOKUPS
            * BATCH_DELAY_S: "the second number has each lookup wait alone: who waits with it?",
            0: "the second number is 0: when is a batch sent that does not fill?",
        },
    )
    return (
        "every batch waits for callers who cannot come, since they wait for it. With a batch of "
        "30 it would be full at once, and the same round trips would take next to no time"
    )


@exercise("ex-17-2")
def order_of_a_line(answer: object) -> str:
    """Check the order in which requests begin on one place, by rank and fair among equals."""
    letters = "".join(answer) if isinstance(answer, list | tuple) else answer
    if not isinstance(letters, str):
        raise Wrong(f"the answer is {grading.kind(answer)}: give the letters in order, as a text")
    order = [one for one in letters.upper() if one.isalpha()]
    if sorted(order) != [name for _, name in ARRIVED]:
        raise Wrong(f"give each of the letters {', '.join(n for _, n in ARRIVED)} once")
    right = _served()
    if order == right:
        return (
            "a priority sorts those who wait. Who finds a free place does not wait, and keeps it: "
            "nothing is taken from A, although it is the least urgent"
        )
    if order == [name for _, name in sorted(ARRIVED, key=lambda one: one[0])]:
        raise Wrong("that sorts all six: was there a line when the first one came?")
    if order == [name for _, name in ARRIVED]:
        raise Wrong("that is the order in which they came, without any priority")
    ranks = {name: rank for rank, name in ARRIVED}
    if [ranks[one] for one in order] == [ranks[one] for one in right]:
        raise Wrong("the ranks are right: who goes first among equals?")
    raise Wrong("go through it place by place: who is there when it becomes free?")


def _served() -> list[str]:
    (_, first), *others = ARRIVED
    line = [(rank, ticket, name) for ticket, (rank, name) in enumerate(others)]
    heapq.heapify(line)
    return [first, *(heapq.heappop(line)[2] for _ in others)]
