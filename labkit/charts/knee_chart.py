"""A sweep of the limit: throughput, latency and efficiency over it, with the knee marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from labkit import stats
from labkit.charts import axes, conditions, quality, style
from labkit.charts.figure import Chart
from labkit.charts.marks import finite
from labkit.errors import BadInput

_PANEL_IN = 2.7
_LOG_FROM = 10
_CURVE_POINTS = 200
_HOW = "Lines join the medians, dots are the repeats; percentiles are of all answers at a limit"
_LITTLE = (
    "Little's law bounds both: no more requests per second than the limit over the shortest "
    "latency, no shorter mean latency than the limit over the best rate"
)
_THROUGHPUT = ("throughput_rps",)
_LATENCY = ("latency_p50_s", "latency_p99_s")
_EFFICIENCY = ("efficiency",)
_BOUND: dict[str, Any] = {"color": style.INK, "linestyle": ":", "linewidth": 1.6}


@style.applied()
def knee(
    frame: pd.DataFrame,
    summary: pd.DataFrame,
    found: stats.Knee | None = None,
    usl: stats.Usl | None = None,
    notes: Sequence[str] = (),
) -> Chart:
    """Three panels over the column `limit`, which is logarithmic where it spans decades.

    `frame` holds the repeats and `summary` a row for each limit. The knee and the fitted law are
    drawn where given. Raises `BadInput` where no record has a throughput.
    """
    conditions.refuse_empty(frame)
    if not finite(list(frame["throughput_rps"])):
        raise BadInput("there is no knee to draw: no trial of the sweep has a throughput")
    shown = summary.sort_values("limit")
    trusts = [quality.trust(f"limit {limit:,}", rows) for limit, rows in frame.groupby("limit")]
    title = "Throughput, latency and efficiency over the limit"
    chart = Chart(
        title=title,
        alt=f"{title}. {' '.join(notes) or 'No knee was found.'}",
        height_in=3 * _PANEL_IN + 0.6,
        notes=[
            *conditions.sentences(conditions.of_frame(frame), _HOW, _LITTLE),
            *notes,
            *quality.notes(trusts),
        ],
    )
    panels = chart.body.subplots(3, 1, sharex=True)
    for ax, names in zip(panels, (_THROUGHPUT, _LATENCY, _EFFICIENCY), strict=True):
        _panel(ax, frame, shown, names)
    _law(panels[0], shown, usl)
    _bounds(panels[0], panels[1], shown)
    for ax in panels:
        _mark(ax, found)
        axes.legend_outside(ax)
    _along(panels[-1], list(shown["limit"]))
    chart.body.align_ylabels(list(panels))
    return chart


def _panel(ax: Axes, frame: pd.DataFrame, shown: pd.DataFrame, names: Sequence[str]) -> None:
    values: list[float] = []
    for index, name in enumerate(names):
        metric, look = stats.METRICS[name], style.line(index)
        medians = shown[name] * metric.scale
        if not medians.fillna(0).any():
            continue
        ax.plot(shown["limit"], medians, label=metric.label, linewidth=2.2, markersize=7, **look)
        ax.plot(
            *(frame["limit"], frame[name] * metric.scale),
            *("o",),
            **{"color": look["color"], "markersize": 4.5, "alpha": 0.4},
        )
        values += finite(list(frame[name])) + finite(list(shown[name]))
    first = stats.METRICS[names[0]]
    ax.set_ylabel("latency (ms)" if names is _LATENCY else first.title.replace(" (", "\n("))
    if not values:
        ax.set_yticks([])
        ax.text(0.01, 0.5, "not measured", transform=ax.transAxes, va="center")
        return
    _up(ax, values, whole=names is _EFFICIENCY)


def _up(ax: Axes, values: Sequence[float], *, whole: bool) -> None:
    """The scale of y; `whole` for shares of a whole."""
    axes.linear(ax.yaxis, most=5)
    if whole:
        ax.set_ylim(0, 105)
    elif axes.spans(values, _LOG_FROM):
        ax.set_yscale("log")
        axes.logarithmic(ax.yaxis, marks=(1,) if axes.spans(values, 100) else (1, 2, 5))
    else:
        axes.from_zero(ax)
    # What is drawn from here on is for orientation: the measured values set the scale.
    ax.set_autoscaley_on(False)


def _law(ax: Axes, shown: pd.DataFrame, usl: stats.Usl | None) -> None:
    if usl is None:
        return
    limits = np.geomspace(shown["limit"].min(), shown["limit"].max(), _CURVE_POINTS).tolist()
    label = "Universal Scalability Law, fitted"
    ax.plot(limits, [usl.at(limit) for limit in limits], "--", color=style.VERMILLION, label=label)


def _bounds(throughput: Axes, latency: Axes, shown: pd.DataFrame) -> None:
    """What Little's law allows, where there is a latency: two straight lines on these axes."""
    limits, least = shown["limit"].to_numpy(dtype=float), shown["latency_mean_s"].min()
    if not least > 0:
        return
    dense = np.geomspace(limits.min(), limits.max(), _CURVE_POINTS)
    best = shown["throughput_rps"].max()
    throughput.plot(dense, dense / least, label="limit / shortest latency", **_BOUND)
    latency.plot(dense, 1e3 * dense / best, label="limit / best rate", **_BOUND)


def _mark(ax: Axes, found: stats.Knee | None) -> None:
    if found is None or found.at_end:
        return
    label = f"knee, {found.limit:,}"
    if found.low is not None and found.high is not None:
        ax.axvspan(found.low, found.high, color=style.GREEN, alpha=0.15, linewidth=0)
        label += f" ({found.low:,} to {found.high:,})"
    ax.axvline(found.limit, color=style.GREEN, linewidth=1.8, label=label)


def _along(ax: Axes, limits: Sequence[float]) -> None:
    ax.set_xlabel("limit (requests in flight at most)")
    if axes.spans(limits, _LOG_FROM):
        ax.set_xscale("log")
        axes.logarithmic(ax.xaxis)
    ax.set_xticks(sorted(set(limits)), [axes.tick_text(one) for one in sorted(set(limits))])
