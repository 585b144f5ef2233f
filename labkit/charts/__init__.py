"""Data -> matplotlib figures that show what was measured, how often, and how far to trust it.

Pure: a chart runs no trial and reads no file. It is written to one only by its own `save`. Names
are imported when they are first used: most commands draw nothing, and matplotlib takes its time.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULE_OF = {
    "Bar": "throughput_chart",
    "Chart": "figure",
    "Claimed": "interval_chart",
    "Dot": "interval_chart",
    "Panel": "interval_chart",
    "Rate": "throughput_chart",
    "Row": "bar_chart",
    "bars": "bar_chart",
    "board": "interval_chart",
    "flame": "flame_chart",
    "forest": "interval_chart",
    "knee": "scaling_chart",
    "ladder": "throughput_chart",
    "latency": "latency_chart",
    "over_axis": "scaling_chart",
    "phases": "phases_chart",
    "plot": "kinds",
    "rows": "bar_chart",
    "throughput": "throughput_chart",
    "timeline": "timeline_chart",
    "triptych": "bar_chart",
    "trust": "notes",
    "waterfall": "phases_chart",
}
__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'labkit.charts' has no attribute {name!r}")
    value = getattr(import_module(f"labkit.charts.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value
