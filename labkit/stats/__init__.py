"""Records -> tidy frame, summary of each arm, paired ratios, merged latency. Hands names on.

Pure: nothing here runs a trial, reads a file or judges what it computes.
"""

from __future__ import annotations

from labkit.stats.frames import (
    DESCRIPTION,
    VERDICTS,
    arm_label,
    arms,
    by_label,
    codes_of,
    codes_text,
    frame,
    plain,
    ratios,
    summary,
    summary_rows,
    worst,
)
from labkit.stats.latency import merge_latency, percentile_curve
from labkit.stats.metrics import ALIASES, METRICS, NOT_MEASURED, Metric, metric, number

__all__ = [
    "ALIASES",
    "DESCRIPTION",
    "METRICS",
    "NOT_MEASURED",
    "VERDICTS",
    "Metric",
    "arm_label",
    "arms",
    "by_label",
    "codes_of",
    "codes_text",
    "frame",
    "merge_latency",
    "metric",
    "number",
    "percentile_curve",
    "plain",
    "ratios",
    "summary",
    "summary_rows",
    "worst",
]
