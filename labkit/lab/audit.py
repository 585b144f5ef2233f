"""The lab measures itself: what is run, in which order. What it comes to, `audit` says."""

from __future__ import annotations

from labkit.errors import TrialFailed
from labkit.lab import progress
from labkit.lab.progress import Reporter
from labkit.lab.runner import run_all, shown
from labkit.launch import experiment as fresh
from labkit.record.record import Record
from labkit.record.store import Store
from labkit.report import audit
from labkit.report.audit import Audit, Figure
from labkit.spec import plan, validation
from labkit.spec.trial import Trial

REPEATS = 5
DELAY_S = 0.02
STALL_RATE, STALL_REQUESTS = 400, 2_000
STALL_S = 0.5
STALLED_P99_S = STALL_S - 0.01 * STALL_REQUESTS / STALL_RATE
"""Of so many requests a hundredth waited longer than this for a server that stood still: those that
were due first, one every 1 / rate."""

SAME = Trial(requests=2_000, limit=100)
PACED = {
    "aiohttp on asyncio": Trial(
        rate=2_000, requests=10_000, limit=500, delay=f"{DELAY_S}", transport="aiohttp"
    ),
    "wire on asyncio": Trial(
        rate=2_000, requests=10_000, limit=500, delay=f"{DELAY_S}", transport="wire"
    ),
}
STALLED = Trial(
    rate=STALL_RATE,
    requests=STALL_REQUESTS,
    limit=10,
    transport="wire",
    stall_at=400,
    stall_s=STALL_S,
)
PROBED = (("aiohttp", "asyncio"), ("wire", "asyncio"), ("wire", "uvloop"))


async def run(
    comparisons: int, *, store: Store | None = None, reporter: Reporter | None = None
) -> Audit:
    """Audit the lab on this machine; `comparisons` of a trial with itself take 10 s each.

    Raises `BadInput` for a number of comparisons that is not from 1 to 1,000.
    """
    validation.check("comparisons", comparisons, validation.Repeats)
    show = reporter or progress.default()
    probes = await _probes(show)
    same = await _same(comparisons, store, show)
    paced = await _paced(store, show)
    pairs = _pairs(same, comparisons)
    figures = [
        audit.false_positives(pairs),
        *([audit.simulated(pairs)] if any(of for of, _ in pairs) else []),
        *probes,
        *(
            audit.percentile_error(where, name, DELAY_S, _usable(paced, where))
            for where in PACED
            for name in ("p50", "p99")
        ),
        audit.stall_error(STALLED_P99_S, _usable(paced, "stall")),
    ]
    return Audit(figures, [*same, *paced])


async def _same(comparisons: int, store: Store | None, show: Reporter) -> list[Record]:
    arms = [({"arm": name}, SAME) for name in ("A", "A again")]
    steps = plan.interleave(arms, repeats=comparisons * REPEATS)
    return await run_all(steps, store=store, reporter=show, experiment="audit")


def _pairs(records: list[Record], comparisons: int) -> list[tuple[list[float], list[float]]]:
    """Throughputs of both arms, comparison by comparison; repeats without both are left out."""
    found: list[dict[int, dict[str, float]]] = [{} for _ in range(comparisons)]
    for record in records:
        if record.throughput_rps and record.verdict != "invalid":
            of_repeat = found[record.repeat // REPEATS].setdefault(record.repeat, {})
            of_repeat[str(record.axes["arm"])] = record.throughput_rps
    whole = [[both for both in one.values() if len(both) == 2] for one in found]
    return [([both["A"] for both in one], [both["A again"] for both in one]) for one in whole]


async def _paced(store: Store | None, show: Reporter) -> list[Record]:
    arms = [({"audit": where}, trial) for where, trial in {**PACED, "stall": STALLED}.items()]
    steps = plan.interleave(arms, repeats=REPEATS)
    return await run_all(steps, store=store, reporter=show, experiment="audit")


def _usable(records: list[Record], where: str) -> list[Record]:
    of = [record for record in records if record.axes["audit"] == where]
    return [record for record in of if record.verdict != "invalid"]


async def _probes(show: Reporter) -> list[Figure]:
    found: dict[str, list[float]] = {f"{name} on {loop}": [] for name, loop in PROBED}
    with shown(show, len(PROBED) * REPEATS, [], None):
        for _ in range(REPEATS):
            for transport, loop in PROBED:
                where = f"{transport} on {loop}"
                ratio = await _overhead(transport, loop)
                found[where] += [] if ratio is None else [ratio]
                said = "failed" if ratio is None else f"{ratio:.3f} of the throughput without"
                show.passed(f"probes, {where}: {said}")
    return [audit.overhead(where, ratios) for where, ratios in found.items()]


async def _overhead(transport: str, loop: str) -> float | None:
    try:
        figures = await fresh.measured("overhead", {"transport": transport, "loop": loop}, {})
    except TrialFailed:
        return None
    return figures["throughput_ratio"]
