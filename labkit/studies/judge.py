"""A study's claims and its records -> holds, refuted or inconclusive, with the reason. Pure.

It fails closed: what cannot be decided is inconclusive, and the reason says what stands in the way.
A check gives one number a repeat, a repeat being one block of fresh processes. Two rules decide:

- from five repeats on, the 95 % interval of their median must lie wholly inside the band, or wholly
  outside (`by_interval`);
- with three or four, where a file allows it, every repeat must lie inside, or all on one side of it
  (`by_every_repeat`). The same rule is that of counts, which must be right in every run.

Which runs count is `stats.metrics`'s to say, as everywhere. Two things are more than that, as it is
not asked here which of two is higher but how much a number is:

- a run with a disturbance counts where the check says that this can only move its number out of the
  band, and it lies inside: a client that is near its floor although others disturbed it is near it;
- a time, a rate or CPU needs a window of `MIN_WINDOW_S`. Nothing is left out of a window: the first
  calls and the opening of connections are in it, and in a short one they are what is judged.

A run that waited for its core a little counts too. But what waited may have moved its number: where
it may have moved it across the edge of the band, nothing is decided (`metrics.undisturbed`).

Claims are not corrected for how many a file has, nor for how many regimes a claim has. Each is a
sentence that was stated before anything was measured, and each regime is answered by itself: no
verdict is put together from several.
"""

import itertools
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from labkit import stats
from labkit.record import codes, guards
from labkit.record.record import Record
from labkit.stats import metrics
from labkit.studies import verdicts as words
from labkit.studies.parts import EFFECTIVE, THEN, Check, Judged
from labkit.studies.study_file import StudyFile
from labkit.studies.verdicts import Finding, Verdict, Word

# Between which a number may lie.
Ends = tuple[float, float]

# A turn of another process (4 ms) is 2 % of it. In 66 ms it is 6 %, and opening 20 connections, at
# 0.3 ms each, a tenth.
MIN_WINDOW_S = 0.2
_OF_A_WINDOW = ("wall_s", "requests_", "throughput_rps", "efficiency", "cpu_")

# Share of comparisons of a thing with itself that claim a difference by chance, and the chance that
# a lab without error is said to have one.
FALSE_POSITIVE_RATE, MAX_WRONG = 0.05, 0.01
SIMULATED = 1_000
# Share of simulated comparisons that may. They are drawn from ratios as they were measured, whose
# median is off by chance too: with 100 of them it is 5 to 6 %, and over 10 % with a chance of 1 %.
# Arms that differ by three quarters of the noise are over it.
MAX_SIMULATED = 0.10
# Pairs of runs from which noise can be drawn: of fewer the same few come again and again.
MIN_NOISE = 50


def verdicts(
    study: StudyFile,
    scale: str,
    records: Sequence[Record],
    *,
    cores: int,
    claims: Sequence[str] | None = None,
    absent: Mapping[str, str] | None = None,
) -> list[Verdict]:
    """Judge each regime of each claim (all, or those named) by the records of one study.

    A record's axis `arm` names its arm; those that ran in the software of then, which is that of
    the first source, give a verdict of their own. `absent` says of claims what they miss here.
    Raises `BadInput` for a claim or a scale that does not exist.
    """
    plan = study.plan(scale, cores)
    by_arm = stats.by_axis(records, "arm")
    by_then = {arm.removesuffix(THEN): of for arm, of in by_arm.items() if arm.endswith(THEN)}
    found = []
    for claim in study.chosen(claims):
        known, arms = absent or {}, sorted(plan.arms_of(claim.id))
        lacks = [f"arm {arm} was not run: {known[arm]}" for arm in arms if arm in known]
        lacks = [f"it needs {known[claim.id]}"] if claim.id in known else lacks
        of_claim = {"id": claim.id, "says": claim.says, "remark": claim.remark, "scale": scale}
        of_claim["source"] = study.source_text(study.sources_of(claim))
        rows: list[list[Judged]] = []
        for judged in plan.judged[claim.id]:
            # What only informs stands beside the regime above it.
            if judged.check.decides or not rows:
                rows.append([])
            rows[-1].append(judged)
        for regime, *beside in rows:
            check = regime.check
            why = lacks[0] if lacks else check.not_testable
            why = why or _same_in_force(regime, by_arm)
            shown = [] if lacks else [*([] if why else [regime]), *beside]
            findings = [finding(judged, by_arm, study.min_repeats) for judged in shown]
            sides, then = {*regime.of, *regime.to}, None
            of_then = [*study.sources][:1] == study.sources_of(claim)[:1]
            if regime in shown and sides and of_then and sides <= {*by_then}:
                then = finding(regime, by_then, study.min_repeats)
            own = {"regime": check.regime, "then": then}
            found.append(Verdict.of(findings, why=why, **of_claim, **own))
    return found


