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

import contextlib
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from labkit import stats
from labkit.record import codes, guards
from labkit.record.record import Record
from labkit.studies import verdicts as words
from labkit.studies.parts import EFFECTIVE, Check, Judged
from labkit.studies.study_file import StudyFile
from labkit.studies.verdicts import Finding, Verdict, Word

MIN_BUSY_PERCENT = 70.0
"""Below this share of its core, a client without delays to wait for was not the bottleneck."""
_SPEED = ("throughput_rps", "wall_s", "efficiency", "latency_")
"""Measures that the other side sets where it is the bottleneck."""
_TIMED = (
    *("cpu_", "process_cpu", "process_wall", "to_first", "loop_lag", "server_cpu", "phase_"),
    *_SPEED,
)
"""Measures that are not the client's own where others had its core; counts and memory are."""
_COUNTED = ("ok", "failures")

MAX_FALSE_POSITIVE_RATE = 0.05
"""Share of comparisons of a thing with itself that may claim a difference."""
SIMULATED = 100
MAX_SIMULATED = 0.10
"""Share of simulated comparisons that may: 5 % on average, more than 10 % with a chance of 1 %."""
MIN_NOISE = 50
"""Pairs of runs from which noise can be drawn: of fewer the same few come again and again."""


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
        needs = claim.needs or (absent or {}).get(claim.id, "")
        checks = [] if needs else plan.judged[claim.id]
        found.append(
            Verdict.of(
                [finding(judged, by_arm, study.min_repeats) for judged in checks],
                needs=needs,
                id=claim.id,
                source=study.source_text(study.sources_of(claim)),
                says=claim.says,
                scale=scale,
                remark=claim.remark,
            )
        )
    return found


def finding(
    judged: Judged, records: Mapping[str, Sequence[Record]], min_repeats: int = 5
) -> Finding:
    """Judge one check by the records of its arms, paired by repeat."""
    check, ids = judged.check, [*judged.of, *judged.to]
    values: list[float | None] = []
    sides: list[list[float]] = [[] for _ in ids]
    causes: Counter[str] = Counter()
    for repeat in sorted({record.repeat for arm in ids for record in records.get(arm, ())}):
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
    return decide(judged, values, min_repeats, sides=sides, causes=causes)


def _number(judged: Judged, found: Sequence[float], sizes: Sequence[int]) -> float | None:
    """Return what the check makes of its arms' values in one repeat."""
    take = judged.check.take
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
    return ratio if math.isfinite(ratio) else None


