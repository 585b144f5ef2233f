"""Data -> matplotlib figures that say what was measured, how often, and how far to trust it.

Pure: a chart runs no trial and reads no file. It is written to one only by its own `save`.
"""

from __future__ import annotations

from labkit.charts.bar_chart import bars
from labkit.charts.batches_chart import Batched, batches
from labkit.charts.chart import Chart
from labkit.charts.classes_chart import by_class
from labkit.charts.codec_chart import Coded, break_even, break_even_rate, codecs
from labkit.charts.flame_chart import flame
from labkit.charts.forest_chart import Claimed, forest
from labkit.charts.knee_chart import knee
from labkit.charts.ladder_chart import Bar, ladder
from labkit.charts.latency_chart import latency
from labkit.charts.phases_chart import phases, waterfall
from labkit.charts.plots import plot
from labkit.charts.scaling_chart import over_axis
from labkit.charts.throughput_chart import Rate, throughput
from labkit.charts.timeline_chart import timeline
from labkit.charts.triptych_chart import Row, rows, triptych
from labkit.charts.turns_chart import turns
from labkit.charts.verdicts import of_rows as trust

__all__ = [
    "Bar",
    "Batched",
    "Chart",
    "Claimed",
    "Coded",
    "Rate",
    "Row",
    "bars",
    "batches",
    "break_even",
    "break_even_rate",
    "by_class",
    "codecs",
    "flame",
    "forest",
    "knee",
    "ladder",
    "latency",
    "over_axis",
    "phases",
    "plot",
    "rows",
    "throughput",
    "timeline",
    "triptych",
    "trust",
    "turns",
    "waterfall",
]
