"""One number over another that was varied: memory over requests, throughput over the limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from labkit import stats
from labkit.charts import axes, conditions, quality, style
from labkit.charts.figure import Chart
from labkit.charts.marks import finite
from labkit.errors import BadInput

_HOW = "Lines join the medians, dots are the repeats"
_LOG_X_FROM, _LOG_Y_FROM = 10, 100
_LOG_BOTH_FROM = 10
"""Where x is logarithmic y is too from here on: what is proportional stays a straight line."""
_LIGHTER: dict[str, Any] = {"alpha": 0.4, "linestyle": "--"}


@style.applied()
def over_axis(
    frame: pd.DataFrame,
    x: str,
    y: str,
    by: Sequence[str] = (),
    reference: pd.DataFrame | None = None,
) -> Chart:
    """Metric `y` over the numeric column `x`, a line for each arm of `by`.

    `reference` is a frame of another machine's records, drawn lighter. An axis is logarithmic where
    its values span decades. Raises `BadInput` for a column that is unknown or not numeric.
    """
    metric = stats.metric(y)
    conditions.refuse_empty(frame)
    _check_numeric(frame, x)
    _check_measured(frame, metric)
    arms = stats.by_label(frame, by)
    elsewhere = {} if reference is None else stats.by_label(reference, by)
    trusts = [quality.trust(label, rows) for label, rows in arms.items()]
    title = f"{metric.label[0].upper()}{metric.label[1:]} over {x}"
    chart = Chart(
        title=title,
        alt=f"{title}. {_ends(arms, x, metric)}.",
        height_in=5.2,
        notes=conditions.sentences(conditions.of_frame(frame), _how(frame, x, by))
        + quality.notes(trusts)
        + quality.doubts(frame, list(dict.fromkeys([*by, x]))),
    )
    ax = chart.body.subplots()
    labels = dict.fromkeys([*arms, *elsewhere])
    looks = {label: style.line(index) for index, label in enumerate(labels)}
    for trust, rows in zip(trusts, arms.values(), strict=True):
        _draw(ax, rows, x, metric, trust.marked, looks[trust.label])
    for label, rows in elsewhere.items():
        name = f"{label}, {style.REFERENCE.label}"
        _draw(ax, rows, x, metric, name, {**looks[label], **_LIGHTER})
    _scale(ax, pd.concat([frame, *([] if reference is None else [reference])]), x, metric)
    return chart


def _how(frame: pd.DataFrame, x: str, by: Sequence[str]) -> str:
    """How to read it, where there are repeats to see."""
    return _HOW if frame.groupby([x, *by], dropna=False).size().max() > 1 else ""


def _check_numeric(frame: pd.DataFrame, x: str) -> None:
    known = x in frame.columns
    if not known or not is_numeric_dtype(frame[x]) or is_bool_dtype(frame[x]):
        raise BadInput(
            f"x is {x!r}: it must be a column of numbers in every record, such as requests, limit "
            "or a number that was varied"
        )


def _check_measured(frame: pd.DataFrame, metric: stats.Metric) -> None:
    if not finite(list(frame[metric.name])):
        raise BadInput(
            f"y is {metric.name!r}: no record has a value of it; choose a metric that was measured"
        )


def _draw(
    ax: Axes,
    rows: pd.DataFrame,
    x: str,
    metric: stats.Metric,
    label: str,
    look: Mapping[str, Any],
) -> None:
    scaled = rows[metric.name] * metric.scale
    medians = scaled.groupby(rows[x]).median()
    ax.plot(list(medians.index), list(medians), label=label, linewidth=2.2, markersize=8, **look)
    ax.plot(rows[x], scaled, "o", color=look["color"], markersize=5, alpha=0.4)


def _scale(ax: Axes, rows: pd.DataFrame, x: str, metric: stats.Metric) -> None:
    along, up = finite(list(rows[x])), finite(list(rows[metric.name]))
    ax.set_xlabel(x)
    axes.linear(ax.xaxis, most=8)
    axes.linear(ax.yaxis, most=7)
    logarithmic = axes.spans(along, _LOG_X_FROM)
    if logarithmic:
        ax.set_xscale("log")
        axes.logarithmic(ax.xaxis)
        ax.set_xlabel(f"{x}, logarithmic")
        axes.marked(ax.xaxis, along)
    if axes.spans(up, _LOG_BOTH_FROM if logarithmic else _LOG_Y_FROM):
        ax.set_yscale("log")
        axes.logarithmic(ax.yaxis)
        ax.set_ylabel(f"{metric.title}, logarithmic")
    else:
        ax.set_ylabel(metric.title)
        axes.from_zero(ax)
    ax.grid(color=style.PALE)
    if len(ax.get_legend_handles_labels()[0]) > 1:  # one line needs no name; the notes judge it
        axes.legend_outside(ax)


def _ends(arms: Mapping[str, pd.DataFrame], x: str, metric: stats.Metric) -> str:
    def said(rows: pd.DataFrame) -> str:
        medians = rows.groupby(x)[metric.name].median()
        ends = dict.fromkeys([medians.index[0], medians.index[-1]])
        return ", ".join(f"{metric.said(medians[at])} at {axes.tick_text(at)}" for at in ends)

    return "; ".join(f"{label} {said(rows)}" for label, rows in arms.items())
