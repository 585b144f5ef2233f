"""Numbers over another that was varied: any metric over an axis, and a sweep of the limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from labkit import stats
from labkit.charts import axes, style
from labkit.charts import notes as trusting
from labkit.charts.axes import finite
from labkit.charts.figure import Chart, describe
from labkit.errors import BadInput

_HOW = "Lines join the medians, dots are the repeats"
_LOG_X_FROM, _LOG_Y_FROM = 10, 100
_LOG_BOTH_FROM = 10
"""Where x is logarithmic y is too from here on: what is proportional stays a straight line."""
_MAX_MARKED = 9
"""Of so many distinct values of x each has its tick."""
_LIGHTER: Mapping[str, Any] = {"alpha": 0.4, "linestyle": "--"}


@style.applied()
def over_axis(
    frame: pd.DataFrame,
    x: str,
    y: str,
    by: Sequence[str] = (),
    reference: pd.DataFrame | None = None,
) -> Chart:
    """Draw metric `y` over the numeric column `x`, a line for each arm of `by`.

    `reference` is a frame of another machine's records, drawn lighter. An axis is logarithmic where
    its values span decades. Raises `BadInput` for a column that is unknown or not numeric.
    """
    metric = stats.metric(y)
    conditions = trusting.shared_conditions(frame)
    if x not in frame.columns or not is_numeric_dtype(frame[x]) or is_bool_dtype(frame[x]):
        raise BadInput(
            f"x is {x!r}: it must be a column of numbers in every record, such as requests, limit "
            "or a number that was varied"
        )
    if not finite(list(frame[metric.name])):
        raise BadInput(
            f"y is {metric.name!r}: no record has a value of it; choose a metric that was measured"
        )
    arms = stats.by_label(frame, by)
    elsewhere = {} if reference is None else stats.by_label(reference, by)
    trusts = [trusting.trust(label, rows) for label, rows in arms.items()]
    title = f"{metric.label[0].upper()}{metric.label[1:]} over {x}"
    repeated = frame.groupby([x, *by], dropna=False).size().max() > 1
    chart = Chart(
        title=title,
        alt=describe(title, (_ends(label, rows, x, metric) for label, rows in arms.items())),
        height_in=5.2,
        notes=[
            *trusting.sentences(conditions, _HOW if repeated else ""),
            *trusting.verdicts(trusts),
            *trusting.doubts(stats.by_label(frame, list(dict.fromkeys([*by, x])))),
        ],
    )
    ax = chart.body.subplots()
    looks = {name: style.line(i) for i, name in enumerate(dict.fromkeys([*arms, *elsewhere]))}
    lines = [(one.marked, arms[one.label], looks[one.label]) for one in trusts]
    lines += [
        (f"{label}, {style.REFERENCE.label}", rows, {**looks[label], **_LIGHTER})
        for label, rows in elsewhere.items()
    ]
    for label, rows, look in lines:
        scaled = rows[metric.name] * metric.scale
        medians = scaled.groupby(rows[x]).median()
        _draw(ax, medians, rows[x], scaled, label, look, 8)
    drawn = pd.concat([frame, *([] if reference is None else [reference])])
    log_x = _scale_along(ax, finite(list(drawn[x])))
    ax.set_xlabel(f"{x}, logarithmic" if log_x else x)
    log_from = _LOG_BOTH_FROM if log_x else _LOG_Y_FROM
    up = finite(list(drawn[metric.name]))
    axes.scale_up(ax, up, metric.title, log_from=log_from, most=7)
    ax.grid(color=style.PALE)
    if len(lines) > 1:  # one line needs no name; the notes judge it
        axes.legend_outside(ax)
    return chart


def _ends(label: str, rows: pd.DataFrame, x: str, metric: stats.Metric) -> str:
    """Return the medians at both ends of an arm's line in words."""
    medians = rows.groupby(x)[metric.name].median()
    ends = dict.fromkeys([medians.index[0], medians.index[-1]])
    texts = [f"{metric.format(medians[at])} at {axes.tick_text(at)}" for at in ends]
    return f"{label} {', '.join(texts)}"


def _draw(
    ax: Axes,
    medians: pd.Series[float],
    x: pd.Series[float],
    values: pd.Series[float],
    label: str,
    look: Mapping[str, Any],
    size: float,
) -> None:
    """Draw a line of medians, by their index, and a dot for each repeat."""
    along = list(medians.index)
    ax.plot(along, list(medians), label=label, linewidth=2.2, markersize=size, **look)
    ax.plot(x, values, "o", color=look["color"], markersize=0.625 * size, alpha=0.4)


def _scale_along(ax: Axes, values: Sequence[float]) -> bool:
    """Scale the x axis for its values; return True where it is logarithmic."""
    axes.linear(ax.xaxis, most=8)
    if not axes.spans(values, _LOG_X_FROM):
        return False
    ax.set_xscale("log")
    axes.logarithmic(ax.xaxis)
    distinct = sorted(set(values))
    if len(distinct) <= _MAX_MARKED:
        ax.set_xticks(distinct)
    return True


