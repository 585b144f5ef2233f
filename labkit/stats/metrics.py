"""Every metric: its name, where a record has it, and how people read it. Pure.

The only place that names metrics, and that decides which records count by them. Values are in base
units (seconds, bytes); the unit that people read is applied where a number is shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Literal, TypeGuard

from labkit.record import codes, guards
from labkit.record.record import Record
from labkit.record.requests import PHASES
from labkit.spec import validation

NOT_MEASURED = "n/a"
BEYOND = 10
"""Answers that must lie beyond a percentile for it to be shown: n >= 10 / (1 - p)."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number that a record has at `path`, less the one at `minus`, in base units.

    It is shown times `scale`, in `unit`. `answers` is how many requests must have succeeded for it
    to mean anything, or what is counted at `among`: with fewer it counts as not measured.
    """

    name: str
    path: str
    label: str
    unit: str = ""
    scale: float = 1.0
    better: Literal["lower", "higher"] | None = "lower"
    minus: str | None = None
    answers: int = 0
    among: str = "counts.ok"

    @property
    def title(self) -> str:
        """Label and unit, as an axis or a column shows them."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def of(self, record: Record) -> float:
        """Return the value in base units; NaN where it was not measured."""
        if self.name in record.figures:
            return record.figures[self.name]
        paths = (self.path, self.minus or self.path, self.among)
        try:
            value, less, among = attrgetter(*paths)(record)
        except AttributeError:  # a part of the record that was not measured is None
            return math.nan
        # A record of an older labkit may not know how many there were: then it is shown.
        if value is None or less is None or (among is not None and among < self.answers):
            return math.nan
        return float(value - less if self.minus else value)

    def text(self, value: float | None) -> str:
        """Return `value` (in base units) as people read it, without its unit."""
        if value is None or not math.isfinite(value):
            return NOT_MEASURED
        return number(value * self.scale)

    def format(self, value: float | None) -> str:
        """Return `value` (in base units) as people read it, with its unit."""
        text = self.text(value)
        return text if text == NOT_MEASURED else f"{text} {self.unit}".rstrip()


def number(value: float) -> str:
    """Return `value` with three digits, at most one decimal from 10 on, none from 1,000 on."""
    size = abs(value)
    if size < 100 or size >= 1e15:
        return f"{value:.3g}"  # which has one decimal from 10 to 100, unless that is 0
    return f"{value:,.0f}" if size >= 1_000 else f"{value:.1f}".removesuffix(".0")


def is_usable(value: float | None) -> TypeGuard[float]:
    """Return True for a number above 0: only those have a logarithm, and so a ratio."""
    return value is not None and math.isfinite(value) and value > 0


def usable_pairs(
    of: Sequence[float | None], to: Sequence[float | None]
) -> tuple[list[float], list[float]]:
    """Return both values of each repeat in which both are usable, as plain floats."""
    # Numpy's own floats compare to its own booleans, which cannot be subtracted.
    pairs = [
        (float(a), float(b)) for a, b in zip(of, to, strict=True) if is_usable(a) and is_usable(b)
    ]
    return [a for a, _ in pairs], [b for _, b in pairs]


_S: dict[str, Any] = {"unit": "s"}
_MS: dict[str, Any] = {"unit": "ms", "scale": 1e3}
_ONE = {**_MS, "answers": 1}
_P50, _P90 = {**_MS, "answers": 2 * BEYOND}, {**_MS, "answers": 10 * BEYOND}
_P99, _P999 = {**_MS, "answers": 100 * BEYOND}, {**_MS, "answers": 1_000 * BEYOND}
_RATE: dict[str, Any] = {"unit": "requests/s", "better": "higher"}
_MB: dict[str, Any] = {"unit": "MB", "scale": 1e-6}
_B: dict[str, Any] = {"unit": "bytes"}
_SHARE: dict[str, Any] = {"unit": "%", "scale": 100.0, "better": "higher"}
_CPU: dict[str, Any] = {"unit": "% of a core"}
_SPENT: dict[str, Any] = {"unit": "% of the time", "better": None}
_US: dict[str, Any] = {"unit": "\N{MICRO SIGN}s"}
_TIMERS: dict[str, Any] = {"among": "loop_lag_s.n", "answers": 100 * BEYOND}
_COUNT: dict[str, Any] = {"better": None}
_GROWTH: dict[str, Any] = {**_MB, "minus": "client.rss_before_bytes"}

