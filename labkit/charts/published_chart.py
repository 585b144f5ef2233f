"""Figures that somebody published beside those that were measured: the triptych, and throughput.

What is to be compared is how far apart the variants are, not how fast two machines of different
years are: so published bars are paler than measured ones.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

from labkit import stats
from labkit.charts import axes, figure, style
from labkit.charts.bar_chart import Group, floor_legend, grouped, how_to_read
from labkit.charts.style import MEASURED, Look, applied, legend, look
from labkit.errors import BadInput

Source = Literal["repeats", "then", "reference", "published", "left_out"]
Numbers = Mapping[Any, float | None]
_BAR_IN, _THIN_BAR_IN = 0.36, 0.27


# The triptych: figures share an axis only where they are of the same workload. Where it differs
# those of each scale get a row of panels of their own, and a note says how.

_METRICS = ("process_peak_rss_bytes", "process_wall_s", "process_cpu_percent")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One client. Numbers are in base units, by the names of metrics (`floor_s` among them).

    `repeats` are measured here, `then` in the software of then, `reference` on the reference
    machine, one mapping a repeat; `trust` is in what was measured here, without runs that are
    `left_out`; `published` has only figures that there are.
    """

    trust: figure.Trust
    repeats: Sequence[Numbers]
    published: Mapping[str, float] | None = None
    then: Sequence[Numbers] = ()
    reference: Sequence[Numbers] = ()
    left_out: Sequence[Numbers] = ()

    def values(self, source: Source, name: str) -> list[float]:
        """Return the values of the metric `name` from this source; NaN for a repeat without one."""
        if source == "repeats":
            return [math.nan if (v := one.get(name)) is None else v for one in self.repeats]
        found = [self.published or {}] if source == "published" else getattr(self, source)
        return axes.finite([one.get(name) for one in found])

    def median(self, sources: Iterable[Source], name: str) -> float:
        """Return the median of a metric over these sources; NaN if none has a value."""
        values = [value for source in sources for value in self.values(source, name)]
        return statistics.median(axes.finite(values) or [math.nan])

    def in_words(self, label: str, names: Sequence[str]) -> str:
        """Return the medians of these metrics, here and as published."""

        def text(source: Source) -> str:
            values = {name: self.median([source], name) for name in names}
            return ", ".join(stats.metric(name).format(value) for name, value in values.items())

        beside = [f"in the software of then {text('then')}"] if self.then else []
        beside += [f"published {text('published')}"] if self.published else []
        return f"{label} {text('repeats')}" + (f" ({'; '.join(beside)})" if beside else "")


def rows(
    frame: pd.DataFrame,
    by: Sequence[str],
    *,
    published: Mapping[str, Numbers] | None = None,
    reference: pd.DataFrame | None = None,
    then: pd.DataFrame | None = None,
) -> list[Row]:
    """Return a row for each arm of a tidy frame; `published` is by label (`stats.arm_label`)."""
    said, names, counted = published or {}, list(stats.METRICS), stats.counted(frame, by)
    others = {"reference": reference, "then": then}
    apart = {name: stats.counted(one, by) for name, one in others.items() if one is not None}
    apart["left_out"] = frame.drop(counted.index)
    arms = {name: stats.by_label(one, by) for name, one in apart.items()}
    return [
        Row(
            trust=figure.trust(label, arm),
            repeats=arm[names].to_dict("records"),
            published={name: v for name, v in said.get(label, {}).items() if v is not None},
            **{one: of[label][names].to_dict("records") for one, of in arms.items() if label in of},
        )
        for label, arm in stats.by_label(counted, by).items()
    ]


@applied()
def triptych(
    rows: Sequence[Row],
    *,
    title: str = "Memory, time and CPU of each client",
    conditions: str = "",
    scales: Mapping[str, str] | None = None,
    differs: str = "",
    year: int | None = None,
) -> figure.Chart:
    """Draw three panels with one group of bars a client.

    `conditions` says what was measured here. Sources at different `scales` do not share an axis;
    `differs` says how the published workload differs then; it was published in `year`. Raises
    `BadInput` where there are no rows.
    """
    if not rows:
        raise BadInput("there are no clients to draw: give a row for each")
    looks = _sources(rows, year)
    lines: dict[str, dict[Source, Look]] = {}
    for source, one in looks.items():
        lines.setdefault(f"scale {scales[source]}" if scales else "", {})[source] = one
    apart = len(lines) > 1
    legends = legend(looks.values())
    legends += floor_legend(row.median(looks, "floor_s") for row in rows)
    why = f"On axes of their own, because the workload differs: {differs}" if apart else ""
    heights = [_BAR_IN * len(rows) * len(of_scale) + 1.25 for of_scale in lines.values()]
    words = [row.in_words(row.trust.label, _METRICS) for row in rows]
    notes = _notes(rows, conditions, why)
    says = {"title": title, "parts": words, "legend": legends, "notes": notes}
    chart, drawn = _panels(heights, len(_METRICS), **says)
    for line, (label, shown) in zip(drawn, lines.items(), strict=True):
        for ax, name in zip(line, _METRICS, strict=True):
            groups, metric = list[Group](), stats.metric(name)
            for row in rows:
                marked = row.trust.marked if "repeats" in shown else row.trust.label
                left_out = row.values("left_out", name) if "repeats" in shown else ()
                # Only the panel of the time has floors.
                floors = [row.median(shown, "floor_s") for _ in shown if name == "process_wall_s"]
                groups.append((marked, [row.values(one, name) for one in shown], left_out, floors))
            grouped(ax, groups, list(shown.values()), metric, ticks=5)
            ax.set_title(metric.label)
            ax.tick_params(axis="y", labelleft=ax is line[0])
        line[0].set_ylabel(label if apart else "", weight="bold")
    chart.body.align_ylabels(list(drawn[:, 0]))
    return chart


