"""What to doubt about an arm as a whole: too few repeats, or repeats that lie far apart. Pure.

No record can know this of itself; what one knows is in `guards`. What the codes mean is in `codes`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from labkit.record.codes import CODES
from labkit.stats.intervals import LEAST_REPEATS

if TYPE_CHECKING:
    import pandas as pd

DEVIATION_SHARE, EXTREME_SHARE = 0.1, 0.5
"""Of the mean: the standard deviation, and the distance of an extreme, from which on repeats are
called unstable (pyperf's thresholds)."""


def of_arm(rows: pd.DataFrame) -> list[str]:
    """Return the codes of the doubts about the arm that these rows of a frame are.

    Invalid records do not count.
    """
    return of_times(rows.loc[rows["verdict"] != "invalid", "wall_s"].tolist())


def of_times(times_s: Sequence[float | None]) -> list[str]:
    """Return the codes of the doubts about an arm from the time of each of its usable repeats.

    What spreads is the time, and with it the rate. None and NaN are repeats without a time.
    """
    found = ["few-repeats"] if len(times_s) < LEAST_REPEATS else []
    known = [time_s for time_s in times_s if time_s is not None and not math.isnan(time_s)]
    return found + (["spread"] if spreads(known) else [])


def spreads(values: Sequence[float]) -> bool:
    """Whether repeats lie far apart: by their standard deviation, or by one of their extremes."""
    if len(values) < 2:
        return False
    mean = statistics.mean(values)
    furthest = max(max(values) - mean, mean - min(values))
    return statistics.stdev(values) > DEVIATION_SHARE * mean or furthest > EXTREME_SHARE * mean


def sentences(doubts: Mapping[str, Sequence[str]], repeats: int) -> list[str]:
    """Return a sentence for each doubt about these arms: which arms, what it is, what to do.

    `doubts` has the codes of each arm under its label, `repeats` is how many the arm with the most
    has. Without repeats there is nothing to compare, and so nothing to doubt.
    """
    found = []
    for code in ("few-repeats", "spread") if repeats > 1 else ():
        whom = [label for label, codes in doubts.items() if code in codes]
        if whom:
            who = "all arms" if len(whom) == len(doubts) > 1 else "; ".join(whom)
            found.append(f"{code} ({who}): {CODES[code].when}; {CODES[code].do}.")
    return found
