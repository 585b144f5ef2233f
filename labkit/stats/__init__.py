"""Records -> tidy frame, summary of each arm, comparisons with intervals. Hands names on.

Pure: nothing here runs a trial, reads a file or knows what was claimed.
"""

from __future__ import annotations

from labkit.stats.effect import Comparison, compare
from labkit.stats.frames import (
    DESCRIPTION,
    VERDICTS,
    arm_label,
    arms,
    by_label,
    codes_of,
    codes_text,
    doubt_sentences,
    doubts_of,
    doubts_of_times,
    frame,
    pairs,
    plain,
    summary,
    summary_rows,
    worst,
)
from labkit.stats.intervals import LEVEL, MIN_REPEATS, Interval, of_ratio, of_ratios, of_value
from labkit.stats.metrics import ALIASES, METRICS, NOT_MEASURED, Metric, metric, number
from labkit.stats.percentiles import corrected, merge_latency, percentile_curve, summary_of
from labkit.stats.scaling import Fit, Knee, Usl, fit_usl, in_flight, knee, knee_says, usl_says

__all__ = [
    "ALIASES",
    "DESCRIPTION",
    "LEVEL",
    "METRICS",
    "MIN_REPEATS",
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
    "doubt_sentences",
    "doubts_of",
    "doubts_of_times",
    "fit_usl",
    "frame",
    "in_flight",
    "knee",
    "knee_says",
    "merge_latency",
    "metric",
    "number",
    "of_ratio",
    "of_ratios",
    "of_value",
    "pairs",
    "percentile_curve",
    "plain",
    "summary",
    "summary_of",
    "summary_rows",
    "usl_says",
    "worst",
]