# Throughput: panels of programs, a group a size, a colour a variant.

_THOUSANDS = replace(stats.metric("throughput_rps"), unit="thousand requests/s", scale=1e-3)
_COLUMNS = 3
# Where a client's bars are: the panel, the group in it, and the bar of the group.
Spot = tuple[str, str, str]


@applied()
def throughput(
    rows: Sequence[Row],
    spots: Mapping[str, Spot],
    *,
    title: str = "Requests per second",
    conditions: str = "",
    year: int | None = None,
) -> figure.Chart:
    """Draw panels of horizontal bars, three beside each other: a group a size, a colour a variant.

    `spots` is by the label of each row. Raises `BadInput` where there are no rows.
    """
    if not rows:
        raise BadInput("there are no programs to draw: give a row for each")
    name, bars = _THOUSANDS.name, list(dict.fromkeys(bar for _, _, bar in spots.values()))
    panels: dict[str, dict[str, dict[str, Row]]] = {}
    for row in rows:
        panel, group, bar = spots[row.trust.label]
        panels.setdefault(panel, {}).setdefault(group, {})[bar] = row
    looks = {
        panel: _looks([row for of in groups.values() for row in of.values()], bars, year)
        for panel, groups in panels.items()
    }
    needed_in = [_THIN_BAR_IN * len(of) * len(looks[panel]) + 1.25 for panel, of in panels.items()]
    heights = [max(needed_in[at : at + _COLUMNS]) for at in range(0, len(panels), _COLUMNS)]
    words = [row.in_words(", ".join(spots[row.trust.label]), [name]) for row in rows]
    legends = legend(_looks(rows, bars, year).values())
    notes = _notes(rows, conditions)
    says = {"title": title, "parts": words, "legend": legends, "notes": notes}
    chart, drawn = _panels(heights, min(_COLUMNS, len(panels)), **says)
    for ax, (panel, groups) in zip(drawn.flat, panels.items(), strict=False):
        shown: list[Group] = []
        for label, of in groups.items():
            verdict = stats.worst(one.trust.verdict for one in of.values())
            slots = looks[panel]
            values = [of[bar].values(source, name) if bar in of else [] for bar, source in slots]
            shown.append((figure.Trust(label=label, verdict=verdict).marked, values, (), ()))
        grouped(ax, shown, list(looks[panel].values()), _THOUSANDS, ticks=4)
        ax.set_title(panel)
    for ax in drawn.flat[len(panels) :]:
        ax.remove()
    return chart


def _notes(rows: Sequence[Row], conditions: str, why: str = "") -> list[str]:
    """Return the notes of a chart of these rows; `why` is one by itself."""
    what, *more = conditions.splitlines() or [""]
    how = how_to_read(max(len(row.repeats) for row in rows))
    judged = figure.judged((row.trust for row in rows), what, how)
    return [*judged, *figure.sentences(why), *figure.sentences("\n".join(more))]


def _panels(heights: Sequence[float], across: int, **says: Any) -> tuple[figure.Chart, Any]:
    """Return a chart and its panels, so many beside each other, in lines of these heights."""
    chart = figure.Chart(height_in=sum(heights) + 0.4, **says)
    return chart, chart.body.subplots(len(heights), across, squeeze=False, height_ratios=heights)


def _looks(
    rows: Sequence[Row], bars: Sequence[str], year: int | None
) -> dict[tuple[str, Source], Look]:
    """Return a look for each bar from each source: its colour is the bar's."""
    looks = {}
    for source, usual in _sources(rows, year).items():
        for index, bar in enumerate(bars):
            one = look(index, f"{bar}, {usual.label}")
            faces = {"repeats": one.face, "then": one.face + "88", "reference": one.face + "33"}
            faces["published"] = usual.face
            looks[bar, source] = replace(one, face=faces[source], hatch=usual.hatch or one.hatch)
    return looks


def _sources(shown: Sequence[Row], year: int | None) -> dict[Source, Look]:
    """Return the look of each source that has any figure."""
    when = f" {year}" if year else ""
    has_then = any(row.then for row in shown)
    looks: dict[Source, Look] = {
        "repeats": replace(MEASURED, label="today's software, here") if has_then else MEASURED,
        "then": replace(style.THEN, label=f"software of{when or ' then'}, here"),
        "reference": style.REFERENCE,
        "published": replace(style.PUBLISHED, label=f"published{when}"),
    }
    return {name: one for name, one in looks.items() if any(getattr(of, name) for of in shown)}
