"""Data -> matplotlib figures that say what was measured, how often, and how far to trust it.

Pure: a chart runs no trial and reads no file. It is written to one only by its own `save`. Names
are imported when they are first used: most commands draw nothing, and matplotlib takes its time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labkit.charts.bar_chart import bars
    from labkit.charts.board_chart import Dot, Panel, board
    from labkit.charts.figure import Chart
    from labkit.charts.flame_chart import flame
    from labkit.charts.forest_chart import Claimed, forest
    from labkit.charts.kinds import plot
    from labkit.charts.knee_chart import knee
    from labkit.charts.ladder_chart import Bar, ladder
    from labkit.charts.latency_chart import latency
    from labkit.charts.lessons.batches_chart import Batched, batches
    from labkit.charts.lessons.classes_chart import by_class
    from labkit.charts.lessons.codec_chart import Coded, break_even, break_even_rate, codecs
    from labkit.charts.lessons.turns_chart import turns
    from labkit.charts.phases_chart import phases, waterfall
    from labkit.charts.quality import trust
    from labkit.charts.scaling_chart import over_axis
    from labkit.charts.throughput_chart import Rate, throughput
    from labkit.charts.timeline_chart import timeline
    from labkit.charts.triptych_chart import Row, rows, triptych

_HOME = {
    "bar_chart": ("bars",),
    "lessons.batches_chart": (
        "Batched",
        "batches",
    ),
    "board_chart": (
        "Dot",
        "Panel",
        "board",
    ),
    "figure": ("Chart",),
    "lessons.classes_chart": ("by_class",),
    "lessons.codec_chart": (
        "Coded",
        "break_even",
        "break_even_rate",
        "codecs",
    ),
    "flame_chart": ("flame",),
    "forest_chart": (
        "Claimed",
        "forest",
    ),
    "knee_chart": ("knee",),
    "ladder_chart": (
        "Bar",
        "ladder",
    ),
    "latency_chart": ("latency",),
    "phases_chart": (
        "phases",
        "waterfall",
    ),
    "kinds": ("plot",),
    "scaling_chart": ("over_axis",),
    "throughput_chart": (
        "Rate",
        "throughput",
    ),
    "timeline_chart": ("timeline",),
    "triptych_chart": (
        "Row",
        "rows",
        "triptych",
    ),
    "lessons.turns_chart": ("turns",),
    "quality": ("trust",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Bar",
    "Batched",
    "Chart",
    "Claimed",
    "Coded",
    "Dot",
    "Panel",
    "Rate",
    "Row",
    "bars",
    "batches",
    "board",
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


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'labkit.charts' has no attribute {name!r}")
    value = getattr(import_module(f"labkit.charts.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value
