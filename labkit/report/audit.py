"""What the lab's own error is: readings of an audit -> figures, each beside what is allowed. Pure.

A lab that compares a thing with itself must find no difference; its percentiles must be those of
the delays that the server knows it gave; and its probes must cost next to nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any, Literal

import msgspec

from labkit import stats
from labkit.record.record import Record
from labkit.report import html
from labkit.report.shown import Shown
from labkit.report.tables import Table
from labkit.stats import intervals
from labkit.stats.intervals import Interval

MOST_FALSE = 0.05
"""Share of comparisons of a thing with itself that may claim a difference."""
MOST_OFF_S, MOST_OFF_STALL = 0.001, 0.01
LEAST_THROUGHPUT = 0.98
SIMULATED = 100
LEAST_NOISE = 50
"""Pairs of runs from which noise can be drawn: of fewer the same few come again and again."""

Status = Literal["ok", "warn", "not shown"]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of the audit. `status`: within what is allowed, beyond it, or undecidable."""

    name: str
    found: str
    allowed: str
    status: Status
    value: float | None
    interval: Interval | None = None


def false_positives(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """Of real comparisons of a thing with itself, how many claim a difference.

    Each pair is two arms' values, paired by repeat; those too few for an interval do not count.
    """
    ratios = [stats.of_ratio(of, to) for of, to in pairs if len(of) >= intervals.MIN_REPEATS]
    found = sum(ratio.excludes(1) for ratio in ratios)
    widest = [ratio.high / ratio.low for ratio in ratios if ratio.low and ratio.high]
    share = found / len(ratios) if ratios else None
    wide = f"; an interval's ends are {median(widest):.2f} times apart (median)" if widest else ""
    return Figure(
        name="a thing compared with itself",
        found=f"{found} of {len(ratios)} comparisons claim a difference{wide}",
        allowed=f"at most {MOST_FALSE:.0%}",
        status="not shown" if share is None else "ok" if share <= MOST_FALSE else "warn",
        value=share,
    )


def simulated(pairs: Sequence[tuple[Sequence[float], Sequence[float]]], seed: int = 0) -> Figure:
    """The same of `SIMULATED` comparisons whose noise is drawn from that of the real ones."""
    noise = [a / b for of, to in pairs for a, b in zip(of, to, strict=True)]
    told = len(noise) >= LEAST_NOISE
    # Of a thing with itself either arm may be called the first.
    noise += [1 / ratio for ratio in noise]
    n, chance = intervals.MIN_REPEATS, random.Random(seed)
    drawn = [stats.of_ratio(chance.choices(noise, k=n), [1.0] * n) for _ in range(SIMULATED)]
    found = sum(ratio.excludes(1) for ratio in drawn)
    return Figure(
        name="the same, simulated",
        found=f"{found} of {SIMULATED} comparisons claim a difference, with noise as it was here",
        allowed="5 on average, at most 10",  # more than 10 has a chance of 1 %
        status=("ok" if found <= 10 else "warn") if told else "not shown",
        value=found / SIMULATED,
    )


def overhead(where: str, ratios: Sequence[float]) -> Figure:
    """Throughput with all probes over that with the counters alone, one ratio a process."""
    name, allowed = f"throughput with the probes, {where}", f"at least {LEAST_THROUGHPUT}"
    if not ratios:
        found = "nothing was measured"
        return Figure(name=name, found=found, allowed=allowed, status="not shown", value=None)
    ratio = stats.of_ratio(ratios, [1.0] * len(ratios))
    known = ratio.low is not None and ratio.high is not None
    below = ratio.high is not None and ratio.high < LEAST_THROUGHPUT
    above = ratio.low is not None and ratio.low >= LEAST_THROUGHPUT
    return Figure(
        name=name,
        found=f"{ratio.value:.3f} of that without, {_ends(ratio)}",
        allowed=allowed,
        status="ok" if above else "warn" if known and below else "not shown",
        value=ratio.value,
        interval=ratio,
    )


def _ends(ratio: Interval) -> str:
    if ratio.low is None or ratio.high is None:
        return f"{ratio.n} repeats, too few for an interval"
    return f"{ratio.level:.0%} interval {ratio.low:.3f} to {ratio.high:.3f}"


def percentile_error(where: str, name: str, delay_s: float, records: Iterable[Record]) -> Figure:
    """By how much percentile `name` (p50, p99) exceeds the delay that the server really gave."""
    off_s = [off for record in records if (off := _off_s(record, name, delay_s)) is not None]
    worst = max(off_s, key=abs, default=None)
    return Figure(
        name=f"latency {name}, {where}",
        found="nothing was measured"
        if worst is None
        else f"{_ms(median(off_s))} beyond the server's own (at worst {_ms(worst)})",
        allowed=f"within {1e3 * MOST_OFF_S:g} ms",
        status="not shown" if worst is None else _within(median(off_s), MOST_OFF_S),
        value=median(off_s) if off_s else None,
    )


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:+.2f} ms"


def _off_s(record: Record, name: str, delay_s: float) -> float | None:
    server = record.server.delay_error_s if record.server else None
    if record.latency_s is None or not server or name not in server:
        return None
    return float(getattr(record.latency_s, name)) - delay_s - server[name]


def stall_error(expected_s: float, records: Iterable[Record]) -> Figure:
    """How far latency p99 since due is off what arithmetic says of a server that stood still."""
    found = [
        record.arrivals.latency_s.p99
        for record in records
        if record.arrivals is not None and record.arrivals.latency_s is not None
    ]
    off = median(found) / expected_s - 1 if found else None
    return Figure(
        name="latency p99 since due, under a stall",
        found="nothing was measured"
        if off is None
        else f"{1e3 * median(found):.1f} ms where {1e3 * expected_s:.1f} ms are due ({off:+.2%})",
        allowed=f"within {MOST_OFF_STALL:.0%}",
        status="not shown" if off is None else _within(off, MOST_OFF_STALL),
        value=off,
    )


def _within(off: float, most: float) -> Status:
    return "ok" if abs(off) <= most else "warn"


class Audit(Shown):
    """The figures of an audit, as `lab.audit` hands them out."""

    def __init__(self, figures: Sequence[Figure], records: Sequence[Record]) -> None:
        self.figures, self.records = list(figures), list(records)

    def text_table(self) -> Table:
        """One row a figure: what was found beside what is allowed."""
        rows = [[one.status, one.name, one.found, one.allowed] for one in self.figures]
        headers = ["", "figure", "found", "allowed"]
        return Table(headers=headers, rows=rows, left=4, says=self.says())

    def says(self) -> str:
        """What it comes to, in a sentence."""
        beyond = [one.name for one in self.figures if one.status == "warn"]
        unknown = [one.name for one in self.figures if one.status == "not shown"]
        if not beyond and not unknown:
            return "The lab's own error is within what is allowed, on this machine and now."
        parts = [f"beyond what is allowed: {'; '.join(beyond)}"] if beyond else []
        parts += [f"not shown either way: {'; '.join(unknown)}"] if unknown else []
        return f"Read figures of this size with that in mind: {', and '.join(parts)}."

    def text(self) -> str:
        """The whole audit as a terminal shows it."""
        return self.text_table().text()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: the figures and the records behind them."""
        return {
            "audit": msgspec.to_builtins(self.figures),
            "conclusion": self.says(),
            "records": [record.to_dict() for record in self.records],
        }

    def html_parts(self) -> list[str]:
        """The table with its sentence."""
        return [html.table(self.text_table())]
