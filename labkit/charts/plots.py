"""One name for each picture: which chart is meant, and what it needs."""

from __future__ import annotations

from collections.abc import Sequence

from labkit import fields, stats
from labkit.charts.bar_chart import bars
from labkit.charts.chart import Chart
from labkit.charts.latency_chart import latency
from labkit.charts.timeline_chart import timeline
from labkit.errors import BadInput
from labkit.record import Record

_SPECIAL = ("latency", "timeline")


def plot(kind: str, records: Sequence[Record], by: Sequence[str] = ()) -> Chart:
    """The chart called `kind`: latency, timeline, or the name of a metric (bars of it).

    `by` names the axes that tell the arms apart. Raises `BadInput` for a kind that is not one, and
    for the timeline of several records.
    """
    if kind == "latency":
        return latency(_by_label(records, by))
    if kind == "timeline":
        return timeline(_only(records))
    if kind not in stats.ALIASES and kind not in stats.METRICS:
        raise fields.unknown("plot", kind, [*_SPECIAL, *stats.ALIASES, *stats.METRICS])
    return bars(stats.frame(records), kind, by)


def _by_label(records: Sequence[Record], by: Sequence[str]) -> dict[str, list[Record]]:
    arms = stats.by_label(stats.frame(records), by)
    return {label: [records[place] for place in rows.index] for label, rows in arms.items()}


def _only(records: Sequence[Record]) -> Record:
    if len(records) != 1:
        raise BadInput(
            f"plot is 'timeline' of {len(records)} records: it shows one trial; plot one run"
        )
    return records[0]
