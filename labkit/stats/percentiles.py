"""Histograms of latency: merged, and read by percentile. Pure; never averaged."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from typing import Literal

from hdrh.codec import HdrCookieException, HdrLengthException
from hdrh.histogram import HdrHistogram

from labkit import paths, stats
from labkit.errors import BadInput, RecordDamaged
from labkit.record.histogram import HDR_DIGITS, MAX_HDR_US
from labkit.record.record import Record
from labkit.spec.validation import refusal
from labkit.stats import frames
from labkit.stats.metrics import BEYOND, METRICS

_US_PER_S = 1e6
_POINTS_PER_NINE = 50
# From when a latency counts; requests are due in open workloads only.
Since = Literal["sent", "due"]
_PERCENTS = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9}
_PREFIXES: dict[Since, str] = {"sent": "latency", "due": "latency_due"}
_DAMAGED = (HdrCookieException, HdrLengthException, ValueError, TypeError, IndexError, zlib.error)


def merge_latency(records: Iterable[Record], since: Since = "sent") -> HdrHistogram:
    """Return one histogram, in microseconds, of all that the records' histograms counted.

    Counted from when a request was sent, or in an open workload from when it was due.

    Percentiles of several runs are read off this; they are never averaged. Raises `BadInput` where
    no record has a latency histogram, `RecordDamaged` for one that cannot be read.
    """
    merged = HdrHistogram(1, MAX_HDR_US, HDR_DIGITS)
    for record in records:
        source = record if since == "sent" else record.arrivals
        if source is None or source.latency_hdr is None:
            continue
        try:
            found = HdrHistogram.decode(source.latency_hdr)
        except _DAMAGED as error:
            raise RecordDamaged(paths.sentence("histogram", id=record.id, why=error)) from None
        bounds = (found.lowest_trackable_value, found.highest_trackable_value)
        if (*bounds, found.significant_figures) != (1, MAX_HDR_US, HDR_DIGITS):
            raise refusal("unlike", id=record.id)
        merged.add(found)
    if not merged.total_count:
        raise refusal("no-latency")
    return merged


def percentile_curve(histogram: HdrHistogram) -> tuple[list[float], list[float]]:
    """Return percentiles (0 to 100, evenly spaced in nines) and the latency in seconds at each.

    It ends at the last percentile that the sample supports (n >= 10 / (1 - p)), and is empty for
    fewer than 10 values.
    """
    total = histogram.total_count
    if total < BEYOND:
        return [], []
    nines = math.log10(total / BEYOND)
    steps = max(math.ceil(nines * _POINTS_PER_NINE), 1)
    percentiles = sorted({100 * (1 - 10 ** (-nines * i / steps)) for i in range(steps + 1)})
    values = histogram.get_percentile_to_value_dict(percentiles)
    return percentiles, [values[one] / _US_PER_S for one in percentiles]


def summary_of(
    records: Sequence[Record], by: Sequence[str], frame: stats.DataFrame | None = None
) -> stats.DataFrame:
    """Return `frames.summary` of their frame, with percentiles of each arm's merged histogram.

    `frame` is that frame, where the caller has it. A median of the repeats' percentiles is none of
    all their answers. It is NaN where the answers of the arm do not support the percentile, or its
    histograms cannot be merged.
    """
    frame = frames.frame(records) if frame is None else frame
    summary = frames.summary(frame, by)
    arms = [[records[place] for place in rows.index] for _, rows in frames.arms(frame, by)]
    for since, prefix in _PREFIXES.items():
        merged = [_merged(arm, since) for arm in arms if arm]
        for name, percent in _PERCENTS.items():
            metric = METRICS[f"{prefix}_{name}_s"]
            summary[metric.name] = [
                one.get_value_at_percentile(percent) / _US_PER_S
                if one is not None and one.total_count >= metric.answers
                else math.nan
                for one in merged
            ]
    return summary


def _merged(records: Sequence[Record], since: Since) -> HdrHistogram | None:
    try:
        return merge_latency(records, since)
    except (BadInput, RecordDamaged):
        return None
