"""`python -m labkit.measured.experiments NAME`: read a line of JSON, write one with its figures.

The line that comes in contains `settings`, the `url` and the `pid` of a server and the `core` to
run on. The figures go out with a measurement of what kept this process or the server from running.
When standard input ends, because the parent is gone, so does the process.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from time import perf_counter_ns
from typing import Any

import msgspec

from labkit.errors import BadInput, LabError
from labkit.measured import experiments, lifeline
from labkit.measured.probes.window import Window
from labkit.record import stalls
from labkit.record.record import Counts, Measurement
from labkit.record.stalls import Watch

# How often it looks whether it stood still: seldom enough to cost the figures nothing.
TICK_NS = 50_000_000


class ExperimentJob(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment to run, as the parent asks for it."""

    settings: dict[str, Any] = {}
    url: str | None = None
    pid: int | None = None
    core: int | None = None


def main(name: str) -> int:
    """Measure once and print the figures; return 2 for what cannot be measured."""
    job, out = lifeline.take_job(ExperimentJob)
    lifeline.end_with_parent()

    async def measure() -> dict[str, Any]:
        try:
            return await watched(experiments.load(name)(job.url, **job.settings), job.pid)
        except TypeError as error:
            raise BadInput(f"the experiment {name} cannot be run so: {error}") from None

    try:
        lifeline.send(out, asyncio.run(measure()))
    except LabError as error:
        lifeline.send(out, {"failed": str(error)})
        return error.exit_code
    return 0


async def watched(
    figures: Awaitable[experiments.Figures], server_pid: int | None
) -> dict[str, Any]:
    """Return the figures, once they are there, and what happened to both processes meanwhile."""
    loop, watch, window = asyncio.get_running_loop(), Watch(), Window(server_pid)
    due_ns = perf_counter_ns() + TICK_NS

    def tick() -> None:
        nonlocal due_ns
        watch.timer_came(due_ns, perf_counter_ns())
        due_ns = perf_counter_ns() + TICK_NS
        loop.call_later(TICK_NS / 1e9, tick)

    loop.call_later(TICK_NS / 1e9, tick)
    window.start()
    window.open()
    found = await figures
    window.close()
    watch.timer_came(due_ns, perf_counter_ns())
    measured = Measurement(
        counts=Counts(planned=0, sent=0, ok=0),
        wall_s=window.wall_s,
        client=window.client(0),
        server=window.server(),
        interference=window.interference(),
        stalls=stalls.within("client", watch.found, window.spans_ns),
    )
    return {"figures": found, "measurement": measured, "ns": window.spans_ns}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
