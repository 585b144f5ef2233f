"""Horizontal bars with their repeats: one metric of each arm, and the triptych of 2018.

A bar is the median, its whisker spans all repeats, and each repeat is a dot.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from labkit import stats
from labkit.charts import axes, notes
from labkit.charts.axes import finite
from labkit.charts.figure import Chart, describe
from labkit.charts.style import INK, MEASURED, PUBLISHED, REFERENCE, Look, applied, look
from labkit.errors import BadInput
from labkit.stats import Metric

Numbers = Mapping[str, float | None]

METRICS = ("process_peak_rss_bytes", "process_wall_s", "process_cpu_percent")
_TIMES = ("wall_s", "process_wall_s")
_FLOOR: dict[str, Any] = {"color": INK, "linestyle": "--", "linewidth": 1.8}
_FLOOR_LABEL = "floor: the server's delays alone"
_GROUP = 0.8
"""Share of the space between two groups that their bars fill."""
_BAR_IN, _THIN_BAR_IN = 0.4, 0.36


@dataclass(frozen=True, kw_only=True)
class Group:
    """The bars of one arm: values in base units of each look, in the same order in all groups."""

    label: str
    values: Sequence[Sequence[float]]


def grouped(
    ax: Axes, groups: Sequence[Group], looks: Sequence[Look], metric: Metric, *, ticks: int
) -> None:
    """Draw horizontal bars of each group, from 0, with at most so many ticks."""
    thickness = _GROUP / len(looks)
    most = 0.0
    for place, group in enumerate(groups):
        for slot, (values, filled) in enumerate(zip(group.values, looks, strict=True)):
            at = place - _GROUP / 2 + (slot + 0.5) * thickness
            shown = [value * metric.scale for value in finite(values)]
            if not shown:
                if values:
                    axes.beside(ax, 0, at, "not measured")
                continue
            most, median = max(most, *shown), statistics.median(shown)
            ax.barh(
                at,
                median,
                thickness * 0.92,
                facecolor=filled.face,
                edgecolor=filled.edge,
                hatch=filled.hatch,
            )
            if len(shown) > 1:
                reach = [[median - min(shown)], [max(shown) - median]]
                ax.errorbar(
                    [median], [at], xerr=reach, fmt="none", ecolor=INK, capsize=4, linewidth=1.5
                )
                # In the order of the repeats from top to bottom, so that a drift shows.
                step = thickness * 0.6 / (len(shown) - 1)
                places = [at - thickness * 0.3 + step * repeat for repeat in range(len(shown))]
                ax.plot(
                    shown, places, "o", markersize=4.5, markerfacecolor="white", markeredgecolor=INK
                )
            axes.beside(ax, max(shown), at, metric.text(median / metric.scale))
    # The fewer ticks fit, the more of the width the number beside a bar needs.
    ax.set_xlim(0, most * (1 + 1.5 / ticks) or 1)
    axes.rows(ax, [group.label for group in groups])
    axes.linear(ax.xaxis, most=ticks)


def how_to_read(repeats: int) -> str:
    """Return what the marks mean, where there are so many repeats at most."""
    if repeats > 1:
        return "Bars are medians, whiskers reach from the least to the most, dots are the repeats."
    return "One run each: nothing is known of the spread."


def legend(looks: Sequence[Look]) -> list[tuple[Artist, str]]:
    """Return what a legend shows for each look."""
    return [
        (Patch(facecolor=one.face, edgecolor=one.edge, hatch=one.hatch), one.label) for one in looks
    ]


@applied()
def bars(frame: pd.DataFrame, metric: str, by: Sequence[str]) -> Chart:
    """Draw bars of `metric` for each arm of a tidy frame.

    The last of several `by` is shown by colour, the others make the label. Raises `BadInput` for an
    unknown metric or column, and for a frame without records.
    """
    shown = stats.metric(metric)
    conditions = notes.shared_conditions(frame)
    outer, inner = (by[:-1], by[-1:]) if len(by) > 1 else (by, [])
    arms = stats.by_label(frame, by)
    colours = list(stats.by_label(frame, inner))
    looks = [look(index, label) for index, label in enumerate(colours)] if inner else [MEASURED]
    groups = []
    for label, rows in stats.by_label(frame, outer).items():
        found = stats.by_label(rows, inner)
        values = [list(found[name][shown.name]) if name in found else [] for name in colours]
        groups.append(Group(label=notes.trust(label, rows).marked, values=values))
    title = shown.label[0].upper() + shown.label[1:] + (f" by {' and '.join(by)}" if by else "")
    medians = [f"{label} {shown.format(rows[shown.name].median())}" for label, rows in arms.items()]
    chart = Chart(
        title=title,
        alt=describe(title, medians),
        height_in=_BAR_IN * len(groups) * len(looks) + 1.6,
        notes=[
            *notes.sentences(conditions, how_to_read(max(map(len, arms.values())))),
            *notes.verdicts(notes.trust(label, rows) for label, rows in arms.items()),
            *notes.doubts(arms),
        ],
        legend=legend(looks) if inner else (),
    )
    ax = chart.body.subplots()
    grouped(ax, groups, looks, shown, ticks=12)
    ax.set_xlabel(shown.title)
    return chart


# The triptych: the published figures share an axis with the measured ones only where both are of
# the same workload. Where it differs they get a row of panels of their own, and a note says how.


@dataclass(frozen=True, kw_only=True)
class Row:
    """One client. Numbers are in base units, by the names of metrics (`floor_s` among them).

    `repeats` are measured here, `reference` on the reference machine, one mapping a repeat.
    """

    label: str
    repeats: Sequence[Numbers]
    published: Numbers | None = None
    reference: Sequence[Numbers] = ()
    verdict: str = "valid"
    warnings: Sequence[str] = ()

    @property
    def trust(self) -> notes.Trust:
        """How far to trust what was measured here."""
        return notes.Trust(label=self.label, verdict=self.verdict, codes=self.warnings)

    @property
    def is_published(self) -> bool:
        """Whether there is any published figure."""
        return bool(finite(list((self.published or {}).values())))

    def values(self, of: Look, name: str) -> list[float]:
        """Return the values of the metric `name` that are drawn in this look; NaN for a gap."""
        if of is MEASURED:
            return [math.nan if (v := one.get(name)) is None else v for one in self.repeats]
        if of is REFERENCE:
            return finite([one.get(name) for one in self.reference])
        return finite([(self.published or {}).get(name)])

    def floor_s(self, looks: Sequence[Look]) -> float:
        """Return the floor in seconds of what is drawn in these looks; NaN if it is not known."""
        floors = [floor for one in looks for floor in self.values(one, "floor_s")]
        return statistics.median(finite(floors) or [math.nan])


def rows(
    frame: pd.DataFrame,
    by: Sequence[str],
    *,
    published: Mapping[str, Numbers] | None = None,
    reference: pd.DataFrame | None = None,
) -> list[Row]:
    """Return a row for each arm of a tidy frame; `published` is by label (`stats.arm_label`)."""
    elsewhere = {} if reference is None else stats.by_label(reference, by)
    names = list(stats.METRICS)

    def numbers(arm: pd.DataFrame) -> list[dict[str, float | None]]:
        return [{name: row[name] for name in names} for row in arm[names].to_dict("records")]

    return [
        Row(
            label=label,
            repeats=numbers(arm),
            published=(published or {}).get(label),
            reference=numbers(elsewhere[label]) if label in elsewhere else (),
            verdict=stats.worst(arm["verdict"]),
            warnings=stats.codes_of(arm["warnings"]),
        )
        for label, arm in stats.by_label(frame, by).items()
    ]


@applied()
def triptych(
    rows: Sequence[Row],
    *,
    title: str = "Memory, time and CPU of each client",
    conditions: str = "",
    differs: str = "",
    published_label: str = "published",
    metrics: Sequence[str] = METRICS,
) -> Chart:
    """Draw three panels with one group of bars a client.

    `conditions` says what was measured here. `differs` says how the published workload differs from
    it; empty where it does not, and then both share an axis. Raises `BadInput` for a metric that is
    not one, and where there are no rows.
    """
    shown = [stats.metric(name) for name in metrics]
    if not rows:
        raise BadInput("there are no clients to draw: give a row for each")
    others = [REFERENCE] if any(row.reference for row in rows) else []
    if any(row.is_published for row in rows):
        others.append(replace(PUBLISHED, label=published_label))
    # The reference is of the published size, and stands beside it.
    apart = bool(differs and others)
    panels = [[MEASURED], others] if apart else [[MEASURED, *others]]
    looks = [MEASURED, *others]
    legends = legend(looks)
    if {*_TIMES} & {*metrics} and finite([row.floor_s(looks) for row in rows]):
        legends.append((Line2D([], [], **_FLOOR), _FLOOR_LABEL))
    on_own_axes = f"On axes of their own, because the workload differs: {differs}" if apart else ""
    heights = [_THIN_BAR_IN * len(rows) * len(one) + 1.25 for one in panels]
    chart = Chart(
        title=title,
        alt=describe(title, (f"{row.label} {_medians(row, shown)}" for row in rows)),
        height_in=sum(heights) + 0.4,
        notes=[
            *notes.sentences(conditions, how_to_read(max(len(row.repeats) for row in rows))),
            *notes.sentences(on_own_axes),
            *notes.verdicts(row.trust for row in rows),
        ],
        legend=legends,
    )
    drawn = chart.body.subplots(len(panels), len(shown), squeeze=False, height_ratios=heights)
    for line, in_panel in zip(drawn, panels, strict=True):
        for ax, metric in zip(line, shown, strict=True):
            _panel(ax, rows, in_panel, metric)
            ax.tick_params(axis="y", labelleft=ax is line[0])
        if apart:
            here = "measured here" if MEASURED in in_panel else "published size"
            line[0].set_ylabel(here, weight="bold")
    chart.body.align_ylabels(list(drawn[:, 0]))
    return chart


def _medians(row: Row, metrics: Sequence[Metric]) -> str:
    def text(of: Look) -> str:
        known = [finite(row.values(of, metric.name)) or [math.nan] for metric in metrics]
        return ", ".join(
            metric.format(statistics.median(values))
            for metric, values in zip(metrics, known, strict=True)
        )

    return text(MEASURED) + (f" (published {text(PUBLISHED)})" if row.is_published else "")


def _panel(ax: Axes, rows: Sequence[Row], looks: Sequence[Look], metric: Metric) -> None:
    groups = [
        Group(
            label=row.trust.marked if MEASURED in looks else row.label,
            values=[row.values(one, metric.name) for one in looks],
        )
        for row in rows
    ]
    grouped(ax, groups, looks, metric, ticks=5)
    ax.set_title(metric.label)
    ax.set_xlabel(metric.unit)
    if metric.name not in _TIMES:
        return
    floors = [row.floor_s(looks) for row in rows]
    if all(math.isclose(floor, floors[0], rel_tol=1e-3) for floor in floors):
        ax.axvline(floors[0], label=_FLOOR_LABEL, **_FLOOR)
        return
    for place, floor in enumerate(floors):
        if math.isfinite(floor):
            ends = [place - _GROUP / 2, place + _GROUP / 2]
            ax.plot([floor, floor], ends, label=_FLOOR_LABEL, **_FLOOR)
