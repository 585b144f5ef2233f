"""`Finding` and `Verdict`: what became of a check and of a claim, in figures and in words. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from types import MappingProxyType
from typing import Any, Literal, Self

import msgspec

from labkit import paths, stats
from labkit.escaping import escape, visible
from labkit.stats.comparisons import repeats_text, times
from labkit.studies.parts import Check, Judged

Word = Literal["holds", "refuted", "inconclusive"]
# A sign for each word, so that none is known by its colour alone.
MARKS: Mapping[str, str] = MappingProxyType(paths.table("tables.toml")["marks"])

_UNTESTABLE = "not testable here"
# What a finding repeats of its check.
OF_CHECK = ("says", "measure", "published", "at_least", "at_most", "exact", "is_ratio", "take")
_UNITS: Mapping[str, tuple[str, float]] = paths.table("tables.toml")["units"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found; without a band it is informational.

    `measured` is the median over the repeats, `low` and `high` their range: a ratio, or in the
    measure's base unit; None where nothing could be computed. `interval` is the 95 % one, where
    five repeats or more have a value. `n` repeats have one, `inside` of them in the band. `said` is
    what was published: the figure, or the band.
    """

    says: str
    measure: str
    verdict: Literal["holds", "refuted", "inconclusive", "informational"]
    reason: str
    published: float | None
    measured: float | None
    low: float | None
    high: float | None
    interval: tuple[float, float] | None
    n: int
    inside: int
    at_least: float | None
    at_most: float | None
    exact: bool
    is_ratio: bool
    effect: str
    said: str
    take: str | None = None

    @property
    def marked(self) -> str:
        """Return the verdict with its sign."""
        return f"{MARKS[self.verdict]} {self.verdict}"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one regime of a claim; `deciding` is the finding that it follows from.

    `findings` has those too that only inform. Without a `deciding` one it was not testable here.
    `then` is what was found in the software of then.
    """

    id: str
    regime: str = ""
    source: str
    says: str
    verdict: Word
    reason: str
    scale: str
    remark: str | None = None
    findings: Sequence[Finding] = ()
    deciding: Finding | None = None
    then: Finding | None = None

    @classmethod
    def of(cls, findings: Sequence[Finding], *, why: str = "", **names: Any) -> Self:
        """Return the verdict that follows from the finding that decides.

        Without one, `why` says what keeps it from being tested. `names` are the other fields.
        """
        for one in findings:
            if one.verdict != "informational":
                names |= {"verdict": one.verdict, "reason": one.reason, "deciding": one}
                return cls(findings=findings, **names)
        reason = f"not testable here: {why or 'this scale gives it no band'}"
        return cls(verdict="inconclusive", reason=reason, findings=findings, **names)

    @property
    def name(self) -> str:
        """Return the claim's id, with the regime where it has several."""
        return f"{self.id}/{self.regime}" if self.regime else self.id

    def __getattr__(self, name: str) -> Any:
        # The figures of the deciding finding, where there is one.
        if name not in Finding.__struct_fields__:
            raise AttributeError(name)
        return getattr(self.deciding, name, None)

    @property
    def changed(self) -> str:
        """Return in a sentence what changed since then; nothing where that did not run."""
        return what_changed(self.then, self.deciding) if self.then and self.deciding else ""

    @property
    def because(self) -> str:
        """Return the reason; and where the software of then ran, its verdict and what changed."""
        if self.then is None:
            return self.reason
        return f"{self.reason}. In the software of then: {self.then.marked}. {self.changed}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON. `range` is that over the repeats, which is no interval."""
        names = ("id", "regime", "source", "says", "verdict", "reason", "scale", "remark",
                 "published", "measured", "interval", "n")  # fmt: skip
        return {
            **{name: getattr(self, name) for name in names},
            "range": None if self.measured is None else [self.low, self.high],
            "findings": msgspec.to_builtins(self.findings),
            "then": msgspec.to_builtins(self.then),
            "changed": self.changed,
        }

    def text(self) -> str:
        """Return the verdict with its mark, what is claimed, and why."""
        where = f" ({self.regime})" if self.regime else ""
        parts = (f"{self.says.rstrip('.')}{where}", self.because)
        said = " ".join(f"{one.rstrip('.')}." for one in parts)
        return f"{MARKS[self.verdict]} {self.verdict}: {said}"

    def html(self) -> str:
        """Return the same as a paragraph, escaped."""
        return f'<p class="verdict {self.verdict}">{escape(self.text())}</p>'

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": visible(self.text())}


def tally(found: Iterable[Verdict]) -> str:
    """Return how many verdicts there are of each word, in a sentence; untestable ones apart."""
    every = list(found)
    words = [one.verdict if one.deciding else _UNTESTABLE for one in every]
    counts = Counter[str](words), Counter[str](one.then.verdict for one in every if one.then)
    listed, then = (
        ", ".join(f"{of[word]} {word}" for word in (*MARKS, _UNTESTABLE) if of[word])
        for of in counts
    )
    then = f" In the software of then: {then}." if then else ""
    count = len({one.id for one in every})
    regimes = f" in {len(every)} regimes" if count < len(every) else ""
    return f"{count} claim{'' if count == 1 else 's'}{regimes}: {listed or 'none checked'}.{then}"


