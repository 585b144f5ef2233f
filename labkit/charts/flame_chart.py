"""A flame chart of a call graph: what each task's time consists of, callers above callees."""

from __future__ import annotations

from labkit.charts import axes
from labkit.charts.figure import Chart
from labkit.charts.style import BLUE, ON_FILL, Look, applied, legend
from labkit.errors import BadInput
from labkit.profiler.callgraph import CallGraph

_ROW_IN = 0.34
_LETTERS = 160
"""How many letters fit into the whole width, at this size."""
_LETTERS_PT = 9
_COROUTINE = Look(label="coroutine", face=BLUE)
_FUNCTION = Look(label="plain function", face="#F2D7A0")
_HOW = {
    "wall": "Width is time from first step to end, waiting included, summed over calls. Many tasks "
    "wait at once, so that it exceeds the run's time.",
    "cpu": "Width is time on the CPU, summed over calls: nothing that waits is in it.",
}
_LEFT_OUT = "What is empty below a block is its own; blocks below 0.3% of the width are left out."


@applied()
def flame(graph: CallGraph, title: str) -> Chart:
    """Draw blocks of time, depth by depth, each depth from its largest block to its smallest.

    Raises `BadInput` where nothing took any time.
    """
    blocks = graph.blocks()
    if not blocks:
        raise BadInput("there is nothing to draw: the profiler saw no function that took any time")
    whole_s = sum(took_s for _, took_s in graph.roots())
    depths = 1 + max(block.depth for block in blocks)
    own_s = sum(one.self_s for one in graph.functions) or 1.0
    longest = sorted(graph.functions, key=lambda one: -one.self_s)[:5]
    shares = [f"{one.name} {one.self_s / own_s:.0%}" for one in longest]
    chart = Chart(
        title=title,
        alt=f"{title}, by the clock {graph.clock}. Own time: {'; '.join(shares)}.",
        height_in=_ROW_IN * depths + 1.5,
        notes=[_HOW[graph.clock], _LEFT_OUT],
        legend=legend([_COROUTINE, _FUNCTION]),
    )
    ax = chart.body.subplots()
    for block in blocks:
        look, ink = (_COROUTINE, "white") if block.function.coroutine else (_FUNCTION, ON_FILL)
        lined = {**look.fill, "edgecolor": "white", "linewidth": 0.8}
        ax.barh(block.depth, block.took_s, 0.92, block.start_s, **lined)
        name = fitted(block.function.name, int(_LETTERS * block.took_s / whole_s) - 2)
        axes.beside(ax, block.start_s, block.depth, name, 4, fontsize=_LETTERS_PT, color=ink)
    ax.set_xlim(0, whole_s)
    ax.set_ylim(depths - 0.5, -0.5)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("time of tasks (s)" if graph.clock == "wall" else "time on the CPU (s)")
    axes.linear(ax.xaxis, most=10)
    return chart


def fitted(name: str, letters: int) -> str:
    """Return as much of a name as fits: all of it, its last part, the start of that; or nothing."""
    last = name.rpartition(".")[2]
    for one in (name, last):
        if len(one) <= letters:
            return one
    return last[: letters - 1] + "…" if letters >= 4 else ""
