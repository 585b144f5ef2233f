"""Exercises of `13_which_client`."""

from __future__ import annotations

from . import grading
from .register import Wrong, exercise

REQUESTS, LIMIT, ANSWER_S, CPU_S = 1_000, 20, 0.008, (0.25e-3, 1e-3)
MIN_REQUESTS, MAX_LIMIT = 50, 10


@exercise("ex-13-1")
def least_times_of_two(answer: object) -> str:
    """Check the least times of two clients: of the server's delays, or of their own CPU."""
    times = [grading.number(one, "seconds") for one in grading.listed(answer, 2, "times")]
    delays_s = REQUESTS * ANSWER_S / LIMIT
    for which, time_s, cpu_s in zip(("first", "second"), times, CPU_S, strict=True):
        work_s, own = REQUESTS * cpu_s, f"the {which} client"
        mistakes = {
            delays_s + work_s: f"{own}: does it stand still while answers are on their way?",
            REQUESTS * ANSWER_S: f"{own}: that is one request after another",
            min(delays_s, work_s): f"{own}: that is one of two bounds. Can it be that fast?",
        }
        right = max(delays_s, work_s)
        try:
            grading.near(time_s, right, unit="seconds", tolerance=0.005, mistakes=mistakes)
        except Wrong as wrong:
            says = str(wrong)
            named = says.casefold().startswith("the ")
            raise Wrong(says if named else f"{own}: {says[0].lower()}{says[1:]}") from None
    return (
        "the server sets the time of one and the client that of the other. Four times the CPU is "
        "two and a half times the time here, and no difference at all behind a slower server"
    )


@exercise("ex-13-2")
def own_client_that_reuses(answer: object) -> str:
    """Check a run of a client of the learner's own that keeps its connections."""
    record = grading.record(answer)
    if record.server is None or record.trial["transport"]["kind"] != "own":
        raise Wrong("take the lab's own server, and your client as the transport")
    if record.counts.ok < MIN_REQUESTS:
        raise Wrong(f"{record.counts.ok} requests were answered: make at least {MIN_REQUESTS}")
    if record.trial["workload"]["limit"] > MAX_LIMIT:
        raise Wrong(f"more than {MAX_LIMIT} may be in flight: set the limit")
    opened = record.server.connections_opened
    if opened is None or opened > MAX_LIMIT:
        raise Wrong(f"the server counted {opened} connections: something still begins anew")
    return (
        "what lives as long as the client is made before the `yield`, and what lives as long as a "
        "call inside of `fetch`. Most of what a client costs is decided by that"
    )