def _same_in_force(judged: Judged, records: Mapping[str, Sequence[Record]]) -> str:
    """Return why two arms are one thing: in force is the same, though they ask for different."""
    runs = [records[arm][0] for arm in (*judged.of, *judged.to) if records.get(arm)]
    asked = [one.trial.get("transport", {}) for one in runs]
    others = [{**one.trial, "transport": None} for one in runs]
    if len(runs) != 2 or others[0] != others[1]:
        return ""
    here, there = (one.effective.get("transport", {}) for one in runs)
    names = [name for name in {**asked[0], **asked[1]} if asked[0].get(name) != asked[1].get(name)]
    if not names or any(name not in here or here[name] != there.get(name) for name in names):
        return ""
    listed = ", ".join(f"transport.{name} is {here[name]}" for name in names)
    ran = runs[0].environment
    versions = f"Python {ran.get('python')}, aiohttp {ran.get('versions', {}).get('aiohttp')}"
    return f"{listed} in both arms, whatever is asked for ({versions})"


def finding(judged: Judged, records: Mapping[str, Sequence[Record]], min_repeats: int) -> Finding:
    """Judge one check by the records of its arms, paired by repeat."""
    check, ids = judged.check, [*judged.of, *judged.to]
    values: list[float | None] = []
    ends: list[Ends] = []
    sides: list[list[float]] = [[] for _ in ids]
    causes: Counter[str] = Counter()
    waited = 0.0
    low, high = check.band
    for repeat in sorted({record.repeat for arm in ids for record in records.get(arm, ())}):
        block = [[one for one in records.get(arm, ()) if one.repeat == repeat] for arm in ids]
        found = [_reading(there, check) for there in block]
        known = [value for value, _ in found if value is not None]
        doubts = [why for _, why in found if why]
        number, sizes = None, list[int]()
        if len(known) == len(ids):
            sizes = [there[0].trial.get("workload", {}).get("requests", 0) for there in block]
            number = _number(judged, known, sizes)
        if doubts:
            disturbed = {codes.disturbance(one) for there in block for one in there}
            inside = number is not None and low <= number <= high
            if not (check.despite_disturbance and inside and disturbed.issuperset(doubts)):
                number = None
                causes.update(doubts)
        values.append(number)
        if number is None:
            continue
        for side, value in zip(sides, known, strict=True):
            side.append(value)
        if not check.despite_disturbance:
            measured = zip(block, known, strict=True)
            each = [{*metrics.undisturbed(of[0], check.measure, one)} for of, one in measured]
            moved = [_number(judged, one, sizes) or number for one in itertools.product(*each)]
            ends.append((min(moved), max(moved)))
            waited = max(waited, *(metrics.waited_percent(of[0], check.measure) for of in block))
    return decide(judged, values, min_repeats, sides=sides, causes=causes, ends=ends, waited=waited)


def _number(judged: Judged, found: Sequence[float], sizes: Sequence[int]) -> float | None:
    """Return what the check makes of its arms' values in one repeat."""
    take = judged.check.take
    if take == "slope":
        steps = [sizes[at + 1] - sizes[at] for at in range(0, len(sizes), 2)]
        if not all(steps):
            return None
        slopes = [(found[2 * at + 1] - found[2 * at]) / step for at, step in enumerate(steps)]
        return slopes[0] - slopes[1] if slopes[1:] else slopes[0]
    if take in ("smallest", "largest"):
        return min(found) if take == "smallest" else max(found)
    above, below = (max(found), min(found)) if take == "spread" else (found[0], found[-1])
    if not judged.check.is_ratio:
        return above
    ratio = above / below if below > 0 else math.inf
    return ratio if math.isfinite(ratio) else None


