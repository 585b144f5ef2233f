"""A relation and measurements -> a verdict. Pure: runs nothing, reads nothing.

A relation (see `published`) is judged repeat by repeat, one repeat being one interleaved block, and
it fails closed: what cannot be decided is 'not decided'. Low and high are the range over the
repeats, never a confidence interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import zip_longest
from statistics import median
from types import MappingProxyType
from typing import Any, Literal, TypeGuard

import msgspec

from labkit import stats
from labkit.record import guards
from labkit.record.record import Record
from labkit.studies.published import MIN_REPEATS, Relation

RATE = "throughput_rps"

Answer = Literal["agrees", "disagrees", "not decided"]
Values = Sequence[float | None]
MARKS: Mapping[Answer, str] = MappingProxyType(
    {"agrees": "\N{CHECK MARK}", "disagrees": "\N{BALLOT X}", "not decided": "?"}
)
"""A sign for each verdict, so that none is told by colour alone."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether what was measured agrees with what was published, and why.

    `measured` is the median over the repeats, `low` and `high` their range, in the unit of the
    metric, bytes or seconds (a ratio has none). All three are None where nothing could be computed.
    `interval` is that of a ratio's median, where five repeats or more all have one.
    """

    id: str
    says: str
    published: float | None
    measured: float | None
    low: float | None
    high: float | None
    verdict: Answer
    reason: str
    scale: str
    interval: stats.Interval | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON. `range` is that over the repeats, which is no interval."""
        data = {name: getattr(self, name) for name in self.__struct_fields__}
        ends, interval = [data.pop("low"), data.pop("high")], data.pop("interval")
        return data | {
            "interval": interval and [interval.low, interval.high],
            "range": None if self.measured is None else ends,
        }

    def text(self) -> str:
        """The verdict with its mark, what is stated, and why."""
        return f"{MARKS[self.verdict]} {self.verdict}: {self._said()}"

    def _said(self) -> str:
        return " ".join(f"{one.rstrip('.')}." for one in (self.says, self.reason))

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        word, said = f"{MARKS[self.verdict]} <b>{self.verdict}</b>", escape(self._said())
        return {"text/html": f"<p>{word}: {said}</p>", "text/plain": self.text()}


def verdicts(relations: Iterable[Relation], records: Sequence[Record], scale: str) -> list[Verdict]:
    """Each relation judged by the records of one study, whose `axes` name their row.

    Raises `BadInput` for a metric that does not exist.
    """
    return [
        judge(relation, *values(relation, records), scale, causes(relation, records))
        for relation in relations
    ]


def causes(relation: Relation, records: Iterable[Record]) -> str:
    """Why records of the relation's rows have no value: each cause, and how often it is one."""
    of = [record for record in records if record.axes.get("row") in relation.rows]
    invalid = [record for record in of if record.verdict == "invalid"]
    codes = stats.codes_text(note.code for one in invalid for note in one.warnings)
    held_up = [
        record
        for record in of
        if record.verdict != "invalid" and relation.measure == RATE and guards.held_up(record)
    ]
    said = [f"invalid records: {len(invalid)}, {codes}"] if invalid else []
    said += [f"rates that the other side may have set: {len(held_up)}"] if held_up else []
    return "; ".join(said)


def values(
    relation: Relation, records: Iterable[Record]
) -> tuple[list[float | None], list[float | None] | None]:
    """The two sides of a relation, a value for each repeat; None where there is none to trust.

    The second side is None for a relation that is no ratio.
    """
    metric = stats.metric(relation.measure)
    blocks: dict[int, dict[str, float | None]] = {}
    for record in records:
        row, block = str(record.axes.get("row")), blocks.setdefault(record.repeat, {})
        # Two records for one place: which of them belongs there cannot be known.
        trusted = record.verdict != "invalid" and row not in block
        trusted = trusted and not (relation.measure == RATE and guards.held_up(record))
        block[row] = metric.of(record) if trusted else None
    sides = [
        _sides(relation, block)
        for _, block in sorted(blocks.items())
        if not block.keys().isdisjoint(relation.rows)
    ]
    return [of for of, _ in sides], [to for _, to in sides] if relation.is_ratio else None


def _sides(relation: Relation, block: dict[str, float | None]) -> tuple[float | None, float | None]:
    found = [block.get(row) for row in relation.rows]
    numbers = [value for value in found if _usable(value)]
    if len(numbers) < len(found):
        return None, None
    if relation.take is None:
        return numbers[0], numbers[-1]
    least, most = min(numbers), max(numbers)
    return (least if relation.take == "smallest" else most), least


