"""The forest: the verdicts on claims row by row, with what was measured and its interval."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from labkit import paths
from labkit.charts import axes
from labkit.charts.figure import Chart, not_drawn
from labkit.charts.style import FONT_PT, INK, PALE, applied
from labkit.errors import BadInput

# The marker of a value, and its colour.
Mark = tuple[str, str]


def _interval(
    ax: Axes, row: int, ends: tuple[float, float] | None, value: float, mark: Mark
) -> None:
    """Draw a value with its interval in a row."""
    marker, colour = mark
    if ends is not None:
        ax.plot(ends, [row, row], color=colour, linewidth=2.5, solid_capstyle="butt")
    ax.plot([value], [row], marker, color=colour, markersize=8, zorder=3)


def _legend(marks: Mapping[str, Mark]) -> list[tuple[Artist, str]]:
    """Return what a legend shows for each mark."""
    return [
        (Line2D([], [], marker=marker, color=colour, markersize=9, linewidth=2.5), label)
        for label, (marker, colour) in marks.items()
    ]


# The plan. Ratios are on one logarithmic axis. Counts and other numbers have a panel of their
# own, where a mark shows how many of the runs lie in the band. The rest is named in a note.

_SMALL_PT = FONT_PT - 1
_BAND = "#BFDDEF"  # it stands out from a dark page too
# Up to which span of the axis it has which ticks in each decade: a lone 1 is no scale.
_TICKS: Sequence[tuple[float, Sequence[float]]] = paths.table("charts.toml")["ticks"]
_MARKERS: Mapping[str, Mark] = paths.table("charts.toml")["markers"]
_PUBLISHED: Mark = ("d", INK)


# Letters of a line beside the marks: more would end beyond the picture.
_MAX_BOLD, _MAX_WORDS = 55, 57


# A verdict on a claim in one regime, with the figures of the check that decided it: what
# `studies.verdicts.Verdict` has.
Claimed = Any


@applied()
def forest(
    claims: Sequence[Claimed],
    *,
    title: str = "What others claim, and what was measured",
    notes: Sequence[str] = (),
) -> Chart:
    """Draw all verdicts below each other, ratios first. Raises `BadInput` where there is none.

    Where nothing was measured, they are listed without a mark.
    """
    measured = [one for one in claims if one.measured is not None]
    ratios = [one for one in claims if one.is_ratio and (one.measured or one.published)]
    counts = [one for one in measured if not one.is_ratio] or ([] if ratios else [*claims])
    rest = [one.name for one in claims if one not in (*ratios, *counts)]
    panels = [(rows, draw) for rows, draw in ((ratios, _ratios), (counts, _counts)) if rows]
    if not panels:
        raise BadInput("there are no claims to draw: measure at least one")
    heights = [0.66 * len(rows) + 0.75 for rows, _ in panels]
    found = {one.verdict for one in measured}
    marks = {name: mark for name, mark in _MARKERS.items() if name in found}
    marks |= {"published": _PUBLISHED} if any(one.published for one in ratios) else {}
    parts = (", ".join(filter(None, [f"{one.name} {one.verdict}", one.effect])) for one in claims)
    legend = _legend(marks)
    legend += [(Patch(facecolor=_BAND), "where the claim holds")] if legend else []
    height_in, notes = sum(heights) + 0.4, [*notes, *not_drawn("as nothing was measured", rest)]
    chart = Chart(title=title, parts=parts, height_in=height_in, notes=notes, legend=legend)
    sizes: dict[str, Any] = {"width_ratios": [4, 6], "height_ratios": heights}
    drawn = chart.body.subplots(len(panels), 2, squeeze=False, **sizes)
    for (rows, draw), (marks, words) in zip(panels, drawn, strict=True):
        axes.rows(marks, [one.id for one in rows])
        marks.grid(visible=False)
        words.set_ylim(marks.get_ylim())
        words.axis("off")
        for row, one in enumerate(rows):
            above = f"{one.verdict}: {one.effect or one.reason}"
            says = (one.deciding.says if one.deciding else "") or one.says
            below = ": ".join(filter(None, [one.regime, says]))
            # The marks keep their width, and what is too long is in the table whole.
            small: dict[str, Any] = {"fontsize": _SMALL_PT, "in_layout": False}
            above = textwrap.shorten(above.replace(" at 95 %", ""), _MAX_BOLD, placeholder=" ...")
            lines = textwrap.wrap(below, _MAX_WORDS, max_lines=2, placeholder=" ...")
            words.text(0, row - 0.15, above, va="bottom", weight="bold", **small)
            words.text(0, row - 0.11, "\n".join(lines), va="top", **small)
        draw(marks, rows)
    return chart


def _ratios(ax: Axes, rows: Sequence[Claimed]) -> None:
    """Draw ratios on an axis that holds every interval and every edge of a band."""
    ax.set_title("Ratios, with 95 % intervals")
    ax.set_xscale("log")
    known = [1.0]
    for one in rows:
        ends = (one.measured, *(one.interval or ()), one.at_least, one.at_most, one.published)
        known += [end for end in ends if end]
    more = max((max(known) / min(known)) ** 0.05, 2**0.25)
    low, high = min(known) / more, max(known) * more
    ax.set_xlim(low, high)
    for row, one in enumerate(rows):
        start, end = max(one.at_least or low, low), min(one.at_most or high, high)
        ax.barh(row, end - start, 0.8, start, facecolor=_BAND)
        if one.published:
            _interval(ax, row, None, one.published, _PUBLISHED)
        if one.measured:
            _interval(ax, row, one.interval, one.measured, _MARKERS[one.verdict])
    ax.axvline(1, color=INK, linewidth=1, linestyle=":")
    axes.logarithmic(ax.xaxis, marks=next(ticks for most, ticks in _TICKS if high / low < most))
    ax.grid(axis="x", color=PALE)
    ax.set_xlabel("ratio, logarithmic; 1 is no difference")


def _counts(ax: Axes, rows: Sequence[Claimed]) -> None:
    """Draw in how many of its runs each claim holds."""
    ax.set(title="Counts and other numbers, with 95 % intervals", xlim=(-0.08, 1.08))
    ax.barh(range(len(rows)), 0.12, 0.8, 0.94, facecolor=_BAND)
    ax.hlines(range(len(rows)), 0, 1, color=PALE, linewidth=1, zorder=1)
    for row, one in enumerate(rows):
        if one.measured is not None:
            _interval(ax, row, None, one.inside / max(one.n, 1), _MARKERS[one.verdict])
    ax.set_xticks([0, 0.5, 1], ["none", "half", "all"])
    ax.set_xlabel("runs in which the claim holds")
