"""What the lab's probes cost: the same requests with all of them and with the counters alone.

Both run in turns of some milliseconds, in random order, in one process and over the same
connections: so what the machine does to one it does to the other, and a percent can be seen.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from statistics import median
from time import perf_counter_ns, thread_time_ns

from labkit.measured import strategies
from labkit.measured.experiments import Figures
from labkit.measured.probes.meter import Fetch, Meter, counted, metered
from labkit.measured.probes.sampler import Sampler
from labkit.measured.probes.window import Window
from labkit.measured.transports import open_transport
from labkit.spec import parts

LIMIT, REQUESTS_A_TURN = 100, {"wire": 4_000, "streams": 2_000, "aiohttp": 400}
"""By transport: some 40 ms, so that the sampler ticks in each turn, as it does in a trial."""
WARM_UP = 5
_MANY = 1 << 40

Times = tuple[int, int]
"""Nanoseconds on the clock, and of the processor."""


async def measure(
    url: str, *, transport: str = "aiohttp", loop: str = "asyncio", turns: int = 50
) -> Figures:
    """Throughput with the probes over that without, and CPU; medians of `turns` turns of each."""
    # In a thread of its own: this loop may not be the one that was asked for.
    return await asyncio.to_thread(_on, loop, url, transport, turns)


def _on(loop: str, url: str, transport: str, turns: int) -> Figures:
    with asyncio.Runner(loop_factory=_factory(loop)) as runner:
        return runner.run(_alternating(url, transport, turns))


def _factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if loop == "uvloop":
        import uvloop

        return uvloop.new_event_loop
    return asyncio.new_event_loop


async def _alternating(url: str, transport: str, turns: int) -> Figures:
    opened = open_transport(parts.TRANSPORTS[transport](), url, "/{item}", [])
    items = range(REQUESTS_A_TURN[transport])
    async with opened as fetch:
        meters = [Meter(_MANY, opened.kind_of, Window(None)) for _ in range(2)]
        sampler = Sampler(meters[0], None, lambda _: None)
        arms = {
            "full": partial(_probed, metered(fetch, meters[0]), items, sampler),
            "counts": partial(_turn, counted(fetch, meters[1]), items),
        }
        for meter in meters:
            meter.window.start(1)
        sampler.start()
        sampler.pause()
        taken = await _turns(arms, turns)
        sampler.stop()
    pairs = list(zip(taken["full"], taken["counts"], strict=True))
    return {
        "throughput_ratio": median(counts[0] / full[0] for full, counts in pairs),
        "cpu_ratio": median(full[1] / counts[1] for full, counts in pairs),
    }


async def _turns(
    arms: Mapping[str, Callable[[], Awaitable[None]]], turns: int
) -> dict[str, list[Times]]:
    chance, taken = random.Random(0), {name: list[Times]() for name in arms}
    for turn in range(WARM_UP + turns):
        for name in chance.sample(list(arms), len(arms)):
            began_ns, cpu_ns = perf_counter_ns(), thread_time_ns()
            await arms[name]()
            if turn >= WARM_UP:
                taken[name].append((perf_counter_ns() - began_ns, thread_time_ns() - cpu_ns))
    return taken


async def _probed(call: Fetch, items: range, sampler: Sampler) -> None:
    sampler.resume()
    await _turn(call, items)
    sampler.pause()


async def _turn(call: Fetch, items: range) -> None:
    send = strategies.load("worker_pool").__wrapped__
    await send(call, items, LIMIT)
