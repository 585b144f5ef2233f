"""One trial over time: memory, CPU, in flight, completed and event-loop lag on one time axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from labkit import stats
from labkit.charts import axes, notes, style
from labkit.charts.figure import Chart
from labkit.errors import BadInput
from labkit.record.record import Record, Timeline

_PANEL_IN = 1.4
_MAX_MESSAGES = 4
_COLOURS = (style.BLUE, style.VERMILLION)


@dataclass(frozen=True, kw_only=True)
class _Panel:
    """What a panel shows: a column of the timeline for each line, by the line's label."""

    label: str
    unit: str
    lines: Mapping[str, str]
    scale: float = 1.0

    def peaks(self, data: Timeline) -> str:
        """Return the greatest value of each line in words."""
        texts = []
        for label, column in self.lines.items():
            values = [value for value in getattr(data, column) if value is not None]
            most = stats.number(max(values) * self.scale) if values else stats.NOT_MEASURED
            side = f"{label} " if len(self.lines) > 1 else ""
            texts.append(f"{side}{self.label} at most {most} {self.unit}")
        return ", ".join(texts)


_RSS = {"client": "client_rss_bytes", "server": "server_rss_bytes"}
_CPU = {"client": "client_cpu_percent", "server": "server_cpu_percent"}
_PANELS = (
    _Panel(label="memory", unit="MB", lines=_RSS, scale=1e-6),
    _Panel(label="CPU", unit="% of a core", lines=_CPU),
    _Panel(label="in flight", unit="requests", lines={"in flight": "in_flight"}),
    _Panel(label="completed", unit="requests", lines={"completed": "completed"}),
    _Panel(label="loop lag", unit="ms", lines={"event loop": "loop_lag_s"}, scale=1e3),
)


@style.applied()
def timeline(record: Record) -> Chart:
    """Draw five panels on one time axis, which starts where the strategy was started.

    Raises `BadInput` for a record without a timeline.
    """
    data = record.timeline
    if not data.t_s:
        probes = record.trial.get("probes")
        raise BadInput(
            f"record {record.id} has no timeline (probes was {probes!r}): "
            "run the trial with probes 'full' to have one"
        )
    title = notes.trial_conditions(record.trial)
    peaks = ", ".join(panel.peaks(data) for panel in _PANELS)
    messages = [f"{note.code}: {note.message}" for note in record.warnings]
    more = len(messages) - _MAX_MESSAGES
    chart = Chart(
        title=title,
        alt=f"Timeline of {title}, {data.t_s[-1]:.3g} s. {peaks}.",
        height_in=_PANEL_IN * len(_PANELS) + 1,
        notes=[
            *notes.verdicts([notes.Trust(label=record.id, verdict=record.verdict)]),
            *messages[:_MAX_MESSAGES],
            *([f"and {more} more"] if more > 0 else []),
        ],
    )
    panels = list(chart.body.subplots(len(_PANELS), 1, sharex=True))
    limit = record.trial.get("workload", {}).get("limit")
    for ax, panel in zip(panels, _PANELS, strict=True):
        for (label, column), colour in zip(panel.lines.items(), _COLOURS, strict=False):
            values = getattr(data, column)
            if any(value is not None for value in values):
                shown = [float("nan") if v is None else v * panel.scale for v in values]
                ax.plot(data.t_s, shown, color=colour, label=label, linewidth=1.8)
        ax.set_ylabel(f"{panel.label}\n{panel.unit}")
        axes.linear(ax.yaxis, most=4)
        ax.grid(color=style.PALE)
        if not ax.lines:
            axes.not_measured(ax)
            continue
        if panel.label == "in flight" and limit:
            ax.axhline(limit, color=style.INK, linestyle=":", label=f"limit {limit:,}")
        if len(ax.lines) > 1:
            axes.legend_outside(ax)
        axes.from_zero(ax)
    axes.linear(panels[-1].xaxis, most=10)
    panels[-1].set_xlim(0, data.t_s[-1] or 1)
    panels[-1].set_xlabel("seconds since the strategy was started")
    chart.body.align_ylabels(panels)
    return chart
