"""The names of charts: which chart a name means, and what it needs."""

from collections.abc import Sequence

import pandas as pd

from labkit import stats
from labkit.charts.bar_chart import bars
from labkit.charts.figure import Chart
from labkit.charts.line_chart import latency
from labkit.charts.trial_chart import phases, timeline, waterfall
from labkit.errors import BadInput
from labkit.record.record import Record
from labkit.spec import validation

# These need a transport that traces its requests.
TRACED = ("phases", "waterfall")
# These show a single trial.
OF_ONE = ("timeline", "waterfall")
_SPECIAL = ("latency", "timeline", *TRACED)
# Every chart that can be drawn by its name.
KINDS = (*_SPECIAL, *stats.ALIASES, *stats.METRICS)


def check(kind: str, *, of_one: bool = False) -> None:
    """Raise `BadInput` for a plot that does not exist, or that several trials cannot have."""
    validation.check_known("plot", kind, KINDS)
    if kind in OF_ONE and not of_one:
        raise BadInput(f"plot is {kind!r}: it shows one trial, not a comparison; plot one run")


def plot(
    kind: str, records: Sequence[Record], by: Sequence[str] = (), frame: pd.DataFrame | None = None
) -> Chart:
    """Draw the chart called `kind`: latency, timeline, waterfall, phases, or a metric (bars of it).

    `by` names the axes that tell the arms apart; `frame` is `stats.frame` of the records, where the
    caller has it. Raises `BadInput` for a kind that is not one, for a timeline or waterfall of
    several records, and for phases of requests that were not traced.
    """
    check(kind, of_one=len(records) == 1)
    if kind in OF_ONE:
        return timeline(records[0]) if kind == "timeline" else waterfall(records[0])
    frame = stats.frame(records) if frame is None else frame
    by = by or [name for name in ("strategy",) if frame[name].notna().all()]
    if kind not in _SPECIAL:
        return bars(frame, kind, by)
    rows = stats.by_label(frame, by, in_line=True)
    arms = {label: [records[place] for place in of.index] for label, of in rows.items()}
    return latency(arms) if kind == "latency" else phases(arms)
