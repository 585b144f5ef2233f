"""Requests per second of many programs: a panel a kind, a group a size, a colour a variant.

The published figures stand beside the measured ones in paler bars: what is to be compared is how
far apart the variants are, not how fast two machines of different years are.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes

from labkit import stats
from labkit.charts import marks, quality
from labkit.charts.conditions import sentences
from labkit.charts.figure import Chart
from labkit.charts.marks import Group, finite
from labkit.charts.quality import Trust
from labkit.charts.style import Look, applied, look
from labkit.errors import BadInput

METRIC = replace(stats.metric("throughput_rps"), unit="thousand requests/s", scale=1e-3)
COLUMNS = 3
_BAR_IN = 0.27
_AROUND_IN = 1.25
_HERE, _ELSEWHERE = "measured here", "reference machine"


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


@applied()
def throughput(
    rates: Sequence[Rate],
    *,
    title: str = "Requests per second",
    conditions: str = "",
    published_label: str = "published",
) -> Chart:
    """Panels of horizontal bars, three beside each other. Raises `BadInput` where there is none."""
    if not rates:
        raise BadInput("there are no programs to draw: give a rate for each")
    panels = {name: [one for one in rates if one.panel == name] for name in _each(rates, "panel")}
    bars = _each(rates, "bar")
    lines = [list(panels)[at : at + COLUMNS] for at in range(0, len(panels), COLUMNS)]
    heights = [max(_height_in(panels[name], bars) for name in line) for line in lines]
    chart = Chart(
        title=title,
        alt=_alt(rates, title),
        height_in=sum(heights) + 0.4,
        notes=[
            *sentences(conditions, marks.how_to_read(max(len(one.repeats) for one in rates))),
            *quality.notes(one.trust for one in rates),
        ],
        legend=marks.legend(_looks(rates, bars, published_label)),
    )
    axes = chart.body.subplots(
        len(lines), min(COLUMNS, len(panels)), squeeze=False, height_ratios=heights
    )
    for ax, name in zip(axes.flat, panels, strict=False):
        _panel(ax, name, panels[name], _looks(panels[name], bars, published_label))
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    return chart


def _each(rates: Iterable[Rate], name: str) -> list[str]:
    return list(dict.fromkeys(getattr(one, name) for one in rates))


def _height_in(rates: Sequence[Rate], bars: Sequence[str]) -> float:
    drawn = len(_each(rates, "group")) * len(_looks(rates, bars, ""))
    return _BAR_IN * drawn + _AROUND_IN


def _looks(rates: Sequence[Rate], bars: Sequence[str], published: str) -> list[Look]:
    """A look for each bar as it was measured here, then on the reference machine, then published.

    Only those of which there is anything to show.
    """
    looks = []
    for where, there in (
        (_HERE, any(one.repeats for one in rates)),
        (_ELSEWHERE, any(one.reference for one in rates)),
        (published, any(one.published for one in rates)),
    ):
        looks += [_look(index, bar, where) for index, bar in enumerate(bars) if there]
    return looks


def _look(index: int, bar: str, where: str) -> Look:
    usual = look(index, f"{bar}, {where}")
    if where == _HERE:
        return usual
    return replace(usual, face="white", hatch="..." if where == _ELSEWHERE else "///")


def _panel(ax: Axes, title: str, rates: Sequence[Rate], looks: Sequence[Look]) -> None:
    groups = _each(rates, "group")
    of = {(one.group, one.bar): one for one in rates}
    marks.grouped(
        ax,
        [
            Group(
                label=_marked(group, [one for one in rates if one.group == group]),
                values=[_values(of, group, one) for one in looks],
            )
            for group in groups
        ],
        looks,
        METRIC,
        ticks=4,
    )
    ax.set_title(title)
    ax.set_xlabel(METRIC.unit)


def _marked(group: str, rates: Sequence[Rate]) -> str:
    worst = stats.worst(one.trust.verdict for one in rates)
    return Trust(label=group, verdict=worst).marked


def _values(of: dict[tuple[str, str], Rate], group: str, shown: Look) -> Sequence[float]:
    bar, _, where = shown.label.rpartition(", ")
    one = of.get((group, bar))
    if one is None:
        return []
    if where in (_HERE, _ELSEWHERE):
        return one.repeats if where == _HERE else one.reference
    return finite([one.published])


def _alt(rates: Sequence[Rate], title: str) -> str:
    return f"{title}. {'; '.join(map(_said, rates))}."


def _said(rate: Rate) -> str:
    usual = stats.metric("throughput_rps")
    here = usual.said(statistics.median(finite(rate.repeats))) if finite(rate.repeats) else "n/a"
    then = f" (published {usual.said(rate.published)})" if rate.published else ""
    return f"{rate.panel}, {rate.group}, {rate.bar} {here}{then}"
