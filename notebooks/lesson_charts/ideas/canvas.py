"""What every picture of an idea is drawn with: a canvas without axes, boxes and arrows."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from labkit.charts import Chart, style

# What a colour means in every picture.
WAITING, WORKING, IDLE, LATE = style.SKY, style.GREEN, "none", style.VERMILLION


def canvas(
    title: str,
    alt: str,
    *,
    height_in: float,
    notes: tuple[str, ...] = (),
    **limits: tuple[float, float],
) -> tuple[Chart, Axes]:
    """Return an empty chart and the axes that it is drawn on, whose frame and ticks are hidden.

    `limits` are those of the axes, `xlim` and `ylim`, where the drawing does not set them.
    """
    chart = Chart(title=title, alt=f"{title}. {alt}", height_in=height_in, notes=notes)
    ax = chart.body.subplots()
    ax.set_axis_off()
    ax.set(**limits)
    return chart, ax


def box(
    ax: Axes, left: float, top: float, width: float, text: str = "", colour: str = IDLE, **more: Any
) -> None:
    """Draw a box of height 0.8 whose middle is at `top`, with a text in it."""
    look = {"color": colour, "edgecolor": style.INK, "linewidth": 0.8} | more
    ax.barh(top, width, 0.8, left, **look)
    ink = style.INK if colour == IDLE else style.ON_FILL
    ax.text(left + width / 2, top, text, ha="center", va="center", color=ink)


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], **more: Any) -> None:
    """Draw an arrow from one place to another."""
    look = {"arrowstyle": "-|>", "color": style.INK, "linewidth": 1.6} | more
    ax.annotate("", end, start, arrowprops=look)
