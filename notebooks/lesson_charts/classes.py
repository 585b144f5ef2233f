"""Latency by class under each of several ways of scheduling: who has been answered, and when."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import accumulate, repeat

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

import labkit as lab
from labkit.charts import Chart, axes, style

_PANEL_IN = 2.3
_LOG_FROM = 20
_HOW = (
    "A line says what share of its class was answered within a time: further left is better. "
    "The dot is the median."
)

Classes = Mapping[str, Sequence[float]]
"""Latencies in seconds by class."""


@style.applied()
def by_class(arms: Mapping[str, Classes], title: str = "Latency by class") -> Chart:
    """A panel for each arm, a line for each class, on one axis of time.

    Raises `BadInput` where there is no latency to draw.
    """
    drawn = {arm: _not_empty(classes) for arm, classes in arms.items()}
    every = [
        one for classes in drawn.values() for latencies in classes.values() for one in latencies
    ]
    if not every:
        raise lab.BadInput("there is no latency to draw: no class of any arm has one; run it first")
    chart = Chart(
        title=title,
        alt=f"{title}. {_medians(drawn)}.",
        height_in=_PANEL_IN * len(drawn) + 0.8,
        notes=[_HOW],
    )
    panels = chart.body.subplots(len(drawn), 1, sharex=True, squeeze=False)[:, 0]
    looks = {name: style.line(index) for index, name in enumerate(_names(drawn))}
    for ax, (arm, classes) in zip(panels, drawn.items(), strict=True):
        for name, latencies in classes.items():
            _draw(ax, name, sorted(latencies), looks[name]["color"])
        ax.set_title(arm)
        ax.set_ylim(0, 1.04)
        ax.set_ylabel("answered")
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.legend_outside(ax)
    _along(panels[-1], every)
    return chart


def _not_empty(classes: Classes) -> dict[str, Sequence[float]]:
    return {name: latencies for name, latencies in classes.items() if len(latencies)}


def _names(arms: Mapping[str, Classes]) -> list[str]:
    return list(dict.fromkeys(name for classes in arms.values() for name in classes))


def _draw(ax: Axes, name: str, latencies: Sequence[float], colour: str) -> None:
    shares = list(accumulate(repeat(1 / len(latencies), len(latencies))))
    in_ms = [latency * 1e3 for latency in latencies]
    median_ms = statistics.median(in_ms)
    label = f"{name} (n = {len(latencies):,}), median {median_ms:,.3g} ms"
    ax.step(in_ms, shares, where="post", color=colour, linewidth=2.2, label=label)
    ax.plot([median_ms], [0.5], "o", color=colour, markersize=8)


def _along(ax: Axes, every: Sequence[float]) -> None:
    ax.set_xlabel("latency (ms)")
    if axes.spans(every, _LOG_FROM):
        ax.set_xscale("log")
        axes.logarithmic(ax.xaxis)
        ax.set_xlabel("latency (ms), logarithmic")
    else:
        axes.linear(ax.xaxis, most=8)


def _medians(arms: Mapping[str, Classes]) -> str:
    return "; ".join(
        f"{arm}: {name} {statistics.median(latencies) * 1e3:.3g} ms"
        for arm, classes in arms.items()
        for name, latencies in classes.items()
    )
