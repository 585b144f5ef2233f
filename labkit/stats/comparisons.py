"""Whether one arm is higher than another, by how much, and how sure that is. Pure; fails closed.

`compare` takes values. The functions below it take the records of a study, and decide which of them
may be compared at all; the last ones rank strategies.

The interval of the ratio decides, and it alone. What cannot be decided is 'inconclusive', whatever
the cause.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import median
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from labkit import paths, stats
from labkit.escaping import escape, visible
from labkit.record import codes, guards
from labkit.record.record import Record
from labkit.stats import frames
from labkit.stats.intervals import ALONE, LEVEL, MIN_REPEATS, Family, Interval, of_ratio
from labkit.stats.metrics import MISSING, doubt, number, usable_pairs
from labkit.stats.metrics import metric as metric_named

Answer = Literal["higher", "lower", "inconclusive"]
Values = Sequence[float | None]

# A sign for each answer.
MARKS: Mapping[Answer, str] = MappingProxyType(paths.table("tables.toml")["answers"])


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the first arm is higher than the second, over `n` repeats of both.

    `ratio` is the first over the second, paired by repeat; None where it cannot be computed.
    """

    ratio: Interval | None = None
    n: int
    answer: Answer = "inconclusive"
    reason: str

    @property
    def says(self) -> str:
        """Return the ratio and its interval, or 'inconclusive' and why, in a few words."""
        if self.ratio is None or self.ratio.ends is None:
            return f"inconclusive ({self.reason})"
        low, high = map(ratio_text, self.ratio.ends)
        ends = f"{ratio_text(self.ratio.value)} ({low} to {high})"
        return ends if self.answer != "inconclusive" else f"{ends}, inconclusive"

    def text(self) -> str:
        """Return the answer with its mark, the ratio, and the reason, in a sentence."""
        value = f" {times(self.ratio.value)}" if self.ratio and self.ratio.ends else ""
        why = f"{value} over {repeats_text(self.n)}; {self.reason}."
        return f"{MARKS[self.answer]} {self.answer}:{why}"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        html = escape(self.text()).replace(self.answer, f"<b>{self.answer}</b>", 1)
        return {"text/html": f"<p>{html}</p>", "text/plain": visible(self.text())}


def compare(of: Values, to: Values, level: float = LEVEL, family: Family = ALONE) -> Comparison:
    """Compare two arms from one value above 0 for each repeat of each, paired by repeat.

    `family` is that of the comparisons that are to hold together, if it is not alone.
    Never raises: None, NaN, values not above 0, sides of unlike length, and fewer than five repeats
    are 'inconclusive'.
    """
    try:
        return _compare(of, to, level, family)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is no reason to claim anything
        return Comparison(n=len(of), reason=f"it could not be computed: {error}")


def _compare(of: Values, to: Values, level: float, family: Family) -> Comparison:
    n = min(len(of), len(to))
    if len(of) != len(to):
        why = f"{len(of)} values against {len(to)}, where each repeat has one of both"
        return Comparison(n=n, reason=why)
    if not n:
        return Comparison(n=n, reason="no repeat has both")
    above, below = usable_pairs(of, to)
    if len(above) < n:
        why = f"{n - len(above)} of {n} repeats lack a valid value above 0 of both"
        return Comparison(n=n, reason=why)
    ratio = of_ratio(above, below, level, family)
    if ratio.ends is None:
        needed = f"; {MIN_REPEATS} needed" if n < MIN_REPEATS else f": too few for {level:.1%}"
        return Comparison(ratio=ratio, n=n, reason=f"{repeats_text(n)}{needed}")
    low, high = ratio.ends
    answer: Answer = "higher" if low > 1 else "lower" if high < 1 else "inconclusive"
    where = {"higher": "lies above 1", "lower": "lies below 1"}.get(answer, "contains 1")
    ends = f"{ratio_text(low)} to {ratio_text(high)}"
    together = f"{family.among} comparisons together"
    whose = "this comparison alone" if family.among == 1 else together
    reason = f"the {100 * level:g} % interval of the ratio for {whose}, {ends}, {where}"
    return Comparison(ratio=ratio, n=n, answer=answer, reason=reason)


