"""What ends a trial by the clock, and when workers call: timed items, think time, a staged limit.

The plan of the end. Nobody knows how many items there is time for, so the items are an iterator
that counts what was taken. When the time is over, the window closes at once, the strategy is
cancelled, and with it what is in flight, which counts as cancelled: so do wrk, oha and hey. The
window is as long as was asked for, to a millisecond. Rejected: to wait for the last answers, as
vegeta does: the window then ends while fewer and fewer are in flight, and its rate is too low.
"""

import asyncio
import contextlib
import math
from bisect import bisect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from time import perf_counter_ns

from labkit.measured.probes.meter import WHOLE, Fetch, Meter, counted
from labkit.measured.probes.window import Window
from labkit.measured.strategies._guard import cancel_and_wait, this_task
from labkit.record.requests import Staged, Warmup
from labkit.spec.delays import Delay, Share, Stage, value_at
from labkit.spec.trial import Trial
from labkit.spec.validation import refusal

# Items that a strategy may have taken and not sent: it takes all of them then, for ever.
MAX_AHEAD = 1 << 16
# How often the number of workers follows the stages of the limit.
TICK_S = 0.01
Strategy = Callable[..., Awaitable[object]]


class TimedItems:
    """The items of a trial that the clock ends `lasts_s` after its first send, or after its start.

    From its start where it has `stages`, as these may begin with a pause.
    """

    def __init__(self, meter: Meter, lasts_s: float, *, stages: bool) -> None:
        self._meter, self._lasts_s, self._stages = meter, lasts_s, stages
        self._items, self.over = meter.items, False
        self._next = self._items.start
        meter.taken = lambda: len(range(self._items.start, self._next, self._items.step))

    def __len__(self) -> int:
        raise TypeError("items has no length, as the clock ends them: take one after another")

    def __iter__(self) -> Iterator[int]:
        for taken in range(0, len(self._items), MAX_AHEAD):
            if taken - self._meter.sent >= MAX_AHEAD // 2:
                raise refusal("endless", taken=taken)
            for item in self._items[taken : taken + MAX_AHEAD]:
                if self.over:
                    return
                self._next = item + 1
                yield item

    def end(self, task: asyncio.Future[object]) -> None:
        """End the strategy, which has just been started, when the time is over."""
        started_ns, window, loop = perf_counter_ns(), self._meter.window, asyncio.get_running_loop()

        def look() -> None:
            began_ns = started_ns if self._stages else window.opened_ns or started_ns
            left_s = self._lasts_s - (perf_counter_ns() - began_ns) / 1e9
            if left_s > 0 and not task.done():
                loop.call_later(left_s, look)
            elif not task.done():
                self.over = True
                window.close()
                task.cancel()

        look()


class StageCounts:
    """Counts in which stage of a schedule requests were `due`, and in which they were `sent`."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages, self._ends_ns = stages, list[int]()
        # The last is of what comes behind all stages.
        self.due, self.sent = ([0] * (len(stages) + 1) for _ in range(2))

    def begin(self, now_ns: int) -> None:
        """Note when the first stage begins."""
        ends_s = accumulate(stage.lasts_s for stage in self._stages)
        self._ends_ns = [now_ns + round(1e9 * end_s) for end_s in ends_s]

    def note(self, counts: list[int], at_ns: int) -> None:
        """Count a request by its time."""
        counts[bisect(self._ends_ns, at_ns)] += 1

    def summary(self) -> list[Staged]:
        """Return what was asked for and achieved in each stage that has begun."""
        found, now_ns = list[Staged](), perf_counter_ns()
        counted = zip(self._stages, self._ends_ns, self.due, self.sent, strict=False)
        for stage, end_ns, due, sent in counted:
            asked = stage.whole / stage.lasts_s
            took_s = stage.lasts_s - max(end_ns - now_ns, 0) / 1e9
            if took_s > 0:
                rps = asked * sent / due if due else sent / took_s
                one = Staged(name=stage.name, asked=asked, due=due, sent=sent, achieved_rps=rps)
                found.append(one)
        return found


def staged(limits: Sequence[Stage], counts: StageCounts, share: Share = WHOLE) -> Strategy:
    """Return a strategy with as many workers as the stages of the limit say at the time.

    Of several clients it has its part of them.
    """

    async def workers(call: Fetch, items: Iterable[int], limit: int) -> None:
        source, began_ns, over = iter(items), perf_counter_ns(), False
        running: set[asyncio.Future[None]] = set()
        counts.begin(began_ns)

        def allowed() -> int:
            return share.part(int(value_at(limits, (perf_counter_ns() - began_ns) / 1e9)))

        async def work() -> None:
            nonlocal over
            for item in source:
                counts.note(counts.sent, perf_counter_ns())
                await call(item)
                if len(running) > allowed():
                    break
            else:
                over = True
            running.discard(this_task())

        try:
            while running or not over:
                for _ in range(0 if over else allowed() - len(running)):
                    running.add(asyncio.ensure_future(work()))
                await asyncio.sleep(TICK_S)
        finally:
            await cancel_and_wait(running)

    return workers


# The plan of a warm-up. The same strategy makes calls over the same connections, of items behind
# those of the trial, to the last answer: then all counts begin anew. Nothing is cancelled, as that
# would close the connections. A rate is an even one, the mean of its stages; nobody thinks.
# Rejected: to go on without a break and to leave out what began before, as each figure would need a
# branch for each request.
async def warm_up(
    trial: Trial, strategy: Strategy, fetch: Fetch, rps: float, raises: bool | None, share: Share
) -> Warmup:
    """Make the calls of the workload's warm-up, at most `rps` a second over all clients."""
    from labkit.measured.transports import paced

    rps = min(rps, trial.workload.mean_rps)
    lasts_s, requests = trial.workload.warms
    if trial.workload.is_open:
        requests = requests or math.ceil(lasts_s * rps)
    of_all, slots = requests or trial.requests, share.part(trial.slots)
    meter = Meter(of_all, lambda error: "", Window(None), raises=raises, share=share)
    timed = TimedItems(meter, lasts_s, stages=True)
    if not requests:
        asyncio.get_running_loop().call_later(lasts_s, setattr, timed, "over", True)

    async def behind(item: int) -> object:
        return await fetch(trial.requests + item)

    call = counted(behind, meter)
    if rps < math.inf:
        call = paced(call, rps / share.of, limit=slots, most=meter.planned)
    with contextlib.suppress(Exception):  # the trial notes it, as it fails there as well
        await strategy(call, meter.items if requests else timed, slots)
    meter.window.close()
    found = meter.counts()
    return Warmup(requests=found.sent, failed=found.failures, wall_s=meter.window.wall_s)


def thinking(call: Fetch, think: Delay, seed: int, meter: Meter) -> Fetch:
    """Return `call`, after which a worker waits: not after the last of all, nor as latency."""

    async def thoughtful(item: int) -> object:
        answer = await call(item)
        if meter.left:
            await asyncio.sleep(think.draw(seed, f"think/{item}"))
        return answer

    return thoughtful
