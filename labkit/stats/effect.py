"""Two arms -> whether one is higher, by how much, and how sure that is. Pure; it fails closed.

The interval of the ratio decides, and it alone: the effect size stands beside it for readers who
expect one. What cannot be decided is 'inconclusive', whatever the cause.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from types import MappingProxyType
from typing import Literal

import msgspec

from labkit.stats.intervals import LEVEL, MIN_REPEATS, Interval, of_ratio
from labkit.stats.metrics import is_usable, number

Answer = Literal["higher", "lower", "inconclusive"]
Values = Sequence[float | None]

MARKS: Mapping[Answer, str] = MappingProxyType(
    {"higher": "\N{UPWARDS ARROW}", "lower": "\N{DOWNWARDS ARROW}", "inconclusive": "?"}
)
"""A sign for each answer."""
_EFFECT_SIZES = ((0.147, "negligible"), (0.33, "small"), (0.474, "medium"), (math.inf, "large"))
"""Up to which size of Cliff's delta an effect is called what (Romano and others, 'Exploring methods
for evaluating group differences on the NSSE and other surveys', 2006)."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the first arm is higher than the second, over `n` repeats of both.

    `ratio` is the first over the second, paired by repeat. `effect` is Cliff's delta: how much more
    often a run of the first is above one of the second than below it, from -1 to 1; it ignores the
    pairing. Each is None where it cannot be computed.
    """

    ratio: Interval | None
    effect: float | None
    effect_size: str | None
    n: int
    answer: Answer
    reason: str

    @property
    def says(self) -> str:
        """The ratio and its interval, or 'inconclusive' and why, in a few words."""
        if self.ratio is None or self.ratio.low is None or self.ratio.high is None:
            return f"inconclusive ({self.reason})"
        low, high = ratio_text(self.ratio.low), ratio_text(self.ratio.high)
        ends = f"{ratio_text(self.ratio.value)} ({low} to {high})"
        return ends if self.answer != "inconclusive" else f"{ends}, inconclusive"

    def text(self) -> str:
        """Return the answer with its mark, the ratio, and the reason, in a sentence."""
        return f"{MARKS[self.answer]} {self.answer}{self._reason_text()}"

    def _reason_text(self) -> str:
        value = ""
        if self.ratio is not None and self.ratio.is_known:
            value = f" \N{MULTIPLICATION SIGN}{ratio_text(self.ratio.value)}"
        runs = f"{self.n} repeat{'s' * (self.n != 1)}"
        effect = f"; the effect is {self.effect_size}" if self.effect_size else ""
        return f":{value} over {runs}; {self.reason}{effect}."

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        word = f"{MARKS[self.answer]} <b>{self.answer}</b>"
        html = f"<p>{word}{escape(self._reason_text())}</p>"
        return {"text/html": html, "text/plain": self.text()}


def compare(of: Values, to: Values, level: float = LEVEL) -> Comparison:
    """Compare two arms from one value above 0 for each repeat of each, paired by repeat.

    Never raises: None, NaN, values not above 0, sides of unlike length, and fewer than five repeats
    are 'inconclusive'.
    """
    try:
        return _compare(of, to, level)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is no reason to claim anything
        return _inconclusive(min(len(of), len(to)), f"it could not be computed: {error}")


def _compare(of: Values, to: Values, level: float) -> Comparison:
    n = min(len(of), len(to))
    if len(of) != len(to):
        why = f"{len(of)} values against {len(to)}, where each repeat has one of both"
        return _inconclusive(n, why)
    # Plain floats: numpy's own compare to its own booleans, which cannot be subtracted.
    pairs = [
        (float(a), float(b)) for a, b in zip(of, to, strict=True) if is_usable(a) and is_usable(b)
    ]
    if len(pairs) < n:
        return _inconclusive(
            n, f"{n - len(pairs)} of {n} repeats lack a valid value above 0 of both"
        )
    if not pairs:
        return _inconclusive(n, "no repeat has both")
    above, below = [a for a, _ in pairs], [b for _, b in pairs]
    ratio = of_ratio(above, below, level)
    if ratio.low is None or ratio.high is None:
        needed = f"; {MIN_REPEATS} needed" if n < MIN_REPEATS else f": too few for {level:.1%}"
        return _inconclusive(n, f"{n} repeat{'s' * (n != 1)}{needed}", ratio)
    answer: Answer = "inconclusive"
    where = "contains 1"
    if ratio.low > 1:
        answer, where = "higher", "lies above 1"
    elif ratio.high < 1:
        answer, where = "lower", "lies below 1"
    ends = f"{ratio_text(ratio.low)} to {ratio_text(ratio.high)}"
    effect = cliffs_delta(above, below)
    return Comparison(
        ratio=ratio,
        effect=effect,
        effect_size=next(word for most, word in _EFFECT_SIZES if abs(effect) <= most),
        n=n,
        answer=answer,
        reason=f"the {100 * level:g} % interval of the ratio, {ends}, {where}",
    )


def _inconclusive(n: int, reason: str, ratio: Interval | None = None) -> Comparison:
    return Comparison(
        ratio=ratio, effect=None, effect_size=None, n=n, answer="inconclusive", reason=reason
    )


def cliffs_delta(of: Sequence[float], to: Sequence[float]) -> float:
    """Return the share of pairs with `of` above `to`, less that with `of` below (Cliff 1993)."""
    return sum((a > b) - (a < b) for a in of for b in to) / (len(of) * len(to))


def ratio_text(ratio: float) -> str:
    """Return a ratio as people read it, with more digits near 1, where they make a difference."""
    return f"{ratio:.3f}" if 0.9 < ratio < 1.1 else number(ratio)
