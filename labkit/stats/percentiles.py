"""Histograms of latency: merged, corrected, read by percentile. Pure; never averaged."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from hdrh.codec import HdrCookieException, HdrLengthException
from hdrh.histogram import HdrHistogram

from labkit.errors import BadInput, RecordDamaged
from labkit.record.histogram import HDR_DIGITS, MAX_HDR_US
from labkit.record.record import Record
from labkit.stats import frames
from labkit.stats.metrics import BEYOND, METRICS

if TYPE_CHECKING:
    import pandas as pd

_US_PER_S = 1e6
_POINTS_PER_NINE = 50
Since = Literal["sent", "due"]
"""From when a latency counts; requests are due in open workloads only."""
_PERCENTS = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9}
_PREFIXES: dict[Since, str] = {"sent": "latency", "due": "latency_due"}
_MAX_MISSED = 10_000_000
"""Requests that were due during one answer: more would mean an interval far too short."""
_DAMAGED = (HdrCookieException, HdrLengthException, ValueError, TypeError, IndexError, zlib.error)


def merge_latency(records: Iterable[Record], since: Since = "sent") -> HdrHistogram:
    """Return one histogram, in microseconds, of all that the records' histograms counted.

    Counted from when a request was sent, or in an open workload from when it was due.

    Percentiles of several runs are read off this; they are never averaged. Raises `BadInput` where
    no record has a latency histogram, `RecordDamaged` for one that cannot be read.
    """
    merged = None
    for record in records:
        source = record if since == "sent" else record.arrivals
        if source is None or source.latency_hdr is None:
            continue
        try:
            found = HdrHistogram.decode(source.latency_hdr)
        except _DAMAGED as error:
            raise RecordDamaged(
                f"the latency histogram of record {record.id} is damaged ({error}): "
                "leave the record out, or restore it from a copy"
            ) from None
        bounds = (found.lowest_trackable_value, found.highest_trackable_value)
        if (*bounds, found.significant_figures) != (1, MAX_HDR_US, HDR_DIGITS):
            raise BadInput(
                f"the latency histogram of record {record.id} has other bounds or digits than the "
                "lab's own: histograms that are unlike are not merged; leave the record out"
            )
        if merged is None:
            merged = found
        else:
            merged.add(found)
    if merged is None or not merged.total_count:
        raise BadInput(
            "there is no latency to merge: no request succeeded, or the trials were run with "
            "probes other than 'full'"
        )
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
    records: Sequence[Record], by: Sequence[str], frame: pd.DataFrame | None = None
) -> pd.DataFrame:
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


def corrected(histogram: HdrHistogram, expected_interval_us: float) -> HdrHistogram:
    """Return a copy with the requests added that a closed workload left out while it waited.

    Each value above the interval at which requests were meant to be sent stands for the requests
    that were due meanwhile: they would have taken the value less one interval, less two, and so on
    down to one interval. It is what HdrHistogram's copyCorrectedForCoordinatedOmission does, and a
    guess at what an open workload measures. Raises `BadInput` for an interval that is not above 0
    and finite, or so short that it cannot be meant.
    """
    if not (math.isfinite(expected_interval_us) and expected_interval_us > 0):
        raise BadInput(
            f"expected_interval_us is {expected_interval_us!r}: it must be a number above 0; take "
            "1e6 over the requests that were to be sent in a second"
        )
    lowest = histogram.lowest_trackable_value
    copy = HdrHistogram(lowest, histogram.highest_trackable_value, histogram.significant_figures)
    copy.add(histogram)
    # Many waits fall into one bucket: they are counted by their value without the bits that a
    # bucket does not tell apart, and recorded once a bucket.
    bits = histogram.sub_bucket_count.bit_length()
    missed: Counter[int] = Counter()
    for item in histogram.get_recorded_iterator():
        value, count = item.value_iterated_to, item.count_at_value_iterated_to
        due = int(value / expected_interval_us) - 1
        if due > _MAX_MISSED:
            raise BadInput(
                f"expected_interval_us is {expected_interval_us!r}: during the longest request "
                f"{due:,} others would have been due; take a longer interval"
            )
        if due > 0:
            steps = np.arange(1, due + 1)
            waits = np.floor(value - expected_interval_us * steps).astype(np.int64)
            _, exponents = np.frexp(waits.astype(np.float64))
            shifts = np.maximum(exponents - bits, 0).astype(np.int64)
            distinct, times = np.unique((waits >> shifts) << shifts, return_counts=True)
            missed.update(dict(zip(distinct.tolist(), (times * count).tolist(), strict=True)))
    for value, count in missed.items():
        copy.record_value(max(value, lowest), count)
    return copy
