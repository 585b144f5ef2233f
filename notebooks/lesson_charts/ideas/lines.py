"""Depth: the same requests on a connection each, and behind one another on one connection."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from labkit.charts import Chart, axes, style
from lesson_charts.ideas import canvas


@style.applied()
def pipeline(delays_s: Sequence[float] = (0.3, 0.05, 0.05, 0.05)) -> Chart:
    """Draw when each of these requests is worked on: on a connection each, and all on one.

    All are sent at 0. A server answers the requests of a connection in their order, one at a time.
    """
    ends_s = list(accumulate(delays_s))
    n = len(delays_s)
    chart, ax = canvas.canvas(
        f"{n} connections, 1 deep; and 1 connection, {n} deep",
        f"Side by side the last ends at {max(delays_s):g} s, in a line at {ends_s[-1]:g} s.",
        height_in=0.42 * (2 * n + 1) + 1.2,
        notes=("All are sent at 0. Green: the server works on it. Blue: it waits behind another.",),
    )
    names = []
    for place, (delay_s, end_s) in enumerate(zip(delays_s, ends_s, strict=True)):
        for row, began_s in ((place, 0.0), (n + 1 + place, end_s - delay_s)):
            canvas.box(ax, 0, row, began_s, "", canvas.WAITING, edgecolor="none")
            canvas.box(ax, began_s, row, delay_s, "", canvas.WORKING)
            axes.beside(ax, began_s + delay_s, row, f"{began_s + delay_s:g} s")
        names.append(f"request {place + 1}")
    ax.set_axis_on()
    axes.rows(ax, [*names, "", *names])
    ax.set_xlim(0, 1.12 * ends_s[-1])
    ax.set_xlabel("time since they were sent (s)")
    return chart
