"""`Arena`: what exams found, and the board, on which those that passed are ranked. Pure.

A rank by a metric is one more than the number of strategies that are better for sure: the interval
of the paired ratio lies beyond a margin on the better side. The intervals of all pairs and metrics
hold together at 95 %. Who spreads widely is worse than nobody for sure, and must not win by that:
no rank is better than that of one with a better median. A strategy that cannot be compared is
better and worse than none, which is no rank: it has none. Ranks by different metrics
are not added up: what they are worth beside each other depends on what one is short of.
"""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from labkit import charts, stats
from labkit.errors import BadInput
from labkit.record.record import Record
from labkit.report import html
from labkit.report.exam_faults import Examined, Fault
from labkit.report.html import Table
from labkit.report.study import Outcome
from labkit.report.tables import EFFICIENCY
from labkit.stats import Interval, comparisons, metrics

if TYPE_CHECKING:
    from labkit.charts import Chart

MARGIN = 1.02
"""A ratio nearer to 1 than this is a tie: to be 1 % better is no reason to choose."""
WIDTH = 100
METRICS = {
    "efficiency": "efficiency",
    "cpu_us_per_request": "CPU/request",
    "process_peak_rss_bytes": "memory",
    "to_first_send_s": "first request",
}
"""What strategies are ranked by, the most important first, and how it is called for short."""


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
    for each in comparisons.compare_each_other(records, ["strategy"], list(METRICS)):
        ratio = each.comparison.ratio
        if ratio is None or ratio.low is None or ratio.high is None:
            continue
        higher_is_better = stats.metric(each.metric).better == "higher"
        worse = ratio.high < 1 / MARGIN if higher_is_better else ratio.low > MARGIN
        if worse and each.comparison.answer != "inconclusive":
            losses[each.metric, each.of["strategy"]] += 1
    by_metric = {metric: _ranks(metric, by_name, losses) for metric in METRICS}
    rows = [
        BoardRow(name=name, is_mine=name in mine, ranks=[by_metric[each][name] for each in METRICS])
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
        values = [stats.metric(metric).of(each) for each in records if not doubts[each.id]]
        reasons = stats.codes_text([*doubts.values(), *["missing"] * (needed - len(records))])
        why = ""
        if reasons == metrics.MISSING and not values:
            why = reasons
        elif reasons:
            why = f"{needed - len(values)} of {needed} repeats cannot be used ({reasons})"
        elif needed < stats.MIN_REPEATS:
            why = f"{_repeats(needed)}; {stats.MIN_REPEATS} needed"
        interval = stats.of_value(values) if values else None
        ranks[name] = Rank(
            metric=metric,
            value=interval.value if interval else None,
            interval=interval,
            position=None if why else 1 + losses[metric, name],
            made=len(records),
            why=why,
        )
    sign = -1 if stats.metric(metric).better == "higher" else 1
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


def _repeats(n: int) -> str:
    return f"{n} repeat{'' if n == 1 else 's'}"


class Arena(Outcome):
    """Who was examined, with their faults, and the board of those who passed.

    It runs nothing. It shows itself as HTML in a notebook and as text anywhere else.
    """

    def __init__(self, examined: Sequence[Examined], records: Sequence[Record] = ()) -> None:
        super().__init__(records, ["strategy"])
        self.examined = list(examined)
        self.board: list[BoardRow] = rank_all(self.records, [each.name for each in self.examined])

    @property
    def passed(self) -> list[str]:
        """Return the names of those without a fault."""
        return [each.name for each in self.examined if each.passed]

    @property
    def faults(self) -> dict[str, list[Fault]]:
        """Return the faults of each who was examined, by name; an empty list is none."""
        return {each.name: list(each.faults) for each in self.examined}

    def plot(self, kind: str = "board") -> Chart:
        """Draw the `board`, the four metrics beside each other; or any kind of a study.

        Raises `BadInput` where nobody is on the board.
        """
        if not self.records:
            raise BadInput("there is no board to draw: nobody has passed the exam")
        if kind != "board":
            return super().plot(kind)
        from labkit.charts.notes import shared_conditions  # here: it brings pandas along

        frame = self.frame()
        panels = []
        for name in METRICS:
            metric = stats.metric(name)
            dots = []
            for row in self.board:
                rank = row.by(name)
                ends = (rank.interval.low, rank.interval.high) if rank.interval else (None, None)
                low, high = (None if end is None else end * metric.scale for end in ends)
                dots.append(
                    charts.Dot(
                        name=row.name,
                        value=None if rank.value is None else rank.value * metric.scale,
                        interval=None if low is None or high is None else (low, high),
                        rank=rank.text,
                        is_mine=row.is_mine,
                    )
                )
            better = metric.better or "lower"
            panels.append(charts.Panel(title=_header(name), better=better, dots=dots))
        trusts = [
            charts.trust(row.name, frame[frame["strategy"] == row.name]) for row in self.board
        ]
        return charts.board(
            panels,
            title="The board",
            trusts=trusts,
            conditions=shared_conditions(frame),
            notes=self.sentences(),
        )

    def table(self) -> Table:
        """Return the board: a row a strategy, each figure with its rank in brackets."""
        rows = []
        for row in self.board:
            cells = [f"{row.name} *" if row.is_mine else row.name]
            for rank in row.ranks:
                shown = stats.metric(rank.metric).text(rank.value)
                cells.append(shown if rank.value is None else f"{shown} ({rank.text})")
            rows.append(cells)
        return Table(
            headers=["strategy", *map(_header, METRICS)],
            rows=rows,
            says=f"In brackets the rank; * was examined here.\n{EFFICIENCY}",
        )

    def sentences(self) -> list[str]:
        """Return what the board means."""
        if not self.board:
            nobody = "Nobody is on the board: a strategy is ranked once its exam finds no fault."
            return [nobody] if self.examined else []
        ranks = [(row, rank) for row in self.board for rank in row.ranks]
        made, needed = max(rank.made for _, rank in ranks), stats.MIN_REPEATS
        reasons: dict[str, list[str]] = {}
        for row, rank in ranks:
            # Too few repeats is one reason for all.
            if rank.why and (made >= needed or rank.value is None):
                reasons.setdefault(rank.why, []).append(f"{row.name} by {METRICS[rank.metric]}")
        found = []
        if made < needed:
            found.append(
                f"With {_repeats(made)} nothing is decided, and nobody has a rank: {needed} are "
                "needed."
            )
        elif not all(rank.why for _, rank in ranks):
            for row in self.board:
                if row.is_mine and any(rank.position for rank in row.ranks):
                    places = [f"{rank.text} by {METRICS[rank.metric]}" for rank in row.ranks]
                    found.append(f"{row.name} has rank {', '.join(places)}.")
            pairs = len(METRICS) * len(self.board) * (len(self.board) - 1) // 2
            found.append(
                "A rank is one more than how many are better for sure: the whole interval of the "
                f"ratio lies beyond a difference of {MARGIN - 1:.0%}. It is never better than that "
                "of one with a better median. A rank that several have is marked by =. Intervals "
                f"for {pairs} comparisons together: {100 * stats.LEVEL:g} %."
            )
        return [*found, *(f"No rank for {', '.join(of)}: {why}." for why, of in reasons.items())]

    def text(self) -> str:
        """Return what the exams found, the board, and what it means."""
        parts: list[str] = []
        for each in self.examined:
            points = [
                textwrap.fill(line, WIDTH, initial_indent="  - ", subsequent_indent="    ")
                for line in _findings(each)
            ]
            parts.append("\n".join([_verdict(each), *points]))
        if self.board:
            parts.append(self.table().text())
        return "\n\n".join([*parts, textwrap.fill(" ".join(self.sentences()), WIDTH)])

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: the exams, the board, the records and their summary."""
        known = super().to_dict() if self.records else {"records": [], "summary": []}
        return {
            "examined": [
                {
                    "name": each.name,
                    "passed": each.passed,
                    "faults": [{"code": fault.code, "says": fault.says} for fault in each.faults],
                    "remarks": list(each.remarks),
                }
                for each in self.examined
            ],
            "board": msgspec.to_builtins(self.board),
            "says": self.sentences(),
            **known,
        }

    def html(self) -> str:
        """Return what the exams found, the board and its picture, and what it means."""
        parts = []
        for each in self.examined:
            parts += [html.heading(_verdict(each)), html.listed(_findings(each))]
        if self.board:
            parts += [self.table().html(), html.picture(self.plot)]
        return "".join([*parts, html.sentences(self.sentences())])


def _verdict(examined: Examined) -> str:
    return f"{examined.name}: {'passed the exam' if examined.passed else 'not ranked'}."


def _findings(examined: Examined) -> list[str]:
    """Return the faults with their codes, or the remarks of one without any."""
    return [f"{fault.code}. {fault.says}" for fault in examined.faults] or list(examined.remarks)


def _header(metric: str) -> str:
    return f"{METRICS[metric]} ({stats.metric(metric).unit})"
