"""`python -m labkit.measured.worker`: read a trial (a line of JSON), write a measurement (lines).

This is the measured process: it holds the strategy, the transport and the probes, and nothing else.
It prints `ready`, then `progress` about ten times a second, and one `measurement` last. SIGTERM
ends the trial early and still gives a measurement; when standard input ends (the parent is gone),
so does the process, whatever its event loop is doing.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import os
import pickle
import platform
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec

from labkit.errors import LabError
from labkit.measured import lifeline
from labkit.measured.open_loop import OpenWorkload
from labkit.measured.probes.memory import Watched, own_peak_bytes
from labkit.measured.probes.meter import Fetch, Meter, counted, metered
from labkit.measured.probes.sampler import Row, Sampler
from labkit.measured.probes.window import Window
from labkit.measured.transports.pacing import paced
from labkit.profiler.callgraph import ProfileOptions
from labkit.record import histogram
from labkit.record.record import Counts, Measurement, Note, Timeline
from labkit.spec.addresses import REMOTE_RPS, is_remote
from labkit.spec.parts import AsyncpgTransport
from labkit.spec.trial import Trial

Strategy = Callable[..., Awaitable[object]]
SETTLE_S = 1.0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What the parent asks for. `function` is a strategy of the user's own, as cloudpickle bytes.

    It comes through a pipe from the process that started this one, and is never stored.
    """

    trial: dict[str, Any]
    url: str
    addresses: list[str] = []
    server_pid: int | None = None
    core: int | None = None
    function: str | None = None
    path: list[str] = []
    profile: ProfileOptions | None = None


class _Parent:
    """Where the parent reads. Not standard output: a strategy of the user's own may print there."""

    fd = 1

    def take(self) -> None:
        """Keep the parent's pipe to ourselves; what is printed goes to standard error from now."""
        self.fd = os.dup(1)
        os.dup2(2, 1)


_PARENT = _Parent()


def main() -> int:
    """Read the job, run it, print the measurement. 2 for a job that cannot be done."""
    job = msgspec.json.decode(lifeline.first_line(), type=Job)
    _PARENT.take()
    lifeline.end_with_parent()
    _prepare(job)
    try:
        trial = Trial.from_dict(job.trial)
        strategy = _strategy(trial, job.function)
        with asyncio.Runner(loop_factory=_loop_factory(trial)) as runner:
            measurement = runner.run(_measured(job, trial, strategy))
    except LabError as error:
        say("failed", message=str(error))
        return error.exit_code
    # The histogram is encoded here, the peak read last: the whole process is what `process` means.
    measurement = msgspec.structs.replace(measurement, process_peak_rss_bytes=own_peak_bytes())
    say("measurement", measurement=msgspec.to_builtins(measurement))
    return 0


def _prepare(job: Job) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # What a strategy of the user's own imports is found where the parent would find it.
    sys.path.extend(entry for entry in job.path if entry not in sys.path)
    if job.core is not None:
        os.sched_setaffinity(0, {job.core})


def _loop_factory(trial: Trial) -> Callable[[], asyncio.AbstractEventLoop]:
    if trial.loop == "uvloop":
        import uvloop

        return uvloop.new_event_loop
    return asyncio.new_event_loop


def _strategy(trial: Trial, function: str | None) -> Strategy:
    if function is not None:
        own: Strategy = pickle.loads(base64.b64decode(function))  # noqa: S301  # the parent's pipe
        return own
    from labkit.measured import strategies

    named = strategies.load(trial.strategy).__wrapped__

    async def strategy(fetch: Fetch, items: range, limit: int) -> None:
        await named(fetch, items, limit, **trial.options)

    return strategy


def say(kind: str, **content: Any) -> None:
    """Send the parent one line of JSON, whole."""
    data = msgspec.json.encode({"type": kind, **content}) + b"\n"
    while data:
        data = data[os.write(_PARENT.fd, data) :]


