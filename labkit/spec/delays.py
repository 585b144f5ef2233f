"""Delays of answers and arrivals of requests, drawn from (seed, name), and the times they imply.

Pure and deterministic. The server sleeps for `Delay.draw`, and the parent draws the same delays, so
two times are known before a trial starts: `floor_s`, that of a client without any cost of its own
that takes the items in this order, and `bound_s`, which no order of the items can beat. The first
is no least time: another order, such as the longest first, may need as little as half of it (Graham
1966: at least 1 / (2 - 1/slots)). The least time itself is NP-hard to find.

In an open workload requests are due whatever the answers do: independent users do not wait for each
other (Schroeder, Wierman and Harchol-Balter, 'Open versus closed: a cautionary tale', 2006).
"""

import heapq
import math
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b

import msgspec

from labkit.errors import BadInput
from labkit.spec.validation import refusal

FORMS = (
    "0.05, randint(0,3), uniform(0,0.1), exponential(0.05), lognormal(0.05,0.5), "
    "each with an optional factor as in randint(0,3)*0.1"
)
MAX_DELAY_S = 3600.0
MAX_SIGMA = 10

_NUMBER = r"[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?"
_EXPRESSION = re.compile(
    rf"(?:(?P<kind>randint|uniform|exponential|lognormal)\((?P<args>[^()]*)\)|(?P<fixed>{_NUMBER}))"
    rf"(?:\*(?P<factor>{_NUMBER}))?"
)
_ARITY = {"fixed": 1, "randint": 2, "uniform": 2, "exponential": 1, "lognormal": 2}


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
        """Return True if a request may wait; 0, or a range from 0 to 0, delays nothing."""
        longest = self.a if self.kind == "lognormal" else max(self.a, self.b)
        return longest * self.factor > 0

    def draw(self, seed: int, name: str) -> float:
        """Return the delay in seconds of the request called `name`, at most `MAX_DELAY_S`."""
        if self.kind == "fixed":
            return self.a * self.factor
        u = uniform(seed, name)
        if self.kind == "randint":
            quantile = self.a + math.floor(u * (self.b - self.a + 1))
        elif self.kind == "uniform":
            quantile = self.a + u * (self.b - self.a)
        elif self.kind == "exponential":
            quantile = -self.a * math.log1p(-u)
        else:
            from statistics import NormalDist  # here: it is heavy, and few processes need it

            quantile = self.a * math.exp(self.b * NormalDist().inv_cdf(u))
        return min(quantile * self.factor, MAX_DELAY_S)


def uniform(seed: int, name: str) -> float:
    """Return a number in the open interval (0, 1), a pure function of `seed` and `name`."""
    digest = blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return ((int.from_bytes(digest, "little") >> 12) + 0.5) / 2**52


def parse(text: str, name: str = "delay") -> Delay:
    """Parse a delay expression, the value of the setting `name`; `BadInput` lists the forms."""

    def refused(why: str) -> BadInput:
        return BadInput(f"{name} is {text!r}: {why}; write one of {FORMS}")

    match = _EXPRESSION.fullmatch(re.sub(r" *([(),*]) *", r"\1", str(text).strip(" ")))
    if match is None:
        raise refused("it does not parse")
    kind, words = match["kind"] or "fixed", (match["fixed"] or match["args"]).split(",")
    if len(words) != _ARITY[kind] or not all(re.fullmatch(_NUMBER, word) for word in words):
        raise refused(f"{kind} takes {_ARITY[kind]} numbers of at least 0")
    args = [float(word) for word in words]
    if kind in ("randint", "uniform") and args[0] > args[1]:
        raise refused("its lower end is above its upper end")
    if kind == "randint" and not all(arg.is_integer() for arg in args):
        raise refused("randint takes whole numbers")
    factor = float(match["factor"] or 1)
    typical = (args[0] if kind == "lognormal" else args[-1]) * factor
    if not math.isfinite(typical) or typical > MAX_DELAY_S:
        raise refused(f"a delay is at most {MAX_DELAY_S:,.0f} s")
    if kind == "lognormal" and not (args[0] > 0 and args[1] <= MAX_SIGMA):
        raise refused(f"a lognormal's median is above 0 and its sigma at most {MAX_SIGMA}")
    return Delay(kind=kind, a=args[0], b=0.0 if kind == "fixed" else args[-1], factor=factor)


def of_items(delay: Delay, seed: int, requests: int) -> Iterator[float]:
    """Yield the delays in seconds of items 0, 1, ... `requests` - 1, in order."""
    return (delay.draw(seed, str(item)) for item in range(requests))


def floor_s(delays: Iterable[float], slots: int) -> float:
    """Compute the makespan in seconds of list scheduling of `delays`, in order, on `slots` slots.

    The time that a client without any cost of its own would need in this order (Graham 1966,
    'Bounds for certain multiprocessing anomalies', describes the schedule).
    """
    return floor_and_bound(delays, slots)[0]


def floor_and_bound(delays: Iterable[float], slots: int) -> tuple[float, float]:
    """Compute that and what no order can beat: the sum of the delays over slots, or the longest."""
    last, total, longest = _scheduled(delays, slots)
    return last, max(total / slots, longest)


def _scheduled(delays: Iterable[float], slots: int) -> tuple[float, float, float]:
    """Compute the makespan of list scheduling, the sum of the delays, and the longest."""
    free: list[float] = []
    last = total = longest = 0.0
    for delay in delays:
        end = delay if len(free) < slots else free[0] + delay
        (heapq.heappush if len(free) < slots else heapq.heapreplace)(free, end)
        last, longest, total = max(last, end), max(longest, delay), total + delay
    return last, total, longest


