"""A semaphore inside each task, and before the task is made: how many tasks exist."""

from __future__ import annotations

from matplotlib.axes import Axes

from labkit.charts import Chart, style
from lesson_charts.ideas import canvas

_WIDTH, _GATE, _FLIGHT = 0.8, 13.2, 15.2


@style.applied()
def semaphores(items: int = 12, limit: int = 3) -> Chart:
    """Draw both clients in the moment when the first requests are in flight."""
    chart, ax = canvas.canvas(
        "Where the semaphore stands decides how many tasks exist",
        f"Inside the task: {items} tasks exist and {limit} are in flight. Before the task: {limit} "
        f"tasks exist, and all are in flight; {items - limit} items are not read.",
        height_in=3.6,
        xlim=(-0.2, 22),
        ylim=(6.6, -1.2),
    )
    waiting = items - limit
    _client(ax, 0, "inside each task", f"{waiting} tasks wait and take memory", waiting, limit)
    _client(ax, 4, "before the task is made", f"{waiting} items are not read yet", waiting, limit)
    return chart


def _client(ax: Axes, top: float, where: str, what: str, waiting: int, limit: int) -> None:
    """Draw a client: what waits at the left, the semaphore, and what is in flight at the right."""
    ax.text(0, top - 0.9, f"Semaphore {where}", weight="bold", va="center")
    for place in range(waiting):
        if top:
            ax.plot(place + _WIDTH / 2, top, "o", color=style.INK, markersize=5)
        else:
            canvas.box(ax, place, top, _WIDTH, colour=canvas.WAITING)
    ax.text(0, top + 0.95, what, va="center")
    canvas.arrow(ax, (waiting, top), (_GATE - 0.4, top))
    ax.plot([_GATE, _GATE], [top - 0.7, top + 0.7], color=canvas.LATE, linewidth=5)
    ax.text(_GATE, top + 1.1, f"lets {limit} pass", ha="center", va="center", color=canvas.LATE)
    canvas.arrow(ax, (_GATE + 0.4, top), (_FLIGHT - 0.3, top))
    for place in range(limit):
        canvas.box(ax, _FLIGHT + place, top, _WIDTH, colour=canvas.WORKING)
    says = f"{limit} tasks, in flight" if top else f"{limit} of {waiting + limit} tasks in flight"
    ax.text(_FLIGHT, top + 0.95, says, va="center")
