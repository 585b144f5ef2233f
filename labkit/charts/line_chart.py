"""Lines: a metric over an axis that was varied, a sweep of the limit, and latency by percentile."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from labkit import paths, stats
from labkit.charts import axes, figure, style
from labkit.charts.bar_chart import FLOOR, TIMES
from labkit.errors import BadInput
from labkit.record import guards
from labkit.record.record import Record
from labkit.spec.validation import refusal
from labkit.stats.metrics import BEYOND
from labkit.stats.percentiles import Since

_LOG_X_FROM, _LOG_Y_FROM = 10, 100
# Where x is logarithmic y is too from here on: what is proportional stays a straight line.
_LOG_BOTH_FROM = 10
# Of so many distinct values of x each has its tick.
_MAX_MARKED = 9
_LIGHTER: Mapping[str, Any] = {"alpha": 0.4, "linestyle": "--"}


@style.applied()
def over_axis(
    frame: pd.DataFrame,
    x: str,
    y: str,
    by: Sequence[str] = (),
    reference: pd.DataFrame | None = None,
) -> figure.Chart:
    """Draw metric `y` over the numeric column `x`, a line for each arm of `by`.

    `reference` is a frame of another machine's records, drawn lighter. An axis is logarithmic where
    its values span decades. Raises `BadInput` for a column that is unknown or not numeric.
    """
    metric = stats.metric(y)
    conditions = figure.shared_conditions(frame)
    if x not in frame.columns or not is_numeric_dtype(frame[x]) or is_bool_dtype(frame[x]):
        raise refusal("x", x=x)
    if not axes.finite(list(frame[metric.name])):
        raise refusal("y", name=metric.name)
    arms = stats.by_label(frame, by, in_line=True)
    elsewhere = {} if reference is None else stats.by_label(reference, by, in_line=True)
    trusts = [figure.trust(*arm) for arm in arms.items()]
    repeated = frame.groupby([x, *by], dropna=False).size().max() > 1
    notes = figure.judged(trusts, conditions, paths.sentence("lines") if repeated else "")
    notes += figure.doubts(stats.by_label(frame, list(dict.fromkeys([*by, x]))))
    title = f"{metric.label[0].upper()}{metric.label[1:]} over {x}"
    medians = {label: rows.groupby(x)[metric.name].median() for label, rows in arms.items()}
    words = (_ends(label, of, metric) for label, of in medians.items())
    chart = figure.Chart(title=title, parts=words, height_in=5.2, notes=notes)
    ax = chart.body.subplots()
    looks = {name: style.line(i) for i, name in enumerate(dict.fromkeys([*arms, *elsewhere]))}
    lines = [(one.marked, arms[one.label], looks[one.label]) for one in trusts]
    lines += [
        (f"{label}, {style.REFERENCE.label}", rows, {**looks[label], **_LIGHTER})
        for label, rows in elsewhere.items()
    ]
    for label, rows, look in lines:
        axes.medians(ax, rows[x], rows[metric.name] * metric.scale, label, look, size=8)
    drawn = pd.concat([frame, *([] if reference is None else [reference])])
    along, up = axes.finite(list(drawn[x])), axes.finite(list(drawn[metric.name]))
    log_x = axes.scale(ax, "x", along, x, log_from=_LOG_X_FROM, most=8)
    if log_x and len(set(along)) <= _MAX_MARKED:
        ax.set_xticks(sorted(set(along)))
    log_from = _LOG_BOTH_FROM if log_x else _LOG_Y_FROM
    axes.scale(ax, "y", up, metric.title, log_from=log_from, most=7)
    ax.grid(color=style.PALE)
    ax.margins(x=0.12)
    axes.end_values(ax)
    floor_s = frame.groupby(x)["floor_s"]
    if metric.name in TIMES and floor_s.nunique().max() == 1:  # as all arms have the same
        ax.plot(*zip(*floor_s.median().items(), strict=True), **{**FLOOR, "label": "floor"})
    if len(ax.get_legend_handles_labels()[1]) > 1:  # one line needs no name; the notes judge it
        axes.legend_outside(ax)
    return chart


def _ends(label: str, medians: pd.Series[float], metric: stats.Metric) -> str:
    """Return the medians at both ends of an arm's line in words."""
    ends = dict.fromkeys([medians.index[0], medians.index[-1]])
    texts = [f"{metric.format(medians[at])} at {axes.tick_text(at)}" for at in ends]
    return f"{label} {', '.join(texts)}"


