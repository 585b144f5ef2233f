"""What a profiler sees of a coroutine that mostly waits, by either of its clocks."""

from __future__ import annotations

import asyncio
from time import perf_counter

import yappi

from labkit.measured.experiments import Figures
from labkit.spec import validation

WAIT_S, WORK_S = 0.1, 0.02


async def waits_and_works() -> None:
    """Wait, then compute: five parts of the one to one of the other."""
    await asyncio.sleep(WAIT_S)
    until = perf_counter() + WORK_S
    while perf_counter() < until:
        pass


async def measure(url: str | None, *, clock: str) -> Figures:
    """The share of the coroutine's real time that yappi attributes to it."""
    if clock not in ("wall", "cpu"):
        raise validation.unknown("clock", clock, ("wall", "cpu"))
    yappi.set_clock_type(clock)
    yappi.start()
    try:
        began = perf_counter()
        await waits_and_works()
        took_s = perf_counter() - began
    finally:
        yappi.stop()
    stats = yappi.get_func_stats(filter_callback=lambda one: one.name == "waits_and_works")
    seen_s = sum(one.ttot for one in stats)
    return {"seen_share": seen_s / took_s}
