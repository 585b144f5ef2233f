"""How far a measured figure may be off: intervals over repeats in fresh processes. Pure.

What must hold: a 95 % interval contains the truth in 95 of 100 experiments, from five repeats on,
whatever the noise of the machine is; and swapping two arms gives the reciprocals.

How: repeats are blocks. One block has a run of each arm, near each other in time, so that what the
machine does to one it does to the other. The ratio of each block is one observation, and what is
estimated is their median. The ends are order statistics of these ratios, interpolated on their
logarithms (Hettmansperger and Sheather, 'Confidence intervals based on interpolated order
statistics', 1986): they suppose nothing of the noise but that repeats are independent, so a run
that was 1.5 times slower now and then costs little. Five repeats lie all on one side of the median
in 1 of 16 experiments, whatever the noise: so the extremes contain it in 93.75 %, and a quarter of
the way to their neighbours further out in 95 %. Fewer repeats than five give no interval.

What was measured: the share (%) of simulated experiments in which the 95 % interval contained the
truth, at 5, 10 and 20 repeats. `tests/test_intervals.py` simulates the first column again:

| noise                                   | this           | Student's t    | percentile bootstrap |
|-----------------------------------------|----------------|----------------|----------------------|
| normal                                  | 95.0 94.9 95.0 | 94.9 95.1 95.0 | 82 90 93             |
| lognormal                               | 95.0 94.9 95.0 | 94.9 94.9 95.0 | 81 90 93             |
| heavy tails (t, 3 degrees)              | 95.1 95.0 95.1 | 96.0 95.8 95.5 | 83 87 92             |
| 10 % of runs 1.5 times slower           | 95.1 94.9 95.0 | 98.0 98.1 96.0 | 81 86 88             |
| the same, of one arm only               | 95.1 95.0 95.0 | 78   73   88   | 61 70 87             |
| drift that both arms share              | 95.0 94.9 95.1 | 95.0 95.0 95.0 | 83 89 93             |

What was rejected: Student's t and the percentile bootstrap (of the mean of the logarithms; they are
judged by that mean, this by the median). The bootstrap misses too often at few repeats, Student's t
where one arm alone has slow runs. Ratios of means over all runs were rejected too: a drift that
both arms share would be in them. The price: under normal noise this interval is 1.1 to 1.2 times as
wide as Student's; with slow runs, at 20 repeats, it is less than half as wide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

import msgspec

from labkit.errors import BadInput
from labkit.stats.metrics import is_usable

MIN_REPEATS = 5
"""Fewer repeats give no interval (after Kalibera and Jones, 'Rigorous benchmarking in reasonable
time', 2013; the number is this lab's judgement)."""
LEVEL = 0.95
_FURTHER = 0.25
"""How far beyond the extremes the ends may lie, as a share of the distance to their neighbours."""


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate from `n` repeats: in `level` of such experiments the truth is in low to high.

    `low` and `high` are None where there are too few repeats to say, and equal to `value` where
    every repeat gave the same.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    level: float = LEVEL

    @property
    def is_known(self) -> bool:
        """True if there are ends."""
        return self.low is not None

    def excludes(self, value: float) -> bool:
        """Return True if there are ends, and `value` lies outside of them."""
        return self.low is not None and self.high is not None and not self.low <= value <= self.high


def of_ratio(of: Sequence[float], to: Sequence[float], level: float = LEVEL) -> Interval:
    """Return the typical ratio of two arms, paired by repeat: its median, without a unit.

    Swapping the arms gives the reciprocals. Raises `BadInput` for sides of unlike length, for none
    at all, for values that are not above 0 and finite, and for a level below 0.5 or not below 1.
    """
    if len(of) != len(to):
        raise BadInput(
            f"a ratio has {len(of)} values over {len(to)}: give one pair for each repeat"
        )
    if not all(map(is_usable, (*of, *to))):
        raise BadInput("a ratio has a value that is not above 0 and finite: leave that repeat out")
    logs = of_value([math.log(a) - math.log(b) for a, b in zip(of, to, strict=True)], level)
    low, high = (None if end is None else math.exp(end) for end in (logs.low, logs.high))
    return msgspec.structs.replace(logs, value=math.exp(logs.value), low=low, high=high)


def of_ratios(ratios: Sequence[float], level: float = LEVEL) -> Interval:
    """Return the typical one of some ratios, a ratio for each repeat: as `of_ratio`, of one sample.

    Raises `BadInput` as `of_ratio` does.
    """
    return of_ratio(ratios, [1.0] * len(ratios), level)


def of_value(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Return the typical value of one arm over its repeats: their median, in their unit.

    It supposes that repeats are independent: a machine that drifts makes it too narrow, which a
    ratio within blocks survives. Raises `BadInput` for no value at all, for one that is not finite,
    and for a level below 0.5 or not below 1.
    """
    if not values or not all(map(math.isfinite, values)):
        raise BadInput("an interval needs at least one value, all finite: leave other repeats out")
    if not 0.5 <= level < 1:
        raise BadInput(f"level is {level!r}: it must be a share from 0.5 to below 1, such as 0.95")
    low, high = _ends(sorted(values), level) or (None, None)
    return Interval(value=median(values), low=low, high=high, n=len(values), level=level)


def _ends(values: Sequence[float], level: float) -> tuple[float, float] | None:
    """Return interpolated order statistics of sorted values; None where no ends have `level`."""
    n = len(values)
    # Ends that are `_FURTHER` out: their coverage is exact for Laplace's noise, 95.2 % of 5.
    widest = 1 - 2.0 ** (1 - n) * (n - 1) / (n - 1 + n * _FURTHER)
    if n < MIN_REPEATS or widest < level:
        return None
    # The innermost depth whose values have the level; 1 where none do.
    deep_enough = [k for k in range(1, (n + 1) // 2) if _coverage(n, k) >= level]
    depth = max(deep_enough, default=1)
    # How far from the values at `depth` to the next inner ones the ends lie (their equation 2).
    outer, inner = _coverage(n, depth), _coverage(n, depth + 1)
    part = (outer - level) / (outer - inner)
    share = (n - depth) * part / (depth + (n - 2 * depth) * part) if part >= 0 else -_FURTHER
    return (
        values[depth - 1] + share * (values[depth] - values[depth - 1]),
        values[-depth] + share * (values[-depth - 1] - values[-depth]),
    )


def _coverage(n: int, depth: int) -> float:
    """Return how often the values `depth` from each end enclose the median, whatever the noise."""
    return 1 - 2.0 ** (1 - n) * sum(math.comb(n, k) for k in range(depth))
