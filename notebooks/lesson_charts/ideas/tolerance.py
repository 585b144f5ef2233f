"""A gate: what the interval of a ratio to a baseline shows, beside a tolerance."""

from __future__ import annotations

from collections.abc import Mapping

from labkit.charts import Chart, axes, style
from lesson_charts.ideas import canvas

_RATIOS = {
    "query A": (1.17, 1.10, 1.24),
    "query B": (1.01, 0.98, 1.03),
    "query C": (1.09, 0.98, 1.21),
    "query D": (0.85, 0.80, 0.91),
}


@style.applied()
def gate(
    ratios: Mapping[str, tuple[float, float, float]] = _RATIOS, tolerance: float = 0.05
) -> Chart:
    """Draw ratios of latencies, now over before, with the ends of their intervals and a word each.

    An interval that lies beyond the tolerance is a regression or an improvement.
    """
    low, high = 1 - tolerance, 1 + tolerance
    words = {name: _word(ends[1], ends[2], low, high) for name, ends in ratios.items()}
    chart = Chart(
        title="The whole interval decides, not the ratio",
        parts=[f"{name} {ratios[name][0]:g}: {word}" for name, word in words.items()],
        height_in=0.5 * len(ratios) + 1.1,
        notes=["A dot is a ratio, a line its interval, the grey band the tolerance."],
    )
    ax = chart.body.subplots()
    ax.axvspan(low, high, color=style.PALE)
    ax.axvline(1, color=style.INK, linewidth=1)
    colours = {"regression": canvas.LATE, "improvement": canvas.WORKING}
    for row, (name, (value, start, end)) in enumerate(ratios.items()):
        colour = colours.get(words[name], style.INK)
        ax.plot([start, end], [row, row], color=colour, linewidth=3)
        ax.plot(value, row, "o", color=colour, markersize=8)
        axes.beside(ax, max(end, high), row, words[name], color=style.INK)
    axes.rows(ax, [*ratios])
    reach = max(end for *_, end in ratios.values()) - min(start for _, start, _ in ratios.values())
    ax.set_xlim(right=max(high, *(end for *_, end in ratios.values())) + 0.45 * reach)
    ax.set_xlabel("latency, now / before")
    return chart


def _word(start: float, end: float, low: float, high: float) -> str:
    if start > high or end < low:
        return "regression" if start > high else "improvement"
    return "no difference shown" if low <= start and end <= high else "inconclusive"
