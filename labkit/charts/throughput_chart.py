"""Requests per second of many programs: those that somebody published, and the rungs of the ladder.

Published figures stand beside the measured ones in paler bars: what is to be compared is how far
apart the variants are, not how fast two machines of different years are.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.transforms import blended_transform_factory

from labkit import stats
from labkit.charts import axes, bar_chart, notes
from labkit.charts.axes import finite
from labkit.charts.figure import Chart, describe
from labkit.charts.notes import Trust
from labkit.charts.style import BLUE, INK, ORANGE, PALE, Look, applied, look
from labkit.errors import BadInput

_PER_SECOND = stats.metric("throughput_rps")
_THOUSANDS = replace(_PER_SECOND, unit="thousand requests/s", scale=1e-3)
_COLUMNS = 3
_THIN_BAR_IN = 0.27
Source = Literal["repeats", "reference", "published"]


@dataclass(frozen=True, kw_only=True)
class Rate:
    """One program: where its bars stand, and its requests per second, a number a repeat.

    `repeats` are measured here, `reference` on the reference machine.
    """

    panel: str
    group: str
    bar: str
    repeats: Sequence[float] = ()
    reference: Sequence[float] = ()
    published: float | None = None
    trust: Trust

    def values(self, source: Source) -> Sequence[float]:
        """Return the rates from this source."""
        return finite([self.published]) if source == "published" else getattr(self, source)

    def __str__(self) -> str:
        here = finite(self.repeats)
        now = _PER_SECOND.format(statistics.median(here) if here else None)
        then = f" (published {_PER_SECOND.format(self.published)})" if self.published else ""
        return f"{self.panel}, {self.group}, {self.bar} {now}{then}"


@applied()
def throughput(
    rates: Sequence[Rate],
    *,
    title: str = "Requests per second",
    conditions: str = "",
    published_label: str = "published",
) -> Chart:
    """Draw panels of horizontal bars, three beside each other: a group a size, a colour a variant.

    Raises `BadInput` where there is no rate.
    """
    if not rates:
        raise BadInput("there are no programs to draw: give a rate for each")
    bars = list(dict.fromkeys(one.bar for one in rates))
    panels: dict[str, list[Rate]] = {}
    for one in rates:
        panels.setdefault(one.panel, []).append(one)
    looks = {name: _looks(of, bars, published_label) for name, of in panels.items()}
    needed_in = [
        _THIN_BAR_IN * len({one.group for one in of}) * len(looks[name]) + 1.25
        for name, of in panels.items()
    ]
    starts = range(0, len(panels), _COLUMNS)
    heights = [max(needed_in[start : start + _COLUMNS]) for start in starts]
    chart = Chart(
        title=title,
        alt=describe(title, map(str, rates)),
        height_in=sum(heights) + 0.4,
        notes=[
            *notes.sentences(
                conditions, bar_chart.how_to_read(max(len(one.repeats) for one in rates))
            ),
            *notes.verdicts(one.trust for one in rates),
        ],
        legend=bar_chart.legend([*_looks(rates, bars, published_label).values()]),
    )
    drawn = chart.body.subplots(
        len(heights), min(_COLUMNS, len(panels)), squeeze=False, height_ratios=heights
    )
    for ax, (name, of) in zip(drawn.flat, panels.items(), strict=False):
        _panel(ax, of, looks[name])
        ax.set_title(name)
    for ax in drawn.flat[len(panels) :]:
        ax.remove()
    return chart


def _looks(
    rates: Sequence[Rate], bars: Sequence[str], published_label: str
) -> dict[tuple[str, Source], Look]:
    """Return a look for each bar from each source that has any figure."""
    sources: dict[Source, tuple[str, str]] = {
        "repeats": ("measured here", ""),
        "reference": ("reference machine", "..."),
        "published": (published_label, "///"),
    }
    looks = {}
    for source, (name, hatch) in sources.items():
        if any(one.values(source) for one in rates):
            for index, bar in enumerate(bars):
                usual = look(index, f"{bar}, {name}")
                paler = replace(usual, face="white", hatch=hatch) if hatch else usual
                looks[bar, source] = paler
    return looks


def _panel(ax: Axes, rates: Sequence[Rate], looks: dict[tuple[str, Source], Look]) -> None:
    groups: dict[str, dict[str, Rate]] = {}
    for one in rates:
        groups.setdefault(one.group, {})[one.bar] = one
    drawn = [
        bar_chart.Group(
            label=Trust(
                label=group, verdict=stats.worst(one.trust.verdict for one in of.values())
            ).marked,
            values=[of[bar].values(source) if bar in of else [] for bar, source in looks],
        )
        for group, of in groups.items()
    ]
    bar_chart.grouped(ax, drawn, list(looks.values()), _THOUSANDS, ticks=4)
    ax.set_xlabel(_THOUSANDS.unit)


_BAR_IN = 0.4
_THICKNESS = 0.72
_GAP = 0.6
"""Between the lab's own rungs and those of others, in bars."""
_OWN = Look(label="the lab's own", face=BLUE, edge=BLUE)
_OTHERS = Look(label="of others", face=ORANGE, edge=ORANGE)
_BOUNDS = {
    "maybe": Look(
        label="the server may have been the bottleneck", face="white", edge=INK, hatch="//"
    ),
    "server": Look(label="the server was the bottleneck", face="white", edge=INK, hatch="xx"),
}


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

    @property
    def rate_text(self) -> str:
        """The rate as people read it."""
        return f"{self.rate:,.0f}" if self.rate else "not measured"

    @property
    def gain_text(self) -> str:
        """The gain and what it is over."""
        return f"{self.gain} of {self.over}" if self.gain and self.over else self.gain

    @property
    def cost_text(self) -> str:
        """The CPU as people read it."""
        if not self.cpu_us:
            return "not measured"
        return f"{self.cpu_us:,.0f}" if self.cpu_us >= 100 else f"{self.cpu_us:.1f}"

    def __str__(self) -> str:
        bound = {"": "", "maybe": ", server busy", "server": ", server-bound"}[self.bound]
        return f"{self.label} {self.rate_text} {self.gain_text}".rstrip() + bound


