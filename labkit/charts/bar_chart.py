"""Horizontal bars: groups of them with their repeats, one metric of each arm, and the ladder.

In a group a bar is the median, its whisker spans all repeats, and each repeat is a dot. A run that
is left out of them is a cross.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import msgspec
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D

from labkit import paths, stats
from labkit.charts import axes, figure, style
from labkit.charts.style import INK, MEASURED, ORANGE, PALE, Look, applied, legend, look
from labkit.errors import BadInput
from labkit.stats.comparisons import RANKED, BoardRow, times, title

# The label of a group of bars, the values of each bar in base units, look by look, those that are
# left out of the first, and the floor of each bar, in an axis of times.
Group = tuple[str, Sequence[Sequence[float]], Sequence[float], Sequence[float]]
# Share of the space between two groups that their bars fill.
GROUP = 0.8
_BAR_IN = 0.4
_TABLES = paths.table("charts.toml")
FLOOR: dict[str, Any] = _TABLES["floor"]
# Metrics beside which the floor is drawn.
TIMES = ("wall_s", "process_wall_s", "requests_s")


def grouped(
    ax: Axes, groups: Sequence[Group], looks: Sequence[Look], metric: stats.Metric, *, ticks: int
) -> None:
    """Draw horizontal bars of each group, from 0, with at most so many ticks."""
    thickness = GROUP / len(looks)
    most = 0.0
    for place, (_, bars_of, left_out, floors) in enumerate(groups):
        for slot, (values, filled) in enumerate(zip(bars_of, looks, strict=True)):
            at = place - GROUP / 2 + (slot + 0.5) * thickness
            # A floor of 0, of a server without delays, and one that is not known have no line.
            if floors and floors[slot] > 0:
                ax.plot([floors[slot]] * 2, [at - thickness / 2, at + thickness / 2], **FLOOR)
            shown = [value * metric.scale for value in axes.finite(values)]
            if not shown:
                if values:
                    axes.beside(ax, 0, at, "not measured")
                continue
            crosses = [one * metric.scale for one in axes.finite(left_out) if not slot]
            end, median = max(*shown, *crosses, 0.0), statistics.median(shown)
            most = max(most, end)
            ax.barh(at, median, thickness * 0.92, **filled.fill)
            if len(shown) > 1:
                axes.whisker(ax, median, at, (min(shown), max(shown)))
                # In the order of the repeats from top to bottom, so that a drift shows.
                step = thickness * 0.6 / (len(shown) - 1)
                places = [at - thickness * 0.3 + step * repeat for repeat in range(len(shown))]
                ax.plot(shown, places, "o", markersize=4.5, mfc="white", mec=INK)
            if crosses:
                ax.plot(crosses, [at] * len(crosses), "X", markersize=9, mfc=ORANGE, mec=INK)
            axes.beside(ax, end, at, metric.text(median / metric.scale))
    # The fewer ticks fit, the more of the width the number beside a bar needs.
    ax.set_xlim(0, most * (1 + 1.5 / ticks) or 1)
    axes.rows(ax, [label for label, *_ in groups])
    axes.linear(ax.xaxis, most=ticks)
    ax.set_xlabel(metric.unit)


def floor_legend(values: Iterable[float]) -> list[tuple[Artist, str]]:
    """Return what a legend shows for floors, where there are any."""
    return [(Line2D([], [], **FLOOR), FLOOR["label"])] if any(one > 0 for one in values) else []


def how_to_read(repeats: int) -> str:
    """Return what the marks mean, where there are so many repeats at most."""
    return paths.sentence("bars" if repeats > 1 else "bars-once")


@applied()
def bars(frame: pd.DataFrame, metric: str, by: Sequence[str]) -> figure.Chart:
    """Draw bars of `metric` for each arm of a tidy frame.

    The last of several `by` is shown by colour, the others make the label. Raises `BadInput` for an
    unknown metric or column, and for a frame without records.
    """
    shown = stats.metric(metric)
    conditions = figure.shared_conditions(frame)
    outer, inner = (by[:-1], by[-1:]) if len(by) > 1 else (by, [])
    arms = stats.by_label(frame, by, in_line=True)
    colours = list(stats.by_label(frame, inner, in_line=True))
    looks = [look(index, label) for index, label in enumerate(colours)] if inner else [MEASURED]
    groups = list[Group]()
    for label, rows in stats.by_label(frame, outer, in_line=True).items():
        found = stats.by_label(rows, inner, in_line=True)
        bars_of = [found.get(name, frame.head(0)) for name in colours]
        floors = [of["floor_s"].median() for of in bars_of] if shown.name in TIMES else []
        values = [list(of[shown.name]) for of in bars_of]
        groups.append((figure.trust(label, rows).marked, values, (), floors))
    chart = figure.Chart(
        title=shown.label[0].upper() + shown.label[1:] + (f" by {' and '.join(by)}" if by else ""),
        parts=(f"{arm} {shown.format(of[shown.name].median())}" for arm, of in arms.items()),
        height_in=_BAR_IN * len(groups) * len(looks) + 1.6,
        notes=figure.about(arms, conditions, how_to_read(max(map(len, arms.values())))),
        legend=[
            *(legend(looks) if inner else ()),
            *floor_legend(end for *_, ends in groups for end in ends),
        ],
    )
    ax = chart.body.subplots()
    grouped(ax, groups, looks, shown, ticks=12)
    ax.set_xlabel(shown.title)
    return chart


# The ladder: requests per second of programs, the lab's own first.

_THICKNESS = 0.72
# Between the lab's own rungs and those of others, in bars.
_GAP = 0.6
_RATE, _COST = _TABLES["ladder_axes"]
_OWN, _OTHERS = (Look(**row) for row in _TABLES["ladder"].values())
_BOUNDS = {bound: Look(**row) for bound, row in _TABLES["bounds"].items()}


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """One rung over its repeats, named as in summaries of studies; None: nothing was measured.

    `own` is whether it is the lab's. `invalid` of the `n` records are of no use for a gain. `gain`
    is the ratio of its rate to that of the rung `against`. `bound` says whether the server was the
    bottleneck. `warnings` are codes, `failures` say why there are no figures.
    """

    arm: str
    label: str
    own: bool
    why: str = ""
    n: int = 1
    invalid: int = 0
    throughput_rps: float | None = None
    throughput_rps_min: float | None = None
    throughput_rps_max: float | None = None
    cpu_us_per_request: float | None = None
    cpu_us_in_kernel: float | None = None
    server_cpu_percent: float | None = None
    server_waited_percent: float | None = None
    bound: Literal["", "maybe", "server"] = ""
    against: str | None = None
    gain: float | None = None
    gain_min: float | None = None
    gain_max: float | None = None
    failed: int = 0
    verdict: str = "valid"
    warnings: list[str] = []
    failures: list[str] = []

    @property
    def cpu_text(self) -> str:
        """Return the CPU per request in µs, its own and the kernel's, such as '2.1 + 5.4'."""
        used_us, kernel_us = self.cpu_us_per_request, self.cpu_us_in_kernel
        if used_us is None or kernel_us is None:
            return ""
        return f"{stats.number(used_us - kernel_us)} + {stats.number(kernel_us)}"

    @property
    def gain_text(self) -> str:
        """Return the gain, such as '×2.9', and for what others made over what; or nothing."""
        over = f" of {self.against}" if self.against and not self.own else ""
        return "" if self.gain is None else f"{times(self.gain)}{over}"

    def __str__(self) -> str:
        bound = {"": "", "maybe": ", server busy", "server": ", server-bound"}[self.bound]
        return f"{self.label} {_text(self.throughput_rps)} {self.gain_text}".rstrip() + bound


