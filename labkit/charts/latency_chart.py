"""Latency by percentile, on an axis where each further nine takes the same space."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labkit import stats
from labkit.charts import axes, notes, style
from labkit.charts.figure import Chart, describe
from labkit.errors import BadInput
from labkit.record import guards
from labkit.record.record import Record
from labkit.stats.percentiles import Since

_HOW = (
    "All repeats of an arm are merged into one histogram; a line ends at the last percentile that "
    "its answers support (at least 10 beyond it)"
)
_LOG_FROM = 20
"""How many times the least the greatest must be for a logarithmic axis."""


@dataclass(frozen=True, kw_only=True)
class _Curve:
    label: str
    answers: int = 0
    percentiles: Sequence[float] = ()
    seconds: Sequence[float] = ()

    @property
    def nines(self) -> list[float]:
        """0 for percentile 0, 1 for 90, 2 for 99, and so on."""
        return [-math.log10(1 - one / 100) for one in self.percentiles]

    def __str__(self) -> str:
        return f"{self.label} {self.seconds[-1]:.3g} s at percentile {self.percentiles[-1]:.6g}"


@style.applied()
def latency(records_by_label: Mapping[str, Sequence[Record]]) -> Chart:
    """Draw a line for each label, of the merged histograms of its records.

    Raises `BadInput` where no label has enough answers for any percentile.
    """
    arms = {label: stats.frame(records) for label, records in records_by_label.items()}
    trusts = [notes.trust(*arm) for arm in arms.items()]
    curves: list[_Curve] = []
    for trust, records in zip(trusts, records_by_label.values(), strict=True):
        if any(record.arrivals for record in records):
            # An open workload has two curves: since the send leaves out what its requests waited.
            curves.append(_curve(f"{trust.marked}, since due", records, "due"))
            curves.append(_curve(f"{trust.marked}, since sent", records, "sent"))
        else:
            curves.append(_curve(trust.marked, records, "sent"))
    drawn = [curve for curve in curves if curve.seconds]
    if not drawn:
        raise BadInput(
            "there is no latency to draw: no arm has 10 answers that were timed; "
            "run more requests, with probes 'full'"
        )
    few = [curve.label for curve in curves if not curve.seconds]
    left_out = f"Not drawn, for too few answers that were timed: {'; '.join(few)}."
    all_of_them = [record for records in records_by_label.values() for record in records]
    title = "Latency by percentile"
    chart = Chart(
        title=title,
        alt=describe(title, map(str, drawn)),
        height_in=5.2,
        notes=[
            *notes.sentences(_HOW, *guards.of_latency(all_of_them)),
            *([left_out] if few else []),
            *notes.verdicts(trusts),
            *notes.doubts(arms),
        ],
    )
    _draw(chart, drawn)
    return chart


def _curve(label: str, records: Sequence[Record], since: Since) -> _Curve:
    timed = [record for record in records if record.latency_hdr is not None]
    if not timed:
        return _Curve(label=label)
    merged = stats.merge_latency(timed, since)
    percentiles, seconds = stats.percentile_curve(merged)
    return _Curve(label=label, answers=merged.total_count, percentiles=percentiles, seconds=seconds)


def _draw(chart: Chart, curves: Sequence[_Curve]) -> None:
    """Draw the lines, each with one marker where it ends, and name the nines."""
    ax = chart.body.subplots()
    in_ms = max(curve.seconds[-1] for curve in curves) < 1
    unit, scale = ("ms", 1e3) if in_ms else ("s", 1)
    for index, curve in enumerate(curves):
        ax.plot(
            curve.nines,
            [second * scale for second in curve.seconds],
            label=f"{curve.label} (n = {curve.answers:,})",
            markevery=[len(curve.seconds) - 1],
            markersize=8,
            linewidth=2.2,
            **style.line(index),
        )
    furthest = max(curve.nines[-1] for curve in curves)
    # A little more than the furthest, as n need not be a power of ten to the last bit.
    whole = range(1, int(furthest + 0.01) + 1)
    names = [f"{100 - 100 / 10**nines:.{max(nines - 2, 0)}f}" for nines in whole]
    ax.set_xticks([0, math.log10(2), *whole], ["0", "50", *names])
    ax.set_xlim(0, max(furthest * 1.03, 0.5))
    ax.set_xlabel("percentile")
    every = [second for curve in curves for second in curve.seconds]
    axes.scale_up(ax, every, f"latency ({unit})", log_from=_LOG_FROM, most=7)
    axes.legend_outside(ax)