def ratio_text(ratio: float) -> str:
    """Return a ratio as people read it, with more digits near 1, where they make a difference."""
    return f"{ratio:.3f}" if 0.8 < ratio < 1.25 else number(ratio)


def times(ratio: float) -> str:
    """Return such as '×2.9'."""
    return f"×{ratio_text(ratio)}"


def repeats_text(n: int) -> str:
    """Return such as '5 repeats'."""
    return f"{n} repeat{'s' * (n != 1)}"


# Arms of a study. A repeat counts where both its records are usable by the metric.

# The metrics that arms are compared by where none is named.
COMPARED = ("wall_s", "throughput_rps", "cpu_us_per_request", "process_peak_rss_bytes")
OF_SERVERS = ("wall_s", "throughput_rps", "server_cpu_us_per_request", "server_peak_rss_bytes")
# Doubts that no comparison adds to its reason: that it lacks a value says as much.
_OBVIOUS = (codes.UNKNOWN, MISSING)


class Against(msgspec.Struct, frozen=True, kw_only=True):
    """One arm compared with another by one metric; both are named by their settings."""

    of: dict[str, Any]
    to: dict[str, Any]
    metric: str
    comparison: Comparison

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: the two arms, the metric, and the comparison's fields."""
        data: dict[str, Any] = msgspec.to_builtins(self)
        return {**data, **data.pop("comparison")}


def compare_with_first(
    records: Sequence[Record], by: Sequence[str], frame: stats.DataFrame
) -> list[Against]:
    """Compare every arm of the axes `by` but the first with the first, in order of appearance.

    `frame` is `stats.frame` of the records. The metrics are `COMPARED`, or `OF_SERVERS` where these
    are compared.
    """
    of_server = {*map(guards.compared, records)} == {"server"}
    metrics = OF_SERVERS if of_server else COMPARED
    first, *others = [settings for settings, _ in frames.arms(frame, by)] or [{}]
    return compare_pairs(records, metrics, [(other, first) for other in others], frame)


def compare_pairs(
    records: Sequence[Record],
    metrics: Sequence[str],
    pairs: Iterable[tuple[dict[str, Any], dict[str, Any]]],
    frame: stats.DataFrame,
) -> list[Against]:
    """Compare arms, named by settings such as {"strategy": "queue"}, by each of the metrics.

    `frame` is `stats.frame` of the records. The answer is 'inconclusive' if a repeat does not
    count. Raises `BadInput` for an arm that does not exist, or that is ambiguous.

    All that is asked for at once is one family, whether it can be decided or not. A pair that is
    asked for each way counts once, as its intervals are reciprocals.
    """
    # A record that is not valid may count by its memory: which count is decided here alone.
    frame, pairs = frame.copy(), list(pairs)
    arms = {stats.arm_label(one): one for pair in pairs for one in pair}
    among = len(metrics) * len({frozenset(map(stats.arm_label, pair)) for pair in pairs})
    found: dict[tuple[int, str], Against] = {}
    for name in metrics:
        doubts = [doubt(record, name) for record in records]
        frame.loc[[bool(one) for one in doubts], name] = math.nan
        why = frames.codes_text(one for one in doubts if one not in _OBVIOUS)
        blocks = {arm: frames.by_block(frame, name, settings) for arm, settings in arms.items()}
        family = Family.of(among, [*blocks.values()])
        for n, (of, to) in enumerate(pairs):
            both = frames.paired(blocks[stats.arm_label(of)], blocks[stats.arm_label(to)])
            one = compare(*both, family=family)
            if one.ratio is None and why:
                one = msgspec.structs.replace(one, reason=f"{one.reason}: {why}")
            found[n, name] = Against(of=of, to=to, metric=name, comparison=one)
    return [found[n, name] for n in range(len(pairs)) for name in metrics]


# Ranks. A rank by a metric is one more than the number of strategies that are better for sure: the
# interval of the paired ratio lies beyond a margin on the better side. The intervals of all pairs
# and metrics hold together at 95 %. Who spreads widely is worse than nobody for sure, and must not
# win by that: no rank is better than that of one with a better median. A strategy that cannot be
# compared is better and worse than none, which is no rank: it has none. Ranks by different metrics
# are not added up: what they are worth beside each other depends on what one is short of.