# A sweep of the limit.

_PANEL_IN = 2.7
_LOG_FROM = 10
_CURVE_POINTS = 200
_PANELS: Mapping[str, Sequence[str]] = paths.table("charts.toml")["knee"]
_BOUND: Mapping[str, Any] = {"color": style.INK, "linestyle": ":", "linewidth": 1.6}


@style.applied()
def knee(
    frame: pd.DataFrame,
    summary: pd.DataFrame,
    found: stats.Knee | None = None,
    usl: stats.Usl | None = None,
    notes: Sequence[str] = (),
) -> figure.Chart:
    """Draw throughput, latency and efficiency over the column `limit`, with the knee marked.

    Without a floor there is no efficiency. `frame` has the repeats and `summary` a row for each
    limit. The knee and the fitted law are drawn where given. Raises `BadInput` where no record has
    a throughput.
    """
    conditions = figure.shared_conditions(frame)
    if not axes.finite(list(frame["throughput_rps"])):
        raise BadInput("there is no knee to draw: no trial of the sweep has a throughput")
    shown = summary.sort_values("limit").set_index("limit", drop=False)
    title = "Throughput and latency over the limit"
    trusts = [figure.trust(f"limit {n:,}", rows) for n, rows in frame.groupby("limit")]
    alt = f"{title}. {' '.join(notes) or 'No knee was found.'}"
    judged = figure.judged(trusts, conditions, paths.sentence("lines-knee"), more=notes[-2::-1])
    known = {of: on for of, on in _PANELS.items() if on[0] != "efficiency" or shown[on[0]].any()}
    chart = figure.Chart(
        title=title, alt=alt, height_in=len(known) * _PANEL_IN + 0.6, notes=[*notes[-1:], *judged]
    )
    panels = list(chart.body.subplots(len(known), 1, sharex=True))
    for ax, (label, names) in zip(panels, known.items(), strict=True):
        values: list[float] = []
        for index, name in enumerate(names):
            metric = stats.METRICS[name]
            line = shown[name] * metric.scale
            if line.fillna(0).any():
                repeats, look = frame[name] * metric.scale, style.line(index)
                axes.medians(ax, frame["limit"], repeats, metric.label, look, line=line)
                values += axes.finite(list(frame[name])) + axes.finite(list(shown[name]))
        ax.set_ylabel(label)
        if not values:
            axes.not_measured(ax)
            continue
        if names == ["efficiency"]:
            axes.linear(ax.yaxis, most=5)
            ax.set_ylim(0, 105)
        else:
            axes.scale(ax, "y", values, label, log_from=_LOG_FROM, most=5)
        # What is drawn from here on is for orientation: the measured values set the scale.
        ax.set_autoscaley_on(False)
    limits = sorted(set(shown["limit"]))
    dense = np.geomspace(limits[0], limits[-1], _CURVE_POINTS)
    if usl is not None:
        label = "Universal Scalability Law, fitted"
        rates = [usl.at(limit) for limit in dense.tolist()]
        panels[0].plot(dense, rates, "--", color=style.VERMILLION, label=label)
    shortest_s, best = shown["latency_mean_s"].min(), shown["throughput_rps"].max()
    if shortest_s > 0:
        panels[0].plot(dense, dense / shortest_s, label="limit / shortest latency", **_BOUND)
        panels[1].plot(dense, 1e3 * dense / best, label="limit / best rate", **_BOUND)
    for ax in panels:
        if found is not None and not found.at_end:
            label = f"knee, {found.limit:,}"
            if found.low is not None and found.high is not None:
                ax.axvspan(found.low, found.high, color=style.GREEN, alpha=0.15, linewidth=0)
                label += f" ({found.low:,} to {found.high:,})"
            ax.axvline(found.limit, color=style.GREEN, linewidth=1.8, label=label)
        axes.legend_outside(ax)
    label = "limit (requests in flight at most)"
    axes.scale(panels[-1], "x", limits, label, log_from=_LOG_FROM, most=len(limits))
    panels[-1].set_xticks(limits, [axes.tick_text(one) for one in limits])
    chart.body.align_ylabels(panels)
    return chart


