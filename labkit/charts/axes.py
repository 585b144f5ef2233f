"""What axes have in common: plain numbers at ticks, scales that fit, rows of names, a legend.

Ticks are whole numbers with thousands separated: no powers of ten and no offsets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from labkit import stats
from labkit.charts.style import INK, PALE

XY = Literal["x", "y"]
# What keeps lines away from a text: it is white, and on a page of any colour nothing.
HALO = [withStroke(linewidth=5, foreground="white")]
_TICK = "{x:,.10g}"
# Of the height of the axes: what a line of text takes, and a little more.
_APART = 0.06


def finite(values: Sequence[float | None]) -> list[float]:
    """Return the values that were measured."""
    return [value for value in values if value is not None and math.isfinite(value)]


def linear(axis: Axis, *, most: int) -> None:
    """Give a linear axis at most so many ticks."""
    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(StrMethodFormatter(_TICK))


def logarithmic(axis: Axis, marks: Sequence[float]) -> None:
    """Give a logarithmic axis ticks at these of each decade."""
    axis.set_major_locator(LogLocator(10, subs=marks))
    axis.set_major_formatter(StrMethodFormatter(_TICK))
    axis.set_minor_locator(NullLocator())


def from_zero(ax: Axes) -> None:
    """Let the y axis reach from 0 to a little more than the greatest value."""
    ax.set_ylim(0, ax.dataLim.y1 * 1.08 or 1)


def scale(
    ax: Axes, name: XY, values: Sequence[float], label: str, *, log_from: float, most: int
) -> bool:
    """Scale and label the x or y axis for what is drawn; return True where it is logarithmic.

    It is, and its label says so, where the greatest of the values is at least `log_from` times the
    least. Else it has at most so many ticks, and a y axis starts at 0.
    """
    axis: Axis = ax.xaxis if name == "x" else ax.yaxis
    is_log = spans(values, log_from)
    if is_log:
        ax.set(**{f"{name}scale": "log"})
        logarithmic(axis, (1,) if spans(values, 1_000) else (1, 2, 5))
    else:
        linear(axis, most=most)
        if name == "y":
            from_zero(ax)
    axis.set_label_text(f"{label}, logarithmic" if is_log else label)
    return is_log


def spans(values: Sequence[float], times: float) -> bool:
    """Return True if all are above 0 and the greatest is at least so many `times` the least."""
    return bool(values) and min(values) > 0 and max(values) / min(values) >= times


def tick_text(value: float) -> str:
    """Return a number as the ticks show it."""
    return _TICK.format(x=value)


def rows(ax: Axes, labels: Sequence[str]) -> None:
    """Name the rows 0, 1, ... of a chart of horizontal marks, from top to bottom."""
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.set_yticks(range(len(labels)), labels)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=PALE)


def beside(ax: Axes, x: float, y: float, text: str, gap_pt: float = 8, **more: Any) -> Annotation:
    """Write a text to the right of a place, over any line there; it returns the text."""
    at: Any = {"textcoords": "offset points", "va": "center", "path_effects": HALO, **more}
    return ax.annotate(text, (x, y), xytext=(gap_pt, 0), **at)


def end_values(ax: Axes) -> None:
    """Write its value beside the end of each line with a name, but where there is one already."""
    placed = list[float]()
    for line in ax.lines:
        points: Any = line.get_xydata()
        x, y = points[-1]
        height = (ax.transData + ax.transAxes.inverted()).transform((x, y))[1]
        is_apart = all(abs(height - one) > _APART for one in placed)
        if is_apart and math.isfinite(y) and not str(line.get_label()).startswith("_"):
            beside(ax, x, y, stats.number(y))
            placed.append(height)


def whisker(ax: Axes, x: float, y: float, reach: tuple[float, float]) -> None:
    """Draw a horizontal whisker through a place, from the least to the most."""
    low, high = reach
    ax.errorbar([x], [y], xerr=[[x - low], [high - x]], fmt="none", ecolor=INK, capsize=4)


def medians(
    ax: Axes,
    x: pd.Series[float],
    y: pd.Series[float],
    label: str,
    look: Mapping[str, Any],
    *,
    size: float = 7,
    line: pd.Series[float] | None = None,
) -> None:
    """Draw a line through the median of `y` at each `x`, and a light dot for each repeat.

    `line` has other values than these medians, by `x`.
    """
    line = y.groupby(x).median() if line is None else line
    ax.plot(list(line.index), list(line), label=label, linewidth=2.2, markersize=size, **look)
    ax.plot(x, y, "o", color=look["color"], markersize=0.625 * size, alpha=0.4)


def not_measured(ax: Axes) -> None:
    """Say in a panel without data that nothing was measured."""
    ax.set_yticks([])
    ax.text(0.01, 0.5, "not measured", transform=ax.transAxes, va="center")


def legend_outside(ax: Axes) -> None:
    """Put the legend to the right of the axes, where it hides no data, and draw a light grid."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)
    ax.grid(color=PALE)
