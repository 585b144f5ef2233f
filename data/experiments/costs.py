"""What observing and scheduling cost: probes, polling for results, a profiler's clocks, tasks."""

from __future__ import annotations

import asyncio
import platform
import random
from collections.abc import Awaitable, Callable
from functools import partial
from statistics import median
from time import perf_counter, perf_counter_ns, process_time, thread_time_ns

from labkit.measured import lifeline, strategies
from labkit.measured.probes.meter import Meter, counted, metered
from labkit.measured.probes.sampler import Sampler
from labkit.measured.probes.window import Window
from labkit.measured.transports import open_transport
from labkit.record.record import Figures
from labkit.spec import validation
from labkit.spec.transports import TRANSPORTS

# By transport: some 40 ms, so that the sampler ticks in each turn, as it does in a trial.
LIMIT, REQUESTS_PER_TURN = 100, {"wire": 4_000, "streams": 2_000, "aiohttp": 400}
WARM_UP_TURNS = 5
_UNLIMITED = 1 << 40
POLLED_S = 0.3
WAIT_S, WORK_S = 0.1, 0.02


async def overhead(
    url: str, *, transport: str = "aiohttp", loop: str = "asyncio", turns: int = 50
) -> Figures:
    """Compare throughput and CPU with all probes to those with the counters alone: medians.

    Both run in turns of some milliseconds, in random order, in one process and over the same
    connections: what the machine does to one it does to the other, so that a percent can be seen.
    """

    def in_own_loop() -> Figures:
        with asyncio.Runner(loop_factory=lifeline.loop_factory(loop)) as runner:
            return runner.run(_compare_probes(url, transport, turns))

    # In a thread of its own: this loop may not be the one that was asked for.
    return await asyncio.to_thread(in_own_loop)


async def _compare_probes(url: str, transport: str, turns: int) -> Figures:
    opened = open_transport(TRANSPORTS[transport](), url)
    send = partial(strategies.load("worker_pool").__wrapped__, limit=LIMIT)
    async with opened as fetch:
        meters = [Meter(_UNLIMITED, opened.kind_of, Window(None)) for _ in range(2)]
        sampler = Sampler(meters[0], lambda _: None)
        all_probes, counters = metered(fetch, meters[0]), counted(fetch, meters[1])

        def more(meter: Meter) -> range:
            return range(meter.sent, meter.sent + REQUESTS_PER_TURN[transport])

        async def with_all_probes() -> None:
            sampler.resume()
            await send(all_probes, more(meters[0]))
            sampler.pause()

        async def with_counters() -> None:
            await send(counters, more(meters[1]))

        for meter in meters:
            meter.window.start()
        sampler.start()
        sampler.pause()
        arms: list[Callable[[], Awaitable[None]]] = [with_all_probes, with_counters]
        chance, pairs = random.Random(0), []
        for _ in range(WARM_UP_TURNS + turns):
            wall_ns, cpu_ns = [0, 0], [0, 0]
            for arm in chance.sample(range(2), 2):
                began_ns, cpu_began_ns = perf_counter_ns(), thread_time_ns()
                await arms[arm]()
                wall_ns[arm] = perf_counter_ns() - began_ns
                cpu_ns[arm] = thread_time_ns() - cpu_began_ns
            pairs.append((wall_ns[1] / wall_ns[0], cpu_ns[0] / cpu_ns[1]))
        sampler.stop()
    throughput_ratios, cpu_ratios = zip(*pairs[WARM_UP_TURNS:], strict=True)
    return {"throughput_ratio": median(throughput_ratios), "cpu_ratio": median(cpu_ratios)}


async def polling(url: str | None, *, limit: int) -> Figures:
    """Measure the CPU of one turn of the loop while `limit` calls of `as_completed` wait.

    The strategy is the lab's own; nothing is sent, so that the turns consist of its polls alone.
    """
    loop, turns, over = asyncio.get_running_loop(), 0, False

    def turn() -> None:
        nonlocal turns
        turns += 1
        if not over:
            loop.call_soon(turn)

    end: asyncio.Future[None] = loop.create_future()

    async def wait(_: int) -> None:
        await end

    began_s = process_time()
    loop.call_soon(turn)
    loop.call_later(POLLED_S, end.set_result, None)
    poll = strategies.load("as_completed").__wrapped__
    work = asyncio.ensure_future(poll(wait, range(limit), limit))
    await end
    cost_us = 1e6 * (process_time() - began_s) / turns
    over = True
    await work
    return {"poll_us": cost_us}


async def task_tree(url: None, *, eager: bool, depth: int = 6, trees: int = 3) -> Figures:
    """Measure the time of a tree of tasks that never wait, with and without eager tasks: a median.

    Each task gathers six others, `depth` deep, as `async_tree` of pyperformance does; the leaves do
    nothing. So what is measured is what the loop takes to schedule tasks.
    """
    if eager:
        factory = getattr(asyncio, "eager_task_factory", None)  # since Python 3.12
        if factory is None:
            raise validation.refusal("eager_tasks", here=platform.python_version())
        asyncio.get_running_loop().set_task_factory(factory)

    async def grow(level: int) -> None:
        if level:
            await asyncio.gather(*[grow(level - 1) for _ in range(6)])

    took_s = []
    for _ in range(trees):
        began_s = perf_counter()
        await grow(depth)
        took_s.append(perf_counter() - began_s)
    return {"tree_s": median(took_s)}


async def waits_and_works() -> None:
    """Wait, then compute: five times as long the one as the other."""
    await asyncio.sleep(WAIT_S)
    until_s = perf_counter() + WORK_S
    while perf_counter() < until_s:
        pass


async def clocks(url: str | None, *, clock: str) -> Figures:
    """Measure the share of a mostly waiting coroutine's time that yappi attributes to it."""
    import yappi  # here: the other experiments do without it

    validation.check_known("clock", clock, ("wall", "cpu"))
    yappi.set_clock_type(clock)
    yappi.start()
    try:
        began_s = perf_counter()
        await waits_and_works()
        took_s = perf_counter() - began_s
    finally:
        yappi.stop()
    stats = yappi.get_func_stats(filter_callback=lambda one: one.name == "waits_and_works")
    return {"seen_share": sum(one.ttot for one in stats) / took_s}
