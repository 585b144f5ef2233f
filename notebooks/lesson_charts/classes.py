"""Latency by class under each of several ways of scheduling: who has been answered, and when."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

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
    """Draw a panel for each arm, a line for each class, on one axis of time.

    Raises `BadInput` where there is no latency to draw.
    """
    in_ms = {
        (arm, name): sorted(1e3 * latency_s for latency_s in latencies)
        for arm, classes in arms.items()
        for name, latencies in classes.items()
        if len(latencies)
    }
    if not in_ms:
        raise lab.BadInput("there is no latency to draw: no class of any arm has one; run it first")
    medians = {key: statistics.median(latencies) for key, latencies in in_ms.items()}
    chart = Chart(
        title=title,
        parts=(f"{arm}: {name} {median:.3g} ms" for (arm, name), median in medians.items()),
        height_in=_PANEL_IN * len(arms) + 0.8,
        notes=[_HOW],
    )
    panels = chart.body.subplots(len(arms), 1, sharex=True, squeeze=False)[:, 0]
    names = list(dict.fromkeys(name for _, name in in_ms))
    for ax, arm in zip(panels, arms, strict=True):
        for index, name in enumerate(names):
            if (arm, name) in in_ms:
                latencies, median = in_ms[arm, name], medians[arm, name]
                n, colour = len(latencies), style.line(index)["color"]
                shares = [(place + 1) / n for place in range(n)]
                label = f"{name} (n = {n:,}), median {median:,.3g} ms"
                ax.step(latencies, shares, "-", where="post", c=colour, linewidth=2.2, label=label)
                ax.plot([median], [0.5], "o", color=colour, markersize=8)
        ax.set(title=arm, ylim=(0, 1.04), ylabel="answered")
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.legend_outside(ax)
    every = [latency for latencies in in_ms.values() for latency in latencies]
    axes.scale(panels[-1], "x", every, "latency (ms)", log_from=_LOG_FROM, most=8)
    return chart
