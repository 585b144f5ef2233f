"""The 2018 triptych: memory, time and CPU of each client, published beside measured.

The published figures share an axis with the measured ones only where both are of the same workload;
where it differs they get a row of panels of their own, and the difference is said in words.
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

from labkit import stats
from labkit.charts import marks, quality
from labkit.charts.conditions import sentences
from labkit.charts.figure import Chart
from labkit.charts.marks import Group, finite
from labkit.charts.style import INK, MEASURED, PUBLISHED, REFERENCE, Look, applied
from labkit.errors import BadInput

Numbers = Mapping[str, float | None]

METRICS = ("process_peak_rss_bytes", "process_wall_s", "process_cpu_percent")
_TIMES = ("wall_s", "process_wall_s")
_FLOOR: dict[str, Any] = {"color": INK, "linestyle": "--", "linewidth": 1.8}
_FLOOR_LABEL = "floor: the server's delays alone"
_BAR_IN = 0.36
_AROUND_IN = 1.25


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


def rows(
    frame: pd.DataFrame,
    by: Sequence[str],
    *,
    published: Mapping[str, Numbers] | None = None,
    reference: pd.DataFrame | None = None,
) -> list[Row]:
    """A row for each arm of a tidy frame; `published` by label (`stats.arm_label`)."""
    elsewhere = {} if reference is None else stats.by_label(reference, by)
    return [
        Row(
            label=label,
            repeats=_numbers(arm),
            published=(published or {}).get(label),
            reference=_numbers(elsewhere[label]) if label in elsewhere else (),
            verdict=stats.worst(arm["verdict"]),
            warnings=stats.codes_of(arm["warnings"]),
        )
        for label, arm in stats.by_label(frame, by).items()
    ]


def _numbers(arm: pd.DataFrame) -> list[dict[str, float | None]]:
    measured = arm[list(stats.METRICS)].to_dict("records")
    return [{str(name): value for name, value in one.items()} for one in measured]


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
    """Three panels, one group of bars a client.

    `conditions` says what was measured here. `differs` says how the published workload differs from
    it; empty where it does not, and then both share an axis. Raises `BadInput` for a metric that is
    not one, and where there are no rows.
    """
    shown = [stats.metric(name) for name in metrics]
    if not rows:
        raise BadInput("there are no clients to draw: give a row for each")
    sets = _sets(rows, replace(PUBLISHED, label=published_label), apart=bool(differs))
    heights = [_BAR_IN * len(rows) * len(looks) + _AROUND_IN for looks in sets]
    trusts = [quality.Trust(label=r.label, verdict=r.verdict, codes=r.warnings) for r in rows]
    chart = Chart(
        title=title,
        alt=_alt(rows, shown, title),
        height_in=sum(heights) + 0.4,
        notes=[
            *sentences(conditions, marks.how_to_read(max(len(row.repeats) for row in rows))),
            *_apart(sets, differs),
            *quality.notes(trusts),
        ],
        legend=_legend(rows, [look for looks in sets for look in looks], metrics),
    )
    axes = chart.body.subplots(len(sets), len(shown), squeeze=False, height_ratios=heights)
    for line, looks in zip(axes, sets, strict=True):
        here = MEASURED in looks
        _panels(line, rows, looks, shown, [t.marked if here else t.label for t in trusts])
        if len(sets) > 1:
            line[0].set_ylabel("measured here" if here else "published size", weight="bold")
    chart.body.align_ylabels(list(axes[:, 0]))
    return chart


def _apart(sets: Sequence[Sequence[Look]], differs: str) -> list[str]:
    said = f"On axes of their own, because the workload differs: {differs}"
    return sentences(said) if len(sets) > 1 else []


def _sets(rows: Sequence[Row], published: Look, *, apart: bool) -> list[list[Look]]:
    """The looks that share axes, for each row of panels. The reference is of the published size."""
    others = [REFERENCE] if any(row.reference for row in rows) else []
    others += [published] if any(_is_published(row) for row in rows) else []
    return [[MEASURED], others] if apart and others else [[MEASURED, *others]]


def _is_published(row: Row) -> bool:
    return bool(finite(list((row.published or {}).values())))


def _values(row: Row, look: Look, name: str) -> list[float]:
    if look is MEASURED:
        return [math.nan if (v := one.get(name)) is None else v for one in row.repeats]
    if look is REFERENCE:
        return finite([one.get(name) for one in row.reference])
    return finite([(row.published or {}).get(name)])


def _panels(
    axes: Sequence[Axes],
    rows: Sequence[Row],
    looks: Sequence[Look],
    metrics: Sequence[stats.Metric],
    labels: Sequence[str],
) -> None:
    for ax, metric in zip(axes, metrics, strict=True):
        groups = [
            Group(label=label, values=[_values(row, look, metric.name) for look in looks])
            for row, label in zip(rows, labels, strict=True)
        ]
        marks.grouped(ax, groups, looks, metric, ticks=5)
        ax.set_title(metric.label)
        ax.set_xlabel(metric.unit)
        if metric.name in _TIMES:
            _draw_floors(ax, [_floor(row, looks) for row in rows])
        if ax is not axes[0]:
            ax.tick_params(axis="y", labelleft=False)


def _floor(row: Row, looks: Sequence[Look]) -> float:
    """The floor in seconds of what is drawn of this row; NaN where it is not known."""
    floors = [floor for look in looks for floor in _values(row, look, "floor_s")]
    return statistics.median(finite(floors) or [math.nan])


def _draw_floors(ax: Axes, floors: Sequence[float]) -> None:
    if all(math.isclose(floor, floors[0], rel_tol=1e-3) for floor in floors):
        ax.axvline(floors[0], label=_FLOOR_LABEL, **_FLOOR)
        return
    for place, floor in enumerate(floors):
        if math.isfinite(floor):
            ends = [place - marks.GROUP / 2, place + marks.GROUP / 2]
            ax.plot([floor, floor], ends, label=_FLOOR_LABEL, **_FLOOR)


def _legend(
    rows: Sequence[Row], looks: Sequence[Look], metrics: Sequence[str]
) -> list[tuple[Artist, str]]:
    floors = [_floor(row, looks) for row in rows]
    if not finite(floors) or not set(_TIMES) & set(metrics):
        return marks.legend(looks)
    return [*marks.legend(looks), (Line2D([], [], **_FLOOR), _FLOOR_LABEL)]


def _alt(rows: Sequence[Row], metrics: Sequence[stats.Metric], title: str) -> str:
    clients = "; ".join(f"{row.label} {_medians(row, metrics)}" for row in rows)
    return f"{title}. {clients}."


def _medians(row: Row, metrics: Sequence[stats.Metric]) -> str:
    def said(look: Look) -> str:
        return ", ".join(
            metric.said(statistics.median(finite(_values(row, look, metric.name)) or [math.nan]))
            for metric in metrics
        )

    return said(MEASURED) + (f" (published {said(PUBLISHED)})" if _is_published(row) else "")
