"""`Reading`: what one arm of a claim gave once, and whether its figures can be used. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from labkit import stats
from labkit.record import guards
from labkit.record.record import Record
from labkit.studies.ledger import EFFECTIVE

FAILED_SHARE = 0.01
"""Above this share of requests that failed, arms are not comparable (judgement)."""
BUSY_PERCENT = 70.0
"""Below this share of its core a client that is never kept waiting was held up (judgement)."""
_SPEED = ("throughput_rps", "wall_s", "efficiency", "latency_")
"""Measures that the other side sets where it is the bottleneck."""
_COUNTED = ("ok", "failures")
_TIMED = (
    *("cpu_", "process_cpu", "process_wall", "to_first", "loop_lag", "server_cpu", "phase_"),
    *_SPEED,
)
"""Measures that are not the client's own where others had its core; counts and memory are."""


class Reading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one arm gave in one repeat: figures by name, in base units.

    `why` is what makes it unusable, if anything does; `held_up` says that the other side may have
    set its speed, `lost_core` that others had its core; `failed_share` is the share of its
    requests that failed. `record` is the id of its record in the store, of which an experiment in
    code has none.
    """

    arm: str
    repeat: int
    figures: dict[str, float] = {}
    why: str = ""
    held_up: bool = False
    failed_share: float = 0.0
    lost_core: bool = False
    record: str | None = None

    def figure(self, measure: str) -> tuple[float | None, str]:
        """The figure, or None and why it cannot be used."""
        if self.why:
            return None, self.why
        if self.lost_core and measure.startswith(_TIMED):
            return None, "other processes had the client's core"
        if self.failed_share > FAILED_SHARE and measure not in _COUNTED:
            return None, f"{self.failed_share:.0%} of the requests failed"
        if self.held_up and measure.startswith(_SPEED):
            return None, "the server or other processes may have set the speed, not the client"
        value = self.figures.get(measure)
        if value is None or not math.isfinite(value):
            return None, "it was not measured"
        return value, ""


def of_record(record: Record, arm: str) -> Reading:
    """The reading of a trial: every metric, and the transport's settings as they were in force."""
    figures = {name: metric.of(record) for name, metric in stats.METRICS.items()}
    in_force: Mapping[str, Any] = record.effective.get("transport") or {}
    for name, value in in_force.items():
        if isinstance(value, int | float):
            figures[f"{EFFECTIVE}transport.{name}"] = float(value)
    codes = ", ".join(note.code for note in record.warnings)
    counts = record.counts
    return Reading(
        arm=arm,
        repeat=record.repeat,
        figures={name: value for name, value in figures.items() if math.isfinite(value)},
        why=f"a trial failed ({codes})" if guards.failed(record) else "",
        held_up=guards.held_up(record) or _idled(record),
        lost_core=_lost(record),
        failed_share=counts.failures / counts.sent if counts.sent else 0.0,
        record=record.id,
    )


def _lost(record: Record) -> bool:
    """Whether others had the client's core for too long, in a window of any length.

    A short window may say so wrongly; then a run is made again in vain, or decides nothing.
    """
    waited = record.client.waited_percent if record.client else None
    invalid = record.verdict == "invalid"
    return invalid or (waited is not None and waited > guards.CORE_LOST_PERCENT)


def _idled(record: Record) -> bool:
    """Whether the client had time to spare though no answer was delayed: then it set no speed."""
    if guards.compared(record) == "both":
        return False
    delayed = record.trial.get("target", {}).get("delay", "0") != "0"
    busy = record.client.cpu_percent if record.client else None
    return not delayed and busy is not None and busy < BUSY_PERCENT
