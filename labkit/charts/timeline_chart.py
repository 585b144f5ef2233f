"""One trial over time: memory, CPU, in flight, completed and event-loop lag on one time axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from labkit import stats
from labkit.charts import axes, conditions, quality, style
from labkit.charts.figure import Chart
from labkit.errors import BadInput
from labkit.record.record import Record, Timeline

_PANEL_IN = 1.4
_MOST_MESSAGES = 4


@dataclass(frozen=True, kw_only=True)
class _Line:
    label: str
    column: str
    colour: str


@dataclass(frozen=True, kw_only=True)
class _Panel:
    label: str
    unit: str
    lines: Sequence[_Line]
    scale: float = 1.0


def _of(column: str, *, client: str = "client", server: str = "server") -> list[_Line]:
    return [
        _Line(label=client, column=f"client_{column}", colour=style.BLUE),
        _Line(label=server, column=f"server_{column}", colour=style.VERMILLION),
    ]


def _one(label: str, column: str) -> list[_Line]:
    return [_Line(label=label, column=column, colour=style.BLUE)]


_PANELS = (
    _Panel(label="memory", unit="MB", lines=_of("rss_bytes"), scale=1e-6),
    _Panel(label="CPU", unit="% of a core", lines=_of("cpu_percent")),
    _Panel(label="in flight", unit="requests", lines=_one("in flight", "in_flight")),
    _Panel(label="completed", unit="requests", lines=_one("completed", "completed")),
    _Panel(label="loop lag", unit="ms", lines=_one("event loop", "loop_lag_s"), scale=1e3),
)


@style.applied()
def timeline(record: Record) -> Chart:
    """Five panels on one time axis, which starts where the strategy was started.

    Raises `BadInput` for a record without a timeline.
    """
    data = record.timeline
    if not data.t_s:
        probes = record.trial.get("probes")
        raise BadInput(
            f"record {record.id} has no timeline (probes was {probes!r}): "
            "run the trial with probes 'full' to have one"
        )
    title = conditions.of_trial(record.trial)
    chart = Chart(
        title=title,
        alt=f"Timeline of {title}, {data.t_s[-1]:.3g} s. {_peaks(data)}.",
        height_in=_PANEL_IN * len(_PANELS) + 1,
        notes=_notes(record),
    )
    panels = chart.body.subplots(len(_PANELS), 1, sharex=True)
    for ax, panel in zip(panels, _PANELS, strict=True):
        _draw(ax, panel, data)
    _limit(panels[2], record)
    for ax in panels:
        if ax.lines:
            axes.from_zero(ax)
    axes.linear(panels[-1].xaxis, most=10)
    panels[-1].set_xlim(0, data.t_s[-1] or 1)
    panels[-1].set_xlabel("seconds since the strategy was started")
    chart.body.align_ylabels(list(panels))
    return chart


def _draw(ax: Axes, panel: _Panel, data: Timeline) -> None:
    for line in panel.lines:
        values = getattr(data, line.column)
        if any(value is not None for value in values):
            shown = [float("nan") if v is None else v * panel.scale for v in values]
            ax.plot(data.t_s, shown, color=line.colour, label=line.label, linewidth=1.8)
    ax.set_ylabel(f"{panel.label}\n{panel.unit}")
    axes.linear(ax.yaxis, most=4)
    ax.grid(color=style.PALE)
    if len(ax.lines) > 1:
        axes.legend_outside(ax)
    if not ax.lines:
        ax.set_yticks([])
        ax.text(0.01, 0.5, "not measured", transform=ax.transAxes, va="center")


def _limit(ax: Axes, record: Record) -> None:
    """A line at the workload's limit."""
    limit = record.trial.get("workload", {}).get("limit")
    if limit and ax.lines:
        ax.axhline(limit, color=style.INK, linestyle=":", label=f"limit {limit:,}")
        axes.legend_outside(ax)


def _notes(record: Record) -> list[str]:
    trust = quality.Trust(label=record.id, verdict=record.verdict)
    told = [f"{note.code}: {note.message}" for note in record.warnings]
    more = len(told) - _MOST_MESSAGES
    return [
        *quality.notes([trust]),
        *told[:_MOST_MESSAGES],
        *([f"and {more} more"] if more > 0 else []),
    ]


def _peaks(data: Timeline) -> str:
    return ", ".join(_peak(panel, line, data) for panel in _PANELS for line in panel.lines)


def _peak(panel: _Panel, line: _Line, data: Timeline) -> str:
    values = [value for value in getattr(data, line.column) if value is not None]
    most = stats.number(max(values) * panel.scale) if values else stats.NOT_MEASURED
    whose = f"{line.label} " if len(panel.lines) > 1 else ""
    return f"{whose}{panel.label} at most {most} {panel.unit}"