# A sweep of the limit.

_PANEL_IN = 2.7
_LOG_FROM = 10
_CURVE_POINTS = 200
_HOW_KNEE = f"{_HOW}; percentiles are of all answers at a limit"
_LITTLE = (
    "Little's law bounds both: no more requests per second than the limit over the shortest "
    "latency, no shorter mean latency than the limit over the best rate"
)
_PANELS: Mapping[tuple[str, ...], str] = {
    ("throughput_rps",): "throughput\n(requests/s)",
    ("latency_p50_s", "latency_p99_s"): "latency (ms)",
    ("efficiency",): "efficiency\n(%)",
}
_BOUND: Mapping[str, Any] = {"color": style.INK, "linestyle": ":", "linewidth": 1.6}


@style.applied()
def knee(
    frame: pd.DataFrame,
    summary: pd.DataFrame,
    found: stats.Knee | None = None,
    usl: stats.Usl | None = None,
    notes: Sequence[str] = (),
) -> Chart:
    """Draw throughput, latency and efficiency over the column `limit`, with the knee marked.

    `frame` has the repeats and `summary` a row for each limit. The knee and the fitted law are
    drawn where given. Raises `BadInput` where no record has a throughput.
    """
    conditions = trusting.shared_conditions(frame)
    if not finite(list(frame["throughput_rps"])):
        raise BadInput("there is no knee to draw: no trial of the sweep has a throughput")
    shown = summary.sort_values("limit").set_index("limit", drop=False)
    title = "Throughput, latency and efficiency over the limit"
    chart = Chart(
        title=title,
        alt=f"{title}. {' '.join(notes) or 'No knee was found.'}",
        height_in=len(_PANELS) * _PANEL_IN + 0.6,
        notes=[
            *trusting.sentences(conditions, _HOW_KNEE, _LITTLE),
            *notes,
            *trusting.verdicts(
                trusting.trust(f"limit {limit:,}", rows) for limit, rows in frame.groupby("limit")
            ),
        ],
    )
    panels = list(chart.body.subplots(len(_PANELS), 1, sharex=True))
    for ax, (names, label) in zip(panels, _PANELS.items(), strict=True):
        _knee_panel(ax, frame, shown, names)
        ax.set_ylabel(label)
    limits = sorted(set(shown["limit"]))
    _laws(panels[0], panels[1], shown, limits, usl)
    for ax in panels:
        if found is not None and not found.at_end:
            label = f"knee, {found.limit:,}"
            if found.low is not None and found.high is not None:
                ax.axvspan(found.low, found.high, color=style.GREEN, alpha=0.15, linewidth=0)
                label += f" ({found.low:,} to {found.high:,})"
            ax.axvline(found.limit, color=style.GREEN, linewidth=1.8, label=label)
        axes.legend_outside(ax)
    if axes.spans(limits, _LOG_FROM):
        panels[-1].set_xscale("log")
        axes.logarithmic(panels[-1].xaxis)
    panels[-1].set_xticks(limits, [axes.tick_text(one) for one in limits])
    panels[-1].set_xlabel("limit (requests in flight at most)")
    chart.body.align_ylabels(panels)
    return chart


def _knee_panel(ax: Axes, frame: pd.DataFrame, shown: pd.DataFrame, names: Sequence[str]) -> None:
    """Draw the metrics of one panel, and scale it for what was measured."""
    values: list[float] = []
    for index, name in enumerate(names):
        metric = stats.METRICS[name]
        medians = shown[name] * metric.scale
        if medians.fillna(0).any():
            repeats = frame[name] * metric.scale
            _draw(ax, medians, frame["limit"], repeats, metric.label, style.line(index), 7)
            values += finite(list(frame[name])) + finite(list(shown[name]))
    if not values:
        axes.not_measured(ax)
        return
    if names == ("efficiency",):
        axes.linear(ax.yaxis, most=5)
        ax.set_ylim(0, 105)
    else:
        marks = (1,) if axes.spans(values, 100) else (1, 2, 5)
        axes.scale_up(ax, values, "", log_from=_LOG_FROM, most=5, marks=marks)
    # What is drawn from here on is for orientation: the measured values set the scale.
    ax.set_autoscaley_on(False)


def _laws(
    throughput: Axes,
    latency: Axes,
    shown: pd.DataFrame,
    limits: Sequence[float],
    usl: stats.Usl | None,
) -> None:
    """Draw the fitted law, and what Little's law allows where a latency was measured."""
    dense = np.geomspace(limits[0], limits[-1], _CURVE_POINTS)
    if usl is not None:
        label = "Universal Scalability Law, fitted"
        rates = [usl.at(limit) for limit in dense.tolist()]
        throughput.plot(dense, rates, "--", color=style.VERMILLION, label=label)
    shortest_s, best = shown["latency_mean_s"].min(), shown["throughput_rps"].max()
    if shortest_s > 0:
        throughput.plot(dense, dense / shortest_s, label="limit / shortest latency", **_BOUND)
        latency.plot(dense, 1e3 * dense / best, label="limit / best rate", **_BOUND)
