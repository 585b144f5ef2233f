"""Where requests spent their time: whole requests as a waterfall, and each arm as a stacked bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from labkit import stats
from labkit.charts import axes, conditions, quality, style
from labkit.charts.figure import Chart
from labkit.errors import BadInput
from labkit.record.record import PHASES, Phases, Record, Traced

_NAMES = {
    "prepare": "preparing",
    "queue": "queued for a connection",
    "dns": "looking up the name",
    "connect": "connecting",
    "send": "sending",
    "wait": "waiting for the first byte",
    "read": "reading the body",
    "release": "giving back",
}
_COLOURS = {
    "prepare": "#999999",
    "queue": style.ORANGE,
    "dns": style.GREEN,
    "connect": style.PURPLE,
    "send": style.BLACK,
    "wait": style.SKY,
    "read": style.BLUE,
    "release": style.VERMILLION,
}
_MOST_FIRST, _MOST_LATER = 20, 14
"""Requests in each panel of a waterfall."""
_ROW_IN, _BAR_IN, _AROUND_IN = 0.24, 0.55, 1.5
_THICKNESS = 0.74
_LEAST_SHOWN = 0.07
"""Share of the longest bar from which on a part has room for its number."""


@style.applied()
def waterfall(record: Record) -> Chart:
    """The phases of whole requests: the first on one axis of time, later ones each from its start.

    Raises `BadInput` for a record whose requests were not traced.
    """
    (sample,) = [one.sample for one in _traced([record])]
    first, later = sample[:_MOST_FIRST], _evenly(sample[_MOST_FIRST:], _MOST_LATER)
    title = f"Phases of {conditions.of_trial(record.trial)}"
    heights = [_ROW_IN * len(rows) + 0.9 for rows in (first, later) if rows]
    chart = Chart(
        title=title,
        alt=f"{title}. {'; '.join(map(_said, first))}.",
        height_in=sum(heights) + 0.7,
        notes=_waterfall_notes(record, first + later),
        legend=_legend(_present([one.spent_s for one in first + later])),
    )
    panels = chart.body.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    _rows(panels[0], first, [one.began_s * 1e3 for one in first], "The first requests")
    panels[0].set_xlabel("time since the first request began (ms)")
    if later:
        _rows(panels[1], later, [0.0] * len(later), "An even sample of those behind them")
        panels[1].set_xlabel("time since each began (ms)")
    return chart


def _traced(records: Sequence[Record]) -> list[Phases]:
    found = [record.phases for record in records if record.phases is not None]
    if not found:
        raise BadInput(
            "there are no phases to draw: the requests were not traced; run the trial with "
            "transport.trace on (the transport aiohttp has it)"
        )
    return found


def _evenly(listed: Sequence[Traced], most: int) -> list[Traced]:
    step = -(-len(listed) // most) or 1
    return list(listed[::step])


def _rows(ax: Axes, rows: Sequence[Traced], starts_ms: Sequence[float], title: str) -> None:
    for place, (one, start_ms) in enumerate(zip(rows, starts_ms, strict=True)):
        at_ms = start_ms
        for phase, spent_s in zip(PHASES, one.spent_s, strict=True):
            ax.barh(place, spent_s * 1e3, _THICKNESS, at_ms, facecolor=_COLOURS[phase])
            at_ms += spent_s * 1e3
        if one.failed:
            ax.plot([at_ms], [place], marker="X", color=style.INK, mec="white", markersize=11)
    names = [f"{one.item:,}" + ("" if one.reused else " \N{BULLET}") for one in rows]
    ax.set_yticks(range(len(rows)), names)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(left=0)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=style.PALE)
    ax.set_title(title)
    ax.set_ylabel("item")
    axes.linear(ax.xaxis, most=10)


def _waterfall_notes(record: Record, shown: Sequence[Traced]) -> list[str]:
    failed = any(one.failed for one in shown)
    return [
        "A row is a request, as the client saw it. A dot beside its number: no open connection was "
        "there for it." + (" A cross: it failed there." if failed else ""),
        *quality.notes([quality.trust_of_records(record.id, [record])]),
    ]


def _said(one: Traced) -> str:
    spent = zip(PHASES, one.spent_s, strict=True)
    parts = [f"{phase} {stats.number(s * 1e3)}" for phase, s in spent if s]
    return f"item {one.item:,}: {', '.join(parts)} ms"


def _present(spent_s: Sequence[Sequence[float]]) -> list[str]:
    """The phases that any of these spent time in, in their order."""
    columns = zip(*spent_s, strict=True)
    return [phase for phase, column in zip(PHASES, columns, strict=True) if any(column)]


def _legend(present: Sequence[str]) -> list[tuple[Artist, str]]:
    return [(Patch(facecolor=_COLOURS[phase]), _NAMES[phase]) for phase in present]


@dataclass(frozen=True, kw_only=True)
class _Bar:
    """One arm: the mean seconds of each phase, over all its requests that succeeded."""

    label: str
    means_s: list[float]
    requests: int

    @property
    def total_s(self) -> float:
        return sum(self.means_s)


@style.applied()
def phases(records_by_label: Mapping[str, Sequence[Record]], by: Sequence[str] = ()) -> Chart:
    """A stacked bar for each label: its mean latency, split into phases, over all its requests.

    `by` names the axes that the labels are of. Raises `BadInput` where no record was traced.
    """
    _traced([record for records in records_by_label.values() for record in records])
    bars = [_bar(label, records) for label, records in records_by_label.items()]
    drawn = [bar for bar in bars if bar.requests]
    if not drawn:
        raise BadInput("there are no phases to draw: no request that was traced succeeded")
    title = " for each ".join(["Mean latency by phase", *([" and ".join(by)] if by else [])])
    chart = Chart(
        title=title,
        alt=f"{title}. {'; '.join(map(_said_of_bar, drawn))}.",
        height_in=_BAR_IN * len(drawn) + _AROUND_IN,
        notes=_notes(records_by_label, bars),
        legend=_legend(_present([bar.means_s for bar in drawn])),
    )
    _stack(chart.body.subplots(), drawn)
    return chart


def _bar(label: str, records: Sequence[Record]) -> _Bar:
    found = [record.phases for record in records if record.phases is not None]
    requests = sum(one.n for one in found)
    means_s = [
        sum(one.n * getattr(one.spent_s, phase).mean for one in found) / (requests or 1)
        for phase in PHASES
    ]
    return _Bar(label=label, means_s=means_s, requests=requests)


def _stack(ax: Axes, bars: Sequence[_Bar]) -> None:
    longest_s = max(bar.total_s for bar in bars)
    for place, bar in enumerate(bars):
        at_ms = 0.0
        for phase, mean_s in zip(PHASES, bar.means_s, strict=True):
            ax.barh(place, mean_s * 1e3, _THICKNESS, at_ms, facecolor=_COLOURS[phase])
            if mean_s >= _LEAST_SHOWN * longest_s:
                _inside(ax, at_ms + mean_s * 5e2, place, mean_s * 1e3, phase)
            at_ms += mean_s * 1e3
        _beside(ax, at_ms, place)
    ax.set_yticks(range(len(bars)), [bar.label for bar in bars])
    ax.set_ylim(len(bars) - 0.5, -0.5)
    ax.set_xlim(0, longest_s * 1e3 * 1.16 or 1)
    ax.set_xlabel("mean latency (ms)")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=style.PALE)
    axes.linear(ax.xaxis, most=10)


def _inside(ax: Axes, x_ms: float, place: int, mean_ms: float, phase: str) -> None:
    dark = phase in ("send", "read", "release")
    colour = "white" if dark else style.ON_FILL
    ax.text(x_ms, place, stats.number(mean_ms), ha="center", va="center", color=colour)


def _beside(ax: Axes, total_ms: float, place: int) -> None:
    ax.annotate(
        f"{stats.number(total_ms)} ms",
        (total_ms, place),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
    )


def _said_of_bar(bar: _Bar) -> str:
    means = zip(PHASES, bar.means_s, strict=True)
    parts = [f"{phase} {stats.number(mean_s * 1e3)}" for phase, mean_s in means if mean_s]
    return f"{bar.label}: {', '.join(parts)} ms"


def _notes(by_label: Mapping[str, Sequence[Record]], bars: Sequence[_Bar]) -> list[str]:
    untraced = [bar.label for bar in bars if not bar.requests]
    left_out = f"Not drawn, as no request was traced and succeeded: {'; '.join(untraced)}."
    return [
        "Means over the requests of all repeats that succeeded; a phase that few of them had is "
        "spread over all. Tracing itself costs CPU, which is in these times.",
        *([left_out] if untraced else []),
        *quality.notes([quality.trust_of_records(*arm) for arm in by_label.items()]),
        *quality.doubts_of_records(by_label),
    ]
