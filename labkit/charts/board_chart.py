"""The board of an arena: a panel a metric, a row a strategy, a dot with interval and place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from labkit.charts import axes, quality
from labkit.charts.conditions import sentences
from labkit.charts.figure import Chart
from labkit.charts.quality import Trust
from labkit.charts.style import BLUE, FONT_PT, INK, PALE, VERMILLION, applied
from labkit.errors import BadInput

_ROW_IN, _AROUND_IN = 0.42, 1.7
_ROOM = 0.35
"""Share of a panel's width at its right that is kept for the places."""
_LOGARITHMIC_FROM = 20.0
_LEAST_SPAN = 0.1


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One strategy by one metric, in the unit that is shown; None where there is no figure."""

    name: str
    value: float | None
    interval: tuple[float, float] | None
    rank: str
    is_mine: bool


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One metric: its title with the unit, which way is `better`, a dot for each strategy."""

    title: str
    better: str
    dots: Sequence[Dot]


@applied()
def board(
    panels: Sequence[Panel],
    *,
    title: str,
    trusts: Sequence[Trust],
    conditions: str = "",
    notes: Sequence[str] = (),
) -> Chart:
    """The panels beside each other, the same rows in each; `trusts` is how far to trust each row.

    Raises `BadInput` where there are no rows.
    """
    if not panels or not panels[0].dots:
        raise BadInput("there is no board to draw: rank at least one strategy")
    rows = panels[0].dots
    chart = Chart(
        title=title,
        alt=f"{title}. {'; '.join(map(_said, panels))}.",
        height_in=_ROW_IN * len(rows) + _AROUND_IN,
        notes=[*sentences(conditions), *notes, *quality.notes(trusts)],
        legend=_legend(rows),
    )
    drawn = chart.body.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, panel in zip(drawn, panels, strict=True):
        _draw(ax, panel)
    _name_rows(drawn[0], rows, trusts)
    return chart


def _name_rows(ax: Axes, rows: Sequence[Dot], trusts: Sequence[Trust]) -> None:
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_yticks(range(len(rows)), [one.marked for one in trusts])
    for label, one in zip(ax.get_yticklabels(), rows, strict=True):
        if one.is_mine:
            label.set(color=VERMILLION, weight="bold")


def _draw(ax: Axes, panel: Panel) -> None:
    for place, one in enumerate(panel.dots):
        _dot(ax, place, one)
    _frame(ax, panel)
    ax.set_title(panel.title, fontsize=FONT_PT)
    ax.set_xlabel(f"{panel.better} is better")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=PALE)
    for place, one in enumerate(panel.dots):
        text = one.rank if one.value is not None else "no figure"
        colour, weight = (VERMILLION, "bold") if one.is_mine else (INK, "normal")
        ax.text(
            0.97,
            place,
            text,
            transform=ax.get_yaxis_transform(),
            ha="right",
            va="center",
            color=colour,
            weight=weight,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        )


def _dot(ax: Axes, place: int, one: Dot) -> None:
    if one.value is None:
        return
    colour = VERMILLION if one.is_mine else BLUE
    if one.interval is not None:
        ax.plot(one.interval, [place, place], color=colour, linewidth=2.5, solid_capstyle="butt")
    marker = "D" if one.is_mine else "o"
    ax.plot([one.value], [place], marker, color=colour, markersize=8)


def _frame(ax: Axes, panel: Panel) -> None:
    """The axis around all values and intervals, with room at the right for the places."""
    known = [
        end for one in panel.dots for end in (one.value, *(one.interval or ())) if end is not None
    ]
    if not known:
        ax.set_xticks([])
        return
    low, high = min(known), max(known)
    if axes.spans(known, _LOGARITHMIC_FROM):
        ax.set_xscale("log")
        reach = high / low
        ax.set_xlim(low / reach**0.08, high * reach ** (_ROOM / (1 - _ROOM)))
        axes.logarithmic(ax.xaxis, marks=(1,) if reach > 100 else (1, 3))
        return
    reach = max(high - low, _LEAST_SPAN * abs(high)) or 1.0
    start = low - 0.08 * reach
    ax.set_xlim(max(start, 0.0) if low >= 0 else start, high + reach * _ROOM / (1 - _ROOM))
    axes.linear(ax.xaxis, most=4)


def _legend(rows: Sequence[Dot]) -> list[tuple[Artist, str]]:
    looks = {True: ("D", VERMILLION, "examined here"), False: ("o", BLUE, "built in")}
    return [
        (Line2D([], [], marker=marker, color=colour, markersize=9, linewidth=2.5), label)
        for is_mine, (marker, colour, label) in looks.items()
        if any(one.is_mine == is_mine for one in rows)
    ]


def _said(panel: Panel) -> str:
    dots = ", ".join(
        f"{one.name} {axes.tick_text(float(f'{one.value:.3g}'))} ({one.rank})"
        for one in panel.dots
        if one.value is not None
    )
    return f"{panel.title}: {dots}"
