"""How far a measured ratio may be off: intervals over repeats in fresh processes. Pure.

Repeats are blocks: one block holds a run of each arm, near each other in time, so that what the
machine does to one it does to the other. The ratio of each block is one observation, and what is
estimated is their geometric mean, which for ratios is the typical value: 2 and 1/2 cancel out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from labkit.errors import BadInput

LEAST_REPEATS = 5
"""Fewer repeats give no interval (after Kalibera and Jones, 'Rigorous benchmarking in reasonable
time', 2013; the number is this lab's judgement)."""
LEVEL = 0.95


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate from `n` repeats: in `level` of such experiments, low to high holds the truth.

    `low` and `high` are None where there are too few repeats to say.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    level: float = LEVEL

    @property
    def is_known(self) -> bool:
        """Whether there are ends."""
        return self.low is not None


def of_ratio(of: Sequence[float], to: Sequence[float], level: float = LEVEL) -> Interval:
    """The typical ratio of two arms, paired by repeat, with Student's interval on its logarithm.

    Why this one: see `tests/test_intervals.py`, which simulates what it claims; a percentile
    bootstrap of 5 repeats holds the truth in some 85 % of experiments only.

    Raises `BadInput` for sides of unlike length, for none at all, and for values that are not
    above 0 and finite.
    """
    if len(of) != len(to) or not of:
        raise BadInput(
            f"a ratio has {len(of)} values over {len(to)}: give one pair a repeat, and at least one"
        )
    if not all(math.isfinite(value) and value > 0 for value in (*of, *to)):
        raise BadInput("a ratio has a value that is not above 0 and finite: leave that repeat out")
    logs = [math.log(a / b) for a, b in zip(of, to, strict=True)]
    n, mean = len(logs), math.fsum(logs) / len(logs)
    if n < LEAST_REPEATS:
        return Interval(value=math.exp(mean), low=None, high=None, n=n, level=level)
    from scipy.stats import t  # here: half a second that only a judgement needs

    spread = math.sqrt(math.fsum((one - mean) ** 2 for one in logs) / (n - 1) / n)
    reach = float(t.ppf((1 + level) / 2, n - 1)) * spread
    return Interval(
        value=math.exp(mean),
        low=math.exp(mean - reach),
        high=math.exp(mean + reach),
        n=n,
        level=level,
    )
