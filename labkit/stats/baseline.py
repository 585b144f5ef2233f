"""Records of a study -> each arm against its first, metric by metric. Pure.

Here is decided which records of an arm may be compared at all; whether they differ, `stats` says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from labkit import stats
from labkit.record import guards
from labkit.record.record import Record

if TYPE_CHECKING:
    import pandas as pd

COMPARED = ("wall_s", "throughput_rps", "cpu_us_per_request", "process_peak_rss_bytes")
"""The metrics that arms are compared by where none is named."""
_OF_BOTH_SIDES = ("wall_s", "throughput_rps", "efficiency")
"""Metrics that the server sets where it is the bottleneck."""
_OF_FAILURES = ("ok", "failures")


class Against(msgspec.Struct, frozen=True, kw_only=True):
    """One arm compared with another by one metric; both are named by their settings."""

    of: dict[str, Any]
    to: dict[str, Any]
    metric: str
    comparison: stats.Comparison


def compare(
    records: Sequence[Record],
    metric: str,
    of: Mapping[str, Any],
    to: Mapping[str, Any],
    *,
    frame: pd.DataFrame | None = None,
) -> stats.Comparison:
    """Compare two arms, named by settings such as {"strategy": "queue"}, by a metric.

    A repeat counts where both its records can be trusted: none is invalid, few requests failed, and
    the other side did not hold up what is compared. If one does not, it is 'inconclusive'. Raises
    `BadInput` for a metric or an arm that does not exist, or that is ambiguous.
    """
    name = stats.metric(metric).name
    return _compared(_Comparable(records, [name], frame), name, of, to)


class _Comparable:
    """The frame of some records without the values that cannot be compared, and why they cannot."""

    def __init__(
        self, records: Sequence[Record], metrics: Sequence[str], frame: pd.DataFrame | None = None
    ) -> None:
        self.frame = stats.frame(records) if frame is None else frame.copy()
        self.why: dict[str, str] = {}
        for name in metrics:
            doubtful = [_doubtful(record, name) for record in records]
            self.frame.loc[[bool(why) for why in doubtful], name] = math.nan
            self.why[name] = stats.codes_text(doubtful)


def _compared(
    known: _Comparable, name: str, of: Mapping[str, Any], to: Mapping[str, Any]
) -> stats.Comparison:
    found = stats.compare(*stats.pairs(known.frame, name, of, to))
    if found.ratio is not None or not known.why[name]:
        return found
    return msgspec.structs.replace(found, reason=f"{found.reason}: {known.why[name]}")


def _doubtful(record: Record, metric: str) -> str:
    """Why a record that is not invalid cannot be compared by the metric; empty where it can."""
    if record.verdict == "invalid":
        return ""
    if metric in _OF_BOTH_SIDES and guards.other_side_is_bottleneck(record):
        return "held up by the other side"
    limit = guards.MAX_FAILED_SHARE
    failed = record.counts.failed_share > limit and metric not in _OF_FAILURES
    return f"over {limit:.0%} failed" if failed else ""


def doubt(record: Record, metric: str) -> str:
    """Why a record counts for nothing in a comparison by the metric; empty where it counts."""
    if record.verdict == "invalid":
        return "invalid"
    value = stats.metric(metric).of(record)
    usable = math.isfinite(value) and value > 0
    return _doubtful(record, metric) or ("" if usable else "not measured")


def against_first(
    records: Sequence[Record],
    by: Sequence[str],
    metrics: Sequence[str] = COMPARED,
    frame: pd.DataFrame | None = None,
) -> list[Against]:
    """Every arm of the axes `by` but the first, compared with the first, in order of appearance."""
    known = _Comparable(records, metrics, frame)
    first, *others = [settings for settings, _ in stats.arms(known.frame, by)] or [{}]
    return [
        Against(of=arm, to=first, metric=name, comparison=_compared(known, name, arm, first))
        for arm in others
        for name in metrics
    ]


def each_other(
    records: Sequence[Record], by: Sequence[str], metrics: Sequence[str]
) -> list[Against]:
    """Every arm of the axes `by` compared with every other, each way, by each of the metrics."""
    known = _Comparable(records, metrics)
    arms = [settings for settings, _ in stats.arms(known.frame, by)]
    return [
        Against(of=one, to=other, metric=name, comparison=_compared(known, name, one, other))
        for one in arms
        for other in arms
        if one != other
        for name in metrics
    ]


def to_dict(against: Against) -> dict[str, Any]:
    """Plain data for JSON: the two arms, the metric, and what was found."""
    data: dict[str, Any] = msgspec.to_builtins(against)
    return {**data, **data.pop("comparison")}
