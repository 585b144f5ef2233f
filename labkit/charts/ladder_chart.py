"""The ladder: how many requests a second each way to send them gives, and what each costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.transforms import blended_transform_factory

from labkit.charts import axes, marks
from labkit.charts.figure import Chart
from labkit.charts.style import BLUE, INK, ORANGE, PALE, Look, applied
from labkit.errors import BadInput

_BAR_IN = 0.4
_AROUND_IN = 1.5
_THICKNESS = 0.72
_GAP = 0.6
"""Between the lab's own rungs and those of others, in bars."""
_HATCHES = {"": "", "maybe": "//", "server": "xx"}
_OWN = Look(label="the lab's own", face=BLUE, edge=BLUE)
_OTHERS = Look(label="of others", face=ORANGE, edge=ORANGE)
_MAYBE = Look(label="the server may have been the bottleneck", face="white", edge=INK, hatch="//")
_SERVER = Look(label="the server was the bottleneck", face="white", edge=INK, hatch="xx")


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One rung: its rate in requests/s with its least and most, and its gain in words.

    `over` names what the gain is over where that is not the bar above. `cpu_us` is the client's CPU
    a request in microseconds. None is what was not measured.
    """

    label: str
    own: bool
    rate: float | None
    reach: tuple[float, float] | None = None
    gain: str = ""
    over: str = ""
    cpu_us: float | None = None
    bound: Literal["", "maybe", "server"] = ""


@applied()
def ladder(bars: Sequence[Bar], *, notes: Sequence[str] = ()) -> Chart:
    """Horizontal bars on logarithmic axes: requests a second, and CPU a request beside them.

    The lab's own rungs come first. Raises `BadInput` where there is none to draw.
    """
    shown = [bar for bar in bars if bar.own] + [bar for bar in bars if not bar.own]
    if not any(bar.rate for bar in shown):
        raise BadInput("there are no figures to draw: no rung was measured")
    title = "Requests a second, rung by rung"
    chart = Chart(
        title=title,
        alt=f"{title}. {'; '.join(map(_said, shown))}.",
        height_in=_BAR_IN * (len(shown) + _GAP) + _AROUND_IN,
        notes=notes,
        legend=marks.legend(_looks(shown)),
    )
    rates, costs = chart.body.subplots(1, 2, width_ratios=[5, 2], sharey=True)
    places = _places(shown)
    _panel(rates, places, shown, [(bar.rate, _rate_text(bar), _gain_text(bar)) for bar in shown])
    _panel(costs, places, shown, [(bar.cpu_us, _cost_text(bar), "") for bar in shown])
    _reaches(rates, places, shown)
    rates.set_yticks(places, [bar.label for bar in shown])
    rates.set_ylim(places[-1] + 0.6, -0.6)
    rates.set_xlabel("requests/s, logarithmic; ×: gain over the step above")
    costs.set_xlabel("CPU per request (µs), log.")
    costs.tick_params(axis="y", labelleft=False)
    return chart


def _looks(bars: Sequence[Bar]) -> list[Look]:
    """What the legend has to explain."""
    kinds = [(_OWN, any(bar.own for bar in bars)), (_OTHERS, any(not bar.own for bar in bars))]
    bounds = {bar.bound for bar in bars}
    kinds += [(_MAYBE, "maybe" in bounds), (_SERVER, "server" in bounds)]
    return [look for look, wanted in kinds if wanted]


def _places(bars: Sequence[Bar]) -> list[float]:
    places = [0.0]
    for above, below in pairwise(bars):
        places.append(places[-1] + 1 + (_GAP if above.own and not below.own else 0))
    return places


def _panel(
    ax: Axes,
    places: Sequence[float],
    bars: Sequence[Bar],
    figures: Sequence[tuple[float | None, str, str]],
) -> None:
    """Bars from the left edge: on a logarithmic axis their length says nothing, their end does."""
    known = [value for value, _, _ in figures if value]
    ax.set_xscale("log")
    if known:
        low, high = min(known) / 2, max(known)
        ax.set_xlim(low, high * (high / low) ** _room(figures))
        axes.logarithmic(ax.xaxis, marks=(1, 3))
    for place, bar, (value, text, more) in zip(places, bars, figures, strict=True):
        if value:
            _draw(ax, place, bar, value)
        _beside(ax, place, _end(bar, value), text, more)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=PALE)


def _room(figures: Sequence[tuple[float | None, str, str]]) -> float:
    """How much of the axis, as a share of its bars, is added for the text beside the longest."""
    return 0.15 + 0.03 * max(len(text) + len(more) for _, text, more in figures)


def _draw(ax: Axes, place: float, bar: Bar, value: float) -> None:
    look = _OWN if bar.own else _OTHERS
    hatch = _HATCHES[bar.bound]
    edge = "white" if hatch else look.edge
    ax.barh(place, value, _THICKNESS, facecolor=look.face, edgecolor=edge, hatch=hatch)


def _reaches(ax: Axes, places: Sequence[float], bars: Sequence[Bar]) -> None:
    for place, bar in zip(places, bars, strict=True):
        if bar.rate and bar.reach and bar.reach[1] > bar.reach[0]:
            reach = [[bar.rate - bar.reach[0]], [bar.reach[1] - bar.rate]]
            ax.errorbar([bar.rate], [place], xerr=reach, fmt="none", ecolor=INK, capsize=4)


def _end(bar: Bar, value: float | None) -> float | None:
    reached = bar.reach[1] if bar.reach and value == bar.rate else 0.0
    return max(value, reached) if value else None


def _beside(ax: Axes, place: float, end: float | None, text: str, more: str) -> None:
    at = (end, place) if end else (0.0, place)
    across = ax.transData if end else blended_transform_factory(ax.transAxes, ax.transData)
    offset: dict[str, Any] = {"textcoords": "offset points", "va": "center"}
    first = ax.annotate(text, at, xycoords=across, xytext=(8, 0), **offset)
    if more:
        ax.annotate(more, (1, 0.5), xycoords=first, xytext=(10, 0), weight="bold", **offset)


def _rate_text(bar: Bar) -> str:
    return f"{bar.rate:,.0f}" if bar.rate else "not measured"


def _gain_text(bar: Bar) -> str:
    return f"{bar.gain} of {bar.over}" if bar.gain and bar.over else bar.gain


def _cost_text(bar: Bar) -> str:
    if not bar.cpu_us:
        return "not measured"
    return f"{bar.cpu_us:,.0f}" if bar.cpu_us >= 100 else f"{bar.cpu_us:.1f}"


def _said(bar: Bar) -> str:
    bound = {"": "", "maybe": ", server busy", "server": ", server-bound"}[bar.bound]
    return f"{bar.label} {_rate_text(bar)} {_gain_text(bar)}".rstrip() + bound
