"""Exercises of `10_connections`."""

from __future__ import annotations

from . import grading
from .register import Wrong, exercise

REQUESTS, LIMIT, CONNECT_S, ANSWER_S = 1_000, 20, 0.03, 0.01
CAUSES = ("pool", "session", "loop", "server")
CAUSED = ("session", "pool", "server", "loop")
THINK_OF = (
    "client A: which phases should a request not need, once the first ones are through?",
    "client B: where is most of its latency spent, and has the server seen the request then?",
    "client C: it waits for the first byte. Do the server's own figures agree that it is late?",
    "client D: it waits for the first byte, and the server sent it long ago. Who is late?",
)


@exercise("ex-10-1")
def times_with_and_without(answer: object) -> str:
    """Check the times of a client that connects for each request and of one that does not."""
    fresh, kept = (grading.number(one, "seconds") for one in grading.listed(answer, 2, "times"))
    rounds = REQUESTS / LIMIT
    each_s = CONNECT_S + ANSWER_S
    if grading.close(fresh, rounds * ANSWER_S + CONNECT_S) and grading.close(kept, rounds * each_s):
        raise Wrong("the two are the other way round: first the client that keeps nothing")
    mistakes = {
        REQUESTS * each_s: "the first time is one request after another: how many at a time?",
        rounds * CONNECT_S: "the first time is only what connecting takes",
        rounds * ANSWER_S: "the first time leaves out what connecting takes",
    }
    _about("the first time", fresh, rounds * each_s, mistakes)
    mistakes = {
        rounds * ANSWER_S: "the second time leaves out that connections have to be opened once",
        rounds * ANSWER_S + LIMIT * CONNECT_S: "the second time opens connections one by one: do "
        "the workers wait for each other?",
        rounds * each_s: "the second time opens a connection for each request as well",
    }
    _about("the second time", kept, rounds * ANSWER_S + CONNECT_S, mistakes)
    return (
        "connecting is paid once by each worker instead of by each request. Over a network the "
        "same request takes a quarter of the time, and no server has become faster"
    )


def _about(which: str, value: float, right: float, mistakes: dict[float, str]) -> None:
    try:
        grading.near(value, right, unit="seconds", tolerance=0.005, mistakes=mistakes)
    except Wrong as wrong:
        says = str(wrong)
        named = says.casefold().startswith(which)
        raise Wrong(says if named else f"{which}: {says[0].lower()}{says[1:]}") from None


@exercise("ex-10-2")
def one_session_and_no_reuse(answer: object) -> str:
    """Check a run with one session in which every request opened a connection."""
    record = grading.record(answer)
    transport = record.trial["transport"]
    if record.server is None or transport["kind"] != "aiohttp":
        raise Wrong("take the lab's own server and the transport 'aiohttp'")
    if transport["session_per_request"]:
        raise Wrong("it makes a session for each request: one session is asked for")
    if record.counts.ok < 50:
        raise Wrong(f"{record.counts.ok} requests were answered: make at least 50")
    if record.server.connections_opened != record.counts.ok:
        raise Wrong(
            f"the server counted {record.server.connections_opened} connections for "
            f"{record.counts.ok} requests: something is still being kept"
        )
    return (
        "a session keeps connections only if it is let. A setting, a server that says "
        "`Connection: close`, or a pause longer than the timeout undoes it, and the server's count "
        "shows all three"
    )


@exercise("ex-10-3")
def causes_of_phases(answer: object) -> str:
    """Check what four clients suffer from, by their phases."""
    grading.match_words(answer, CAUSED, THINK_OF, among=CAUSES)
    return (
        "queue is the client's own pool, dns and connect come back where nothing is kept, and a "
        "long wait is the server's only if the server says so, too"
    )
