"""Bars with their repeats: the bar is the median, whiskers span all, each repeat is a dot."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from labkit.charts.axes import linear
from labkit.charts.style import INK, PALE, Look
from labkit.stats import Metric

_HOW_TO_READ = "Bars are medians, whiskers reach from the least to the most, dots are the repeats."
_NO_REPEATS = "One run each: nothing is known of the spread."
GROUP = 0.8
"""Share of the space between two groups that their bars fill."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """The bars of one arm: values in base units of each look, in the same order in all groups."""

    label: str
    values: Sequence[Sequence[float]]


def how_to_read(repeats: int) -> str:
    """What the marks mean, where there are so many repeats at most."""
    return _HOW_TO_READ if repeats > 1 else _NO_REPEATS


def finite(values: Sequence[float | None]) -> list[float]:
    """The values that were measured."""
    return [value for value in values if value is not None and math.isfinite(value)]


def grouped(
    ax: Axes, groups: Sequence[Group], looks: Sequence[Look], metric: Metric, *, ticks: int
) -> None:
    """Draw horizontal bars of each group, from 0, with at most so many ticks."""
    thickness = GROUP / len(looks)
    for place, group in enumerate(groups):
        for slot, (values, look) in enumerate(zip(group.values, looks, strict=True)):
            _bar(ax, place - GROUP / 2 + (slot + 0.5) * thickness, thickness, values, look, metric)
    most = max((v for group in groups for one in group.values for v in finite(one)), default=0)
    # The fewer ticks fit, the more of the width the number beside a bar needs.
    ax.set_xlim(0, most * metric.scale * (1 + 1.5 / ticks) or 1)
    ax.set_ylim(len(groups) - 0.5, -0.5)
    ax.set_yticks(range(len(groups)), [group.label for group in groups])
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=PALE)
    linear(ax.xaxis, most=ticks)


def _bar(
    ax: Axes, at: float, thickness: float, values: Sequence[float], look: Look, metric: Metric
) -> None:
    shown = [value * metric.scale for value in finite(values)]
    if not shown:
        if values:
            _beside(ax, 0, at, "not measured")
        return
    median = statistics.median(shown)
    ax.barh(
        at, median, thickness * 0.92, facecolor=look.face, edgecolor=look.edge, hatch=look.hatch
    )
    if len(shown) > 1:
        _repeats(ax, at, thickness, shown, median)
    _beside(ax, max(shown), at, metric.text(median / metric.scale))


def _repeats(ax: Axes, at: float, thickness: float, shown: list[float], median: float) -> None:
    reach = [[median - min(shown)], [max(shown) - median]]
    ax.errorbar([median], [at], xerr=reach, fmt="none", ecolor=INK, capsize=4, linewidth=1.5)
    # In the order of the repeats from top to bottom, so that a drift shows.
    step = thickness * 0.6 / (len(shown) - 1)
    places = [at - thickness * 0.3 + step * repeat for repeat in range(len(shown))]
    ax.plot(shown, places, "o", markersize=4.5, markerfacecolor="white", markeredgecolor=INK)


def _beside(ax: Axes, x: float, y: float, text: str) -> None:
    ax.annotate(text, (x, y), xytext=(8, 0), textcoords="offset points", va="center")


def legend(looks: Sequence[Look]) -> list[tuple[Artist, str]]:
    """What a legend shows for each look."""
    return [
        (Patch(facecolor=one.face, edgecolor=one.edge, hatch=one.hatch), one.label) for one in looks
    ]
