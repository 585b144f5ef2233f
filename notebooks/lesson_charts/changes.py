"""One result from stage to stage: what each change of hardware, software or measuring does."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import labkit as lab
from labkit import stats
from labkit.charts import Chart, axes, figure, style

_ROW_IN, _THICKNESS, _PLACES = 0.55, 0.7, 0.75
_METRICS = ("process_peak_rss_bytes", "cpu_us_per_request")
_HOW = "× is over the bar above it: what the change that is named beside it did."


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A client in one setting, a value a repeat: bytes, and microseconds of CPU a request.

    `changed` names what is different from the stage before it.
    """

    label: str
    changed: str
    peak_rss_bytes: Sequence[float]
    cpu_us: Sequence[float]
    trust: figure.Trust | None = None

    @classmethod
    def of(cls, label: str, changed: str, runs: Sequence[lab.Run]) -> Self:
        """Return the stage that these runs are, which is as good as the worst of them."""
        codes = {note.code: None for run in runs for note in run.warnings}
        verdict = stats.worst([run.verdict for run in runs])
        return cls(
            label=label,
            changed=changed,
            peak_rss_bytes=[run.process.peak_rss_bytes for run in runs],
            cpu_us=[run.client.cpu_us_per_request for run in runs],
            trust=figure.Trust(label=label, verdict=verdict, codes=[*codes]),
        )

    def median(self, metric: str) -> float:
        """Return the median of one of the two metrics, in its base unit."""
        values = {_METRICS[0]: self.peak_rss_bytes, _METRICS[1]: self.cpu_us}
        return statistics.median(values[metric])


@style.applied()
def changes(stages: Sequence[Stage], title: str) -> Chart:
    """Draw a bar for each stage in two panels, memory and CPU, with its factor over the one above.

    Raises `BadInput` without any stage.
    """
    if not stages:
        raise lab.BadInput("there is nothing to draw: give at least one stage")
    metrics = [stats.metric(name) for name in _METRICS]
    chart = Chart(
        title=title,
        parts=(
            f"{one.label} {', '.join(of.format(one.median(of.name)) for of in metrics)}"
            for one in stages
        ),
        height_in=_ROW_IN * len(stages) + 1.4,
        notes=[_HOW, *figure.verdicts(one.trust for one in stages if one.trust)],
    )
    panels = chart.body.subplots(1, len(metrics))
    for ax, metric in zip(panels, metrics, strict=True):
        before = None
        for place, one in enumerate(stages):
            value = one.median(metric.name)
            factor = "" if before is None else f"  ×{value / before:.2f} {one.changed}"
            look = style.PUBLISHED if one.trust is None else style.MEASURED
            ax.barh(place, value * metric.scale, _THICKNESS, **look.fill)
            axes.beside(ax, value * metric.scale, place, metric.text(value) + factor)
            before = value
        axes.rows(ax, [one.trust.marked if one.trust else one.label for one in stages])
        axes.linear(ax.xaxis, most=4)
        ax.set(title=metric.label, xlabel=metric.unit)
        ax.set_xlim(0, ax.dataLim.x1 / _PLACES * 1.5)
        ax.tick_params(axis="y", labelleft=ax is panels[0])
    return chart