def _reading(records: Sequence[Record], check: Check) -> tuple[float | None, str]:
    """Return the measure of an arm in one repeat, and why it does not count; empty if it does."""
    if len(records) != 1:
        # Which of two for one place belongs there cannot be known.
        return None, "a run is there twice" if records else "a run is missing"
    record, measure = records[0], check.measure
    value, why = figure(record, measure), metrics.doubt(record, measure)
    if value is None or not math.isfinite(value):
        return None, why or metrics.MISSING
    short = (record.wall_s or MIN_WINDOW_S) < MIN_WINDOW_S and measure.startswith(_OF_A_WINDOW)
    if short and check.decides and not why:
        why = f"a window of under {MIN_WINDOW_S:g} s: send more requests"
    return value, why


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
    ends: Sequence[Ends] = (),
    waited: float = 0.0,
) -> Finding:
    """Judge a check by one number for each repeat (None: there is none to trust).

    `sides` are the values of each arm that the numbers are made of, `causes` why values are
    missing, with how often. `ends` are those between which each number may lie as a core was waited
    for, in `waited` percent of the time at most.
    """
    check = judged.check
    known = [value for value in values if value is not None and math.isfinite(value)]
    enough = not check.exact and len(known) == len(values) >= stats.MIN_REPEATS
    measured, interval = _typical(check, known) if enough else (None, None)
    measured = median(known) if known and measured is None else measured
    word: Word = "inconclusive"
    why, remark = judged.undecidable, ""
    if why or not check.decides:
        pass
    elif len(values) < min_repeats:
        why = f"a verdict needs {min_repeats} repeats, and there are {len(values)}"
    elif len(known) < len(values):
        listed = "; ".join(f"{cause}: {n}" for cause, n in (causes or {}).items())
        listed = listed or "a divisor is not above 0"
        why = f"{len(values) - len(known)} of {len(values)} repeats have no value ({listed})"
    else:
        few = check.exact or len(values) < stats.MIN_REPEATS
        word, why = by_every_repeat(check, known) if few else by_interval(check, interval)
        if waited > guards.CONTENDED_PERCENT:
            remark = f"others had its core for up to {waited:.2g} % of the time"
            if word != "inconclusive":
                found, moved = _moved(check, ends, few=few)
                if found != word:
                    word, why, remark = "inconclusive", f"{remark}, which {moved}", ""
                else:
                    remark += ", which is too little to change this"
    effect = words.effect_text(check, known, measured, interval)
    low, high = check.band
    reason = words.reason(judged, why if check.decides else "", effect, sides, measured)
    return Finding(
        verdict=word if check.decides else "informational",
        reason=f"{reason}; {remark}" if remark else reason,
        measured=measured,
        low=min(known, default=None),
        high=max(known, default=None),
        interval=interval,
        n=len(known),
        inside=sum(low <= value <= high for value in known),
        effect=effect,
        said=words.shown(check, check.published) if check.published else words.band_text(check),
        **{name: getattr(check, name) for name in words.OF_CHECK},
    )


def _typical(check: Check, known: Sequence[float]) -> tuple[float | None, Ends | None]:
    """Return the typical number with its interval; None where there is none."""
    # There is no ratio to nothing, nor one below it.
    if check.is_ratio and min(known) <= 0:
        return None, None
    found = stats.of_ratios(known) if check.is_ratio else stats.of_value(known)
    return found.value, found.ends


def _moved(check: Check, ends: Sequence[Ends], *, few: bool) -> tuple[Word, str]:
    """Decide by how far waiting may have moved the numbers, and say how far that is."""
    lows, highs = [low for low, _ in ends], [high for _, high in ends]
    if few:
        found, _ = by_every_repeat(check, [*lows, *highs])
        reach: Ends | None = (min(lows), max(highs))
    else:
        (_, below), (_, above) = _typical(check, lows), _typical(check, highs)
        reach = (below[0], above[1]) if below and above else None
        found, _ = by_interval(check, reach)
    shown = " to ".join([words.shown(check, end) for end in reach or ()]) or "anything"
    return found, f"may have moved it across the edge: without them it may be {shown}; end them"


# The audit: comparisons of a thing with itself.

# For each comparison the values of two arms, paired by repeat.
Pairs = Sequence[tuple[Sequence[float], Sequence[float]]]


def false_positives(pairs: Pairs) -> Finding:
    """Judge how many real comparisons of a thing with itself claim a difference.

    Those with too few repeats for an interval do not count. So many may that a perfect lab, whose
    intervals miss in 5 %, has more in at most 1 % of all audits, by the binomial distribution. Of
    50 that is 7: it has more in 0.3 %, a lab that misses in 10 % in 12 %, in 20 % in 81 %, in 30 %
    in 99 %. (Of 20 it would be 4, and a lab that misses in 20 % would pass in 63 %.) One alone
    decides nothing.
    """
    from scipy.stats import binom  # here: only the audit needs it

    ratios = [stats.of_ratio(of, to) for of, to in pairs if len(of) >= stats.MIN_REPEATS]
    found, n = sum(ratio.excludes(1) for ratio in ratios), len(ratios)
    widest = [ratio.high / ratio.low for ratio in ratios if ratio.low and ratio.high]
    wide = f", with ends of an interval {median(widest):.2f} times apart" if widest else ""
    says = f"{found} of {n} comparisons claim a difference{wide}"
    most = int(binom.ppf(1 - MAX_WRONG, n, FALSE_POSITIVE_RATE))
    return _share(says, found / n if n > most else None, most / max(n, 1))


def simulated(pairs: Pairs, seed: int = 0) -> Finding:
    """Judge the same of `SIMULATED` comparisons whose noise is drawn from that of the real ones."""
    noise = [a / b for of, to in pairs for a, b in zip(of, to, strict=True)]
    enough = len(noise) >= MIN_NOISE
    chance = random.Random(seed)
    drawn = [stats.of_ratios(chance.choices(noise, k=stats.MIN_REPEATS)) for _ in range(SIMULATED)]
    found = sum(ratio.excludes(1) for ratio in drawn)
    says = f"{found} of {SIMULATED} simulated comparisons claim a difference, with noise as here"
    return _share(says, found / SIMULATED if enough else None, MAX_SIMULATED)


def _share(says: str, value: float | None, most: float) -> Finding:
    check = Check(says=says, measure="ok", at_most=most)
    return decide(Judged(check=check), [value], min_repeats=1)
