"""Ranks of strategies by several metrics, from the records of a study. Pure.

A rank by a metric is one more than the number of strategies that are better for sure: the interval
of the paired ratio lies beyond a margin on the better side. The intervals of all pairs and metrics
hold together at 95 %. Who spreads widely is worse than nobody for sure, and must not win by that:
no rank is better than that of one with a better median. A strategy that cannot be compared is
better and worse than none, which is no rank: it has none. Ranks by different metrics
are not added up: what they are worth beside each other depends on what one is short of.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence

import msgspec

from labkit.record.record import Record
from labkit.stats import comparisons, frames, metrics
from labkit.stats.intervals import MIN_REPEATS, Interval, of_value
from labkit.stats.metrics import metric as metric_named

MARGIN = 1.02
"""A ratio nearer to 1 than this is a tie: to be 1 % better is no reason to choose."""
RANKED = {
    "efficiency": "efficiency",
    "cpu_us_per_request": "CPU/request",
    "process_peak_rss_bytes": "memory",
    "to_first_send_s": "first request",
}
"""What strategies are ranked by, the most important first, and how it is called for short."""


def title(metric: str) -> str:
    """Return a metric for short, with its unit."""
    return f"{RANKED[metric]} ({metric_named(metric).unit})"


class Rank(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy by one metric, in base units; None where no repeat can be compared.

    `position` is 1 where none is better for sure, None where it cannot be compared, and `why` it
    cannot; `tied_with` are those that share it. `made` is how many repeats there were.
    """

    metric: str
    value: float | None
    interval: Interval | None
    position: int | None
    made: int
    tied_with: Sequence[str] = ()
    why: str = ""

    @property
    def text(self) -> str:
        """Return the rank as a table shows it: '2', or '2=' where it is shared."""
        return "-" if self.position is None else f"{self.position}{'=' if self.tied_with else ''}"


class BoardRow(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy by every metric; `is_mine` is whether it is one that was examined."""

    name: str
    is_mine: bool
    ranks: Sequence[Rank]

    def by(self, metric: str) -> Rank:
        """Return its rank by a metric."""
        return next(rank for rank in self.ranks if rank.metric == metric)


def rank_all(records: Sequence[Record], mine: Collection[str]) -> list[BoardRow]:
    """Rank the strategies of these records by every metric, the best by the first metric first."""
    if not records:
        return []
    by_name: dict[str, list[Record]] = {}
    for record in records:
        by_name.setdefault(str(record.axes["strategy"]), []).append(record)
    # By metric and strategy, how many others are better for sure, beyond the margin.
    losses: Counter[tuple[str, str]] = Counter()
    for each in comparisons.compare_each_other(records, ["strategy"], list(RANKED)):
        ratio = each.comparison.ratio
        if ratio is None or ratio.ends is None:
            continue
        low, high = ratio.ends
        higher_is_better = metric_named(each.metric).better == "higher"
        worse = high < 1 / MARGIN if higher_is_better else low > MARGIN
        if worse and each.comparison.answer != "inconclusive":
            losses[each.metric, each.of["strategy"]] += 1
    by_metric = {metric: _ranks(metric, by_name, losses) for metric in RANKED}
    rows = [
        BoardRow(name=name, is_mine=name in mine, ranks=[by_metric[each][name] for each in RANKED])
        for name in by_name
    ]

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
    ranks: dict[str, Rank] = {}
    for name, records in by_name.items():
        doubts = {record.id: metrics.doubt(record, metric) for record in records}
        values = [metric_named(metric).of(each) for each in records if not doubts[each.id]]
        reasons = frames.codes_text([*doubts.values(), *["missing"] * (needed - len(records))])
        why = ""
        if reasons == metrics.MISSING and not values:
            why = reasons
        elif reasons:
            why = f"{needed - len(values)} of {needed} repeats cannot be used ({reasons})"
        elif needed < MIN_REPEATS:
            why = f"{comparisons.repeats_text(needed)}; {MIN_REPEATS} needed"
        interval = of_value(values) if values else None
        ranks[name] = Rank(
            metric=metric,
            value=interval.value if interval else None,
            interval=interval,
            position=None if why else 1 + losses[metric, name],
            made=len(records),
            why=why,
        )
    sign = -1 if metric_named(metric).better == "higher" else 1
    known = [(rank.value, name) for name, rank in ranks.items() if rank.value and not rank.why]
    best = 1
    for _, name in sorted(known, key=lambda one: sign * one[0]):
        best = max(best, ranks[name].position or 1)
        ranks[name] = msgspec.structs.replace(ranks[name], position=best)
    for name, rank in ranks.items():
        tied = [each for each, of in ranks.items() if each != name and of.position == rank.position]
        if rank.position is not None and tied:
            ranks[name] = msgspec.structs.replace(rank, tied_with=tied)
    return ranks