def what_changed(then: Finding, now: Finding) -> str:
    """Return in a sentence what changed since a claim was published: its hardware or its software.

    The software of then on this machine tells the two apart: what it still finds no hardware has
    changed, and what today's finds otherwise the software has. Between two that both find it, how
    much it is has changed where their intervals (or ranges, of few repeats) do not meet.
    """
    key = f"{then.verdict}-{now.verdict}"
    if key == "holds-holds":
        ends = (one.interval or (one.low or 0.0, one.high or 0.0) for one in (then, now))
        (low, high), (least, most) = ends
        key = "holds-otherwise" if low > most or least > high else key
    elif not {then.verdict, now.verdict} <= {"holds", "refuted"}:
        key = "undecided"
    # Without a figure of the source's there is the band alone, which nobody published.
    said = f"{now.said} holds" if now.published is None else f"{now.said} published"
    return paths.sentence(f"changed-{key}", said=said, then=then, now=now)


def reason(
    judged: Judged, why: str, effect: str, sides: Sequence[Sequence[float]], measured: float | None
) -> str:
    """Return one sentence: what stands in the way, what was found, and beside what."""
    check = judged.check
    subject = check.says or _subject(judged)
    if judged.instead:
        subject = f"judged by what shows at this scale: {subject}"
    medians = ""
    if check.is_ratio and len(sides) == 2 and measured is not None:
        of, to = (show(check.measure, median(side)) for side in sides)
        medians = f" (medians {of} and {to})"
    parts = [why, f"{subject}: {effect}{medians}"]
    parts.append(f"{band_text(check)} holds" if check.decides else "informational only")
    if check.published is not None:
        share = f", of which this is {measured / check.published:.2g}" if measured else ""
        parts.append(f"the source found {shown(check, check.published)}{share}")
    sentence = "; ".join(filter(None, parts))
    return sentence[0].upper() + sentence[1:]


def band_text(check: Check) -> str:
    """Return the band in words; empty where there is none."""
    ends = {"at least": check.at_least, "at most": check.at_most}
    if check.at_least is not None and check.at_least == check.at_most:
        ends = {"exactly": check.at_least}
    return " and ".join(f"{word} {shown(check, at)}" for word, at in ends.items() if at is not None)


def _subject(judged: Judged) -> str:
    """Return in words what a check without a sentence of its own compares."""
    check = judged.check
    label = stats.METRICS[check.measure].label if check.measure in stats.METRICS else check.measure
    of, to = (f"{', '.join(ids[:-1])} and {ids[-1]}" if ids[1:] else "".join(ids)
              for ids in (judged.of, judged.to))  # fmt: skip
    if check.take == "slope":
        less = f", less that of {judged.to[0]}" if judged.to else ""
        return f"{label} for each further request of {judged.of[0]}{less}"
    if check.take == "spread":
        return f"largest over smallest {label} of {of}"
    if check.take is not None:
        return f"{check.take} {label} of {of}"
    return f"{label} of {of}{f' over {to}' if to else ''}"


def effect_text(
    check: Check,
    known: Sequence[float],
    measured: float | None,
    interval: tuple[float, float] | None,
) -> str:
    """Return the typical value with its interval, or the range, and of how many repeats."""
    if measured is None:
        return "no value"
    runs = f"in {repeats_text(len(known))}"
    # The unit once is enough.
    low, high = (shown(check, end) for end in interval or (min(known), max(known)))
    start = low if low.partition(" ")[2] != high.partition(" ")[2] else low.partition(" ")[0]
    if interval is not None:
        return f"{shown(check, measured)} ({start} to {high.partition(' ')[0]} at 95 %) {runs}"
    return f"{high if low == high else f'{start} to {high}'} {runs}"


def shown(check: Check, value: float) -> str:
    """Return a number that a check makes: a ratio, a slope, or a figure in its unit."""
    if check.is_ratio:
        return times(value)
    if check.take == "slope":
        metric = stats.METRICS.get(check.measure)
        unit = {"MB": "bytes"}.get(metric.unit, metric.unit) if metric else ""
        return f"{stats.number(value)} {unit}".rstrip()
    return show(check.measure, value)


def show(measure: str, value: float) -> str:
    """Return a figure in the unit that people read."""
    if measure in stats.METRICS:
        metric = stats.METRICS[measure]
        return metric.format(value) if metric.unit else f"{value:,.6g}"
    unit, scale = next((one for end, one in _UNITS.items() if measure.endswith(end)), ("", 1.0))
    scaled = value * scale
    whole = scaled == int(scaled) and abs(scaled) < 1e15
    return f"{scaled:,.0f} {unit}".rstrip() if whole else f"{stats.number(scaled)} {unit}".rstrip()
