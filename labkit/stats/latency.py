"""Histograms of latency: merged, and read by percentile. Pure; percentiles are never averaged."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable
from typing import Literal

from hdrh.codec import HdrCookieException, HdrLengthException
from hdrh.histogram import HdrHistogram

from labkit.errors import BadInput, RecordDamaged
from labkit.record import Record
from labkit.stats.metrics import BEYOND

_SETTINGS = {
    "lowest_trackable_value": 1,
    "highest_trackable_value": 3_600 * 10**6,
    "significant_figures": 3,
}
_US_PER_S = 1e6
_POINTS_PER_NINE = 50
_DAMAGED = (HdrCookieException, HdrLengthException, ValueError, TypeError, IndexError, zlib.error)


def merge_latency(
    records: Iterable[Record], since: Literal["sent", "due"] = "sent"
) -> HdrHistogram:
    """One histogram, in microseconds, of all that the records' histograms counted.

    Counted from when a request was sent, or in an open workload from when it was due.

    Percentiles of several runs are read off this; they are never averaged. Raises `BadInput` where
    no record has a latency histogram, `RecordDamaged` for one that cannot be read.
    """
    merged = None
    for record in records:
        encoded = _encoded(record, since)
        if encoded is None:
            continue
        histogram = _decoded(encoded, record.id)
        if merged is None:
            merged = histogram
        else:
            merged.add(histogram)
    if merged is None or not merged.total_count:
        raise BadInput(
            "there is no latency to merge: no request succeeded, or the trials were run with "
            "probes other than 'full'"
        )
    return merged


def _encoded(record: Record, since: str) -> str | None:
    if since == "sent":
        return record.latency_hdr
    return None if record.arrivals is None else record.arrivals.latency_hdr


def _decoded(encoded: str, record_id: str) -> HdrHistogram:
    try:
        histogram = HdrHistogram.decode(encoded)
    except _DAMAGED as error:
        raise RecordDamaged(
            f"the latency histogram of record {record_id} is damaged ({error}): "
            "leave the record out, or restore it from a copy"
        ) from None
    if any(getattr(histogram, name) != value for name, value in _SETTINGS.items()):
        raise BadInput(
            f"the latency histogram of record {record_id} has other bounds or digits than the "
            "lab's own: histograms that are unlike are not merged; leave the record out"
        )
    return histogram


def percentile_curve(histogram: HdrHistogram) -> tuple[list[float], list[float]]:
    """Percentiles (0 to 100, evenly spaced in nines) and the latency in seconds at each.

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