@applied()
def ladder(bars: Sequence[Bar], *, notes: Sequence[str] = ()) -> Chart:
    """Draw horizontal bars on logarithmic axes: requests a second, and CPU a request beside them.

    The lab's own rungs come first. Raises `BadInput` where there is none to draw.
    """
    shown = sorted(bars, key=lambda bar: not bar.own)
    if not any(bar.rate for bar in shown):
        raise BadInput("there are no figures to draw: no rung was measured")
    looks = [one for one, own in ((_OWN, True), (_OTHERS, False)) if own in {b.own for b in bars}]
    looks += [one for bound, one in _BOUNDS.items() if bound in {bar.bound for bar in bars}]
    title = "Requests a second, rung by rung"
    chart = Chart(
        title=title,
        alt=describe(title, map(str, shown)),
        height_in=_BAR_IN * (len(shown) + _GAP) + 1.5,
        notes=notes,
        legend=bar_chart.legend(looks),
    )
    rates, costs = chart.body.subplots(1, 2, width_ratios=[5, 2], sharey=True)
    places = [0.0]
    for above, below in pairwise(shown):
        places.append(places[-1] + 1 + (_GAP if above.own and not below.own else 0))
    figures = [(bar.rate, bar.rate_text, bar.gain_text) for bar in shown]
    _rungs(rates, places, shown, figures)
    _rungs(costs, places, shown, [(bar.cpu_us, bar.cost_text, "") for bar in shown])
    for place, bar in zip(places, shown, strict=True):
        if bar.rate and bar.reach and bar.reach[1] > bar.reach[0]:
            reach = [[bar.rate - bar.reach[0]], [bar.reach[1] - bar.rate]]
            rates.errorbar([bar.rate], [place], xerr=reach, fmt="none", ecolor=INK, capsize=4)
    rates.set_yticks(places, [bar.label for bar in shown])
    rates.set_ylim(places[-1] + 0.6, -0.6)
    rates.set_xlabel("requests/s, logarithmic; ×: gain over the step above")
    costs.set_xlabel("CPU per request (µs), log.")
    costs.tick_params(axis="y", labelleft=False)
    return chart


def _rungs(
    ax: Axes,
    places: Sequence[float],
    bars: Sequence[Bar],
    figures: Sequence[tuple[float | None, str, str]],
) -> None:
    """Draw a bar for each figure, and its two texts where the bar or its whisker ends.

    The bars start at the left edge: on a logarithmic axis their length means nothing.
    """
    known = [value for value, _, _ in figures if value]
    ax.set_xscale("log")
    if known:
        low, high = min(known) / 2, max(known)
        room = 0.15 + 0.03 * max(len(text) + len(more) for _, text, more in figures)
        ax.set_xlim(low, high * (high / low) ** room)
        axes.logarithmic(ax.xaxis, marks=(1, 3))
    for place, bar, (value, text, more) in zip(places, bars, figures, strict=True):
        if value:
            filled, hatch = _OWN if bar.own else _OTHERS, ""
            if bar.bound:
                hatch = _BOUNDS[bar.bound].hatch
            edge = "white" if hatch else filled.edge
            ax.barh(place, value, _THICKNESS, facecolor=filled.face, edgecolor=edge, hatch=hatch)
            end = max(value, bar.reach[1]) if bar.reach and value == bar.rate else value
            first = axes.beside(ax, end, place, text)
        else:
            left = blended_transform_factory(ax.transAxes, ax.transData)
            first = axes.beside(ax, 0.0, place, text, xycoords=left)
        if more:
            axes.beside(ax, 1, 0.5, more, 10, xycoords=first, weight="bold")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=PALE)
