"""`python -m labkit.measured.experiments NAME`: read a line of JSON, write one with its figures.

The line that comes in contains `settings`, the `url` and the `pid` of a server and the `core` to
run on. The figures go out with a measurement of what kept this process or the server from running.
When standard input ends, because the parent is gone, so does the process.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from typing import Any

import msgspec

from labkit.errors import BadInput, LabError
from labkit.measured import experiments, lifeline
from labkit.measured.probes.window import Window
from labkit.record import stalls
from labkit.record.record import Counts, Measurement
from labkit.record.stalls import Watch


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
    watch, window = Watch(), Window(server_pid)
    watch.beat(asyncio.get_running_loop().call_later)
    window.start()
    window.open()
    found = await figures
    window.close()
    watch.look()
    stood = stalls.within("client", watch.found, window.spans_ns)
    measured = Measurement(**window.of_both(Counts(planned=0, sent=0, ok=0)), stalls=stood)
    return {"figures": found, "measurement": measured, "ns": window.spans_ns}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
