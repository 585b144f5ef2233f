"""Latency by percentile, on an axis where each further nine takes the same space."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes

from labkit import stats
from labkit.charts import axes, quality, style
from labkit.charts.conditions import sentences
from labkit.charts.figure import Chart
from labkit.errors import BadInput
from labkit.record import guards
from labkit.record.record import Record

_HOW = (
    "All repeats of an arm are merged into one histogram; a line ends at the last percentile that "
    "its answers support (at least 10 beyond it)"
)
_LOG_FROM = 20
"""How many times the least the greatest must be for a logarithmic axis."""


@dataclass(frozen=True, kw_only=True)
class _Curve:
    label: str
    answers: int
    percentiles: list[float]
    seconds: list[float]

    @property
    def nines(self) -> list[float]:
        """0 for percentile 0, 1 for 90, 2 for 99, and so on."""
        return [-math.log10(1 - one / 100) for one in self.percentiles]


@style.applied()
def latency(records_by_label: Mapping[str, Sequence[Record]]) -> Chart:
    """A line for each label, of the merged histograms of its records.

    Raises `BadInput` where no label has enough answers for any percentile.
    """
    trusts = [quality.trust_of_records(*arm) for arm in records_by_label.items()]
    curves = [
        curve
        for trust, records in zip(trusts, records_by_label.values(), strict=True)
        for curve in _curves(trust.marked, records)
    ]
    drawn = [curve for curve in curves if curve.seconds]
    if not drawn:
        raise BadInput(
            "there is no latency to draw: no arm has 10 answers that were timed; "
            "run more requests, with probes 'full'"
        )
    all_of_them = [record for records in records_by_label.values() for record in records]
    chart = Chart(
        title="Latency by percentile",
        alt=_alt(drawn),
        height_in=5.2,
        notes=[
            *sentences(_HOW, *guards.of_latency(all_of_them)),
            *_left_out(curves),
            *quality.notes(trusts),
            *quality.doubts_of_records(records_by_label),
        ],
    )
    ax = chart.body.subplots()
    for index, curve in enumerate(drawn):
        _draw(ax, curve, index, 1e3 if _longest(drawn) < 1 else 1)
    _axes(ax, drawn)
    return chart


def _curves(label: str, records: Sequence[Record]) -> list[_Curve]:
    """One curve; of an open workload two, as that leaves out what its requests waited."""
    if not any(record.arrivals for record in records):
        return [_curve(label, records, "sent")]
    return [
        _curve(f"{label}, since due", records, "due"),
        _curve(f"{label}, since sent", records, "sent"),
    ]


def _curve(label: str, records: Sequence[Record], since: Literal["sent", "due"]) -> _Curve:
    timed = [record for record in records if record.latency_hdr is not None]
    if not timed:
        return _Curve(label=label, answers=0, percentiles=[], seconds=[])
    merged = stats.merge_latency(timed, since)
    percentiles, seconds = stats.percentile_curve(merged)
    return _Curve(label=label, answers=merged.total_count, percentiles=percentiles, seconds=seconds)


def _longest(curves: Sequence[_Curve]) -> float:
    return max(curve.seconds[-1] for curve in curves)


def _draw(ax: Axes, curve: _Curve, index: int, scale: float) -> None:
    seconds = [second * scale for second in curve.seconds]
    # One marker, where the line ends.
    ax.plot(
        curve.nines,
        seconds,
        label=f"{curve.label} (n = {curve.answers:,})",
        markevery=[len(seconds) - 1],
        markersize=8,
        linewidth=2.2,
        **style.line(index),
    )


def _axes(ax: Axes, curves: Sequence[_Curve]) -> None:
    furthest = max(curve.nines[-1] for curve in curves)
    # A little more than the furthest, as n need not be a power of ten to the last bit.
    whole = range(1, int(furthest + 0.01) + 1)
    ax.set_xticks([0, math.log10(2), *whole], ["0", "50", *(_nines(one) for one in whole)])
    ax.set_xlim(0, max(furthest * 1.03, 0.5))
    ax.set_xlabel("percentile")
    in_ms = _longest(curves) < 1
    label = f"latency ({'ms' if in_ms else 's'})"
    ax.set_ylabel(label)
    if axes.spans([second for curve in curves for second in curve.seconds], _LOG_FROM):
        ax.set_yscale("log")
        ax.set_ylabel(f"{label}, logarithmic")
        axes.logarithmic(ax.yaxis)
    else:
        axes.linear(ax.yaxis, most=7)
        axes.from_zero(ax)
    axes.legend_outside(ax)


def _nines(nines: int) -> str:
    """90, 99, 99.9 and so on."""
    return f"{100 - 100 / 10**nines:.{max(nines - 2, 0)}f}"


def _left_out(curves: Sequence[_Curve]) -> list[str]:
    few = [curve.label for curve in curves if not curve.seconds]
    return [f"Not drawn, for too few answers that were timed: {'; '.join(few)}."] if few else []


def _alt(curves: Sequence[_Curve]) -> str:
    last = "; ".join(
        f"{one.label} {one.seconds[-1]:.3g} s at percentile {one.percentiles[-1]:.6g}"
        for one in curves
    )
    return f"Latency by percentile. {last}."