def _say_progress(meter: Meter, row: Row) -> None:
    """A progress line; dropped rather than waited for where the reader is slow.

    A write of up to PIPE_BUF bytes to a pipe is whole or not at all, so no line is ever cut.
    """
    line = {"type": "progress", "counts": msgspec.to_builtins(meter.counts()), **row._asdict()}
    os.set_blocking(_PARENT.fd, False)
    with contextlib.suppress(BlockingIOError):
        os.write(_PARENT.fd, msgspec.json.encode(line) + b"\n")
    os.set_blocking(_PARENT.fd, True)


async def _measured(job: Job, trial: Trial, strategy: Strategy) -> Measurement:
    loop = asyncio.get_running_loop()
    if trial.switches.eager_tasks:
        loop.set_task_factory(_eager)
    if trial.probes == "bare":
        return await _bare(job, trial)
    from labkit.measured.transports import Receiving, Tracing, open_transport

    opened = open_transport(
        trial.transport, job.url, trial.path, job.addresses, rows=getattr(trial.target, "rows", 1)
    )
    async with opened as fetch:
        processes = trial.target.processes
        window = Window(job.server_pid, processes)
        meter = Meter(trial.requests, opened.kind_of, window)
        sampler = Sampler(meter, job.server_pid, partial(_say_progress, meter), processes)
        openly = None if trial.workload.rate is None else OpenWorkload(trial.workload, meter)
        once = _together(fetch, opened, trial)
        if openly is not None:
            strategy, once = openly.send, openly.noted(once)
        call = (metered if trial.probes == "full" else counted)(once, meter)
        # Paced outside what is timed: waiting for its turn is no latency.
        call = paced(call, REMOTE_RPS) if is_remote(job.url) else call
        if job.profile is not None:
            call, strategy = _profiled(job.profile, call, strategy)
        notes = await _run(trial, strategy, call, sampler, meter)
        measured = _measurement(trial, meter, sampler, notes, opened.effective)
        arrivals = None if openly is None else openly.summary()
        phases = opened.phases if isinstance(opened, Tracing) else None
        received = opened.received if isinstance(opened, Receiving) else None
        more = {"arrivals": arrivals, "phases": phases, "received": received}
        return msgspec.structs.replace(measured, **more)


def _profiled(ask: ProfileOptions, call: Fetch, strategy: Strategy) -> tuple[Fetch, Strategy]:
    """Both under the profiler: the figures of this run are no measurement any more."""
    from labkit.profiler.profiler import ProfiledRun

    run = ProfiledRun(ask)
    return run.time_requests(call), run.wrap(strategy, lambda found: say("profile", profile=found))


def _together(fetch: Fetch, opened: Any, trial: Trial) -> Fetch:
    """`fetch`, or one that makes a call for many items of those that come together."""
    settings = trial.transport
    if not isinstance(settings, AsyncpgTransport) or settings.batch == 1:
        return fetch
    from labkit.measured.patterns import Batcher

    return Batcher(opened.fetch_many, most=settings.batch, delay_s=settings.batch_delay_s).get


def _eager(loop: Any, coro: Any, *, eager_start: bool = True, **named: Any) -> Any:
    """Asyncio's eager factory; uvloop passes it an argument that it does not know everywhere."""
    factory: Any = vars(asyncio)["eager_task_factory"]  # since 3.12: the parent refused before
    return factory(loop, coro, **named)


async def _run(
    trial: Trial, strategy: Strategy, call: Fetch, sampler: Sampler, meter: Meter
) -> list[Note]:
    """Run the strategy to its end, or to SIGTERM; what there is to say about how it ended."""
    before = asyncio.all_tasks()
    _settle_memory()
    meter.window.start(Watched(os.getpid()).rss_bytes())
    say("ready")
    if trial.probes == "full":
        sampler.start()
    task = asyncio.ensure_future(strategy(call, range(trial.requests), trial.limit))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    ended = await asyncio.gather(task, return_exceptions=True)
    notes = _ending(ended[0]) + await _left_behind(before)
    meter.window.close()
    sampler.stop()
    return notes


