"""Experiments in code, for claims about code: what no trial with axes can show.

Each is a coroutine function `NAME(url, **settings)` that returns the figures which
`data/experiments.toml` names. They lie in `data/experiments`, beside the studies that judge them:
a module has those of one subject. `url` is that of a synthetic server of the experiment's own, None
where its claim asks for none. Nothing is judged there.

`python -m labkit.measured.experiments NAME` makes one measurement in a process of its own. It reads
a line of JSON: `settings`, the `url` and the `pid` of a server and the `core` to run on. It writes
one with the figures and a measurement of what kept this process or the server from running. When
standard input ends, because the parent is gone, so does the process.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib import import_module
from time import perf_counter
from types import ModuleType
from typing import Any

import msgspec

from labkit import paths
from labkit.errors import BadInput, LabError, raised
from labkit.measured import lifeline
from labkit.measured.probes.window import Window
from labkit.record import stalls
from labkit.record.record import Counts, Figures, Measurement
from labkit.spec import validation

# Least time of the calls that are timed together.
TIMED_S = 0.2

Measure = Callable[..., Awaitable[Figures]]


class ExperimentJob(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment to run, as the parent asks for it."""

    settings: dict[str, Any] = {}
    url: str | None = None
    pid: int | None = None
    core: int | None = None


def load(name: str) -> Measure:
    """Return the coroutine function of the experiment called `name`. Raises `BadInput`."""
    if name == timed.__name__:  # of a function of the user's own, and of no study
        return timed
    subject = validation.choose("experiment", name, paths.table("experiments.toml"))["module"]
    measure: Measure = getattr(module(subject), name)
    return measure


def module(name: str) -> ModuleType:
    """Return a module of `data/experiments` by its name; that folder is looked through last."""
    folder = str(paths.data("experiments"))
    if folder not in sys.path:
        sys.path.append(folder)
    return import_module(name)


async def timed(url: None, *, function: str, path: list[str]) -> Figures:
    """Time one call of a coroutine function of the user's own, once it is warm.

    `function` is its cloudpickle bytes in base64, `path` where it finds what it imports.
    """
    call, calls, took_s = lifeline.load(function, path), 1, 0.0
    try:
        await call()
        while took_s < TIMED_S:
            calls, began = 2 * calls, perf_counter()
            for _ in range(calls):
                await call()
            took_s = perf_counter() - began
    except Exception as error:  # noqa: BLE001  # whatever it raises is what to say
        raise LabError(raised(error)) from None
    return {"call_s": took_s / calls}


def main(name: str) -> int:
    """Measure once and print the figures; return 2 for what cannot be measured."""
    with suppress(BadInput):  # the server starts meanwhile; who asked is told below
        load(name)
    job, out = lifeline.take_job(ExperimentJob)
    lifeline.end_with_parent()

    async def measure() -> dict[str, Any]:
        try:
            return await watched(load(name)(job.url, **job.settings), job.pid)
        except TypeError as error:
            raise BadInput(f"the experiment {name} cannot be run so: {error}") from None

    try:
        lifeline.send(out, asyncio.run(measure()))
    except LabError as error:
        lifeline.send(out, {"failed": str(error)})
        return error.exit_code
    return 0


async def watched(figures: Awaitable[Figures], server_pid: int | None) -> dict[str, Any]:
    """Return the figures, once they are there, and what happened to both processes meanwhile."""
    watch, window = stalls.Watch(), Window(server_pid)
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
