"""The correction of a histogram for the requests that a closed workload left out."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from hdrh.histogram import HdrHistogram

from labkit import BadInput

_MAX_MISSED = 10_000_000
"""Requests that were due during one answer: more would mean an interval far too short."""


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
