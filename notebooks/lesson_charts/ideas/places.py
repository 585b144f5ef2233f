"""Little's law: where requests are while they are in flight, and how many are in each place."""

from __future__ import annotations

from matplotlib.patches import Rectangle

from labkit.charts import Chart, style
from lesson_charts.ideas import canvas

_PLACES = (("queue", canvas.WAITING), ("connection", style.PURPLE), ("server", canvas.WORKING))
_WIDTH, _GAP, _MAX_DOTS, _PER_ROW = 2.6, 1.2, 24, 8


@style.applied()
def little(
    *,
    rate: float = 400,
    queue_s: float = 0.015,
    connection_s: float = 0.005,
    server_s: float = 0.010,
) -> Chart:
    """Draw the places that requests pass, each with as many dots as Little's law puts there.

    `rate` is in requests a second. A request spends so many seconds in the client's queue, on a
    connection, and at the server; where it spends none, the place is not drawn.
    """
    times_s = (queue_s, connection_s, server_s)
    spent = {name: s for (name, _), s in zip(_PLACES, times_s, strict=True) if s}
    places = [one for one in _PLACES if one[0] in spent]
    total_s, in_flight = sum(spent.values()), rate * sum(spent.values())
    law = f"{rate:,g} a second × {1e3 * total_s:g} ms = {in_flight:,g} in flight"
    chart, ax = canvas.canvas(
        f"Little's law: {law}",
        " ".join(f"{name}: {1e3 * s:g} ms, {rate * s:g} requests." for name, s in spent.items()),
        height_in=3.4,
        notes=("A dot is a request. In each place: how many = how many a second × how long.",),
    )
    for place, (name, colour) in enumerate(places):
        left, inside = place * (_WIDTH + _GAP), rate * spent[name]
        middle = left + _WIDTH / 2
        frame = Rectangle((left, 0), _WIDTH, 1.5, fill=False, edgecolor=style.INK, linewidth=1.4)
        ax.add_patch(frame)
        dots = min(round(inside), _MAX_DOTS)
        top = 0.75 + 0.2 * ((dots - 1) // _PER_ROW)
        for dot in range(dots):
            row, column = divmod(dot, _PER_ROW)
            x, y = left + 0.25 + 0.3 * column, top - 0.4 * row
            ax.plot(x, y, "o", markersize=13, color=colour, markeredgecolor=style.INK)
        ax.text(middle, 1.68, name, ha="center", weight="bold")
        says = f"{rate:,g}/s × {1e3 * spent[name]:g} ms = {inside:g}"
        ax.text(middle, -0.3, says, ha="center")
        canvas.arrow(ax, (left - _GAP, 0.75), (left, 0.75))
    end = len(places) * (_WIDTH + _GAP)
    canvas.arrow(ax, (end - _GAP, 0.75), (end, 0.75))
    for at, says in ((-_GAP, "sent"), (end - _GAP, "answered")):
        ax.text(at + _GAP / 2, 1.0, says, ha="center")
    canvas.arrow(ax, (0, -0.62), (end - _GAP, -0.62), arrowstyle="|-|")
    says = f"in flight: {in_flight:g}, latency {1e3 * total_s:g} ms"
    ax.text((end - _GAP) / 2, -1.0, says, ha="center")
    ax.set(xlim=(-_GAP - 0.1, end + 0.1), ylim=(-1.15, 1.95))
    return chart
