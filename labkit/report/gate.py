"""What a result must meet: thresholds of its metrics, and an earlier result, its baseline.

A baseline was not interleaved with what it is compared with: what the machine did on that day is in
one of the two alone. So a difference counts only where its interval lies wholly beyond a tolerance,
and only between like machines and versions. The words are not those of claims, which hold or are
refuted: beside its baseline a metric is a `regression`, an `improvement`, has `no difference shown`
(the interval lies within the tolerance), or is `inconclusive`.

What was measured: the share (%) of simulated comparisons of four metrics, with noise as records of
a server with a delay have it (0.6, 2, 3 and 0.2 %), in which the same server is worse, and one that
is 10 % slower. Days are alike, or differ by as much as the repeats of one do. With CPU per request
(noise of 8 %) it was 5.5 to 8.5 instead of 1 to 2: so it is compared where it is named alone.

| repeats         | same, days alike | same, days differ | slower, in any of these |
|-----------------|------------------|-------------------|-------------------------|
| 3 (every one)   | 0.0              | 4 to 6            | 100                     |
| 5               | 0.0              | 1 to 2            | 100                     |
| 8               | 0.0              | 2 to 4            | 100                     |

A host that runs other guests (`steal`) does so in phases, in one of the two alone. So where three
others remain, a run with that note is left out of times and CPU, and a result with a baseline, or
that is to be one, makes such runs again (`lab/runner`). What was measured: 250 runs, one after
another, of a server with a delay of 50 ms or 55 ms; in the first half of them the host took 1 to
29 % of most. The share (%) of pairs of studies, each from any place in this series, in which the
same server is worse, and one that is 10 % slower:

| runs of a study, of five                        | same | slower |
|-------------------------------------------------|------|--------|
| as they are                                     | 3.8  | 82     |
| those with steal left out where three remain    | 4.2  | 82     |
| and made again, up to five; the last one counts | 4.9  | 87     |
| and made again; the one with less steal counts  | 0.0  | 92     |

What was rejected: to leave out every run with steal (0.0 and 38), as hosts that always have guests
would decide nothing.
"""

from __future__ import annotations

import math
import operator
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal, NamedTuple, get_args

import msgspec
from msgspec import Meta

from labkit import paths, stats
from labkit.errors import BadInput, LabError
from labkit.record import codec, codes
from labkit.record.record import Record, Timeline
from labkit.record.store import read_whole
from labkit.report import html
from labkit.spec import validation
from labkit.spec.plan import Work
from labkit.spec.trial import Trial
from labkit.stats import metrics
from labkit.stats.comparisons import ratio_text

Word = Literal["regression", "improvement", "no difference shown", "inconclusive"]
Arms = Sequence[tuple[Mapping[str, Any], Work]]
# The records of an arm, now and of its baseline.
Sides = tuple[Sequence[Record], Sequence[Record]]
WORDS: tuple[Word, ...] = get_args(Word)

_OPERATORS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_THRESHOLD = re.compile(r"\s*(\w+)\s*([<>]=?)\s*(-?\d+(?:\.\d+)?(?:e-?\d+)?)\s*")

CLOSED = ("throughput_rps", "latency_p50_s", "latency_p99_s", "process_peak_rss_bytes")
# The metrics that a baseline is compared by where none is named: of a closed workload, and of one
# with a rate, which sets its throughput.
OPEN = ("latency_due_p50_s", "latency_due_p99_s", "process_peak_rss_bytes")
# Repeats of each side from which on every repeat beyond the tolerance decides. From five on there
# is an interval instead.
MIN_EVERY = 3
# What becomes of runs that the host stole from, in words: see `stolen`.
_STOLEN: Sequence[str] = paths.table("tables.toml")["stolen"]
_LIBRARIES = tuple(f"versions.{name}" for name in ("labkit", "aiohttp", "uvloop"))
_ALIKE = ("cpu ", "cores_usable", "kernel", "python", *_LIBRARIES)


