"""One name for each picture: which chart is meant, and what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from labkit import stats
from labkit.charts.bar_chart import bars
from labkit.charts.figure import Chart
from labkit.charts.latency_chart import latency
from labkit.charts.phases_chart import phases, waterfall
from labkit.charts.timeline_chart import timeline
from labkit.errors import BadInput
from labkit.record.record import Record
from labkit.spec import validation

if TYPE_CHECKING:
    import pandas as pd

TRACED = ("phases", "waterfall")
"""What only a trial shows whose transport traces its requests."""
OF_ONE = ("timeline", "waterfall")
"""What shows a single trial."""
_SPECIAL = ("latency", "timeline", *TRACED)
KINDS = (*_SPECIAL, *stats.ALIASES, *stats.METRICS)
"""All that can be drawn."""


def check(kind: str, *, of_one: bool = False) -> None:
    """Raise `BadInput` for a plot that does not exist, or that several trials cannot have."""
    if kind not in KINDS:
        raise validation.unknown("plot", kind, KINDS)
    if kind in OF_ONE and not of_one:
        raise BadInput(f"plot is {kind!r}: it shows one trial, not a comparison; plot one run")


def plot(
    kind: str,
    records: Sequence[Record],
    by: Sequence[str] = (),
    frame: pd.DataFrame | None = None,
) -> Chart:
    """The chart called `kind`: latency, timeline, waterfall, phases, or a metric (bars of it).

    `by` names the axes that tell the arms apart; `frame` is `stats.frame` of the records, where the
    caller has it. Raises `BadInput` for a kind that is not one, for a timeline or waterfall of
    several records, and for phases of requests that were not traced.
    """
    if kind in ("latency", "phases"):
        rows = stats.by_label(stats.frame(records) if frame is None else frame, by)
        arms = {label: [records[place] for place in of.index] for label, of in rows.items()}
        return latency(arms) if kind == "latency" else phases(arms, by)
    if kind in OF_ONE:
        draw = {"timeline": timeline, "waterfall": waterfall}[kind]
        return draw(_only(kind, records))
    check(kind)
    return bars(stats.frame(records) if frame is None else frame, kind, by)


def _only(kind: str, records: Sequence[Record]) -> Record:
    if len(records) != 1:
        raise BadInput(
            f"plot is {kind!r} of {len(records)} records: it shows one trial; plot one run"
        )
    return records[0]