def _text(value: float | None) -> str:
    return stats.number(value) if value else "not measured"


@applied()
def ladder(rungs: Sequence[Rung], *, notes: Sequence[str] = ()) -> figure.Chart:
    """Draw horizontal bars: requests a second, and beside them CPU a request, own and kernel's.

    The lab's own rungs come first. Raises `BadInput` where there is none to draw.
    """
    shown = sorted(rungs, key=lambda rung: not rung.own)
    if not any(rung.throughput_rps for rung in shown):
        raise BadInput("there are no figures to draw: no rung was measured")
    looks = [one for one, own in ((_OWN, True), (_OTHERS, False)) if own in {r.own for r in shown}]
    looks += [one for bound, one in _BOUNDS.items() if bound in {rung.bound for rung in shown}]
    title, height_in = "Requests a second, rung by rung", _BAR_IN * (len(shown) + _GAP) + 1.5
    chart = figure.Chart(
        title=title, parts=map(str, shown), height_in=height_in, notes=notes, legend=legend(looks)
    )
    rates, costs = chart.body.subplots(1, 2, width_ratios=[3, 2], sharey=True)
    gap = _GAP if shown[0].own else 0.0
    places = [place + (0.0 if rung.own else gap) for place, rung in enumerate(shown)]
    for at, rung in zip(places, shown, strict=True):
        filled = _OWN if rung.own else _OTHERS
        if rung.bound:
            filled = replace(filled, edge="white", hatch=_BOUNDS[rung.bound].hatch)
        rate, used_us = rung.throughput_rps or 0.0, rung.cpu_us_per_request or 0.0
        kernel_us = rung.cpu_us_in_kernel or 0.0
        rates.barh(at, rate, _THICKNESS, **filled.fill)
        costs.barh(at, used_us - kernel_us, _THICKNESS, **filled.fill)
        costs.barh(at, kernel_us, _THICKNESS, used_us - kernel_us, alpha=0.4, **filled.fill)
        least, most = rung.throughput_rps_min or rate, rung.throughput_rps_max or rate
        axes.whisker(rates, rate, at, (least, most))
        said = axes.beside(rates, most, at, _text(rate))
        axes.beside(rates, 1, 0.5, rung.gain_text, xycoords=said, weight="bold")
        axes.beside(costs, used_us, at, rung.cpu_text or _text(used_us))
    rates.set_yticks(places, [rung.label for rung in shown])
    rates.set_ylim(places[-1] + 0.6, -0.6)
    for ax, label in ((rates, _RATE), (costs, _COST)):
        ax.set_xlim(0, ax.dataLim.x1 * 1.6)
        ax.set_xlabel(label)
        ax.tick_params(axis="y", length=0, labelleft=ax is rates)
        ax.grid(axis="x", color=PALE)
        axes.linear(ax.xaxis, most=4)
    return chart


