"""A server's log of requests: each request's turn as a bar in time, coloured by connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import labkit as lab
from labkit.charts import Chart, axes, style

_BAR_IN = 0.36
_AROUND_IN = 1.5
_THICKNESS = 0.7
_WAITING = style.Look(label="sent, and waiting for its turn", face=style.PALE)
_ROOM = 1.16
"""How much longer than the log the axis is: for the text beside the last bar."""


@style.applied()
def turns(log: Sequence[Mapping[str, Any]], title: str, *, sent_together: bool = False) -> Chart:
    """Draw a row for each request of a server's log, by connection and in order of their turns.

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
    chart = Chart(
        title=title,
        parts=(f"{name} {_words(*span)}" for name, span in zip(names, spans, strict=True)),
        height_in=_BAR_IN * len(rows) + _AROUND_IN,
        notes=["As the server saw it: a coloured bar reaches from a request's turn to its answer."],
        legend=style.legend([_WAITING] * sent_together),
    )
    ax = chart.body.subplots()
    connections = list(dict.fromkeys(row["connection"] for row in rows))
    for place, (row, (began_ms, ended_ms)) in enumerate(zip(rows, spans, strict=True)):
        colour = style.PALETTE[connections.index(row["connection"]) % len(style.PALETTE)]
        if sent_together:
            ax.barh(place, began_ms, _THICKNESS, **_WAITING.fill)
        ax.barh(place, ended_ms - began_ms, _THICKNESS, began_ms, facecolor=colour)
        # A turn may be too short for its bar to be seen.
        ax.vlines(began_ms, place - _THICKNESS / 2, place + _THICKNESS / 2, colour, linewidth=3)
        axes.beside(ax, ended_ms, place, _words(began_ms, ended_ms))
    axes.rows(ax, names)
    axes.linear(ax.xaxis, most=10)
    ax.set_xlim(0, max(ended_ms for _, ended_ms in spans) * _ROOM or 1)
    ax.set_xlabel("time since the first turn (ms)")
    return chart


def _words(began_ms: float, ended_ms: float) -> str:
    began, ended = f"{began_ms:,.0f}", f"{ended_ms:,.0f}"
    return f"at {ended} ms" if began == ended else f"{began} to {ended} ms"
