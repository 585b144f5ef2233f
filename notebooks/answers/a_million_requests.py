"""Exercises of `02_a_million_requests`."""

from __future__ import annotations

from . import grading
from .register import Wrong, exercise

SMALL, LARGE = (10_000, 40.0), (100_000, 220.0)
"""What the task gives: requests, and megabytes of growth."""
CONNECTIONS, REQUESTS = 7, 300
STOPS = ("files", "ports", "memory")
STOPPED = ("memory", "files", "ports")
THINK_OF = (
    "client 1: what exists for each item from the start, and how much is that in all?",
    "client 2: what does each connection hold as long as it is open, and how many are open?",
    "client 3: connections are opened all the time. What of a closed one stays taken?",
)


@exercise("ex-02-1")
def memory_of_a_million(answer: object) -> str:
    """Check megabytes of growth at a million requests, along the line through two measurements."""
    million = 1_000_000
    slope = (LARGE[1] - SMALL[1]) / (LARGE[0] - SMALL[0])
    start = SMALL[1] - slope * SMALL[0]
    mistakes = {
        LARGE[1] / LARGE[0] * million: "that is in proportion: is there no growth at no requests?",
        SMALL[1] / SMALL[0] * million: "that is in proportion: is there no growth at no requests?",
        slope * million: "that is the slope alone: the line does not begin at nothing",
        slope * (million - LARGE[0]): "that is what comes on top of the larger measurement",
    }
    megabytes = grading.number(answer, "megabytes")
    grading.near(
        megabytes, start + slope * million, unit="megabytes", tolerance=0.002, mistakes=mistakes
    )
    return (
        "two thousand bytes for each request, and a start that has nothing to do with their "
        "number. Ten times as far as you measured is an expectation, and no result"
    )


@exercise("ex-02-2")
def what_stops_a_client(answer: object) -> str:
    """Check what each of three clients runs out of first."""
    grading.match_words(answer, STOPPED, THINK_OF, among=STOPS)
    return (
        "tasks that exist hold memory, open connections hold files, and connections that come and "
        "go hold ports for a while after them. One session and a limit spare all three"
    )


@exercise("ex-02-3")
def so_many_connections(answer: object) -> str:
    """Check a run of so many requests over so many connections, as the server counted them."""
    record = grading.record(answer)
    if record.counts.ok != REQUESTS:
        raise Wrong(f"{record.counts.ok} requests were answered: {REQUESTS} are asked for")
    if record.server is None or record.server.connections_opened is None:
        raise Wrong("its server does not count connections: take the lab's own, the target 'http'")
    opened = record.server.connections_opened
    if opened == REQUESTS:
        raise Wrong("the server counted a connection for each request: were they kept?")
    if opened != CONNECTIONS:
        far = "more" if opened > CONNECTIONS else "fewer"
        raise Wrong(f"the server counted {opened}, {far} than asked for: what bounds them?")
    return (
        "as many connections as requests in flight, and each is used again and again. The server "
        "is the one to ask: it counts what really arrived"
    )
