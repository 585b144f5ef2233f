"""Two arms -> whether one is higher, by how much, and how sure that is. Pure; it fails closed.

The interval of the ratio decides, and it alone: the p-value and the effect size stand beside it for
readers who expect them. What cannot be decided is 'inconclusive', whatever the cause.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from types import MappingProxyType
from typing import Literal

import msgspec

from labkit.stats.intervals import LEAST_REPEATS, LEVEL, Interval, of_ratio
from labkit.stats.metrics import number

Answer = Literal["higher", "lower", "inconclusive"]
Values = Sequence[float | None]

MARKS: Mapping[Answer, str] = MappingProxyType(
    {"higher": "\N{UPWARDS ARROW}", "lower": "\N{DOWNWARDS ARROW}", "inconclusive": "?"}
)
"""A sign for each answer."""
_WORDS = ((0.147, "negligible"), (0.33, "small"), (0.474, "medium"), (math.inf, "large"))
"""Up to which size of Cliff's delta an effect is called what (Romano and others, 'Exploring methods
for evaluating group differences on the NSSE and other surveys', 2006)."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the first arm is higher than the second, over `n` repeats of both.

    `ratio` is the first over the second, paired by repeat. `p` is of the two-sided Mann-Whitney
    test, `effect` Cliff's delta: how much more often a run of the first is above one of the second
    than below it, from -1 to 1; both ignore the pairing. Each is None where it cannot be computed.
    """

    ratio: Interval | None
    p: float | None
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
        ends = f"{shown(self.ratio.value)} ({shown(self.ratio.low)} to {shown(self.ratio.high)})"
        return ends if self.answer != "inconclusive" else f"{ends}, inconclusive"

    def text(self) -> str:
        """The answer with its mark, the ratio with its interval, and why, in a sentence."""
        return f"{MARKS[self.answer]} {self.answer}{self._said()}"

    def _said(self) -> str:
        ratio = self.ratio
        known = ratio is not None and ratio.low is not None
        value = f" \N{MULTIPLICATION SIGN}{shown(ratio.value)}" if ratio and known else ""
        runs = f"{self.n} repeat{'s' * (self.n != 1)}"
        effect = f"; the effect is {self.effect_size}" if self.effect_size else ""
        return f":{value} over {runs}; {self.reason}{effect}."

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        word = f"{MARKS[self.answer]} <b>{self.answer}</b>"
        return {"text/html": f"<p>{word}{escape(self._said())}</p>", "text/plain": self.text()}


def compare(of: Values, to: Values, level: float = LEVEL) -> Comparison:
    """Compare two arms from one value above 0 for each repeat of each, paired by repeat.

    Never raises: None, NaN, values not above 0, sides of unlike length, and fewer than five repeats
    are 'inconclusive'.
    """
    n = min(len(of), len(to))
    why = _missing(of, to)
    if why is not None:
        return _undecided(n, why)
    try:
        return _compared(_known(of), _known(to), level)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is no reason to claim anything
        return _undecided(n, f"it could not be computed: {error}")


def _missing(of: Values, to: Values) -> str | None:
    """What keeps the values from being compared; None where nothing does."""
    if len(of) != len(to):
        return f"{len(of)} values against {len(to)}, where each repeat has one of both"
    bad = sum(not (_usable(a) and _usable(b)) for a, b in zip(of, to, strict=True))
    if bad:
        return f"{bad} of {len(of)} repeats lack a valid value above 0 of both"
    return None if of else "no repeat has both"


def _usable(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def _known(values: Values) -> list[float]:
    # Plain floats: numpy's own compare to its own booleans, which cannot be subtracted.
    return [float(value) for value in values if value is not None]


def _undecided(n: int, reason: str, ratio: Interval | None = None) -> Comparison:
    return Comparison(
        ratio=ratio,
        p=None,
        effect=None,
        effect_size=None,
        n=n,
        answer="inconclusive",
        reason=reason,
    )


def _compared(of: Sequence[float], to: Sequence[float], level: float) -> Comparison:
    ratio = of_ratio(of, to, level)
    if not ratio.is_known:
        few = ratio.n < LEAST_REPEATS
        needed = f"; {LEAST_REPEATS} needed" if few else f": too few for {level:.1%}"
        return _undecided(ratio.n, f"{ratio.n} repeat{'s' * (ratio.n != 1)}{needed}", ratio)
    answer, reason = _answered(ratio)
    effect = cliffs_delta(of, to)
    return Comparison(
        ratio=ratio,
        p=_mann_whitney(of, to),
        effect=effect,
        effect_size=next(word for most, word in _WORDS if abs(effect) <= most),
        n=ratio.n,
        answer=answer,
        reason=reason,
    )


def _answered(ratio: Interval) -> tuple[Answer, str]:
    assert ratio.low is not None
    assert ratio.high is not None
    ends = f"{shown(ratio.low)} to {shown(ratio.high)}"
    ends = f"the {100 * ratio.level:g} % interval of the ratio, {ends},"
    if ratio.low > 1:
        return "higher", f"{ends} lies above 1"
    if ratio.high < 1:
        return "lower", f"{ends} lies below 1"
    return "inconclusive", f"{ends} holds 1"


def _mann_whitney(of: Sequence[float], to: Sequence[float]) -> float | None:
    """The two-sided p-value, exact for few values without ties; None where all values are equal."""
    from scipy.stats import mannwhitneyu  # here: half a second that only a judgement needs

    if len({*of, *to}) == 1:
        return None
    p = float(mannwhitneyu(of, to).pvalue)
    return p if math.isfinite(p) else None


def cliffs_delta(of: Sequence[float], to: Sequence[float]) -> float:
    """Share of all pairs in which `of` is above `to`, less that where below (Cliff 1993)."""
    return sum((a > b) - (a < b) for a in of for b in to) / (len(of) * len(to))


def shown(ratio: float) -> str:
    """A ratio as people read it; more digits near 1, where they tell a difference."""
    return f"{ratio:.3f}" if 0.9 < ratio < 1.1 else number(ratio)