def judge(
    relation: Relation,
    values_of: Values,
    values_to: Values | None,
    scale: str,
    why_missing: str = "",
) -> Verdict:
    """The verdict on `relation` from one value for each repeat, of fresh processes each.

    `values_to` is the other side of a ratio, paired by repeat; `why_missing` says what `causes`
    found. Not decided: at a scale that cannot,
    with fewer than three repeats, with a value that is missing, not finite or divided by nothing,
    or where the repeats do not all fall inside the band, all below it or all above it.
    """
    judged = [_judged(relation, *pair) for pair in zip_longest(values_of, values_to or ())]
    known = [value for value in judged if value is not None]
    answer, why = _decide(relation, judged, known, scale, why_missing)
    return Verdict(
        id=relation.id,
        says=relation.says,
        published=relation.published,
        measured=median(known) if known else None,
        low=min(known, default=None),
        high=max(known, default=None),
        verdict=answer,
        reason=_reason(relation, known, why, _medians(relation, values_of, values_to or ())),
        scale=scale,
        interval=_interval(relation, judged),
    )


def _interval(relation: Relation, judged: Values) -> stats.Interval | None:
    """The interval of the ratio, which decides nothing here; None where there is none to give."""
    ratios = [value for value in judged if value is not None and value > 0]
    if not relation.is_ratio or not len(ratios) == len(judged) >= stats.MIN_REPEATS:
        return None
    return stats.of_ratio(ratios, [1.0] * len(ratios))


def _usable(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _judged(relation: Relation, of: float | None, to: float | None) -> float | None:
    if not _usable(of):
        return None
    if not relation.is_ratio:
        return of
    if not _usable(to) or to <= 0:
        return None
    return of / to if math.isfinite(of / to) else None


def _decide(
    relation: Relation, judged: Values, known: Sequence[float], scale: str, why_missing: str
) -> tuple[Answer, str]:
    """The answer, and for 'not decided' what stands in the way."""
    if scale in relation.undecidable:
        why = relation.undecidable[scale]
        return "not decided", f"scale {scale} cannot decide it, because {why}"
    if len(judged) < MIN_REPEATS:
        return (
            "not decided",
            f"a verdict needs {MIN_REPEATS} repeats, and there are {len(judged)}",
        )
    if len(known) < len(judged):
        why = why_missing or "a record is missing, a value was not measured, or a divisor is 0"
        return "not decided", (
            f"{len(judged) - len(known)} of {len(judged)} repeats have no valid value ({why})"
        )
    return _against(relation, known)


def _against(relation: Relation, known: Sequence[float]) -> tuple[Answer, str]:
    low, high = relation.band
    if all(low <= value <= high for value in known):
        return "agrees", ""
    if all(value < low for value in known) or all(value > high for value in known):
        return "disagrees", ""
    return (
        "not decided",
        "the repeats fall on different sides of what agrees; measure more or longer",
    )


def _reason(relation: Relation, known: Sequence[float], why: str, medians: str) -> str:
    """One sentence: what stands in the way if anything does, what was found, what agrees."""
    parts = [why] if why else []
    if known:
        repeats = f"{len(known)} repeat{'' if len(known) == 1 else 's'}"
        parts.append(f"{_subject(relation, known)}{medians} in {repeats}")
    sentence = "; ".join([*parts, _yardstick(relation, known)])
    return sentence[0].upper() + sentence[1:]


def _subject(relation: Relation, known: Sequence[float]) -> str:
    """The measured values in words, with their range."""
    label, found = stats.metric(relation.measure).label, _range(relation, min(known), max(known))
    rows = f"{', '.join(relation.rows[:-1])} and {relation.rows[-1]}"
    if relation.take == "spread":
        return f"the largest {label} of {rows} was {found} times the smallest"
    if relation.take is not None:
        return f"the {relation.take} {label} of {rows} was {found}"
    if relation.to is not None:
        return f"the {label} of {relation.of} was {found} times that of {relation.to}"
    return f"the {label} of {relation.of} was {found}"


def _range(relation: Relation, low: float, high: float) -> str:
    start, end = _shown(relation, low), _shown(relation, high)
    unit = "" if relation.is_ratio else stats.metric(relation.measure).unit
    return end if start == end else f"{start.removesuffix(unit).rstrip()} to {end}"


def _medians(relation: Relation, *sides: Values) -> str:
    """Both sides of a ratio in their unit, as ' (medians 210 MB and 50.1 MB)'."""
    known = [[value for value in side if _usable(value)] for side in sides]
    if not relation.is_ratio or not all(known):
        return ""
    said = [stats.metric(relation.measure).format(median(side)) for side in known]
    return f" (medians {' and '.join(said)})"


def _yardstick(relation: Relation, known: Sequence[float]) -> str:
    """What agrees with the claim, and apart from it the size that the source found."""
    ends = {"at least": relation.at_least, "at most": relation.at_most}
    band = [f"{word} {_shown(relation, end)}" for word, end in ends.items() if end is not None]
    agrees = f"{' and '.join(band)} agrees"
    if relation.published is None:
        return f"{agrees}, and the source gives no figure"
    share = f", of which this is {median(known) / relation.published:.2g}" if known else ""
    return f"{agrees}, and the source found {_shown(relation, relation.published)}{share}"


def _shown(relation: Relation, value: float) -> str:
    """A ratio with four digits, as bands near 1 need them; anything else as its metric is said."""
    if not relation.is_ratio:
        return stats.metric(relation.measure).format(value)
    return f"{value:.4g}" if abs(value) < 1_000 else stats.number(value)
