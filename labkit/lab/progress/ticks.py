"""Round numbers for an axis that starts at 0."""

from __future__ import annotations

import math

TINY = 1e-9
"""A figure this small is drawn on the axis of 1: it is nothing."""


def ticks(most: float, about: int = 4) -> list[float]:
    """From 0 to `most` or just above it in steps of 1, 2 or 5 times a power of ten.

    There are at most `about` steps, and at least one.
    """
    if not TINY < most < math.inf:
        most = 1.0
    least = most / about
    power = 10.0 ** math.floor(math.log10(least))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))
    count = max(1, math.ceil(most / step * (1 - 1e-9)))
    return [step * number for number in range(count + 1)]


def label(value: float, step: float) -> str:
    """A tick as text, with as many decimals as its step needs."""
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    return f"{value:,.{min(decimals, 9)}f}"
