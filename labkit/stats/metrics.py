"""Every metric: its name, where a record has it, and how people read it. Pure.

`METRICS` is the table of `data/metrics.toml`. Here is decided which records count by a metric.
Values are in base units (seconds, bytes); the unit that people read is applied where one is shown.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeGuard

from labkit import paths
from labkit.record import codes, guards
from labkit.record.index import Figure
from labkit.record.record import Record
from labkit.spec import validation

NOT_MEASURED = "n/a"
# Answers that must lie beyond a percentile for it to be shown: n >= 10 / (1 - p).
BEYOND = 10


@dataclass(frozen=True, kw_only=True)
class Metric(Figure):
    """A figure as people read it.

    It is shown times `scale`, in `unit`. `column` is its header in the table of a study, if it is
    shown there.
    """

    label: str
    unit: str = ""
    scale: float = 1.0
    better: Literal["lower", "higher", "neither"] = "lower"
    column: str = ""

    @property
    def title(self) -> str:
        """Label and unit, as an axis or a column shows them."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

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


# Every metric, by name: the columns of frames and summaries.
_ROWS = paths.table("metrics.toml").items()
METRICS: Mapping[str, Metric] = MappingProxyType(
    {name: Metric(**{"name": name, "path": name, **row}) for name, row in _ROWS}
)
# Short names of metrics.
ALIASES: Mapping[str, str] = MappingProxyType(paths.table("tables.toml")["aliases"])


def metric(name: str) -> Metric:
    """Return the metric called `name`, or that `name` is short for. Raises `BadInput`."""
    full = ALIASES.get(name, name)
    if full not in METRICS:
        raise validation.unknown("metric", name, [*ALIASES, *METRICS])
    return METRICS[full]


# Which records count, by which measure: the one rule of every command. A run counts unless it
# failed. Where others disturbed it, its counts and its memory still do; its times and its CPU do
# not. A speed that the other side may have set is not that of the client.

_SPEED, _TIMED, _TIMED_FIGURES, _RATES, _TAILS, _COUNTED = (
    tuple(names) for names in paths.table("tables.toml")["measures"].values()
)

# Below this share of its core, a client with nothing to wait for was not the bottleneck.
MIN_BUSY_PERCENT = 70.0
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


def rates(records: Iterable[Record]) -> dict[tuple[str | None, int], float]:
    """Return the throughput, be it set by either side, by study and repeat of an arm's records."""
    counted = [one for one in records if not doubt(one, "throughput_rps", of_client=False)]
    return {(one.study, one.repeat): METRICS["throughput_rps"].of(one) for one in counted}


def _idled(record: Record) -> bool:
    """Return whether the client had time to spare with nothing to wait for: others set its speed.

    One request at a time is a wait, and so are delays, a link of so many bytes a second, a rate of
    requests, and the time in which a worker thinks. What a program waits for nobody knows.
    """
    workload, target = record.trial.get("workload", {}), record.trial.get("target", {})
    waits = bool(
        target.get("delay", "0") != "0"
        or record.trial.get("program")
        or workload.get("limit", 1) == 1
        or "rate=" in (workload.get("path") or "")
        or any(workload.get(name) not in (None, "0") for name in ("rate", "stages", "think"))
    )
    busy = max((one.cpu_percent for one in record.processes), default=MIN_BUSY_PERCENT)
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
