"""A server's log of requests: each request's turn as a bar in time, told apart by connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Patch

import labkit as lab
from labkit.charts import Chart, axes, style

_BAR_IN = 0.36
_AROUND_IN = 1.5
_THICKNESS = 0.7
_ROOM = 1.16
"""How much longer than the log the axis is: for the text beside the last bar."""


@style.applied()
def turns(log: Sequence[Mapping[str, Any]], title: str, *, sent_together: bool = False) -> Chart:
    """A row for each request of a server's log, connection by connection, in order of their turns.

    `sent_together` says that all had been sent when the first one's turn came: the time until its
    own turn is then drawn as waiting. Raises `BadInput` where no request of the log has ended.
    """
    rows = [row for row in log if row["ended_s"] is not None]
    if not rows:
        raise lab.BadInput("there is nothing to draw: the log holds no request that has ended")
    rows.sort(key=lambda row: (row["connection"], row["began_s"]))
    start_s = min(row["began_s"] for row in rows)
    spans = [((row["began_s"] - start_s) * 1e3, (row["ended_s"] - start_s) * 1e3) for row in rows]
    names = [f"{row['target']} on connection {row['connection']}" for row in rows]
    said = [f"{name} {_words(*span)}" for name, span in zip(names, spans, strict=True)]
    chart = Chart(
        title=title,
        alt=f"{title}. {'; '.join(said)}.",
        height_in=_BAR_IN * len(rows) + _AROUND_IN,
        notes=["As the server saw it: a coloured bar reaches from a request's turn to its answer."],
        legend=[(Patch(facecolor=style.PALE), "sent, and waiting for its turn")] * sent_together,
    )
    ax = chart.body.subplots()
    colours = _colours([row["connection"] for row in rows])
    for place, (span, colour) in enumerate(zip(spans, colours, strict=True)):
        _draw(ax, place, span, colour, waiting=sent_together)
    _label(ax, names, max(ended_ms for _, ended_ms in spans))
    return chart


def _colours(connections: Sequence[int]) -> list[str]:
    """One for each connection, in the order in which they come."""
    places = {number: place for place, number in enumerate(dict.fromkeys(connections))}
    return [style.PALETTE[places[number] % len(style.PALETTE)] for number in connections]


def _draw(ax: Axes, place: int, span: tuple[float, float], colour: str, *, waiting: bool) -> None:
    began_ms, ended_ms = span
    if waiting:
        ax.barh(place, began_ms, _THICKNESS, facecolor=style.PALE)
    ax.barh(place, ended_ms - began_ms, _THICKNESS, began_ms, facecolor=colour)
    # A turn may be too short for its bar to be seen.
    ax.vlines(began_ms, place - _THICKNESS / 2, place + _THICKNESS / 2, colour, linewidth=3)
    ax.annotate(
        _words(*span),
        (ended_ms, place),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        color=style.INK,
    )


def _label(ax: Axes, names: Sequence[str], end_ms: float) -> None:
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(0, end_ms * _ROOM or 1)
    ax.set_xlabel("time since the first turn (ms)")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=style.PALE)
    axes.linear(ax.xaxis, most=10)


def _words(began_ms: float, ended_ms: float) -> str:
    began, ended = f"{began_ms:,.0f}", f"{ended_ms:,.0f}"
    return f"at {ended} ms" if began == ended else f"{began} to {ended} ms"