# A ratio nearer to 1 than this is a tie: to be 1 % better is no reason to choose.
MARGIN = 1.02
# What strategies are ranked by, the most important first, and how it is called for short.
RANKED: Mapping[str, str] = paths.table("tables.toml")["ranked"]


def title(metric: str) -> str:
    """Return a metric for short, with its unit."""
    return f"{RANKED[metric]} ({metric_named(metric).unit})"


class Rank(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy by one metric, in base units; None where no repeat can be compared.

    `position` is 1 where none is better for sure, None where it cannot be compared, and `why` it
    cannot; others share it where it is `tied`.
    """

    metric: str
    value: float | None
    position: int | None
    tied: bool
    why: str

    @property
    def text(self) -> str:
        """Return the rank as a table shows it: '2', or '2=' where it is shared."""
        return "-" if self.position is None else f"{self.position}{'=' if self.tied else ''}"

    @property
    def says(self) -> str:
        """Return the figure, with its rank in brackets."""
        shown = metric_named(self.metric).text(self.value)
        return shown if self.value is None else f"{shown} ({self.text})"


class BoardRow(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy by every metric; `is_mine` is whether it is one that was examined."""

    name: str
    is_mine: bool
    ranks: Sequence[Rank]


def rank_all(records: Sequence[Record], mine: Collection[str]) -> list[BoardRow]:
    """Rank the strategies of these records by every metric, the best by the first metric first."""
    by_name = frames.by_axis(records, "strategy")
    # By metric and strategy, how many others are better for sure, beyond the margin.
    losses: Counter[tuple[str, str]] = Counter()
    frame = frames.frame(records)
    pairs = itertools.permutations([{"strategy": name} for name in by_name], 2)
    for each in compare_pairs(records, list(RANKED), pairs, frame):
        ratio = each.comparison.ratio
        if ratio is None or ratio.ends is None:
            continue
        low, high = ratio.ends
        higher_is_better = metric_named(each.metric).better == "higher"
        worse = high < 1 / MARGIN if higher_is_better else low > MARGIN
        if worse:
            losses[each.metric, each.of["strategy"]] += 1
    by_metric = {metric: _ranks(metric, by_name, losses) for metric in RANKED}
    ranks = {name: [by_metric[each][name] for each in RANKED] for name in by_name}
    rows = [BoardRow(name=name, is_mine=name in mine, ranks=of) for name, of in ranks.items()]

    def order(row: BoardRow) -> list[float]:
        # Those that share every rank keep an order that does not change from run to run: by value.
        return [*(rank.position or math.inf for rank in row.ranks), -(row.ranks[0].value or 0.0)]

    return sorted(rows, key=order)


def _ranks(
    metric: str, by_name: dict[str, list[Record]], losses: Counter[tuple[str, str]]
) -> dict[str, Rank]:
    """Rank every strategy by one metric; one that cannot be compared has no rank, but a reason.

    One repeat that cannot be used leaves every comparison undecided, as anywhere in the lab.
    """
    needed = len({(record.study, record.repeat) for of in by_name.values() for record in of})
    whys: dict[str, str] = {}
    medians: dict[str, float | None] = {}
    for name, records in by_name.items():
        doubts = {record.id: doubt(record, metric) for record in records}
        values = [metric_named(metric).of(each) for each in records if not doubts[each.id]]
        reasons = frames.codes_text([*doubts.values(), *["missing"] * (needed - len(records))])
        why = f"{needed - len(values)} of {needed} repeats cannot be used ({reasons})"
        if not reasons:
            why = f"{repeats_text(needed)}; {MIN_REPEATS} needed" if needed < MIN_REPEATS else ""
        whys[name], medians[name] = why, median(values) if values else None
    places = {name: 1 + losses[metric, name] for name, why in whys.items() if not why}
    known = [(value, name) for name in places if (value := medians[name])]
    best = 1
    higher_first = metric_named(metric).better == "higher"
    for _, name in sorted(known, key=lambda one: one[0], reverse=higher_first):
        best = places[name] = max(best, places[name])
    return {
        name: Rank(
            metric=metric,
            value=value,
            position=places.get(name),
            tied=list(places.values()).count(places.get(name, 0)) > 1,
            why=whys[name],
        )
        for name, value in medians.items()
    }
