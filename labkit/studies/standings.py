"""Readings of a ladder -> where each rung stands: medians, gains, and who was the bottleneck. Pure.

A gain is judged block by block, a block being one repeat of every rung, and invalid readings are
left out of it: a machine that drifts then drifts under both of its sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Literal

import msgspec

from labkit.record import guards
from labkit.record.record import Verdict
from labkit.studies.ladder import Reading, Rung

BOTTLENECK_PERCENT = 90.0
"""Server CPU above which it was the bottleneck; above `guards.SERVER_BUSY_PERCENT` maybe."""
_TOLD_ELSEWHERE = ("server-busy", "connector-limit", "client-saturated", "pool-queue")
"""Warnings that have a column of their own, or that a rung is there to show."""
_VERDICTS: tuple[Verdict, ...] = ("valid", "warn", "invalid")

Bound = Literal["", "maybe", "server"]


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """A number over its repeats."""

    median: float
    least: float
    most: float


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One rung over its repeats; None where nothing was measured. CPU figures are medians.

    `invalid` of the `n` readings are of no use for a gain. `gain` is the ratio of its rate to that
    of the rung `against`. `bound` says whether the server was the bottleneck. `warnings` are codes,
    `says` why readings have no figures.
    """

    rung: str
    label: str
    why: str
    own: bool
    n: int
    invalid: int
    throughput_rps: Spread | None
    cpu_us_per_request: float | None
    server_cpu_percent: float | None
    server_waited_percent: float | None
    bound: Bound
    against: str | None
    gain: Spread | None
    requests: int
    failed: int
    verdict: Verdict
    warnings: list[str]
    says: list[str]


def standings(rungs: Sequence[Rung], readings: Sequence[Reading]) -> list[Standing]:
    """A standing for each rung, in the order given."""
    before = [None, *(rung.id for rung in rungs)]
    known = {rung.id for rung in rungs}
    return [
        _standing(rung, _against(rung, last, known), readings)
        for rung, last in zip(rungs, before, strict=False)
    ]


def _against(rung: Rung, before: str | None, known: set[str]) -> str | None:
    """The rung that the gain is counted from; None where it was not climbed."""
    named = rung.against or before
    return named if named in known else None


def _standing(rung: Rung, against: str | None, readings: Sequence[Reading]) -> Standing:
    mine = [one for one in readings if one.rung == rung.id]
    busy = _median(one.server_cpu_percent for one in mine)
    codes = [code for one in mine for code in one.warnings if code not in _TOLD_ELSEWHERE]
    return Standing(
        rung=rung.id,
        label=rung.label,
        why=rung.why,
        own=rung.own,
        n=len(mine),
        invalid=sum(one.verdict == "invalid" for one in mine),
        throughput_rps=_spread([one.throughput_rps for one in mine]),
        cpu_us_per_request=_median(one.cpu_us_per_request for one in mine),
        server_cpu_percent=busy,
        server_waited_percent=_median(one.server_waited_percent for one in mine),
        bound=bound(busy),
        against=against,
        gain=_spread(_ratios(mine, [one for one in readings if one.rung == against])),
        requests=sum(one.requests for one in mine),
        failed=sum(one.failed for one in mine),
        verdict=max((one.verdict for one in mine), key=_VERDICTS.index, default="valid"),
        warnings=list(dict.fromkeys(codes)),
        says=list(dict.fromkeys(one.says for one in mine if one.says)),
    )


def bound(server_cpu_percent: float | None) -> Bound:
    """Whether a server that used so much of its core was the bottleneck."""
    busy = server_cpu_percent or 0.0
    if busy > BOTTLENECK_PERCENT:
        return "server"
    return "maybe" if busy > guards.SERVER_BUSY_PERCENT else ""


def _ratios(above: Iterable[Reading], below: Iterable[Reading]) -> list[float]:
    rates = [
        {
            one.repeat: one.throughput_rps
            for one in side
            if one.verdict != "invalid" and one.throughput_rps
        }
        for side in (above, below)
    ]
    return [rate / rates[1][block] for block, rate in rates[0].items() if block in rates[1]]


def _spread(values: Iterable[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    return Spread(median=median(known), least=min(known), most=max(known)) if known else None


def _median(values: Iterable[float | None]) -> float | None:
    spread = _spread(values)
    return spread.median if spread else None
