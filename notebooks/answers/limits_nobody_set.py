"""Exercises of `12_limits_nobody_set`."""

from __future__ import annotations

from . import grading, sandbox
from .register import Wrong, exercise

MEAN_S, SEEN_RATE, AT_SERVER = 1.2, 300, 100
CASES: tuple[tuple[list[float], int, float, str], ...] = (
    ([1, 3, 2, 2], 2, 5, "add what each chunk takes, which is its longest delay"),
    ([2, 1, 4], 3, 4, "where one chunk holds all, the longest delay is the whole time"),
    ([2, 1, 4], 1, 7, "in chunks of one, requests go one after another"),
    ([1, 1, 1, 5, 2], 2, 8, "the last chunk may be shorter than the others, and it counts as well"),
    ([], 2, 0, "where there are no delays, nothing takes time"),
)


@exercise("ex-12-1")
def in_the_hidden_line(answer: object) -> str:
    """Check how many requests stand in a line that the server does not see."""
    begun = SEEN_RATE * MEAN_S
    mistakes = {
        begun: "that is all that the client has begun: some of them have reached the server",
        AT_SERVER: "that is what the server has: who is still on the way there?",
        begun + AT_SERVER: "the server's are among the client's already",
        SEEN_RATE / MEAN_S: "that is rate / latency: Little's law multiplies them",
        SEEN_RATE - AT_SERVER: "a rate and a number in flight cannot be subtracted: mind the units",
    }
    grading.near(
        grading.number(answer, "requests"), begun - AT_SERVER, unit="requests", mistakes=mistakes
    )
    return (
        "more than two of three wait inside the client, for a limit that nobody meant to set. "
        "100 is what aiohttp's connector allows by default"
    )


@exercise("ex-12-2")
def time_in_chunks(answer: object) -> str:
    """Check a function for the time of delays in chunks, each of which waits for its slowest."""
    in_chunks = grading.function(answer, "(delays, size)")
    for delays, size, right, why in CASES:
        found = grading.number(sandbox.value(in_chunks, list(delays), size), "seconds")
        if not grading.close(found, right):
            raise Wrong(f"{why}. For {delays} in chunks of {size} it gives {grading.shown(found)}")
    return (
        "each barrier waits for the longest of its chunk, and these add up. A pool of as many "
        "workers needs about the sum of all delays over their number"
    )
