"""What ends a trial by the clock: timed items; and think time.

The plan of the end. Nobody knows how many items there is time for, so the items are an iterator
that counts what was taken. When the time is over, the window closes at once, the strategy is
cancelled, and with it what is in flight, which counts as cancelled: so do wrk, oha and hey. The
window is as long as was asked for, to a millisecond. Rejected: to wait for the last answers, as
vegeta does: the window then ends while fewer and fewer are in flight, and its rate is too low.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from time import perf_counter_ns

from labkit.errors import BadInput
from labkit.measured.probes.meter import Fetch, Meter
from labkit.spec.delays import Delay

# Items that a strategy may have taken and not sent: it takes all of them then, for ever.
MAX_AHEAD = 1 << 16


class TimedItems:
    """The items of a trial that the clock ends `lasts_s` after its first send, or after its start.

    From its start where it has `stages`, as these may begin with a pause.
    """

    def __init__(self, meter: Meter, lasts_s: float, *, stages: bool) -> None:
        self._meter, self._lasts_s, self._stages = meter, lasts_s, stages
        self._taken, self.over = 0, False
        meter.taken = lambda: self._taken

    def __len__(self) -> int:
        raise TypeError("items has no length, as the clock ends them: take one after another")

    def __iter__(self) -> Iterator[int]:
        for item in range(self._meter.planned):
            if self.over:
                return
            self._taken = item + 1
            if not item % MAX_AHEAD and item - self._meter.sent >= MAX_AHEAD // 2:
                raise BadInput(
                    f"items have no end before the clock's, and {item:,} were taken at once"
                )
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


def thinking(call: Fetch, think: Delay, seed: int, meter: Meter) -> Fetch:
    """Return `call`, after which a worker waits: not after the last of all, nor as latency."""

    async def thoughtful(item: int) -> object:
        answer = await call(item)
        if meter.left:
            await asyncio.sleep(think.draw(seed, f"think/{item}"))
        return answer

    return thoughtful
