"""Where requests spent their time: whole requests as a waterfall, and each arm as a stacked bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from labkit import stats
from labkit.charts import axes, notes, style
from labkit.charts.figure import Chart, describe
from labkit.errors import BadInput
from labkit.record.record import PHASES, Record, Traced

_LOOKS = {
    "prepare": ("preparing", "#999999"),
    "queue": ("queued for a connection", style.ORANGE),
    "dns": ("looking up the name", style.GREEN),
    "connect": ("connecting", style.PURPLE),
    "send": ("sending", style.BLACK),
    "wait": ("waiting for the first byte", style.SKY),
    "read": ("reading the body", style.BLUE),
    "release": ("giving back", style.VERMILLION),
}
_DARK = ("send", "read", "release")
_MAX_FIRST, _MAX_LATER = 20, 14
"""Requests in each panel of a waterfall."""
_ROW_IN, _BAR_IN = 0.24, 0.55
_MIN_LABELLED = 0.07
"""Share of the longest bar from which on a part has room for its number."""
_NOT_TRACED = (
    "there are no phases to draw: the requests were not traced; run the trial with "
    "transport.trace on (the transport aiohttp has it)"
)


def _stack(ax: Axes, row: int, start_s: float, spent_s: Sequence[float]) -> float:
    """Draw the phases of a row one behind the other; return where they end, in milliseconds."""
    at_ms = start_s * 1e3
    for phase, seconds in zip(PHASES, spent_s, strict=True):
        ax.barh(row, seconds * 1e3, 0.74, at_ms, facecolor=_LOOKS[phase][1])
        at_ms += seconds * 1e3
    return at_ms


def _in_words(label: str, spent_s: Sequence[float]) -> str:
    spent = zip(PHASES, spent_s, strict=True)
    return f"{label}: {', '.join(f'{name} {stats.number(s * 1e3)}' for name, s in spent if s)} ms"


def _legend(spent_s: Sequence[Sequence[float]]) -> list[tuple[Artist, str]]:
    """Return the colours of those phases that any of these spent time in."""
    columns = zip(PHASES, zip(*spent_s, strict=True), strict=True)
    looks = [_LOOKS[phase] for phase, column in columns if any(column)]
    return [(Patch(facecolor=colour), name) for name, colour in looks]


@style.applied()
def waterfall(record: Record) -> Chart:
    """Draw the phases of whole requests: the first on one axis of time, later ones each from 0.

    Raises `BadInput` for a record whose requests were not traced.
    """
    if record.phases is None:
        raise BadInput(_NOT_TRACED)
    first, later = record.phases.sample[:_MAX_FIRST], record.phases.sample[_MAX_FIRST:]
    step = -(-len(later) // _MAX_LATER) or 1
    later = later[::step]
    shown = [*first, *later]
    title = f"Phases of {notes.trial_conditions(record.trial)}"
    heights = [_ROW_IN * len(rows) + 0.9 for rows in (first, later) if rows]
    crosses = " A cross: it failed there." if any(one.failed for one in shown) else ""
    chart = Chart(
        title=title,
        alt=describe(title, (_in_words(f"item {one.item:,}", one.spent_s) for one in first)),
        height_in=sum(heights) + 0.7,
        notes=[
            "A row is a request, as the client saw it. A dot beside its number: no open connection "
            f"was there for it.{crosses}",
            *notes.verdicts([notes.trust(record.id, stats.frame([record]))]),
        ],
        legend=_legend([one.spent_s for one in shown]),
    )
    panels = chart.body.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    _requests(panels[0], first, [one.began_s for one in first], "The first requests")
    panels[0].set_xlabel("time since the first request began (ms)")
    if later:
        _requests(panels[1], later, [0.0] * len(later), "An even sample of those behind them")
        panels[1].set_xlabel("time since each began (ms)")
    return chart


def _requests(ax: Axes, rows: Sequence[Traced], starts_s: Sequence[float], title: str) -> None:
    """Draw a row for each request."""
    for row, (one, start_s) in enumerate(zip(rows, starts_s, strict=True)):
        end_ms = _stack(ax, row, start_s, one.spent_s)
        if one.failed:
            ax.plot([end_ms], [row], marker="X", color=style.INK, mec="white", markersize=11)
    axes.rows(ax, [f"{one.item:,}" + ("" if one.reused else " \N{BULLET}") for one in rows])
    axes.linear(ax.xaxis, most=10)
    ax.set_xlim(left=0)
    ax.set_title(title)
    ax.set_ylabel("item")


@dataclass(frozen=True, kw_only=True)
class _Bar:
    """One arm: the mean seconds of each phase, over all its requests that succeeded."""

    label: str
    means_s: list[float]
    requests: int


@style.applied()
def phases(records_by_label: Mapping[str, Sequence[Record]], by: Sequence[str] = ()) -> Chart:
    """Draw a stacked bar for each label: its mean latency over all its requests, split by phase.

    `by` names the axes that the labels are of. Raises `BadInput` where no record was traced.
    """
    arms = {label: stats.frame(records) for label, records in records_by_label.items()}
    bars = []
    for label, records in records_by_label.items():
        traced = [record.phases for record in records if record.phases is not None]
        requests = sum(one.n for one in traced)
        sums_s = [sum(one.n * getattr(one.spent_s, name).mean for one in traced) for name in PHASES]
        means_s = [sum_s / (requests or 1) for sum_s in sums_s]
        bars.append(_Bar(label=label, means_s=means_s, requests=requests))
    if all(one.phases is None for records in records_by_label.values() for one in records):
        raise BadInput(_NOT_TRACED)
    drawn = [bar for bar in bars if bar.requests]
    if not drawn:
        raise BadInput("there are no phases to draw: no request that was traced succeeded")
    untraced = [bar.label for bar in bars if not bar.requests]
    left_out = f"Not drawn, as no request was traced and succeeded: {'; '.join(untraced)}."
    title = "Mean latency by phase" + (f" for each {' and '.join(by)}" if by else "")
    chart = Chart(
        title=title,
        alt=describe(title, (_in_words(bar.label, bar.means_s) for bar in drawn)),
        height_in=_BAR_IN * len(drawn) + 1.5,
        notes=[
            "Means over the requests of all repeats that succeeded; a phase that few of them had "
            "is spread over all. Tracing itself costs CPU, which is in these times.",
            *([left_out] if untraced else []),
            *notes.verdicts([notes.trust(*arm) for arm in arms.items()]),
            *notes.doubts(arms),
        ],
        legend=_legend([bar.means_s for bar in drawn]),
    )
    _arms(chart.body.subplots(), drawn)
    return chart


def _arms(ax: Axes, bars: Sequence[_Bar]) -> None:
    """Draw a row for each arm, with the numbers of its longer parts and their sum."""
    longest_s = max(sum(bar.means_s) for bar in bars)
    for row, bar in enumerate(bars):
        end_ms = _stack(ax, row, 0.0, bar.means_s)
        axes.beside(ax, end_ms, row, f"{stats.number(end_ms)} ms", 6)
        at_s = 0.0
        for phase, mean_s in zip(PHASES, bar.means_s, strict=True):
            if mean_s >= _MIN_LABELLED * longest_s:
                ink = "white" if phase in _DARK else style.ON_FILL
                centre_ms, text = 1e3 * (at_s + mean_s / 2), stats.number(mean_s * 1e3)
                ax.text(centre_ms, row, text, ha="center", va="center", color=ink)
            at_s += mean_s
    axes.rows(ax, [bar.label for bar in bars])
    axes.linear(ax.xaxis, most=10)
    ax.set_xlim(0, longest_s * 1e3 * 1.16 or 1)
    ax.set_xlabel("mean latency (ms)")
