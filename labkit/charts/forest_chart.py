"""The forest plot: every claim of the ledger at once, its effect, its interval, and where it holds.

Ratios stand on one logarithmic axis. Counts and other numbers have a panel of their own, where the
place says how many of the runs lie in the band. What was not measured is named below.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from labkit.charts import axes
from labkit.charts.figure import Chart
from labkit.charts.style import BLUE, FONT_PT, INK, ORANGE, PALE, VERMILLION, applied
from labkit.errors import BadInput

_ROW_IN = 0.46
_PANEL_IN = 0.75
_SMALL_PT = FONT_PT - 2
_HALF = 0.4
"""Half of the height of a band, in rows."""
_BAND = BLUE + "24"
_LEAST_SPAN = 2.0
_TICKS: tuple[tuple[float, tuple[float, ...]], ...] = (
    (3, (1, 1.1, 1.2, 1.5, 2, 3, 5, 7, 8, 9)),
    (30, (1, 2, 5)),
    (300, (1, 3)),
    (math.inf, (1,)),
)
"""Up to which span of the axis it has which ticks in each decade: a lone 1 is no scale."""
_MEASURED = ("holds", "refuted", "inconclusive")
_MARKERS: Mapping[str, tuple[str, str]] = {
    "holds": ("o", BLUE),
    "refuted": ("s", VERMILLION),
    "inconclusive": ("^", ORANGE),
}


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A claim as it is drawn: its status, and the effect that decided it.

    `band` is where it holds (None: open), `inside` how many of `n` runs lie there. `says` is what
    was looked at, `text` the effect in words, `why` the reason where nothing was measured.
    """

    id: str
    status: str
    says: str
    why: str = ""
    value: float | None = None
    interval: tuple[float, float] | None = None
    band: tuple[float | None, float | None] = (None, None)
    is_ratio: bool = False
    inside: int = 0
    n: int = 0
    text: str = ""


@applied()
def forest(
    claims: Sequence[Claimed],
    *,
    title: str = "What others claim, and what was measured",
    notes: Sequence[str] = (),
) -> Chart:
    """All claims below each other, ratios first. Raises `BadInput` where there is none."""
    if not claims:
        raise BadInput("there are no claims to draw: check at least one")
    measured = [one for one in claims if one.status in _MEASURED and one.value is not None]
    ratios = sorted((one for one in measured if one.is_ratio), key=lambda one: -(one.value or 0))
    counts = [one for one in measured if not one.is_ratio]
    rest = [one for one in claims if one not in measured]
    panels = [
        (rows, draw) for rows, draw in ((ratios, _ratios), (counts, _counts), (rest, _rest)) if rows
    ]
    heights = [_ROW_IN * len(rows) + _PANEL_IN for rows, _ in panels]
    chart = Chart(
        title=title,
        alt=f"{title}. {'; '.join(map(_said, claims))}.",
        height_in=sum(heights) + 0.4,
        notes=notes,
        legend=_legend(measured),
    )
    drawn = chart.body.subplots(
        len(panels), 2, squeeze=False, width_ratios=[5, 6], height_ratios=heights
    )
    for (rows, draw), (marks, words) in zip(panels, drawn, strict=True):
        _frame(marks, words, rows)
        draw(marks, rows)
    return chart


def _frame(marks: Axes, words: Axes, rows: Sequence[Claimed]) -> None:
    """Rows from top to bottom: their names on the left, what was found on the right."""
    for ax in (marks, words):
        ax.set_ylim(len(rows) - 0.5, -0.5)
    marks.set_yticks(range(len(rows)), [one.id for one in rows])
    marks.tick_params(axis="y", length=0)
    words.axis("off")
    words.set_xlim(0, 1)
    for place, one in enumerate(rows):
        found = one.text or one.why
        above = f"{one.status}: {found}" if found else one.status
        lines = [
            words.text(0, place - 0.04, above, va="bottom", weight="bold", fontsize=_SMALL_PT + 1),
            words.text(0, place + 0.04, one.says, va="top", fontsize=_SMALL_PT),
        ]
        for line in lines:
            # The marks keep their width, however long the words are.
            line.set_in_layout(False)


def _ratios(ax: Axes, rows: Sequence[Claimed]) -> None:
    ax.set_title("Ratios, with their 95 % interval")
    ax.set_xscale("log")
    low, high = _limits(rows)
    ax.set_xlim(low, high)
    for place, one in enumerate(rows):
        start, end = (low if one.band[0] is None else one.band[0]), one.band[1] or high
        _band(ax, place, max(start, low), min(end, high))
        marker, colour = _MARKERS[one.status]
        assert one.value is not None
        ends = one.interval or (one.value, one.value)
        ax.plot(ends, [place, place], color=colour, linewidth=2.5, solid_capstyle="butt")
        _mark(ax, one.value, place, marker, colour)
    ax.axvline(1, color=INK, linewidth=1, linestyle=":")
    axes.logarithmic(ax.xaxis, marks=next(ticks for most, ticks in _TICKS if high / low < most))
    ax.grid(axis="x", color=PALE)
    ax.set_xlabel("ratio, logarithmic; 1 is no difference")


def _limits(rows: Sequence[Claimed]) -> tuple[float, float]:
    """Wide enough for every interval and every edge of a band, and a little more."""
    known = [1.0]
    for one in rows:
        known += [end for end in (one.value, *(one.interval or ()), *one.band) if end]
    low, high = min(known), max(known)
    more = max((high / low) ** 0.05, _LEAST_SPAN**0.25)
    return low / more, high * more


def _counts(ax: Axes, rows: Sequence[Claimed]) -> None:
    ax.set_title("Counts and other numbers")
    ax.set_xlim(-0.08, 1.08)
    for place, one in enumerate(rows):
        _band(ax, place, 0.94, 1.06)
        marker, colour = _MARKERS[one.status]
        ax.plot([0, 1], [place, place], color=PALE, linewidth=1, zorder=1)
        _mark(ax, one.inside / max(one.n, 1), place, marker, colour)
    ax.set_xticks([0, 0.5, 1], ["none", "half", "all"])
    ax.set_xlabel("runs in which the claim holds")


def _rest(ax: Axes, rows: Sequence[Claimed]) -> None:
    ax.set_title("Not measured")
    ax.set_xticks([])
    ax.set_xlim(0, 1)
    for place, _ in enumerate(rows):
        ax.plot([0, 1], [place, place], color=PALE, linewidth=1, linestyle=":")
    ax.spines["bottom"].set_visible(False)


def _band(ax: Axes, place: float, start: float, end: float) -> None:
    ax.add_patch(
        Rectangle((start, place - _HALF), end - start, 2 * _HALF, facecolor=_BAND, linewidth=0)
    )


def _mark(ax: Axes, x: float, place: float, marker: str, colour: str) -> None:
    ax.plot([x], [place], marker, color=colour, markersize=9, markeredgecolor="white", zorder=3)


def _legend(measured: Sequence[Claimed]) -> list[tuple[Artist, str]]:
    found = {one.status for one in measured}
    marks: list[tuple[Artist, str]] = [
        (Line2D([], [], marker=marker, color=colour, markersize=9, linewidth=2.5), status)
        for status, (marker, colour) in _MARKERS.items()
        if status in found
    ]
    return [*marks, (Patch(facecolor=_BAND), "where the claim holds")] if marks else []


def _said(one: Claimed) -> str:
    if one.value is None or not math.isfinite(one.value):
        return f"{one.id} {one.status}"
    return f"{one.id} {one.status}, {one.text}"
