"""Delay expressions, drawn from (seed, name): the same on every side; and the floor they imply.

Pure and deterministic. The server sleeps what `Delay.draw` says, the parent knows it beforehand, so
the shortest time that any client could need (`floor_s`) is known before a trial starts.
"""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b

import msgspec

from labkit.errors import BadInput

FORMS = (
    "0.05, randint(0,3), uniform(0,0.1), exponential(0.05), lognormal(0.05,0.5), "
    "each with an optional factor as in randint(0,3)*0.1"
)
LONGEST_S = 3600.0
MOST_SIGMA = 10

_NUMBER = r"[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?"
_EXPRESSION = re.compile(
    rf"(?:(?P<kind>randint|uniform|exponential|lognormal)\((?P<args>[^()]*)\)|(?P<fixed>{_NUMBER}))"
    rf"(?:\*(?P<factor>{_NUMBER}))?"
)
_ARITY = {"randint": 2, "uniform": 2, "exponential": 1, "lognormal": 2}


class Delay(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed delay expression.

    `kind` is fixed, randint (both ends included), uniform, exponential (`a` is the mean) or
    lognormal (`a` is the median, `b` the standard deviation of the logarithm); `factor` multiplies.
    """

    kind: str
    a: float
    b: float = 0.0
    factor: float = 1.0

    @property
    def holds_back(self) -> bool:
        """Whether anything waits at all: 0, or a range from 0 to 0, holds nothing back."""
        longest = self.a if self.kind == "lognormal" else max(self.a, self.b)
        return longest * self.factor > 0

    def draw(self, seed: int, name: str) -> float:
        """The delay in seconds of the request called `name`, at most `LONGEST_S`."""
        if self.kind == "fixed":
            return self.a * self.factor
        return min(self._quantile(uniform(seed, name)) * self.factor, LONGEST_S)

    def _quantile(self, u: float) -> float:
        if self.kind == "randint":
            return self.a + math.floor(u * (self.b - self.a + 1))
        if self.kind == "uniform":
            return self.a + u * (self.b - self.a)
        if self.kind == "exponential":
            return -self.a * math.log1p(-u)
        return self.a * math.exp(self.b * _normal_quantile(u))


def _normal_quantile(u: float) -> float:
    from statistics import NormalDist  # here: its imports weigh on a process that never needs it

    return NormalDist().inv_cdf(u)


def uniform(seed: int, name: str) -> float:
    """A number in the open interval (0, 1), a pure function of `seed` and `name`."""
    digest = blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return ((int.from_bytes(digest, "little") >> 12) + 0.5) / 2**52


def parse(text: str) -> Delay:
    """Read a delay expression; `BadInput` lists the forms that there are."""
    match = _EXPRESSION.fullmatch(re.sub(r" *([(),*]) *", r"\1", str(text).strip(" ")))
    if match is None:
        raise _refused(text, "it does not parse")
    factor = float(match["factor"] or 1)
    if match["fixed"]:
        return _bounded(text, Delay(kind="fixed", a=float(match["fixed"]), factor=factor))
    args = _arguments(text, match["kind"], match["args"])
    return _bounded(text, Delay(kind=match["kind"], a=args[0], b=args[-1], factor=factor))


def _arguments(text: str, kind: str, listed: str) -> list[float]:
    words = listed.split(",")
    if len(words) != _ARITY[kind] or not all(re.fullmatch(_NUMBER, word) for word in words):
        raise _refused(text, f"{kind} takes {_ARITY[kind]} numbers of at least 0")
    args = [float(word) for word in words]
    if kind in ("randint", "uniform") and args[0] > args[1]:
        raise _refused(text, "its lower end is above its upper end")
    if kind == "randint" and not all(arg.is_integer() for arg in args):
        raise _refused(text, "randint takes whole numbers")
    return args


def _bounded(text: str, delay: Delay) -> Delay:
    typical = max(delay.a, delay.b if delay.kind in ("randint", "uniform") else 0) * delay.factor
    if not math.isfinite(typical) or typical > LONGEST_S:
        raise _refused(text, f"a delay is at most {LONGEST_S:,.0f} s")
    if delay.kind == "lognormal" and not (delay.a > 0 and delay.b <= MOST_SIGMA):
        raise _refused(text, f"a lognormal's median is above 0 and its sigma at most {MOST_SIGMA}")
    return delay


def _refused(text: str, why: str) -> BadInput:
    return BadInput(f"delay is {text!r}: {why}; write one of {FORMS}")


def of_items(delay: Delay, seed: int, requests: int) -> Iterator[float]:
    """The delays in seconds of items 0, 1, ... `requests` - 1, in order."""
    return (delay.draw(seed, str(item)) for item in range(requests))


def floor_s(delays: Iterable[float], slots: int) -> float:
    """Makespan in seconds of greedy list scheduling of `delays`, in order, on `slots` slots.

    The time that a client without any cost of its own would need (Graham 1966, 'Bounds for certain
    multiprocessing anomalies', describes the schedule).
    """
    free: list[float] = []
    last = 0.0
    for delay in delays:
        end = delay if len(free) < slots else free[0] + delay
        (heapq.heappush if len(free) < slots else heapq.heapreplace)(free, end)
        last = max(last, end)
    return last


@lru_cache(maxsize=256)
def floor_of(delay: Delay, seed: int, requests: int, slots: int) -> float:
    """`floor_s` of the delays of items 0 to `requests` - 1; remembered, as arms share it."""
    if delay.kind == "fixed":
        return math.ceil(requests / slots) * delay.draw(seed, "")
    return floor_s(of_items(delay, seed, requests), slots)
