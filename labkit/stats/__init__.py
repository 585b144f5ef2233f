"""Records -> tidy frame, summary of each arm, comparisons with intervals. Hands names on.

Pure: nothing here runs a trial, reads a file or knows what was claimed.
"""

from __future__ import annotations

from labkit.stats import stability
from labkit.stats.effect import Comparison, compare
from labkit.stats.frames import (
    DESCRIPTION,
    VERDICTS,
    arm_label,
    arms,
    by_label,
    codes_of,
    codes_text,
    frame,
    pairs,
    plain,
    ratios,
    summary,
    summary_rows,
    worst,
)
from labkit.stats.intervals import LEAST_REPEATS, LEVEL, Interval, of_ratio, of_value
from labkit.stats.metrics import ALIASES, METRICS, NOT_MEASURED, Metric, metric, number
from labkit.stats.percentiles import corrected, merge_latency, percentile_curve, summary_of
from labkit.stats.scaling import Fit, Knee, Usl, fit_usl, in_flight, knee, knee_says, usl_says

__all__ = [
    "ALIASES",
    "DESCRIPTION",
    "LEAST_REPEATS",
    "LEVEL",
    "METRICS",
    "NOT_MEASURED",
    "VERDICTS",
    "Comparison",
    "Fit",
    "Interval",
    "Knee",
    "Metric",
    "Usl",
    "arm_label",
    "arms",
    "by_label",
    "codes_of",
    "codes_text",
    "compare",
    "corrected",
    "fit_usl",
    "frame",
    "in_flight",
    "knee",
    "knee_says",
    "merge_latency",
    "metric",
    "number",
    "of_ratio",
    "of_value",
    "pairs",
    "percentile_curve",
    "plain",
    "ratios",
    "stability",
    "summary",
    "summary_of",
    "summary_rows",
    "usl_says",
    "worst",
]