def _settle_memory() -> None:
    """What was imported until now stays: the collector need not look at it again."""
    gc.collect()
    gc.freeze()


def _ending(result: object) -> list[Note]:
    if isinstance(result, asyncio.CancelledError):
        return [Note(code="ended-early", message="the trial was ended before all items were sent")]
    if isinstance(result, BaseException):
        what = f"{type(result).__name__}: {result}"[:300]
        return [Note(code="strategy-failed", message=f"the strategy itself raised {what}")]
    return []


async def _left_behind(before: set[asyncio.Task[Any]]) -> list[Note]:
    """End the tasks that the strategy left running, and say so."""
    left = asyncio.all_tasks() - before
    if not left:
        return []
    for task in left:
        task.cancel()
    await asyncio.wait(left, timeout=SETTLE_S)
    message = f"the strategy returned while {len(left):,} of its tasks were still running"
    return [Note(code="tasks-left-behind", message=message)]


def _measurement(
    trial: Trial,
    meter: Meter,
    sampler: Sampler,
    notes: list[Note],
    transport: dict[str, Any],
) -> Measurement:
    timed = trial.probes == "full"
    counts, window = meter.counts(), meter.window
    return Measurement(
        counts=counts,
        wall_s=window.wall_s,
        client=window.client(counts.sent),
        server=window.server(),
        interference=window.interference(),
        latency_s=histogram.summary(meter.latencies) if timed else None,
        latency_hdr=histogram.to_hdr(meter.latencies) if timed else None,
        loop_lag_s=sampler.lag() if timed else None,
        timeline=sampler.timeline() if timed else Timeline(),
        effective=_effective(trial) | {"transport": transport},
        warnings=notes + _items_sent(meter),
        first_errors=meter.examples,
    )


def _items_sent(meter: Meter) -> list[Note]:
    if meter.sent > meter.planned or (meter.sent == meter.planned and not meter.each_item_once):
        message = "the strategy sent some items more than once"
        return [Note(code="items-repeated", message=message)]
    return []


async def _bare(job: Job, trial: Trial) -> Measurement:
    """The yardstick: a hand-written loop between the same two readings."""
    from labkit.measured.probes import bare

    window = Window(job.server_pid)
    _settle_memory()
    window.start(Watched(os.getpid()).rss_bytes())
    say("ready")
    window.open()
    ok = await bare.run(job.url, trial.requests, trial.limit)
    window.close()
    failed = {"other": trial.requests - ok} if ok < trial.requests else {}
    return Measurement(
        counts=Counts(
            planned=trial.requests,
            sent=trial.requests,
            not_sent=0,
            ok=ok,
            failed=failed,
            cancelled=0,
        ),
        wall_s=window.wall_s,
        client=window.client(trial.requests),
        server=window.server(),
        interference=window.interference(),
        latency_s=None,
        latency_hdr=None,
        loop_lag_s=None,
        timeline=Timeline(),
        effective=_effective(trial),
    )


def _effective(trial: Trial) -> dict[str, Any]:
    """What is really in force in this process."""
    loop = asyncio.get_running_loop()
    factory = loop.get_task_factory()
    libraries = {"aiohttp": "aiohttp", "uvloop": "uvloop"} | _LIBRARIES.get(trial.strategy, {})
    if trial.transport.kind in _DRIVERS:
        libraries |= {trial.transport.kind: trial.transport.kind}
    return {
        "python": platform.python_version(),
        "loop": type(loop).__module__.partition(".")[0],
        "eager_tasks": factory is not None,
        "saturate": trial.saturates,
        "cores": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "versions": {name: _version(package) for name, package in libraries.items()},
    }


_LIBRARIES = {name: {name: name} for name in ("pypeln", "aiometer", "aiostream", "anyio")}

_DRIVERS = ("asyncpg", "psycopg", "redis")


def _version(package: str) -> str | None:
    from importlib import metadata  # here, after the window: it takes megabytes

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
