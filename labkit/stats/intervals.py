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

Of many comparisons in one study some differ by chance. So those of a study are a `Family`: its
intervals share the 5 % that may miss (Bonferroni), less a fifth for what is approximate below, and
in 95 of 100 studies all of them contain their truth together. Order statistics reach such a level
from `repeats_for` on: 8 repeats for 4 comparisons, 11 for 44. With fewer repeats the ends are those
of Student's t at that level, or of the order statistics at 95 % where these lie further out.
Student's t supposes noise that is near normal. But the ratio of two arms that are alike is as often
above 1 as below, and for such noise with longer tails it errs on the safe side (Benjamini, 'Is the
t test really conservative when the parent distribution is long-tailed?', 1983). For noise of a few
values (pages of memory, two modes of a process) it does not: five repeats may agree by chance. So
their deviation counts as `_LEAST_DEVIATION` of what is usual in the study, at least.

What was measured: the share (%) of simulated studies of identical arms that claim some difference,
by 4 metrics with noise of their own (`tests/test_comparing.py` simulates some of it again):

| arms x repeats                          | 2x5  2x7  2x20 | 3x5  3x7  3x20 | 12x5 12x7 12x20 |
|-----------------------------------------|----------------|----------------|-----------------|
| normal                                  | 4.3  4.1  4.1  | 3.9  3.4  3.7  | 0.1  0.8  4.0   |
| heavy tails (t, 3 degrees)              | 3.4  2.7  4.1  | 3.0  2.2  3.9  | 0.1  0.6  3.8   |
| 10 % of runs 1.5 times slower           | 1.6  0.8  4.2  | 1.6  0.8  3.9  | 0.0  0.1  4.0   |
| half of the runs 1.1 times slower       | 1.6  3.0  3.7  | 1.6  2.4  3.8  | 0.0  1.8  3.4   |
| drift that all arms share               | 3.5  3.8  3.7  | 3.7  4.0  3.2  | 0.1  0.8  4.2   |
| every metric one of four values         | 3.9  3.4  0.1  | 6.3  5.0  0.1  | 0.1  1.3  0.1   |

What was rejected: permutations of signs (5 repeats have 32, none rarer than 1 in 16); Holm's steps,
which decide more but give no intervals; and one deviation for the whole family (Dunnett 1955),
which is too small for an arm that is noisier than the others.

Two arms that were not run together have no pairs: there all ratios count, and their order
statistics by the rank sum test (`of_unpaired`). What was measured, as above: it missed in 3, 4 and
5 % at 5, 10 and 20 repeats for one comparison, in 0.9, 0.7 and 0.8 % for five, of 0.8 that may, and
in at most 0.13 % for forty, of 0.10, for normal noise, heavy tails and slow runs alike.
"""

from __future__ import annotations

import itertools
import math
import sys
import warnings
from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from statistics import NormalDist, fmean, median, median_low, stdev
from typing import NamedTuple

import msgspec

from labkit.errors import BadInput
from labkit.spec.validation import refusal
from labkit.stats.metrics import is_usable

# Fewer repeats give no interval (after Kalibera and Jones, 'Rigorous benchmarking in reasonable
# time', 2013; the number is this lab's judgement).
MIN_REPEATS = 5
LEVEL = 0.95
_LARGEST_LOG = math.log(sys.float_info.max)
# Share of the error of a family that its intervals spend: the ends are approximate.
_SPENT = 0.8
# Of a ratio, as a share of the noise of the usual arm: two such arms have 1.4 of it.
_LEAST_DEVIATION = 0.8
# Pairs of which the distribution of rank sums is counted; of more it is taken as normal.
MAX_EXACT = 400
# How far beyond the extremes the ends may lie, as a share of the distance to their neighbours.
_FURTHER = 0.25


class Family(NamedTuple):
    """How many comparisons of a study hold together, and how noisy its usual arm is."""

    among: int = 1
    deviation: float = 0.0

    @classmethod
    def of(cls, among: int, arms: Sequence[Mapping[Hashable, float | None]]) -> Family:
        """Return the family of `among` comparisons of these arms: the value of each by block.

        An arm's noise is the deviation of its logarithms from its own median, less what all arms
        of a block share; of the blocks that have all values.
        """
        blocks = [[arm.get(block) for arm in arms] for block in (arms[0] if arms else ())]
        logs = [[math.log(one) for one in block if is_usable(one)] for block in blocks]
        logs = [block for block in logs if len(block) == len(arms)]
        if len(logs) < MIN_REPEATS:
            return cls(among)
        usual = [median(arm) for arm in zip(*logs, strict=True)]
        off = [[one - its for one, its in zip(block, usual, strict=True)] for block in logs]
        off = [[one - median(block) for one in block] for block in off]
        return cls(among, median_low(map(stdev, zip(*off, strict=True))))

    def level(self, level: float) -> float:
        """Return the level of each for that of all together."""
        return level if self.among == 1 else 1 - _SPENT * (1 - level) / self.among


ALONE = Family()


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate from `n` repeats: in `level` of such experiments the truth is in low to high.

    `low` and `high` are None where there are too few repeats to say, and equal to `value` where
    every repeat gave the same. With `among` of more than 1 it is one of so many intervals of a
    study, all of which contain their truth in `level` of such studies.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    level: float = LEVEL
    among: int = 1

    @property
    def ends(self) -> tuple[float, float] | None:
        """Return both ends, where there are any."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def is_known(self) -> bool:
        """True if there are ends."""
        return self.ends is not None

    def excludes(self, value: float) -> bool:
        """Return True if there are ends, and `value` lies outside of them."""
        return self.ends is not None and not self.ends[0] <= value <= self.ends[1]


def of_ratio(
    of: Sequence[float], to: Sequence[float], level: float = LEVEL, family: Family = ALONE
) -> Interval:
    """Return the typical ratio of two arms, paired by repeat: its median, without a unit.

    Swapping the arms gives the reciprocals. All intervals of a `family` have the `level` together.
    What is beyond a float ends at the largest or the smallest. Raises `BadInput` for sides of
    unlike length, for none at all, for values that are not above 0 and finite, and for a level
    below 0.5 or not below 1.
    """
    if len(of) != len(to):
        raise refusal("ratio", of=len(of), to=len(to))
    if not all(map(is_usable, (*of, *to))):
        raise BadInput("a ratio has a value that is not above 0 and finite: leave that repeat out")
    logs = of_value([math.log(a) - math.log(b) for a, b in zip(of, to, strict=True)], level, family)
    value, low, high = (
        None if end is None else math.exp(min(max(end, -_LARGEST_LOG), _LARGEST_LOG))
        for end in (logs.value, logs.low, logs.high)
    )
    return msgspec.structs.replace(logs, value=value, low=low, high=high)


def of_ratios(ratios: Sequence[float], level: float = LEVEL) -> Interval:
    """Return the typical one of some ratios, a ratio for each repeat: as `of_ratio`, of one sample.

    Raises `BadInput` as `of_ratio` does.
    """
    return of_ratio(ratios, [1.0] * len(ratios), level)


def of_value(values: Sequence[float], level: float = LEVEL, family: Family = ALONE) -> Interval:
    """Return the typical value of one arm over its repeats: their median, in their unit.

    It supposes that repeats are independent: a machine that drifts makes it too narrow, which a
    ratio within blocks survives. Raises `BadInput` for no value at all, for one that is not finite,
    and for a level below 0.5 or not below 1.
    """
    if not values or not all(map(math.isfinite, values)):
        raise BadInput("an interval needs at least one value, all finite: leave other repeats out")
    if not 0.5 <= level < 1:
        raise BadInput(f"level is {level!r}: it must be a share from 0.5 to below 1, such as 0.95")
    n, each = len(values), family.level(level)
    found = _ends(sorted(values), each)
    if found is None and (alone := _ends(sorted(values), level)):
        from scipy.special import stdtrit  # here: only a study needs it

        deviation = max(stdev(values), _LEAST_DEVIATION * family.deviation)
        reach = float(stdtrit(n - 1, (1 + each) / 2)) * deviation / math.sqrt(n)
        found = min(alone[0], fmean(values) - reach), max(alone[1], fmean(values) + reach)
    low, high = found or (None, None)
    return Interval(value=median(values), low=low, high=high, n=n, level=level, among=family.among)


def of_unpaired(
    of: Sequence[float], to: Sequence[float], level: float = LEVEL, family: Family = ALONE
) -> Interval:
    """Return the typical ratio of two arms that were not run together: Hodges and Lehmann's.

    It is the median of the ratios of all pairs, and its ends are such ratios too, as deep as the
    rank sum test allows: they suppose that the noise of both is alike, and nothing else of it.
    Where no depth reaches the level, they are the extremes, or those of Welch's t where these lie
    further out. Fewer than five values of either give no ends. All values must be above 0.
    """
    sides = [list(map(math.log, one)) for one in (of, to)]
    shifts = sorted(a - b for a, b in itertools.product(*sides))
    n, m, each, ends = len(of), len(to), family.level(level), (math.nan, math.nan)
    if min(n, m) >= MIN_REPEATS:
        depth = _rank_depth(n, m, (1 - each) / 2)
        ends = shifts[max(depth, 1) - 1], shifts[-max(depth, 1)]
        if not depth:
            from scipy.stats import ttest_ind  # here: only a study needs it

            with warnings.catch_warnings(action="ignore"):  # all values of a side may be the same
                welch = ttest_ind(*sides, equal_var=False).confidence_interval(each)
            ends = float(min(ends[0], welch.low)), float(max(ends[1], welch.high))
    low, high = (None if math.isnan(end) else math.exp(end) for end in ends)
    value = math.exp(median(shifts))
    return Interval(value=value, low=low, high=high, n=min(n, m), level=level, among=family.among)


def _rank_depth(n: int, m: int, tail: float) -> int:
    """Return how deep in the sorted differences of two samples an end with this tail lies, or 0."""
    if n * m > MAX_EXACT:
        reach = NormalDist().inv_cdf(1 - tail) * math.sqrt(n * m * (n + m + 1) / 12)
        return math.floor(n * m / 2 - reach)
    below = itertools.accumulate(_orders(n, m, u) for u in range(n * m))
    return sum(one <= tail * math.comb(n + m, n) for one in below)


@cache
def _orders(n: int, m: int, u: int) -> int:
    """Count the orders of two samples in which u pairs are the other way (Mann, Whitney 1947)."""
    if n == 0 or m == 0 or u <= 0:
        return int(u == 0)
    return _orders(n - 1, m, u - m) + _orders(n, m - 1, u)


def repeats_for(among: int, level: float = LEVEL) -> int:
    """Return from how many repeats on order statistics can decide so many comparisons together."""
    counts = itertools.count(MIN_REPEATS)
    return next(n for n in counts if _widest_level(n) >= Family(among).level(level))


def _widest_level(n: int) -> float:
    """Return the level of ends `_FURTHER` out: exact for Laplace's noise, 95.2 % of 5 repeats."""
    return 1 - 2.0 ** (1 - n) * (n - 1) / (n - 1 + n * _FURTHER)


def _ends(values: Sequence[float], level: float) -> tuple[float, float] | None:
    """Return interpolated order statistics of sorted values; None where no ends have `level`."""
    n = len(values)
    if n < MIN_REPEATS or _widest_level(n) < level:
        return None
    # The innermost depth whose values have the level; 1 where none do.
    deeper = itertools.takewhile(lambda k: _coverage(n, k) >= level, itertools.count(2))
    depth = max(deeper, default=1)
    # How far from the values at `depth` to the next inner ones the ends lie (their equation 2).
    outer, inner = _coverage(n, depth), _coverage(n, depth + 1)
    part = (outer - level) / (outer - inner)
    share = (n - depth) * part / (depth + (n - 2 * depth) * part) if part >= 0 else -_FURTHER
    low, high = values[depth - 1], values[-depth]
    return low + share * (values[depth] - low), high + share * (values[-depth - 1] - high)


def _coverage(n: int, depth: int) -> float:
    """Return how often the values `depth` from each end enclose the median, whatever the noise."""
    return 1 - 2.0 ** (1 - n) * sum(math.comb(n, k) for k in range(depth))
