"""Coordinated omission: who waits while a server stands still, users and a closed client."""

from __future__ import annotations

from labkit.charts import Chart, axes, style
from lesson_charts.ideas import canvas

_SHOWN = 10


@style.applied()
def omission(stall_s: float = 4.0, service_s: float = 0.3) -> Chart:
    """Draw ten requests of users, one a second, and ten of a closed client, on one time line.

    The server answers in `service_s`, but stands still from second 3 on for `stall_s`. A bar is the
    latency of a request: of users since it was due, of the closed client since it was sent.
    """
    begins, ends = 3.0, 3.0 + stall_s

    def answered(at: float) -> float:
        return (ends if begins <= at < ends else at) + service_s

    users = [(float(due), answered(due)) for due in range(_SHOWN)]
    closed, free = list[tuple[float, float]](), 0.0
    for _ in range(_SHOWN):
        closed.append((free, answered(free)))
        free = max(closed[-1][1], free + 1)
    slow = [sum(end - start > 1 for start, end in one) for one in (users, closed)]
    chart = Chart(
        title=f"The same stall: {slow[0]} users wait, the closed client sees {slow[1]}",
        alt=f"Of ten users {slow[0]} wait for over a second, of ten closed requests {slow[1]}.",
        height_in=3.6,
        notes=["A bar is one request, from when it was due (left) or sent (right) to its answer."],
    )
    panels = chart.body.subplots(1, 2, sharex=True)
    for ax, name, bars in zip(panels, ("users", "closed client"), (users, closed), strict=True):
        ax.axvspan(begins, ends, color=style.PALE)
        for place, (start, end) in enumerate(bars):
            colour = canvas.LATE if end - start > 1 else canvas.WORKING
            canvas.box(ax, start, place, end - start, colour=colour)
        axes.rows(ax, [str(place + 1) for place in range(_SHOWN)])
        ax.set(title=name, xlabel="time (s); grey: the server stands still")
    panels[0].set_ylabel("request")
    return chart