def _usable(records: Sequence[Record], check: Check) -> tuple[float | None, str]:
    """Return the measure of an arm in one repeat, or None and why it cannot be used."""
    if len(records) != 1:
        # Which of two for one place belongs there cannot be known.
        return None, "a run is there twice" if records else "a run is missing"
    record, measure = records[0], check.measure
    value, failed, why = figure(record, measure), record.counts.failed_share, ""
    # A client that had time to spare though no answer was delayed set no speed.
    busy = record.client.cpu_percent if record.client else None
    delayed = record.trial.get("target", {}).get("delay", "0") != "0"
    waits = busy is not None and busy < MIN_BUSY_PERCENT and not delayed
    idle = waits and guards.compared(record) == "client"
    # A check that counts failures may find many.
    counted = {"failures-most"} if measure in _COUNTED else set()
    given = [n.code for n in record.warnings if n.code in codes.FAILED and n.code not in counted]
    if given:
        why = f"a run failed ({stats.codes_text(given)})"
    elif value is None or not math.isfinite(value):
        why = "it was not measured"
    elif measure not in _COUNTED and failed > guards.MAX_FAILED_SHARE:
        why = f"{failed:.0%} of the requests failed"
    elif measure.startswith(_SPEED) and (idle or guards.other_side_is_bottleneck(record)):
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
        return "inconclusive", "a value is not above 0, or too far from the others, for an interval"
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
    """Judge a check by one number for each repeat (None: there is none to trust).

    `sides` are the values of each arm that the numbers are made of, `causes` why values are
    missing, with how often.
    """
    check = judged.check
    known = [value for value in values if value is not None and math.isfinite(value)]
    measured, interval = median(known) if known else None, None
    enough = not check.exact and len(known) == len(values) >= stats.MIN_REPEATS
    # There is no ratio to nothing, nor one below it.
    if enough and not (check.is_ratio and min(known) <= 0):
        with contextlib.suppress(OverflowError):  # hundreds of orders of magnitude apart
            found = stats.of_ratios(known) if check.is_ratio else stats.of_value(known)
            if found.low is not None and found.high is not None:
                measured, interval = found.value, (found.low, found.high)
    word: Word = "inconclusive"
    why = judged.undecidable
    if why or not check.decides:
        pass
    elif len(values) < min_repeats:
        why = f"a verdict needs {min_repeats} repeats, and there are {len(values)}"
    elif len(known) < len(values):
        listed = "; ".join(f"{cause}: {n}" for cause, n in (causes or {}).items())
        listed = listed or "a divisor is not above 0"
        why = f"{len(values) - len(known)} of {len(values)} repeats have no value ({listed})"
    elif check.exact or len(values) < stats.MIN_REPEATS:
        word, why = by_every_repeat(check, known)
    else:
        word, why = by_interval(check, interval)
    effect = words.effect_text(check, known, measured, interval)
    low, high = check.band
    return Finding(
        verdict=word if check.decides else "informational",
        reason=words.reason(judged, why if check.decides else "", effect, sides, measured),
        measured=measured,
        low=min(known, default=None),
        high=max(known, default=None),
        interval=interval,
        n=len(known),
        inside=sum(low <= value <= high for value in known),
        effect=effect,
        **{name: getattr(check, name) for name in words.OF_CHECK},
    )


# The audit: comparisons of a thing with itself, and a metric held against arithmetic.

Pairs = Sequence[tuple[Sequence[float], Sequence[float]]]
"""For each comparison the values of two arms, paired by repeat."""


def false_positives(pairs: Pairs) -> Finding:
    """Judge how many real comparisons of a thing with itself claim a difference.

    Those with too few repeats for an interval do not count.
    """
    ratios = [stats.of_ratio(of, to) for of, to in pairs if len(of) >= stats.MIN_REPEATS]
    found = sum(ratio.excludes(1) for ratio in ratios)
    widest = [ratio.high / ratio.low for ratio in ratios if ratio.low and ratio.high]
    wide = f", with ends of an interval {median(widest):.2f} times apart" if widest else ""
    says = f"{found} of {len(ratios)} comparisons claim a difference{wide}"
    return _share(says, found / len(ratios) if ratios else None, MAX_FALSE_POSITIVE_RATE)


def simulated(pairs: Pairs, seed: int = 0) -> Finding:
    """Judge the same of `SIMULATED` comparisons whose noise is drawn from that of the real ones."""
    noise = [a / b for of, to in pairs for a, b in zip(of, to, strict=True)]
    enough = len(noise) >= MIN_NOISE
    # Of a thing with itself either arm may be called the first.
    noise += [1 / ratio for ratio in noise]
    chance = random.Random(seed)
    drawn = [stats.of_ratios(chance.choices(noise, k=stats.MIN_REPEATS)) for _ in range(SIMULATED)]
    found = sum(ratio.excludes(1) for ratio in drawn)
    says = f"{found} of {SIMULATED} simulated comparisons claim a difference, with noise as here"
    return _share(says, found / SIMULATED if enough else None, MAX_SIMULATED)


def _share(says: str, value: float | None, most: float) -> Finding:
    check = Check(says=says, measure="ok", at_most=most, exact=True)
    return decide(Judged(check=check), [value], min_repeats=1)


def within(
    says: str, measure: str, records: Sequence[Record], at_least: float, at_most: float
) -> Finding:
    """Judge whether a metric of these records lies between two values; one record is enough."""
    check = Check(says=says, measure=measure, of="one", at_least=at_least, at_most=at_most)
    return finding(Judged(check=check, of=("one",)), {"one": records}, min_repeats=1)
