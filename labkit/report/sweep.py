"""`Sweep`: what a sweep of the limit gave, with its table, its knee and its picture. Runs nothing.

Where the default limits end is decided here as well: `limits_for`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from labkit import charts, stats
from labkit.errors import BadInput
from labkit.record import guards
from labkit.record.record import Record
from labkit.report import tables
from labkit.report.study import Study
from labkit.report.tables import Table
from labkit.spec.trial import Trial

if TYPE_CHECKING:
    from labkit.charts import Chart

_HEEDLESS = ("gather", "sequential")
_COLUMNS = {
    "throughput_rps": "requests/s",
    "latency_p50_s": "p50 (ms)",
    "latency_p99_s": "p99 (ms)",
    "efficiency": "efficiency (%)",
    "cpu_percent": "CPU (%)",
    "server_cpu_percent": "server CPU (%)",
}


def limits_for(trial: Trial) -> list[int]:
    """Powers of two from 1 up to the number of requests, beyond which a limit limits nothing."""
    return [2**power for power in range(trial.requests.bit_length())]


def check(trial: Trial) -> None:
    """Raise `BadInput` for a strategy that heeds no limit, and for a workload with a rate."""
    if trial.strategy in _HEEDLESS and not trial.own_strategy:
        raise BadInput(
            f"strategy is {trial.strategy!r}: it heeds no limit, so that there is none to sweep; "
            "choose a bounded one, such as worker_pool"
        )
    if trial.workload.rate is not None:
        raise BadInput(
            f"workload.rate is {trial.workload.rate:g} in a sweep: the rate is what a sweep finds "
            "at each limit; leave it out"
        )


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """One limit: how many requests were in flight on average, and at most as the server saw it.

    `in_flight` is Little's law, the median over the repeats of rate times mean latency. Each is
    None where it was not measured.
    """

    limit: int
    in_flight: float | None
    server_max_in_flight: int | None


class Sweep(Study):
    """One trial at several limits. `knee` and `usl` are None and a reason where there is none."""

    def __init__(self, records: Sequence[Record]) -> None:
        ordered = sorted(records, key=lambda record: (_limit(record), record.repeat))
        super().__init__(ordered, ["limit"])
        self.rates = _rates(self.records)
        self.knee = _knee(self.rates)
        self.usl = stats.fit_usl(self.rates)
        self.levels = [_level(limit, self.records) for limit in self.rates]

    def text_table(self) -> Table:
        """A line for each limit; below it what they mean, the knee last."""
        rows = tables.words(self._summary, ["limit"], _COLUMNS, ranged="throughput_rps")
        flight = [[_text(one.in_flight), _text(one.server_max_in_flight)] for one in self.levels]
        headers = [*rows.headers[:-1], "in flight", "most at server", rows.headers[-1]]
        lines = [[*row[:-1], *more, row[-1]] for row, more in zip(rows.rows, flight, strict=True)]
        return Table(headers=headers, rows=lines, says="\n".join(self.says()), left=0)

    def text(self) -> str:
        """The table and its sentences."""
        return self.text_table().text()

    def says(self) -> list[str]:
        """What the figures mean, in sentences; the knee is the last."""
        return [
            tables.meaning(self.records, self.by, self._summary),
            "In flight is by Little's law: the rate times the mean latency.",
            stats.usl_says(self.usl),
            *self._held_up(),
            self.knee_says(),
        ]

    def knee_says(self) -> str:
        """Where the knee is, or that there is none, in a sentence."""
        if self.knee is None:
            return "There is no knee: no limit has a rate above 0 from a valid trial."
        return stats.knee_says(self.knee)

    def plot(self, kind: str = "knee") -> Chart:
        """`knee`: throughput, latency and efficiency over the limit; or any kind of a study."""
        if kind != "knee":
            return super().plot(kind)
        said = [stats.usl_says(self.usl), *self._held_up(), self.knee_says()]
        return charts.knee(self._frame, self._summary, self.knee, self.usl.usl, said)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: as a study, with the knee, the law's fit and each limit's level."""
        return super().to_dict() | {
            "knee": msgspec.to_builtins(self.knee),
            "usl": msgspec.to_builtins(self.usl),
            "levels": msgspec.to_builtins(self.levels),
            "says": self.says(),
        }

    def _held_up(self) -> list[str]:
        """Whose knee it is, where the server may have set the best rate."""
        best = None if self.knee is None else self.knee.best
        held = [
            one
            for one in self.records
            if _limit(one) == best and guards.other_side_is_bottleneck(one)
        ]
        if not held:
            return []
        return [
            f"At the limit {best:,} the server may have been the bottleneck, with over "
            f"{guards.SERVER_BUSY_PERCENT:.0f} % of its core in use: then the knee is the server's."
        ]

    def _compared(self) -> Table | None:
        return None


def _limit(record: Record) -> int:
    return int(record.trial["workload"]["limit"])


def _rates(records: Sequence[Record]) -> dict[int, list[float | None]]:
    """The rate of each limit in each block (study and repeat); None without a valid record."""
    blocks = dict.fromkeys((record.study, record.repeat) for record in records)
    found: dict[int, dict[Hashable, float | None]] = {}
    for record in records:
        rate = record.throughput_rps if record.verdict != "invalid" else None
        found.setdefault(_limit(record), {})[record.study, record.repeat] = rate
    return {limit: [rates.get(block) for block in blocks] for limit, rates in found.items()}


def _knee(rates: Mapping[int, Sequence[float | None]]) -> stats.Knee | None:
    try:
        return stats.knee(rates)
    except BadInput:
        return None


def _level(limit: int, records: Sequence[Record]) -> Level:
    mine = [record for record in records if _limit(record) == limit]
    under_way = [
        stats.in_flight(record.throughput_rps, record.latency_s.mean)
        for record in mine
        if record.throughput_rps is not None and record.latency_s is not None
    ]
    seen = [one.server.max_in_flight for one in mine if one.server is not None]
    return Level(
        limit=limit,
        in_flight=stats.of_value(under_way).value if under_way else None,
        server_max_in_flight=max((most for most in seen if most is not None), default=None),
    )


def _text(value: float | None) -> str:
    return stats.NOT_MEASURED if value is None or math.isnan(value) else stats.number(value)