@lru_cache(maxsize=256)
def floor_and_bound_of(
    delay: Delay, seed: int, requests: int, slots: int, clients: int = 1
) -> tuple[float, float]:
    """Compute both of the delays of items 0 to `requests` - 1; cached, as arms share them.

    Of several clients each schedules its own items on its own slots: the floor is that of the last
    to end. No partition beats the bound of the whole.
    """
    shares = [Share(client, clients) for client in range(clients)]
    if delay.kind == "fixed":
        each_s = delay.draw(seed, "")
        rounds = max(math.ceil(one.part(requests) / one.part(slots)) for one in shares)
        return rounds * each_s, max(requests / slots, 1) * each_s
    items = ((one.items(requests), one.part(slots)) for one in shares)
    found = [_scheduled((delay.draw(seed, str(n)) for n in own), most) for own, most in items]
    lasts, totals, longest = zip(*found, strict=True)
    return max(lasts), max(sum(totals) / slots, *longest)


class Share(msgspec.Struct, frozen=True):
    """What client `client` (from 0) of the `of` clients of a trial takes of its items and slots.

    It is every `of`-th item, and so every `of`-th due time: items have the numbers that they have
    in the whole trial, and with them their delays, requests and draws.
    """

    client: int = 0
    of: int = 1

    def items(self, requests: int) -> range:
        """Return which of the items 0 to `requests` - 1 it takes."""
        return range(self.client, requests, self.of)

    def part(self, whole: int) -> int:
        """Return how many of so many it takes: the first clients take one more of an odd number."""
        return len(self.items(whole))


class Stage(msgspec.Struct, frozen=True):
    """A piece of a schedule: a value (a rate, a limit) that goes evenly from `begins` to `ends`."""

    lasts_s: float
    begins: float
    ends: float
    name: str = ""

    @property
    def whole(self) -> float:
        """Return the integral of the value: of a rate, how many requests are due in the stage."""
        return (self.begins + self.ends) / 2 * self.lasts_s

    def seconds_to(self, part: float) -> float:
        """Return after how many seconds the integral has come to `part` of the whole."""
        # The root of begins * t + slope * t^2 / 2 = part, in the form that no slope divides by.
        slope = (self.ends - self.begins) / self.lasts_s
        root = math.sqrt(max(self.begins**2 + 2 * slope * part, 0.0))
        return 2 * part / (self.begins + root) if part else 0.0


def value_at(stages: Iterable[Stage], at_s: float) -> float:
    """Return the value so many seconds after the first stage has begun; 0 behind the last."""
    for stage in stages:
        if at_s < stage.lasts_s:
            return stage.begins + (stage.ends - stage.begins) * at_s / stage.lasts_s
        at_s -= stage.lasts_s
    return 0.0


def highest(stages: Iterable[Stage]) -> float:
    """Return the highest value of the stages; 0 of none."""
    return max((max(stage.begins, stage.ends) for stage in stages), default=0.0)


_STAGE = re.compile(
    rf"(?P<lasts>{_NUMBER})(?P<unit>s|m): *(?:(?P<begins>{_NUMBER})?(?P<ramp>\.\.))?"
    rf"(?P<ends>{_NUMBER})(?: +(?P<name>[^,:()]+))?"
)


@lru_cache(maxsize=256)
def parse_stages(text: str) -> tuple[Stage, ...]:
    """Parse stages, which may stand in brackets; `BadInput` has the form."""
    found, before = list[Stage](), 0.0
    for part in map(str.strip, text.strip().removeprefix("(").removesuffix(")").split(",")):
        match = _STAGE.fullmatch(part)
        if match is None:
            raise refusal("stages", text=text, why=f"{part!r} does not parse")
        ends = float(match["ends"])
        begins = float(match["begins"] or before) if match["ramp"] else ends
        lasts_s = float(match["lasts"]) * (60 if match["unit"] == "m" else 1)
        found.append(Stage(lasts_s, begins, ends, match["name"] or ""))
        before = ends
    whole_s = sum(stage.lasts_s for stage in found)
    if not (all(s.lasts_s for s in found) and whole_s <= 86_400 and 0 < highest(found) <= 1e6):
        raise refusal("stages", text=text, why="they do not add up")
    return tuple(found)


# When is what due? The plan: request i of a constant rate is due when the integral of the rate has
# come to i; a Poisson process is one of rate 1 whose time is the integral (Cinlar 1975). So one
# walk along the stages serves both. Within a step Poisson arrivals stay Poisson, and in a ramp even
# ones are spaced by the inverse of its integral. Rejected: gaps of 1 / rate at the time of each
# request, which lag behind a ramp, and never end where the rate is 0.
def due_s(stages: Iterable[Stage], arrival: str, seed: int, requests: int) -> Iterator[float]:
    """Yield the seconds after the beginning at which items 0, 1, ... are due, in order.

    At most `requests` of them, and none after the last stage. Rates are in requests per second.
    `constant` spaces them evenly; `poisson` draws the gaps from (seed, item), exponentially
    distributed: users who know nothing of each other.
    """
    position = before = began_s = 0.0
    item = 0
    for stage in stages:
        while item < requests and position - before < stage.whole:
            yield began_s + stage.seconds_to(position - before)
            gap = 1.0 if arrival == "constant" else -math.log1p(-uniform(seed, f"arrival/{item}"))
            position, item = position + gap, item + 1
        before, began_s = before + stage.whole, began_s + stage.lasts_s