# The board of the arena: a row a strategy, a column a metric.


@applied()
def board(ranked: Sequence[BoardRow], failed: Mapping[str, str]) -> figure.Chart:
    """Draw a row a strategy: a cell for each figure with its rank, the better the deeper in colour.

    Below them is who `failed` the exam, and why.
    """
    chart = figure.Chart(
        title="The board",
        parts=[f"{row.name} {', '.join(one.says for one in row.ranks)}" for row in ranked],
        height_in=_BAR_IN * (len(ranked) + len(failed)) + 1.2,
        notes=[paths.sentence("board")],
    )
    ax = chart.body.subplots()
    for at, row in enumerate(ranked):
        for column, rank in enumerate(row.ranks):
            ink = INK
            if rank.position:
                depth, ink = max(1 / rank.position, 0.2), style.ON_FILL
                face = [1 - depth * (1 - part) for part in to_rgb(style.SKY)]
                ax.barh(at, 0.97, 0.9, column, color=face)
            ax.text(column + 0.48, at, rank.says, ha="center", va="center", color=ink)
    for at, why in enumerate(failed.values(), len(ranked)):
        ax.text(0.02, at, f"{figure.MARKS['invalid']} {why}", va="center")
    axes.rows(ax, [*(row.name + " *" * row.is_mine for row in ranked), *failed])
    ax.set_xlim(0, len(RANKED))
    ax.set_xticks([column + 0.48 for column in range(len(RANKED))], [*map(title, RANKED)])
    ax.grid(visible=False)
    return chart
