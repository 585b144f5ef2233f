"""The floor: delays, handed out to slots in their order, and the moment when the last one ends."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.charts import Chart, axes, style
from lesson_charts.ideas import canvas
from lesson_charts.schedule import makespan, scheduled

_MAX_SLOTS, _NUMBERED = 10, 40
_DELAYS_S = (1, 3, 2, 1, 2, 3, 1, 2, 3)


@style.applied()
def floor(delays_s: Sequence[float] = _DELAYS_S, limit: int = 3) -> Chart:
    """Draw each delay as a bar on the slot that takes it, and mark the floor: the makespan.

    A slot takes the next delay as soon as it is free. Of many slots the first ten are drawn.
    """
    end_s, shown = makespan(delays_s, limit), min(limit, _MAX_SLOTS)
    more = (f"The first {shown} of {limit:,} slots are drawn.",) if limit > shown else ()
    chart, ax = canvas.canvas(
        f"The floor: {len(delays_s):,} delays on {limit:,} slots take {end_s:.3g} s",
        f"Each slot takes the next delay as soon as it is free; the last ends at {end_s:.3g} s.",
        height_in=0.34 * shown + 1.4,
        notes=("A bar is the delay of an item. A slot takes the next item at once.", *more),
    )
    for item, (slot, start_s, stop_s) in enumerate(scheduled(delays_s, limit)):
        if slot < shown and stop_s > start_s:
            number = str(item) if len(delays_s) <= _NUMBERED else ""
            canvas.box(ax, start_s, slot, stop_s - start_s, number, canvas.WAITING)
    ax.set_axis_on()
    ax.axvline(end_s, color=canvas.LATE, linewidth=2.2)
    axes.beside(ax, end_s, 0, f"floor\n{end_s:.3g} s", color=canvas.LATE, weight="bold")
    axes.rows(ax, [f"slot {slot + 1}" for slot in range(shown)])
    ax.set_xlim(0, 1.12 * end_s)
    ax.set_xlabel("time (s)")
    return chart
