"""Amdahl's law as a line, and what was measured beside it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from labkit.charts import Chart, axes, style


@style.applied()
def by_share(points: Mapping[str, tuple[float, float]], k: float) -> Chart:
    """Draw what a part gains over its share of the whole, when it becomes `k` times as fast.

    `points` are the share, from 0 to 1, and the gain that was measured, by name.
    """
    chart = Chart(
        title="What the loop's share of a request allows",
        parts=(
            f"{name} {gain:.2f} at {100 * share:.0f} %" for name, (share, gain) in points.items()
        ),
        height_in=4,
        notes=["Line: Amdahl's law. Points: what was measured here."],
    )
    ax = chart.body.subplots()
    shares = np.linspace(0, 1, 101)
    ax.plot(100 * shares, 1 / (1 - shares + shares / k), color=style.INK, linewidth=2.2)
    for index, (name, (share, gain)) in enumerate(points.items()):
        # The first two colours are those of the loops.
        look = style.line(index + 2) | {"linestyle": "", "markersize": 10}
        ax.plot(100 * share, gain, label=name, **look)
        axes.beside(ax, 100 * share, gain, f"{gain:.2f}", gap_pt=10)
    ax.set_xlim(0, 108)
    ax.set_ylim(0, 1.25 * max(k, *(gain for _, gain in points.values())))
    ax.set_xlabel("loop's share of a request (% of its CPU on asyncio)")
    ax.set_ylabel("gain: asyncio / uvloop (CPU)")
    axes.legend_outside(ax)
    return chart
