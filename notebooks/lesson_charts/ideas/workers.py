"""Workers on one iterator: each takes the next item when it is free."""

from __future__ import annotations

from labkit.charts import Chart, style
from lesson_charts.ideas import canvas


@style.applied()
def workers(items: int = 9, limit: int = 3) -> Chart:
    """Draw an iterator of items, and the workers that share it and call the server."""
    chart, ax = canvas.canvas(
        "Workers share one iterator",
        f"{limit} workers take the next of {items} items whenever they are free. {limit} tasks "
        f"exist, however many items there are.",
        height_in=3.2,
        xlim=(-0.2, 21.5),
        ylim=(2 * limit - 0.6, -1.6),
    )
    middle = limit - 1.0
    for place in range(items - limit):
        canvas.box(ax, place * 0.9, middle, 0.8, str(items - 1 - place))
    ax.text(0, middle - 0.9, "iterator: the next item is at its end", va="center")
    ax.text(0, middle + 0.95, "a million items take no more memory", va="center")
    start, left = 0.9 * (items - limit), 10.0
    for worker in range(limit):
        top = 2.0 * worker
        canvas.arrow(ax, (start + 0.1, middle), (left - 0.2, top))
        canvas.box(ax, left, top, 4.4, f"worker {worker + 1}: item {worker}", canvas.WORKING)
        canvas.arrow(ax, (left + 4.6, top), (left + 7.6, top), arrowstyle="<|-|>")
        canvas.box(ax, left + 7.8, top, 2.4, "server", canvas.WAITING)
    ax.text(left, -1.1, f"{limit} tasks, as long as it runs", va="center", weight="bold")
    return chart
