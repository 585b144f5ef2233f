"""A turn of the event loop: ask for sockets, look at timers, call what is ready."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.charts import Chart, style
from lesson_charts.ideas import canvas

_STEPS = ("which sockets\nare ready?", "which timers\nare due?", "call what\nis ready")


@style.applied()
def turn(callbacks_ms: Sequence[float] = (0.2, 0.1, 0.3, 0.2)) -> Chart:
    """Draw one turn, and on a time line the callbacks of a turn with what waits for them.

    `callbacks_ms` is how long each of them holds the loop.
    """
    total = sum(callbacks_ms)
    chart, ax = canvas.canvas(
        "A turn of the event loop",
        "The loop asks which sockets are ready and which timers are due, then calls "
        f"{len(callbacks_ms)} callbacks, one after another, for {total:g} ms, and begins again.",
        height_in=3.9,
        xlim=(-0.3, 21),
        ylim=(6.9, -1.6),
    )
    for step, text in enumerate(_STEPS):
        left = 6.4 * step
        canvas.box(ax, left, 0.3, 4.6, colour=canvas.IDLE if step < 2 else canvas.WORKING)
        ax.patches[-1].set(height=1.9, y=-0.65)
        ax.texts[-1].set(text=text, y=0.3)
        if step:
            canvas.arrow(ax, (left - 1.7, 0.3), (left - 0.1, 0.3))
    canvas.arrow(ax, (15.1, 1.35), (2.3, 1.35), connectionstyle="bar,fraction=-0.03")
    ax.text(8.7, 2.65, "again", ha="center", va="center")
    start = 0.0
    for held_ms in callbacks_ms:
        width = 19.5 * held_ms / total
        text = f"{held_ms:g} ms" if width > 1.6 else ""
        canvas.box(ax, start, 4.6, width, text, canvas.WORKING)
        start += width
    ax.text(0, 3.75, "one thread: its callbacks run one after another", va="center", weight="bold")
    canvas.arrow(ax, (0, 5.5), (19.5, 5.5), arrowstyle="<|-|>")
    ax.text(9.75, 6.1, f"an answer that comes in meanwhile waits up to {total:g} ms: loop lag",
            ha="center", va="center", color=canvas.LATE)  # fmt: skip
    return chart
