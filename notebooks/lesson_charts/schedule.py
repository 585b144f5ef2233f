"""The delays of a trial's items, and the time that they take on so many slots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush

import labkit as lab
from labkit.spec import delays


def delays_of(trial: lab.Trial) -> list[float]:
    """Return the seconds that the synthetic server lets each item of a trial wait, in order."""
    return list(delays.of_items(delays.parse(trial.get("delay")), trial.seed, trial.requests))


def scheduled(delays_s: Iterable[float], slots: int) -> Iterator[tuple[int, float, float]]:
    """Yield for each delay the slot that takes it, its start and its end in seconds.

    This is list scheduling: a slot takes the next delay as soon as it is free.
    """
    free = [(0.0, slot) for slot in range(slots)]
    heapify(free)
    for delay_s in delays_s:
        start_s, slot = heappop(free)
        heappush(free, (start_s + delay_s, slot))
        yield slot, start_s, start_s + delay_s


def makespan(delays_s: Sequence[float], slots: int) -> float:
    """Return when the last delay ends, in seconds: the floor of a trial in this order."""
    return max(end_s for *_, end_s in scheduled(delays_s, slots))
