"""Exercises of `11_how_much_concurrency`."""

from __future__ import annotations

from . import grading, sandbox
from .register import Wrong, exercise

LATENCY_S, RATE = 0.08, 500
ENOUGH = 0.95
SWEEPS: tuple[dict[int, float], ...] = (
    {4: 1_900, 8: 3_700, 16: 5_600, 32: 5_900, 64: 5_800},
    {64: 980, 16: 960, 4: 400, 1: 100},
    {1: 100, 2: 200, 4: 400},
    {8: 500},
    {1: 1_000, 2: 949, 4: 960, 8: 930},
)


@exercise("ex-11-1")
def in_flight_for_a_rate(answer: object) -> str:
    """Check how many requests have to be in flight for a rate, by Little's law."""
    mistakes = {
        RATE / LATENCY_S: "that is rate / latency: does a slower service need fewer in flight?",
        1 / LATENCY_S: "that is what one request at a time gives in a second",
        LATENCY_S / RATE: "that is latency / rate: a faster rate would need fewer in flight",
        RATE: "that would do if each answer took a whole second",
    }
    requests = grading.number(answer, "requests")
    grading.near(requests, RATE * LATENCY_S, unit="requests", mistakes=mistakes)
    return (
        "in flight = rate x latency. Begin there, and with up to twice that where answers are "
        "sometimes late. No number of cores enters"
    )


@exercise("ex-11-2")
def knee_of_a_sweep(answer: object) -> str:
    """Check a function that finds the smallest limit whose rate is within 5 % of the best."""
    knee = grading.function(answer, "(rates)")
    for rates in SWEEPS:
        found = grading.whole(sandbox.value(knee, dict(rates)), "requests in flight")
        if found == _knee(rates):
            continue
        of = f"of {rates} it names {found}"
        if found not in rates:
            raise Wrong(f"{of}, which is none of the limits that were tried")
        if rates[found] < ENOUGH * max(rates.values()):
            raise Wrong(f"{of}, whose rate is more than 5 % below the best")
        raise Wrong(f"{of}, and a smaller limit does about as well")
    return (
        "the smallest that is good enough: what a larger one adds is latency, memory and "
        "connections. Where the curve is flat, several are right, and one is the cheapest"
    )


def _knee(rates: dict[int, float]) -> int:
    best = max(rates.values())
    return min(limit for limit, rate in rates.items() if rate >= ENOUGH * best)
