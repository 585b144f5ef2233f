"""Rounds with a barrier, beside workers: the same delays on the same slots, and the idle time."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.charts import Chart, axes, style
from lesson_charts.ideas import canvas
from lesson_charts.schedule import scheduled

_DELAYS_S = (5, 1, 2, 3, 1, 1, 1, 4, 1)


@style.applied()
def barrier(delays_s: Sequence[float] = _DELAYS_S, limit: int = 3) -> Chart:
    """Draw both schedules: in rounds of `limit` all wait for the slowest, workers for nobody."""
    rounds, start_s = list[tuple[int, float, float]](), 0.0
    barriers = []
    for first in range(0, len(delays_s), limit):
        chunk = delays_s[first : first + limit]
        rounds += [(slot, start_s, start_s + one) for slot, one in enumerate(chunk)]
        barriers.append(start_s := start_s + max(chunk))
    drawn = {"in rounds": rounds, "workers": list(scheduled(delays_s, limit))}
    last = {name: max(bars, key=lambda bar: bar[2]) for name, bars in drawn.items()}
    ends = {name: end_s for name, (*_, end_s) in last.items()}
    share = ends["workers"] / ends["in rounds"]
    chart = Chart(
        title=f"In rounds everybody waits for the slowest: efficiency {share:.0%}",
        parts=(f"{name} take {end_s:g} s" for name, end_s in ends.items()),
        height_in=0.34 * 2 * limit + 1.7,
        notes=["A bar is the delay of an item. Red: a round ends, and the next may begin."],
    )
    panels = chart.body.subplots(2, 1, sharex=True)
    for ax, (name, bars) in zip(panels, drawn.items(), strict=True):
        for item, (slot, begins_s, ends_s) in enumerate(bars):
            canvas.box(ax, begins_s, slot, ends_s - begins_s, str(item), canvas.WAITING)
        for end_s in barriers if name == "in rounds" else ():
            ax.axvline(end_s, color=canvas.LATE, linewidth=2.2)
        axes.beside(ax, ends[name], last[name][0], f"{ends[name]:g} s", weight="bold")
        axes.rows(ax, [f"slot {slot + 1}" for slot in range(limit)])
        ax.set_title(name, loc="left")
    panels[-1].set(xlim=(0, 1.1 * max(ends.values())), xlabel="time (s)")
    return chart