_TABLE: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("wall_s", "wall_s", "time", _S),
    ("process_wall_s", "process.wall_s", "time of the process", _S),
    ("floor_s", "floor_s", "floor in this order", {**_S, "better": None}),
    ("bound_s", "bound_s", "bound of any order", {**_S, "better": None}),
    ("efficiency", "efficiency", "efficiency in this order", _SHARE),
    ("throughput_rps", "throughput_rps", "throughput", _RATE),
    ("cpu_percent", "client.cpu_percent", "client CPU", _CPU),
    ("busy_percent", "busy_percent", "client running or ready to run", _SPENT),
    ("process_cpu_percent", "process.cpu_percent", "CPU of the process", _CPU),
    ("cpu_us_per_request", "client.cpu_us_per_request", "client CPU per request", _US),
    ("peak_rss_bytes", "client.peak_rss_bytes", "client peak memory", _MB),
    ("process_peak_rss_bytes", "process.peak_rss_bytes", "peak memory", _MB),
    ("rss_growth_bytes", "client.peak_rss_bytes", "memory growth", _GROWTH),
    ("to_first_send_s", "client.to_first_send_s", "time to the first send", _S),
    ("latency_mean_s", "latency_s.mean", "latency, mean", _ONE),
    ("latency_p50_s", "latency_s.p50", "latency p50", _P50),
    ("latency_p90_s", "latency_s.p90", "latency p90", _P90),
    ("latency_p99_s", "latency_s.p99", "latency p99", _P99),
    ("latency_p999_s", "latency_s.p999", "latency p99.9", _P999),
    ("latency_max_s", "latency_s.max", "latency, longest", _ONE),
    ("latency_error_p50_s", "latency_error_p50_s", "latency p50 beyond the server's delay", _P50),
    ("latency_error_p99_s", "latency_error_p99_s", "latency p99 beyond the server's delay", _P99),
    ("latency_due_mean_s", "arrivals.latency_s.mean", "latency since due, mean", _ONE),
    ("latency_due_p50_s", "arrivals.latency_s.p50", "latency since due p50", _P50),
    ("latency_due_p90_s", "arrivals.latency_s.p90", "latency since due p90", _P90),
    ("latency_due_p99_s", "arrivals.latency_s.p99", "latency since due p99", _P99),
    ("latency_due_p999_s", "arrivals.latency_s.p999", "latency since due p99.9", _P999),
    ("latency_due_max_s", "arrivals.latency_s.max", "latency since due, longest", _ONE),
    ("send_lateness_p99_s", "arrivals.lateness_s.p99", "lateness of sends p99", _MS),
    ("rate_achieved_rps", "arrivals.achieved_rps", "rate of sends", _RATE),
    ("sent_late", "arrivals.late", "requests sent late", {}),
    ("dropped", "arrivals.dropped", "requests dropped", {}),
    ("loop_lag_p99_s", "loop_lag_s.p99", "event-loop lag p99", {**_MS, **_TIMERS}),
    ("loop_lag_max_s", "loop_lag_s.max", "event-loop lag, longest", _MS),
    *(
        (f"phase_{phase}_mean_s", f"phases.spent_s.{phase}.mean", f"phase {phase}, mean", _ONE)
        for phase in PHASES
    ),
    ("server_cpu_percent", "server.cpu_percent", "server CPU", _CPU),
    ("server_peak_rss_bytes", "server.peak_rss_bytes", "server peak memory", _MB),
    ("server_max_in_flight", "server.max_in_flight", "most in flight at the server", _COUNT),
    ("connections_opened", "server.connections_opened", "connections opened", {}),
    ("server_cpu_us_per_request", "server.cpu_us_per_request", "server CPU per request", _US),
    ("bytes_out", "server.bytes_out", "bytes sent by the server", _B),
    ("wire_bytes", "received.wire_bytes_each", "body on the wire", _B),
    ("decoded_bytes", "received.decoded_bytes_each", "body unpacked", {**_B, "better": None}),
    ("ok", "counts.ok", "requests answered", {"better": "higher"}),
    ("failures", "counts.failures", "requests failed", {}),
)

METRICS: Mapping[str, Metric] = MappingProxyType(
    {name: Metric(name=name, path=path, label=label, **more) for name, path, label, more in _TABLE}
)
"""Every metric, by name: the columns of frames and summaries."""
ALIASES: Mapping[str, str] = MappingProxyType(
    {"memory": "process_peak_rss_bytes", "time": "wall_s", "cpu": "cpu_percent"}
)
"""Short names of metrics."""


