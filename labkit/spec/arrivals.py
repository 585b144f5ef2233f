"""When the requests of an open workload are due, whatever the answers do. Pure and deterministic.

In a closed workload a slow answer holds back the next request; independent users do not wait for
each other (Schroeder, Wierman and Harchol-Balter, 'Open versus closed: a cautionary tale', 2006).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from labkit.spec.delays import uniform


def due_s(rate: float, arrival: str, seed: int, requests: int) -> Iterator[float]:
    """The seconds after the beginning at which items 0, 1, ... `requests` - 1 are due.

    `rate` is in requests per second. `constant` spaces them evenly; `poisson` draws the gaps from
    (seed, item), exponentially distributed: users who know nothing of each other.
    """
    if arrival == "constant":
        yield from (item / rate for item in range(requests))
        return
    at_s = 0.0
    for item in range(requests):
        yield at_s
        at_s -= math.log1p(-uniform(seed, f"arrival/{item}")) / rate
