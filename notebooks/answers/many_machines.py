"""Exercises of `22_many_machines`."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence

from . import grading, sandbox
from .register import Wrong, exercise

# Of two clients the requests and the latency of each of them, in milliseconds.
PARTS_MS = ((900, 10.0), (100, 410.0))
RATE_RPS, REQUEST_US, CORE_SHARE = 12_000, 220.0, 0.8
# Histograms of clients, and shares, that a learner's function is tried with.
TRIED: Sequence[tuple[Sequence[Mapping[int, int]], float]] = (
    ([{10: 900}, {410: 100}], 0.99),
    ([{10: 900}, {410: 100}], 0.5),
    ([{1: 5, 2: 5}, {2: 5, 3: 5}], 0.75),
    ([{30: 1, 10: 1}, {20: 2}], 0.5),
    ([{7: 3}], 1.0),
)


@exercise("ex-22-1")
def averaged_and_merged(answer: object) -> str:
    """Check the p99 of two clients: the average of theirs, and that of all requests."""
    averaged, merged = (
        grading.number(one, "milliseconds") for one in grading.listed(answer, 2, "latencies")
    )
    (few, slow_ms), (many, fast_ms) = PARTS_MS[::-1]
    right = (slow_ms + fast_ms) / 2
    mean = (few * slow_ms + many * fast_ms) / (few + many)
    hints = {mean: "the first: that is the mean latency. What is the average of the two p99?"}
    grading.near(averaged, right, unit="milliseconds", mistakes=hints)
    hints = {
        fast_ms: "the second: how many of a thousand requests may be slower than the p99",
        right: "the second: sort all requests. Does any have that latency?",
    }
    grading.near(merged, slow_ms, unit="milliseconds", mistakes=hints)
    return (
        "the slower client has a tenth of all requests, so the slowest hundredth is all its own. "
        "The average is a latency that no request had"
    )


@exercise("ex-22-2")
def clients_for_a_rate(answer: object) -> str:
    """Check how many clients a rate needs, each with a core that it does not fill."""
    clients = grading.whole(answer, "clients")
    cores = RATE_RPS * REQUEST_US / 1e6
    right = math.ceil(cores / CORE_SHARE)
    if clients == math.ceil(cores):
        raise Wrong("that many would fill more of their cores than they may")
    if clients < right:
        raise Wrong("too few: what does one client reach on its share of a core?")
    if clients > right:
        raise Wrong("it can be done with fewer: divide, and round once, at the end")
    return (
        "CPU per request says how many cores a rate takes, before anything is bought. The reserve "
        "keeps a client from waiting for itself"
    )


@exercise("ex-22-3")
def percentile_of_all(answer: object) -> str:
    """Check a function that merges the histograms of clients and reads a percentile of it."""
    percentile = grading.function(answer, "(parts, share)")
    for parts, share in TRIED:
        found = sandbox.call(percentile, [dict(one) for one in parts], share)
        if found is None or found is ...:
            raise Wrong("it returns nothing: is the function still to be written?")
        value, right = grading.number(found, "milliseconds"), _percentile(parts, share)
        if value == right:
            continue
        each = [_percentile([one], share) for one in parts]
        what = f"for {[*map(dict, parts)]} and {share:g}"
        if grading.close(value, sum(each) / len(each)):
            raise Wrong(f"{what} it returns the average of the clients' percentiles")
        if value not in {key for one in parts for key in one}:
            raise Wrong(f"{what} it returns a latency that no request had")
        raise Wrong(f"{what} it returns another request's latency: how many are at most as slow?")
    return (
        "histograms add up bucket by bucket, and every percentile can be read from their sum. From "
        "percentiles alone it cannot: they no longer say how many requests there were"
    )


def _percentile(parts: Sequence[Mapping[int, int]], share: float) -> int:
    """Return the least latency that at least this share of all requests does not exceed."""
    whole = Counter[int]()
    for one in parts:
        whole.update(one)
    latencies = sorted(whole)
    below = itertools.accumulate(whole[one] for one in latencies)
    wanted = math.ceil(share * whole.total())
    return next(one for one, n in zip(latencies, below, strict=True) if n >= wanted)
