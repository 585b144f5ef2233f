"""Readings and a claim -> holds, refuted or inconclusive, with the effect. Pure: runs nothing.

It fails closed. A number decides only where five or more fresh processes an arm gave one and its
95 % interval lies wholly inside the band or wholly outside; anything else is inconclusive, and the
reason says what stands in the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Literal

import msgspec

from labkit.errors import BadInput
from labkit.stats import intervals
from labkit.studies.ledger import Check, Claim, Side
from labkit.studies.readings import Reading
from labkit.studies.wording import Pair, Words

MIN_REPEATS = intervals.MIN_REPEATS
Status = Literal["holds", "refuted", "inconclusive", "not yet measurable"]
Answer = Literal["holds", "refuted", "inconclusive", "told"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found. `value` is a ratio where `is_ratio`, else in the measure's base unit.

    `interval` is None where there are too few repeats, or where each run counts by itself
    (`exact`). `inside` is how many runs lie in the band; a ratio is taken run by run for it.
    """

    says: str
    measure: str
    status: Answer
    reason: str
    value: float | None
    interval: tuple[float, float] | None
    n: int
    inside: int
    at_least: float | None
    at_most: float | None
    exact: bool
    is_ratio: bool
    effect: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one claim; `deciding` is the finding that its status follows from."""

    id: str
    seed: str
    source: str
    says: str
    status: Status
    reason: str
    remark: str | None
    deciding: Finding | None
    findings: list[Finding]
    scale: str

    def to_dict(self, environment: Mapping[str, Any]) -> dict[str, Any]:
        """Plain data for JSON: the deciding effect at the top, every finding below."""
        found = self.deciding
        return {
            **{name: getattr(self, name) for name in ("id", "seed", "source", "says", "status")},
            "measure": found and found.measure,
            "effect": found and found.value,
            "is_ratio": found and found.is_ratio,
            "interval": found and found.interval,
            "n": found.n if found else 0,
            "band": found and [found.at_least, found.at_most],
            "exact": found and found.exact,
            "scale": self.scale,
            "reason": self.reason,
            "remark": self.remark,
            "findings": msgspec.to_builtins(self.findings),
            "environment": dict(environment),
        }


def judge(
    claim: Claim, source: str, sides: Sequence[Mapping[Side, Sequence[Reading]]], scale: str
) -> Result:
    """The result for a claim from the readings of each check's arms, in the order of its checks."""
    findings = [found(check, arms) for check, arms in zip(claim.checks, sides, strict=True)]
    status, deciding = _status(findings)
    reason = f"needs {claim.needs}" if claim.needs else deciding.reason if deciding else ""
    return Result(
        id=claim.id,
        seed=claim.seed,
        source=source,
        says=claim.says,
        status=status,
        reason=reason,
        remark=claim.remark,
        deciding=deciding,
        findings=findings,
        scale=scale,
    )


def _status(findings: Sequence[Finding]) -> tuple[Status, Finding | None]:
    judged = [one for one in findings if one.status != "told"]
    order: tuple[Status, ...] = ("refuted", "inconclusive", "holds")
    for status in order:
        for one in judged:
            if one.status == status:
                return status, one
    return "not yet measurable", None


def found(check: Check, arms: Mapping[Side, Sequence[Reading]]) -> Finding:
    """What one check found in the readings of its arms, paired by repeat."""
    pairs, doubts = _paired(check, arms)
    known = [value for pair in pairs if (value := _number(check, pair)) is not None]
    interval = None if check.exact else _interval(check, pairs, known)
    low, high = check.band
    inside = sum(low <= value <= high for value in known)
    status, why = _decide(check, len(pairs), known, interval, inside, doubts)
    ends = _ends(interval)
    value = _typical(check, known, interval)
    words = Words(check, known, value, ends, pairs)
    return Finding(
        says=check.says,
        measure=check.measure,
        status=status,
        reason=words.sentence(why),
        value=value,
        interval=ends,
        n=len(known),
        inside=inside,
        at_least=check.at_least,
        at_most=check.at_most,
        exact=check.exact,
        is_ratio=check.is_ratio,
        effect=words.found(),
    )


def _paired(
    check: Check, arms: Mapping[Side, Sequence[Reading]]
) -> tuple[list[Pair], dict[str, None]]:
    """One pair a repeat (the second is 1 where nothing is divided), and why values are missing."""
    by_side = {side: {one.repeat: one for one in readings} for side, readings in arms.items()}
    repeats = sorted({repeat for readings in by_side.values() for repeat in readings})
    pairs: list[Pair] = []
    doubts: dict[str, None] = {}
    for repeat in repeats:
        values: list[float | None] = []
        for readings in by_side.values():
            reading = readings.get(repeat)
            value, why = reading.figure(check.measure) if reading else (None, "a run is missing")
            values.append(value)
            doubts |= {why: None} if why else {}
        pairs.append((values[0], values[1] if check.is_ratio else 1.0))
    return pairs, doubts


def _number(check: Check, pair: Pair) -> float | None:
    of, to = pair
    if of is None or to is None:
        return None
    if not check.is_ratio:
        return of
    return of / to if to > 0 else None


def _interval(
    check: Check, pairs: Sequence[Pair], known: Sequence[float]
) -> intervals.Interval | None:
    """None where a value is missing, or not above 0: then there is no ratio to speak of."""
    if not pairs or len(known) < len(pairs):
        return None
    of = [pair[0] for pair in pairs if pair[0] is not None]
    to = [pair[1] for pair in pairs if pair[1] is not None]
    try:
        return intervals.of_ratio(of, to)
    except BadInput:
        return None


def _ends(interval: intervals.Interval | None) -> tuple[float, float] | None:
    if interval is None or interval.low is None or interval.high is None:
        return None
    return interval.low, interval.high


def _typical(
    check: Check, known: Sequence[float], interval: intervals.Interval | None
) -> float | None:
    if interval is not None:
        return interval.value
    return median(known) if known else None


def _decide(
    check: Check,
    repeats: int,
    known: Sequence[float],
    interval: intervals.Interval | None,
    inside: int,
    doubts: Mapping[str, None],
) -> tuple[Answer, str]:
    """The answer, and for 'inconclusive' what stands in the way."""
    if not check.decides:
        return "told", ""
    if repeats < MIN_REPEATS:
        return "inconclusive", f"it takes {MIN_REPEATS} repeats, and there are {repeats}"
    if len(known) < repeats:
        why = "; ".join(doubts) or "a divisor is not above 0"
        return "inconclusive", f"{repeats - len(known)} of {repeats} repeats have no value: {why}"
    return _each(inside, repeats) if check.exact else _against(check, _ends(interval))


def _against(check: Check, ends: tuple[float, float] | None) -> tuple[Answer, str]:
    if ends is None:
        return "inconclusive", "a value is not above 0, so there is no ratio to it"
    low, high = check.band
    if low <= ends[0] and ends[1] <= high:
        return "holds", ""
    if ends[1] < low or ends[0] > high:
        return "refuted", ""
    return "inconclusive", "the interval reaches across the edge; measure more or longer"


def _each(inside: int, repeats: int) -> tuple[Answer, str]:
    if inside in (0, repeats):
        return ("holds" if inside else "refuted"), ""
    return "inconclusive", f"only {inside} of {repeats} runs lie in the band, and all should"
