"""A study's claims and its records -> holds, refuted or inconclusive, with the reason. Pure.

It fails closed: what cannot be decided is inconclusive, and the reason says what stands in the way.
A check gives one number a repeat, a repeat being one block of fresh processes. Two rules decide:

- from five repeats on, the 95 % interval of their median must lie wholly inside the band, or wholly
  outside (`by_interval`);
- with three or four, where a file allows it, every repeat must lie inside, or all on one side of it
  (`by_every_repeat`). The same rule is that of counts, which must be right in every run.

A run counts unless it failed. Where others had the client's core, its counts and its memory still
do. Its times and CPU do not, unless the check says that a disturbance can only move its number out
of the band, and it lies inside: a client that is near its floor although others disturbed it is
near its floor.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from statistics import median
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from labkit import stats
from labkit.record import codes, guards
from labkit.record.record import Record
from labkit.studies import sentences
from labkit.studies.parts import Check
from labkit.studies.study_file import EFFECTIVE, Judged, StudyFile

Word = Literal["holds", "refuted", "inconclusive"]
MARKS: Mapping[str, str] = MappingProxyType(
    {
        "holds": "\N{CHECK MARK}",
        "refuted": "\N{BALLOT X}",
        "inconclusive": "?",
        "informational": " ",
    }
)
"""A sign for each word, so that none is known by its colour alone."""

MIN_BUSY_PERCENT = 70.0
"""Below this share of its core a client that never has to wait was held up (judgement)."""
_SPEED = ("throughput_rps", "wall_s", "efficiency", "latency_")
"""Measures that the other side sets where it is the bottleneck."""
_TIMED = (
    *("cpu_", "process_cpu", "process_wall", "to_first", "loop_lag", "server_cpu", "phase_"),
    *_SPEED,
)
"""Measures that are not the client's own where others had its core; counts and memory are."""
_COUNTED = ("ok", "failures")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found; without a band it is informational.

    `measured` is the median over the repeats, `low` and `high` their range: a ratio, or in the
    measure's base unit; None where nothing could be computed. `interval` is the 95 % one, where
    five repeats or more have a value. `n` repeats have one, `inside` of them in the band.
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


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one claim; `deciding` is the finding that it follows from."""

    id: str
    source: str
    says: str
    verdict: Word
    reason: str
    scale: str
    remark: str | None = None
    findings: list[Finding] = []
    deciding: Finding | None = None

    def __getattr__(self, name: str) -> Any:
        # The figures of the deciding finding, where there is one.
        if name not in Finding.__struct_fields__:
            raise AttributeError(name)
        return getattr(self.deciding, name, None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON. `range` is that over the repeats, which is no interval."""
        found = self.deciding
        names = ("id", "source", "says", "verdict", "reason", "scale", "remark")
        return {
            **{name: getattr(self, name) for name in names},
            **{name: getattr(self, name) for name in ("published", "measured", "interval", "n")},
            "range": [found.low, found.high] if found and found.measured is not None else None,
            "findings": msgspec.to_builtins(self.findings),
        }

    def text(self) -> str:
        """Return the verdict with its mark, what is claimed, and why."""
        return f"{MARKS[self.verdict]} {self.verdict}: {self._sentences()}"

    def _sentences(self) -> str:
        return " ".join(f"{one.rstrip('.')}." for one in (self.says, self.reason))

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        word = f"{MARKS[self.verdict]} <b>{self.verdict}</b>"
        return {
            "text/html": f"<p>{word}: {escape(self._sentences())}</p>",
            "text/plain": self.text(),
        }


def verdicts(
    study: StudyFile,
    scale: str,
    records: Sequence[Record],
    *,
    cores: int,
    claims: Sequence[str] | None = None,
    absent: Mapping[str, str] | None = None,
) -> list[Verdict]:
    """Judge each claim (all, or those named) by the records of one study.

    A record's axis `arm` names its arm. `absent` says of claims why they cannot be tested here.
    Raises `BadInput` for a claim or a scale that does not exist.
    """
    plan = study.plan(scale, cores)
    by_arm: dict[str, list[Record]] = {}
    for record in records:
        by_arm.setdefault(str(record.axes.get("arm")), []).append(record)
    found = []
    for claim in study.chosen(claims):
        needs = claim.needs or (absent or {}).get(claim.id)
        findings: list[Finding] = []
        if not needs:
            findings = [
                finding(judged, by_arm, study.min_repeats) for judged in plan.judged[claim.id]
            ]
        deciding = _deciding(findings)
        found.append(
            Verdict(
                id=claim.id,
                source=study.source_text(study.sources_of(claim)),
                says=claim.says,
                verdict=deciding.verdict if deciding else "inconclusive",  # type: ignore[arg-type] # none that is informational decides
                reason=deciding.reason if deciding else f"not testable here: it needs {needs}",
                scale=scale,
                remark=claim.remark,
                findings=findings,
                deciding=deciding,
            )
        )
    return found


