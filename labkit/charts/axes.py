"""Axes whose ticks are plain numbers: thousands separated, no powers of ten, no offsets."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from labkit.charts.style import PALE

_MOST_MARKED = 9


def linear(axis: Axis, *, most: int) -> None:
    """A linear axis with at most so many ticks."""
    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(tick_text))


def logarithmic(axis: Axis, marks: Sequence[float] = (1, 2, 5)) -> None:
    """A logarithmic axis with ticks at these of each decade."""
    axis.set_major_locator(LogLocator(10, subs=marks))
    axis.set_major_formatter(FuncFormatter(tick_text))
    axis.set_minor_locator(NullLocator())


def marked(axis: Axis, values: Sequence[float]) -> None:
    """Ticks at the values themselves, where they are few."""
    distinct = sorted(set(values))
    if len(distinct) <= _MOST_MARKED:
        axis.set_major_locator(FixedLocator(distinct))


def from_zero(ax: Axes) -> None:
    """The y axis from 0 to a little more than the greatest value."""
    ax.set_ylim(0, ax.dataLim.y1 * 1.08 or 1)


def spans(values: Sequence[float], times: float) -> bool:
    """Whether all are above 0 and the greatest is at least so many `times` the least."""
    return bool(values) and min(values) > 0 and max(values) / min(values) >= times


def tick_text(value: float, place: int | None = None) -> str:
    """A tick's value as text."""
    return f"{value:,.10g}"


def legend_outside(ax: Axes) -> None:
    """The legend to the right of the axes, where it hides no data; and a light grid."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)
    ax.grid(color=PALE)