def metric(name: str) -> Metric:
    """Return the metric called `name`, or that `name` is short for. Raises `BadInput`."""
    full = ALIASES.get(name, name)
    if full not in METRICS:
        raise validation.unknown("metric", name, [*ALIASES, *METRICS])
    return METRICS[full]


# Which records count, by which measure: the one rule of every command. A run counts unless it
# failed. Where others disturbed it, its counts and its memory still do; its times and its CPU do
# not. A speed that the other side may have set is not that of the client.

_SPEED = ("throughput_rps", "wall_s", "efficiency", "latency_")
"""Measures that the other side sets where it is the bottleneck."""
_TIMED = (
    *("cpu_", "process_cpu", "process_wall", "to_first", "loop_lag", "server_cpu", "phase_"),
    *_SPEED,
)
"""Measures that are not the client's own where others had its core; counts and memory are."""
_TIMED_FIGURES = ("_s", "_us", "_ratio", "_share")
"""How the figures of a coded experiment end that are such."""
_RATES = ("throughput_rps", "efficiency", "cpu_percent", "process_cpu_percent")
_TAILS = ("latency_p9", "latency_max", "latency_due_p9", "latency_due_max", "loop_lag",
          "latency_error")  # fmt: skip
_COUNTED = ("ok", "failures")

MIN_BUSY_PERCENT = 70.0
"""Below this share of its core, a client with nothing to wait for was not the bottleneck."""
MISSING = "not measured"
SERVER_BOUND = "the other side, or another process, may have set the speed"


def is_timed(measure: str) -> bool:
    """Return whether others on the core of a run change this measure of it."""
    return measure.startswith(_TIMED) if measure in METRICS else measure.endswith(_TIMED_FIGURES)


def doubt(record: Record, measure: str, *, of_client: bool = True) -> str:
    """Return why a record does not count by a measure; empty where it counts.

    `of_client` is False where a speed may be that of either side, as in a sweep.
    """
    given = [note.code for note in record.warnings if note.code in codes.FAILED]
    # Whoever counts failures may find many.
    if {*given} - ({"failures-most"} if measure in _COUNTED else set()):
        return f"a run failed ({', '.join(dict.fromkeys(given))})"
    disturbed = codes.disturbance(record)
    if disturbed and (is_timed(measure) or disturbed == codes.UNKNOWN):
        return disturbed
    if measure not in _COUNTED and record.counts.failed_share > guards.MAX_FAILED_SHARE:
        return f"over {guards.MAX_FAILED_SHARE:.0%} failed"
    others = of_client and (guards.other_side_is_bottleneck(record) or _idled(record))
    if others and measure.startswith(_SPEED):
        return SERVER_BOUND
    if measure in METRICS and not math.isfinite(METRICS[measure].of(record)):
        return MISSING
    return ""


def _idled(record: Record) -> bool:
    """Return whether the client had time to spare with nothing to wait for: others set its speed.

    One request at a time is a wait, and so are delays and a link of so many bytes a second.
    """
    workload, target = record.trial.get("workload", {}), record.trial.get("target", {})
    waits = (
        target.get("delay", "0") != "0"
        or workload.get("limit", 1) == 1
        or "rate=" in (workload.get("path") or "")
    )
    busy = record.client.cpu_percent if record.client else MIN_BUSY_PERCENT
    return busy < MIN_BUSY_PERCENT and not waits and guards.compared(record) == "client"


def undisturbed(record: Record, measure: str, value: float) -> tuple[float, float]:
    """Return between which ends a measure would lie if nothing had waited for its core.

    Where it waited for more than the usual little, that is at most so much of the time, and of a
    rate as much is missing. CPU time grows with cold caches, and shrinks as a late client finds
    more to do at once: it may be off either way. The slowest answers may be nothing but waiting.
    """
    percent = waited_percent(record, measure)
    if percent <= guards.CONTENDED_PERCENT:
        return value, value
    less, more = sorted((value * (1 - percent / 100), value / (1 - percent / 100)))
    if measure in _RATES:
        return value, more
    if measure.startswith(_TAILS):
        return min(value, value / 1_000), value
    return less, value if measure in METRICS and "cpu" not in measure else more


def waited_percent(record: Record, measure: str) -> float:
    """Return in which share of the time others had a core that the measure depends on."""
    if not is_timed(measure):
        return 0.0
    sides = (record.client, None if measure.startswith("cpu_us") else record.server)
    return min(sum((one.waited_percent or 0.0) for one in sides if one), 99.0)
