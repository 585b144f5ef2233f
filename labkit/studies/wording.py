"""Findings in words: figures in the units that people read, and a sentence on each check. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from labkit import stats
from labkit.studies.ledger import Check

Pair = tuple[float | None, float | None]
"""What the two arms of a check gave in one repeat."""
_UNITS: Mapping[str, tuple[str, float]] = {
    "_s": ("ms", 1e3),
    "_us": ("\N{MICRO SIGN}s", 1.0),
    "_bytes": ("bytes", 1.0),
    "_share": ("%", 100.0),
}


class Words:
    """A finding in a sentence."""

    def __init__(
        self,
        check: Check,
        known: Sequence[float],
        value: float | None,
        ends: tuple[float, float] | None,
        pairs: Sequence[Pair],
    ) -> None:
        self._check, self._known, self._value, self._ends = check, known, value, ends
        self._pairs = pairs

    def sentence(self, why: str) -> str:
        """What was looked at, what was found, and where that holds."""
        parts = [f"{self._check.says}: {self.found()}{self._medians()}", why, self._band()]
        return "; ".join(filter(None, parts))

    def found(self) -> str:
        """The typical value, its interval and in how many runs."""
        if self._value is None:
            return "no value"
        runs = f"in {len(self._known)} run{'' if len(self._known) == 1 else 's'}"
        if self._ends is None:
            low, high = self._said(min(self._known)), self._said(max(self._known))
            return f"{low if low == high else f'{low} to {high}'} {runs}"
        # The unit once is enough.
        low, high = (self._said(end).partition(" ")[0] for end in self._ends)
        return f"{self._said(self._value)} ({low} to {high} at 95 %) {runs}"

    def _medians(self) -> str:
        if not self._check.is_ratio or self._ends is None:
            return ""
        sides = [[pair[side] for pair in self._pairs] for side in (0, 1)]
        said = [said_of(self._check.measure, median(filter(None, side))) for side in sides]
        return f", medians {said[0]} and {said[1]}"

    def _band(self) -> str:
        check = self._check
        if not check.decides:
            return "told beside the rest, decides nothing"
        low, high = check.at_least, check.at_most
        if low is not None and low == high:
            return f"exactly {self._said(low)} holds"
        ends = [("at least", low), ("at most", high)]
        return f"{' and '.join(f'{w} {self._said(e)}' for w, e in ends if e is not None)} holds"

    def _said(self, value: float) -> str:
        return times(value) if self._check.is_ratio else said_of(self._check.measure, value)


def times(ratio: float) -> str:
    """Such as '×2.9', with more digits near 1, where they matter."""
    return f"×{ratio:.3g}" if not 0.8 < ratio < 1.25 else f"×{ratio:.3f}"


def said_of(measure: str, value: float) -> str:
    """A figure in the unit that people read."""
    if measure in stats.METRICS:
        metric = stats.METRICS[measure]
        return metric.format(value) if metric.unit else f"{value:,.6g}"
    for end, (unit, scale) in _UNITS.items():
        if measure.endswith(end):
            return f"{_plain(value * scale)} {unit}"
    return _plain(value)


def _plain(value: float) -> str:
    whole = value == int(value) and abs(value) < 1e15
    return f"{value:,.0f}" if whole else stats.number(value)
