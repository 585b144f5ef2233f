"""What to doubt about an arm as a whole: too few repeats, or repeats that lie far apart. Pure.

No record can know this of itself; what one knows is in `guards`. What the codes mean is in `codes`.
"""

from __future__ import annotations

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
    """The codes of the doubts about the arm that these rows of a frame are; invalid ones are out.

    What spreads is the time (`wall_s`), and with it the rate.
    """
    usable = rows[rows["verdict"] != "invalid"]
    found = ["few-repeats"] if len(usable) < LEAST_REPEATS else []
    return found + (["spread"] if spreads(list(usable["wall_s"].dropna())) else [])


def spreads(values: Sequence[float]) -> bool:
    """Whether repeats lie far apart: by their standard deviation, or by one of their extremes."""
    import pandas as pd

    if len(values) < 2:
        return False
    found = pd.Series(values)
    mean = found.mean()
    furthest = max(found.max() - mean, mean - found.min())
    return bool(found.std() > DEVIATION_SHARE * mean or furthest > EXTREME_SHARE * mean)


def said(arms: Mapping[str, pd.DataFrame]) -> list[str]:
    """A sentence for each doubt about these arms: whom it concerns, what it is, what to do.

    Nothing is said of repeats where no arm has any: then there is nothing to compare anyway.
    """
    doubts = {label: of_arm(rows) for label, rows in arms.items()}
    repeated = any(len(rows) > 1 for rows in arms.values())
    sentences = []
    for code in ("few-repeats", "spread") if repeated else ():
        whom = [label for label, codes in doubts.items() if code in codes]
        if whom:
            who = "all arms" if len(whom) == len(doubts) > 1 else "; ".join(whom)
            sentences.append(f"{code} ({who}): {CODES[code].when}; {CODES[code].do}.")
    return sentences