def by_arm(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Return the records of each arm under its label; of a single arm under 'all'."""
    arms: dict[str, list[Record]] = {}
    for record in records:
        arms.setdefault(stats.arm_label(record.axes), []).append(record)
    return arms if len(arms) > 1 else {"all": [one for arm in arms.values() for one in arm]}


class Threshold(NamedTuple):
    """A bound that a metric of no arm may be beyond, in base units: seconds, bytes, shares."""

    text: str
    metric: stats.Metric
    sign: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """Return the threshold of a text such as 'p99 > 0.2'. Raises `BadInput`."""
        found = _THRESHOLD.fullmatch(text)
        if found is None:
            raise validation.refusal("threshold", text=text)
        return cls(text, stats.metric(found[1]), found[2], float(found[3]))

    def missed(self, records: Iterable[Record]) -> list[str]:
        """Return a sentence for each arm that is beyond the bound, or of which that is not known.

        The figure is that of the tables, of the repeats that count.
        """
        found, metric = [], self.metric
        for arm, every in by_arm(records).items():
            doubts = {one.id: metrics.doubt(one, metric.name, of_client=False) for one in every}
            counted = [one for one in every if not doubts[one.id]]
            value, which, figure = math.nan, "missed-unknown", stats.codes_text(doubts.values())
            if counted:
                value = float(stats.summary_of(counted, [])[metric.name].iloc[0])
            if math.isfinite(value):
                which, figure = "missed", metric.format(value)
                if not _OPERATORS[self.sign](value, self.bound):
                    continue
            whose = f"{metric.label}, {arm}," if arm != "all" else metric.label
            how = {"whose": whose, "figure": figure, "bound": metric.format(self.bound)}
            found.append(paths.sentence(which, asked=self, **how))
        return found


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """A result in a file: its machine and versions, its records.

    Of a reference also which benchmark it is and its scale, what arms that did not run missed
    (`absent`), and the spoilt runs that were `made_again`.
    """

    benchmark: str = ""
    scale: str = ""
    absent: dict[str, str] = {}
    environment: dict[str, Any] = {}
    records: Annotated[list[Record], Meta(min_length=1)]
    made_again: list[Record] = []


def save(records: Sequence[Record], path: Path, **more: Any) -> Path:
    """Write a result to a file, there whole or as it was before; `more` are fields of `Saved`.

    Only first repeats keep their timelines, which are long. Raises `LabError` where every run is
    invalid.
    """
    if all(one.verdict == "invalid" for one in records):
        why = ", ".join(dict.fromkeys(codes.disturbance(one) for one in records))
        raise LabError(f"{path} is not written: every run is invalid ({why}), and no baseline")
    less = msgspec.structs.replace
    short = [one if one.repeat == 0 else less(one, timeline=Timeline()) for one in records]
    saved = Saved(environment=records[-1].environment, records=short, **more)
    try:
        data = msgspec.json.format(msgspec.json.encode(saved), indent=1)
        paths.write_whole(path, codec.sealed(data) + b"\n")
    except OSError as error:
        raise LabError(f"{path} cannot be written ({error.strerror}): name another file") from None
    return path


def saved(path: Path) -> Saved:
    """Return a saved result. Raises `RecordNotFound` or `RecordDamaged`."""
    where = f"the saved result {path.name}"
    return codec.parse(read_whole(path, where), Saved, where)


@dataclass(frozen=True)
class Baseline:
    """An earlier result to compare with, and how.

    `of` is a file that `save` wrote, the id of a study or a record in the store, or a result; None
    where this one is to be a baseline itself, and has none yet. A difference of less than
    `tolerance`, a share, is none. `metrics` are those to compare by. Another machine and other
    versions are refused, unless `unlike` allows them.
    """

    of: Any
    _: KW_ONLY
    tolerance: float = 0.05
    unlike: bool = False
    metrics: Sequence[str] = ()

    def __post_init__(self) -> None:
        validation.check("tolerance", self.tolerance, Annotated[float, Meta(ge=0, le=1)])
        for name in self.metrics:
            if stats.metric(name).better == "neither":
                raise BadInput(f"metrics has {name!r}: neither more nor less of it is better")

    @property
    def records(self) -> list[Record]:
        """Return the records of the earlier result."""
        return [] if self.of is None else list(self.of.records)

    def check(self, arms: Arms, machines: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return sentences on what differs and may: settings of the target, what is `unlike`.

        `arms` are those about to run, each on one of the `machines`. Raises `BadInput` for other
        arms and for settings that a comparison supposes to be the same, and for another machine
        where that is not allowed.
        """
        if self.of is None:
            return []
        then, now = by_arm(self.records), {stats.arm_label(axes): work for axes, work in arms}
        if len(now) == 1:
            now = {"all": arms[0][1]}
        if then.keys() != now.keys():
            had, have = " and ".join(then) or "none", " and ".join(now) or "others"
            raise validation.refusal("other-arms", had=had, have=have)
        trials = {arm: work.to_dict() for arm, work in now.items() if isinstance(work, Trial)}
        pairs = [(one, each.trial) for arm, one in trials.items() for each in then[arm]]
        settings = [differences(one, _whole(earlier)) for one, earlier in pairs]
        every = list(dict.fromkeys(one for found in settings for one in found))
        allowed = [one for one in every if one.startswith("target.") and "target.kind" not in one]
        if len(allowed) < len(every):
            others = "; ".join(one for one in every if one not in allowed)
            raise BadInput(f"baseline has other settings ({others}): compare like with like")
        sides = zip(machines, now, strict=True)
        there = [differences(one, each.environment) for one, arm in sides for each in then[arm]]
        every = [one for found in there for one in found]
        unlike = list(dict.fromkeys(one for one in every if one.startswith(_ALIKE)))
        if unlike and not self.unlike:
            raise validation.refusal("other-machine", unlike="; ".join(unlike))
        return [f"Unlike the baseline: {one}." for one in (*allowed, *unlike)]


def differences(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each value of nested plain data that is another than it was."""
    new, old = dict(html.flat(now)), dict(html.flat(then))
    names = [name for name in {**old, **new} if new.get(name) != old.get(name)]
    return [f"{name} is {new.get(name)} and was {old.get(name)}" for name in names]


def _whole(trial: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a stored trial with the settings that were added since, where it is still one."""
    with suppress(BadInput):
        allowed = trial.get("target", {}).get("allow_remote")
        return Trial.from_dict(trial, allow_remote=allowed).to_dict()
    return trial


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of an arm beside its baseline: medians in base units, the ratio of now over then."""

    arm: str
    metric: str
    word: Word
    then: float | None
    now: float | None
    ratio: stats.Interval | None
    reason: str


@dataclass(frozen=True, kw_only=True, repr=False)
class Changes(html.Table):
    """A result beside its baseline, as a table: a `Change` for each arm and metric."""

    changes: Sequence[Change]

    @property
    def regressions(self) -> list[Change]:
        """Return what became worse by more than the tolerance."""
        return [one for one in self.changes if one.word == "regression"]


def changes(now: Sequence[Record], asked: Baseline, notes: Sequence[str]) -> Changes | None:
    """Compare arm by arm and metric by metric; `Baseline.check` says before whether that may be.

    All comparisons are one family. A metric that neither side measured is none of them. Without an
    earlier result there is nothing to compare with.
    """
    if asked.of is None:
        return None
    before = asked.records
    usual = OPEN if any(one.arrivals is not None for one in now) else CLOSED
    named = [stats.metric(one) for one in asked.metrics or usual]
    named = [one for one in named if any(one.of(each) > 0 for each in (*now, *before))]
    new, old = by_arm(now), by_arm(before)
    family = stats.Family(len(named) * len(new))
    both = {arm: (new[arm], old.get(arm, ())) for arm in new}
    most = 1 + asked.tolerance
    found = [_change(arm, one, of, family, most) for arm, of in both.items() for one in named]
    found.sort(key=lambda one: WORDS.index(one.word))
    counted = Counter(one.word for one in found)
    words = ", ".join(f"{counted[word]} {word}" for word in WORDS if counted[word])
    how = {"level": 100 * stats.LEVEL, "n": len(found), "beyond": 100 * asked.tolerance}
    says = paths.sentence("beside", words=words or "nothing to compare", **how)
    headers = ["", "arm", "metric", "baseline", "now", "ratio", "reason"]
    rows = []
    for one in found:
        metric, ratio = stats.METRICS[one.metric], one.ratio
        found_ratio = stats.NOT_MEASURED
        if ratio and ratio.ends:
            found_ratio = "{} ({} to {})".format(*map(ratio_text, (ratio.value, *ratio.ends)))
        figures = [metric.format(one.then), metric.format(one.now), found_ratio]
        rows.append([one.word, one.arm, metric.label, *figures, one.reason])
    said, sides = list[str](), (("now", new, now), ("then", old, before))
    for n, what in enumerate(_STOLEN):
        runs = [
            f"{number} of {len(side)} runs {when}"
            for when, arms, side in sides
            if (number := sum(len(stolen(arms.get(arm, ()))[n]) for arm in new))
        ]
        said += [f"{' and '.join(runs)} {what.format(MIN_EVERY)}"] if runs else []
    text = "\n".join([says, *said, *notes])
    return Changes(headers=headers, rows=rows, says=text, left=3, changes=found)


def stolen(side: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """Return which runs of an arm's side the host stole from: those left out of times, or counted.

    They count where fewer than `MIN_EVERY` others remain. No value decides that, only the note.
    """
    found = [one for one in side if codes.stolen_percent(one)]
    others = sum(not (codes.stolen_percent(one) or codes.disturbance(one)) for one in side)
    return (found, []) if others >= MIN_EVERY else ([], found)


def _change(
    arm: str, metric: stats.Metric, sides: Sides, family: stats.Family, most: float
) -> Change:
    now, then = sides
    doubts = {one.id: metrics.doubt(one, metric.name, of_client=False) for one in (*now, *then)}
    out = (*stolen(now)[0], *stolen(then)[0]) if metrics.is_timed(metric.name) else ()
    doubts |= {one.id: "steal" for one in out if not doubts[one.id]}
    new, old = ([metric.of(one) for one in side if not doubts[one.id]] for side in (now, then))
    # Without a run that others disturbed the rest still counts. Whatever else is in doubt may be
    # what has changed, and is not left out.
    usual = {one.id: ("steal", codes.disturbance(one)) for one in (*now, *then)}
    spoilt = [doubt for name, doubt in doubts.items() if doubt not in usual[name]]
    why, few = stats.codes_text(spoilt), f"{len(new)} now and {len(old)} then"
    ratio, word = None, WORDS[-1]
    if not why and min(len(new), len(old)) < MIN_EVERY:
        needed = f"{few}: {stats.MIN_REPEATS} repeats needed"
        why = "; ".join(filter(None, [needed, stats.codes_text(doubts.values())]))
    elif not why and not all(map(metrics.is_usable, (*new, *old))):
        why = "a value is not above 0"
    elif not why:
        ratio = stats.of_unpaired(new, old, family=family)
        if ratio.ends is None:
            low, high, why = min(new) / max(old), max(new) / min(old), f"every repeat: {few}"
            ratio = msgspec.structs.replace(ratio, low=low, high=high)
        low, high = ratio.ends or (math.nan, math.nan)
        if low > most or high < 1 / most:
            worse = (low > most) == (metric.better == "lower")
            word = "regression" if worse else "improvement"
        elif low >= 1 / most and high <= most:
            word = "no difference shown"
        else:
            why += f"{', ' * bool(why)}the interval reaches across {100 * (most - 1):g} %"
    medians = {"now": median(new) if new else None, "then": median(old) if old else None}
    return Change(arm=arm, metric=metric.name, word=word, ratio=ratio, reason=why, **medians)