# Latency by percentile, on an axis where each further nine takes the same space.

_LOG_LATENCY_FROM = 20
_SINCE_SENT: Mapping[str, Since] = {"": "sent"}
_SINCE_BOTH: Mapping[str, Since] = {", since due": "due", ", since sent": "sent"}


@style.applied()
def latency(records_by_label: Mapping[str, Sequence[Record]]) -> figure.Chart:
    """Draw a line for each label, of the merged histograms of its records.

    Raises `BadInput` where no label has enough answers for any percentile.
    """
    arms = {label: stats.frame(records) for label, records in records_by_label.items()}
    curves: dict[str, tuple[list[float], list[float]]] = {}
    left_out, words = [], []
    for label, records in records_by_label.items():
        marked = figure.trust(label, arms[label]).marked
        timed = [record for record in records if record.latency_hdr is not None]
        # An open workload has two curves: since the send leaves out what its requests waited.
        is_open = any(record.arrivals for record in records)
        for name, since in (_SINCE_BOTH if is_open else _SINCE_SENT).items():
            merged = stats.merge_latency(timed, since) if timed else None
            if merged is None or merged.total_count < BEYOND:
                left_out.append(f"{marked}{name}")
                continue
            percentiles, seconds = stats.percentile_curve(merged)
            nines = [-math.log10(1 - one / 100) for one in percentiles]
            curves[f"{marked}{name} (n = {merged.total_count:,})"] = (nines, seconds)
            end = f"{seconds[-1]:.3g} s at percentile {percentiles[-1]:.6g}"
            words.append(f"{marked}{name} {end}")
    if not curves:
        raise refusal("nothing-timed")
    every_record = [record for records in records_by_label.values() for record in records]
    says = (paths.sentence("lines-latency"), *guards.of_latency(every_record))
    few = figure.not_drawn("for too few answers that were timed", left_out)
    notes = figure.about(arms, *says, more=few)
    chart = figure.Chart(title="Latency by percentile", parts=words, height_in=5.2, notes=notes)
    ax = chart.body.subplots()
    in_ms = max(seconds[-1] for _, seconds in curves.values()) < 1
    unit, scale = ("ms", 1e3) if in_ms else ("s", 1)
    for index, (label, (nines, seconds)) in enumerate(curves.items()):
        shown = [second * scale for second in seconds]
        look = {**style.line(index), "linewidth": 2.2, "markersize": 8}
        ax.plot(nines, shown, label=label, markevery=[len(nines) - 1], **look)
    furthest = max(nines[-1] for nines, _ in curves.values())
    # A little more than the furthest, as n need not be a power of ten to the last bit.
    whole = range(1, int(furthest + 0.01) + 1)
    names = [f"{100 - 100 / 10**nines:.{max(nines - 2, 0)}f}" for nines in whole]
    ax.set_xticks([0, math.log10(2), *whole], ["0", "50", *names])
    ax.set(xlim=(0, max(furthest * 1.12, 0.5)), xlabel="percentile")
    every = [second for _, seconds in curves.values() for second in seconds]
    axes.scale(ax, "y", every, f"latency ({unit})", log_from=_LOG_LATENCY_FROM, most=7)
    axes.end_values(ax)
    axes.legend_outside(ax)
    return chart