def _deciding(findings: Sequence[Finding]) -> Finding | None:
    """Return what a claim follows from: one refuted check, else one that is open, else any."""
    for word in ("refuted", "inconclusive", "holds"):
        for one in findings:
            if one.verdict == word:
                return one
    return None


def finding(
    judged: Judged, records: Mapping[str, Sequence[Record]], min_repeats: int = 5
) -> Finding:
    """Judge one check by the records of its arms, paired by repeat."""
    values, sides, causes = observed(judged, records)
    return decide(judged, values, min_repeats, sides=sides, causes=causes)


def observed(
    judged: Judged, records: Mapping[str, Sequence[Record]]
) -> tuple[list[float | None], list[list[float]], Counter[str]]:
    """Return a number for each repeat (None: there is none to trust), and what it is made of.

    That is the values of each arm, and why values are missing, with how often.
    """
    check, ids = judged.check, [*judged.of, *judged.to]
    repeats = sorted({record.repeat for arm in ids for record in records.get(arm, ())})
    values: list[float | None] = []
    sides: list[list[float]] = [[] for _ in ids]
    causes: Counter[str] = Counter()
    for repeat in repeats:
        block = [[one for one in records.get(arm, ()) if one.repeat == repeat] for arm in ids]
        found = [_usable(there, check) for there in block]
        known = [value for value, _ in found if value is not None]
        number = None
        if len(known) == len(ids):
            sizes = [there[0].trial.get("workload", {}).get("requests", 0) for there in block]
            number = _number(judged, known, sizes)
        disturbed = [disturbance(there[0]) for there in block if there]
        if check.measure.startswith(_TIMED) and any(disturbed):
            low, high = check.band
            if not (check.despite_disturbance and number is not None and low <= number <= high):
                number = None
                causes.update(filter(None, disturbed))
        causes.update(why for _, why in found if why)
        values.append(number)
        if number is not None:
            for side, value in zip(sides, known, strict=True):
                side.append(value)
    return values, sides, causes


def _number(judged: Judged, found: Sequence[float], sizes: Sequence[int]) -> float | None:
    """Return what the check makes of its arms' values in one repeat."""
    take, of = judged.check.take, len(judged.of)
    if take == "slope":
        steps = [sizes[at + 1] - sizes[at] for at in range(0, len(sizes), 2)]
        if not all(steps):
            return None
        slopes = [(found[2 * at + 1] - found[2 * at]) / step for at, step in enumerate(steps)]
        return slopes[0] - slopes[1] if judged.to else slopes[0]
    if take in ("smallest", "largest"):
        return min(found) if take == "smallest" else max(found)
    above, below = (max(found), min(found)) if take == "spread" else (found[0], found[-1])
    if not judged.check.is_ratio:
        return above
    ratio = above / below if below > 0 else math.inf
    return ratio if math.isfinite(ratio) and of else None


def _usable(records: Sequence[Record], check: Check) -> tuple[float | None, str]:
    """Return the measure of an arm in one repeat, or None and why it cannot be used."""
    if len(records) != 1:
        # Which of two for one place belongs there cannot be known.
        return None, "a run is there twice" if records else "a run is missing"
    record, measure = records[0], check.measure
    value, failed, why = figure(record, measure), record.counts.failed_share, ""
    if codes.failed(record):
        given = (note.code for note in record.warnings if note.code in codes.FAILED)
        why = f"a run failed ({stats.codes_text(given)})"
    elif value is None or not math.isfinite(value):
        why = "it was not measured"
    elif measure not in _COUNTED and failed > guards.MAX_FAILED_SHARE:
        why = f"{failed:.0%} of the requests failed"
    elif measure.startswith(_SPEED) and (guards.other_side_is_bottleneck(record) or _idle(record)):
        why = "the other side, or another process, may have set the speed"
    return (None if why else value), why


