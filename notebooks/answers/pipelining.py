"""Exercises of `16_pipelining`."""

from __future__ import annotations

from itertools import accumulate

from . import grading, sandbox
from .register import Wrong, exercise

DELAYS_S, CONNECTIONS = (0.1, 0.5, 0.2, 0.0, 0.1, 0.1), 2
IN_FLIGHT, DEPTH, DELAY_S = 96, 12, 0.004
CASES: tuple[tuple[bytes, list[bytes], str], ...] = (
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHello",
        [b"Hello"],
        "one whole answer does not come out as it went in",
    ),
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 200 OK\r\nServer: x\r\n"
        b"Content-Length: 3\r\n\r\ncde",
        [b"ab", b"cde"],
        "two answers, one behind the other: where does the second begin, and which fields has it?",
    ),
    (
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
        [b"", b"x"],
        "an answer may have an empty body, and it is an answer all the same",
    ),
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\nHTTP/1.1 \r\n\r\nxyz",
        [b"HTTP/1.1 \r\n\r\nxyz"],
        "a body may hold anything, a blank line and the word HTTP too: only its length ends it",
    ),
    (
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
        [b"abc"],
        "the name of a field may be written in small letters",
    ),
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        [b"ok"],
        "the last body is not all there yet: it is no answer so far",
    ),
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nConte",
        [b"ok"],
        "the last head is not all there yet: how is one known to be whole?",
    ),
    (b"", [], "where nothing has come, there is no answer"),
)


def done_s(delays: tuple[float, ...], connections: int) -> list[float]:
    """When each request is answered; they are dealt to the connections in turn."""
    found = list(delays)
    for first in range(connections):
        found[first::connections] = accumulate(delays[first::connections])
    return found


@exercise("ex-16-1")
def behind_the_slow_one(answer: object) -> str:
    """Check when each of six pipelined requests is answered, in seconds."""
    given = grading.listed(answer, len(DELAYS_S), "times, in seconds")
    times_s = [grading.number(one, "seconds") for one in given]
    for mistake, why in (
        (list(DELAYS_S), "those are the delays: who begins with a request before the one ahead?"),
        (done_s(DELAYS_S, 1), "that is one line for all: the two connections work side by side"),
    ):
        if all(map(grading.close, times_s, mistake)):
            raise Wrong(why)
    right = done_s(DELAYS_S, CONNECTIONS)
    for place, (time_s, right_s) in enumerate(zip(times_s, right, strict=True), start=1):
        if not grading.close(time_s, right_s):
            far = "early: what is ahead of it" if time_s < right_s else "late: who else is"
            raise Wrong(f"request {place} is answered too {far} on its connection?")
    return (
        "request 4 needs no time and takes as long as the slow one ahead of it. Whoever measures "
        "at the client sees two slow requests; only the server's log shows that there is one"
    )


@exercise("ex-16-2")
def bound_of_a_pipeline(answer: object) -> str:
    """Check the highest rate that so many requests in flight can reach at a depth, a second."""
    mistakes = {
        IN_FLIGHT / DELAY_S: "that is with all of them being worked on: how many lines are there?",
        DEPTH / DELAY_S: "that is the depth over the delay: what works at the same time?",
        1 / DELAY_S: "that is what one connection gives: how many are there?",
        IN_FLIGHT * DEPTH / DELAY_S: "the depth divides, as those in flight share connections",
    }
    rate = grading.number(answer, "requests a second")
    right = IN_FLIGHT / DEPTH / DELAY_S
    grading.near(rate, right, unit="requests a second", mistakes=mistakes)
    return (
        "only the head of each line is worked on, so the rate is connections / delay. At depth 1 "
        "the same requests in flight could reach twelve times as much"
    )


@exercise("ex-16-3")
def answers_by_their_order(answer: object) -> str:
    """Check a function that parts the bytes of a pipelined connection into bodies."""
    bodies = grading.function(answer, "(stream)")
    for stream, right, why in CASES:
        try:
            found = sandbox.value(bodies, stream)
        except Wrong as wrong:
            raise Wrong(f"for {grading.shown(stream)}: {wrong}") from None
        if not isinstance(found, list | tuple):
            raise Wrong(f"it returns {grading.shown(found)}: return a list of bodies, as bytes")
        if any(isinstance(one, str) for one in found):
            raise Wrong("it returns text: a body is bytes, and may be a picture")
        if list(found) != right:
            raise Wrong(f"{why}. For {grading.shown(stream)} it gives {grading.shown(found)}")
    return (
        "nothing in an answer says to which request it belongs: the first is the first's. One "
        "length that is read wrongly, and all answers after it go to the wrong callers"
    )
