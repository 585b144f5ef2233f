"""One metric over the arms of an experiment."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from labkit import stats
from labkit.charts import conditions, marks, quality
from labkit.charts.figure import Chart
from labkit.charts.marks import Group
from labkit.charts.style import MEASURED, applied, look

_BAR_IN = 0.4
_AROUND_IN = 1.6


@applied()
def bars(frame: pd.DataFrame, metric: str, by: Sequence[str]) -> Chart:
    """Horizontal bars of `metric` for each arm of a tidy frame: medians, with all their repeats.

    The last of several `by` is told by colour, the others make the label. Raises `BadInput` for an
    unknown metric or column, and for a frame without records.
    """
    shown = stats.metric(metric)
    conditions.refuse_empty(frame)
    outer, inner = (by[:-1], by[-1:]) if len(by) > 1 else (by, [])
    colours = list(stats.by_label(frame, inner))
    looks = [look(index, label) for index, label in enumerate(colours)] if inner else [MEASURED]
    arms = stats.by_label(frame, by)
    trusts = [quality.trust(label, rows) for label, rows in arms.items()]
    groups = [
        Group(label=quality.trust(label, rows).marked, values=_values(rows, inner, colours, shown))
        for label, rows in stats.by_label(frame, outer).items()
    ]
    title = _title(shown, by)
    repeats = max(len(rows) for rows in arms.values())
    chart = Chart(
        title=title,
        alt=f"{title}. {_medians(arms, shown)}.",
        height_in=_BAR_IN * len(groups) * len(looks) + _AROUND_IN,
        notes=[
            *conditions.sentences(conditions.of_frame(frame), marks.how_to_read(repeats)),
            *quality.notes(trusts),
            *quality.doubts(frame, by),
        ],
        legend=marks.legend(looks) if inner else (),
    )
    ax = chart.body.subplots()
    marks.grouped(ax, groups, looks, shown, ticks=12)
    ax.set_xlabel(shown.title)
    return chart


def _values(
    rows: pd.DataFrame, inner: Sequence[str], colours: Sequence[str], metric: stats.Metric
) -> list[list[float]]:
    found = {label: list(arm[metric.name]) for label, arm in stats.by_label(rows, inner).items()}
    return [found.get(label, []) for label in colours]


def _title(metric: stats.Metric, by: Sequence[str]) -> str:
    label = metric.label[0].upper() + metric.label[1:]
    return " by ".join([label, *([" and ".join(by)] if by else [])])


def _medians(arms: dict[str, pd.DataFrame], metric: stats.Metric) -> str:
    def said(rows: pd.DataFrame) -> str:
        return metric.said(rows[metric.name].median())

    return "; ".join(f"{label} {said(rows)}" for label, rows in arms.items())