def figure(record: Record, measure: str) -> float | None:
    """Return a figure of a record by its name: a metric, a coded figure, a setting in force."""
    if measure in record.figures:
        return record.figures[measure]
    if measure in stats.METRICS:
        return stats.METRICS[measure].of(record)
    value: Any = record.effective
    for name in measure.removeprefix(EFFECTIVE).split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def disturbance(record: Record) -> str:
    """Return why the times of a run are not the client's own; empty where they are.

    Of a window of any length: a short one may say so wrongly, and then decides nothing.
    """
    waited = record.client.waited_percent if record.client else None
    if waited is not None and waited > guards.CORE_LOST_PERCENT:
        return "other processes had the client's core"
    if record.verdict != "invalid":
        return ""
    return stats.codes_text(n.code for n in record.warnings if n.code in codes.INVALID) or "invalid"


def _idle(record: Record) -> bool:
    """Whether the client had time to spare though no answer was delayed: then it set no speed."""
    busy = record.client.cpu_percent if record.client else None
    delayed = record.trial.get("target", {}).get("delay", "0") != "0"
    compared = guards.compared(record) == "client"
    return compared and not delayed and busy is not None and busy < MIN_BUSY_PERCENT


def by_every_repeat(check: Check, values: Sequence[float]) -> tuple[Word, str]:
    """Decide by every repeat: all inside the band hold, all on one side of it refute."""
    low, high = check.band
    inside = sum(low <= value <= high for value in values)
    if inside == len(values):
        return "holds", ""
    if check.exact:
        why = f"only {inside} of {len(values)} runs lie in the band, and all should"
        return ("inconclusive", why) if inside else ("refuted", "")
    if all(value < low for value in values) or all(value > high for value in values):
        return "refuted", ""
    return "inconclusive", "the repeats fall on different sides of the edge; measure more or longer"


def by_interval(check: Check, interval: tuple[float, float] | None) -> tuple[Word, str]:
    """Decide by the interval: wholly inside the band holds, wholly outside refutes."""
    low, high = check.band
    if interval is None:
        return "inconclusive", "a value is not above 0, so there is no ratio to it"
    if low <= interval[0] and interval[1] <= high:
        return "holds", ""
    if interval[1] < low or interval[0] > high:
        return "refuted", ""
    return "inconclusive", "the interval reaches across the edge; measure more or longer"


def decide(
    judged: Judged,
    values: Sequence[float | None],
    min_repeats: int = 5,
    *,
    sides: Sequence[Sequence[float]] = (),
    causes: Mapping[str, int] | None = None,
) -> Finding:
    """Judge a check by one number for each repeat; `sides` and `causes` are as in `observed`."""
    check = judged.check
    known = [value for value in values if value is not None and math.isfinite(value)]
    measured, interval = median(known) if known else None, None
    enough = not check.exact and len(known) == len(values) >= stats.MIN_REPEATS
    # There is no ratio to nothing, nor one below it.
    if enough and not (check.is_ratio and min(known) <= 0):
        found = stats.of_ratios(known) if check.is_ratio else stats.of_value(known)
        if found.low is not None and found.high is not None:
            measured, interval = found.value, (found.low, found.high)
    word: Literal["holds", "refuted", "inconclusive", "informational"] = "inconclusive"
    why = ""
    if not check.decides:
        word = "informational"
    elif judged.undecidable:
        why = judged.undecidable
    elif len(values) < min_repeats:
        why = f"a verdict needs {min_repeats} repeats, and there are {len(values)}"
    elif len(known) < len(values):
        told = "; ".join(f"{cause}: {n}" for cause, n in (causes or {}).items())
        told = told or "a divisor is not above 0"
        why = f"{len(values) - len(known)} of {len(values)} repeats have no value ({told})"
    elif check.exact or len(values) < stats.MIN_REPEATS:
        word, why = by_every_repeat(check, known)
    else:
        word, why = by_interval(check, interval)
    effect = sentences.effect_text(check, known, measured, interval)
    low, high = check.band
    return Finding(
        says=check.says,
        measure=check.measure,
        verdict=word,
        reason=sentences.reason(judged, why, effect, sides, measured),
        published=check.published,
        measured=measured,
        low=min(known, default=None),
        high=max(known, default=None),
        interval=interval,
        n=len(known),
        inside=sum(low <= value <= high for value in known),
        at_least=check.at_least,
        at_most=check.at_most,
        exact=check.exact,
        is_ratio=check.is_ratio,
        effect=effect,
    )


def tally(found: Iterable[Verdict]) -> str:
    """Return how many verdicts there are of each word, in a sentence."""
    words = Counter(one.verdict for one in found)
    listed = ", ".join(f"{words[word]} {word}" for word in MARKS if words[word])  # type: ignore[index] # the same words
    count = words.total()
    return f"{count} claim{'' if count == 1 else 's'}: {listed or 'none checked'}."
