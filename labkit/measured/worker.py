"""`python -m labkit.measured.worker`: read a trial (a line of JSON), write a measurement (lines).

This is the measured process: it contains the strategy, the transport and the probes, and nothing
else. It starts beside its target, or before: the second line that it reads says where that is. It
prints how long it `waited` for both lines, `ready`, `progress` about ten times a second, and one
`measurement`.
One of several clients waits after `ready` for a third line, `at_ns`: when all begin, None for now.
SIGTERM ends the trial early and still gives a measurement; when standard input ends (the parent is
gone), so does the process, whatever its event loop is doing.

The plan: `main` reads the job and prepares the process, `_measure` opens the transport and wraps
its `fetch` layer by layer, `_run` runs the strategy between two readings of the processes. Nothing
is imported or encoded within the window that would weigh on what is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import math
import os
import platform
import resource
import signal
import socket
import sys
import warnings
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import msgspec

from labkit.errors import LabError, raised
from labkit.measured import lifeline
from labkit.measured.duration import StageCounts, Strategy, TimedItems, staged, thinking, warm_up
from labkit.measured.open_loop import OpenLoop
from labkit.measured.probes.by_request import ByRequest
from labkit.measured.probes.meter import Fetch, Meter, counted, metered
from labkit.measured.probes.sampler import Sampler, TimelineRow, to_timeline
from labkit.measured.probes.window import Window, forget_own_peak, own_peak_bytes
from labkit.profiler.callgraph import ProfileOptions, ProfileResult
from labkit.record import histogram
from labkit.record.record import Measurement, Note, Timeline
from labkit.spec import transports, variables
from labkit.spec.addresses import MAX_REMOTE_LIMIT, MAX_REMOTE_RPS
from labkit.spec.delays import Share
from labkit.spec.registry import LIBRARIES
from labkit.spec.requests import Request
from labkit.spec.trial import Trial

if TYPE_CHECKING:
    from labkit.measured.transports.client import TransportClient

# How long tasks that a strategy left running may take to end.
MAX_SETTLE_S = 1.0
# Bytes, as JSON, that a strategy may return, and how deep within each other its lists may be: a
# record has them, and whoever reads it has a smaller stack left.
MAX_RETURNED_BYTES, MAX_RETURNED_DEPTH = 1 << 16, 100
# Of a run that is no measurement.
_PROFILED = Note(code="profiled", message="a profiler was at work in the client")
# What starts the strategy.
Start = Callable[[], Awaitable[object]]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A trial to run. `function` and `client` are of the user's own, as `lifeline.load` takes them.

    `requests` have what no record has: credentials, and what files hold. Both come through a pipe
    from the process that started this one, and are never stored.
    """

    trial: dict[str, Any]
    addresses: list[str] = []
    core: int | None = None
    # Of a program: its environment, and the cores for this process while it runs.
    environment: dict[str, str] | None = None
    beside: list[int] = []
    function: str | None = None
    client: str | None = None
    path: list[str] = []
    options: dict[str, Any] = {}
    requests: list[Request] = []
    of_file: dict[str, int] | None = None
    # Whether a function of the user's own sees what fails: a decorated one does not.
    raises: bool | None = None
    profile: ProfileOptions | None = None
    # Which of the clients of the trial it is, and whether another one is to run on its core.
    share: Share = Share()
    crowded: bool = False


class Reached(msgspec.Struct, frozen=True, kw_only=True):
    """A target that accepts connections; `pid` None is one that is not measured.

    One with `pids` is measured over these processes and what they start. A program that calls it
    is started by `words`, in `folder`.
    """

    url: str
    words: list[str] = []
    folder: str | None = None
    pid: int | None = None
    pids: list[int] = []


class _Parent:
    """The pipe to the parent. Not standard output: a strategy of the user's own may print there."""

    fd = 1

    def send(self, kind: str, **content: Any) -> None:
        """Send one line of JSON, whole."""
        lifeline.send(self.fd, {"type": kind, **content})

    def send_progress(self, meter: Meter, row: TimelineRow) -> None:
        """Send a progress line, or drop it where the parent reads too slowly.

        A write of up to PIPE_BUF bytes to a pipe is whole or not at all, so no line is ever cut.
        """
        line = {"type": "progress", "counts": msgspec.to_builtins(meter.counts()), **row._asdict()}
        os.set_blocking(self.fd, False)
        with contextlib.suppress(BlockingIOError):
            os.write(self.fd, msgspec.json.encode(line) + b"\n")
        os.set_blocking(self.fd, True)


_PARENT = _Parent()


def main() -> int:
    """Read the job, run it, send the measurement. Return 2 for a job that cannot be done."""
    job, _PARENT.fd = lifeline.take_job(Job)
    lifeline.raise_descriptor_limit()
    try:
        allowed = job.trial["target"].get("allow_remote")
        trial = Trial.from_dict(job.trial, allow_remote=allowed, allow_commands=True)
        new_loop = lifeline.loop_factory(trial.loop)
        # The longest part of a start, while the target starts as well. What is imported stays: to
        # look for garbage among it takes a tenth of the time.
        gc.disable()
        if not trial.program:
            from labkit.measured.transports import transport_class

            transport_class(trial.transport.kind)
        line = lifeline.next_line()
        if not line:  # the parent is gone
            return 1
        target = msgspec.json.decode(line, type=Reached)
        lifeline.end_with_parent()
        _PARENT.send("waited", seconds=sum(lifeline.WAITED_S))
        if trial.program:
            from labkit.measured import program

            asyncio.run(program.run(job, target, trial.target.processes, _PARENT))
            return 0
        # Not before the lab's transport was imported: libraries look for others that may be
        # missing here, and be where the user's own code finds what it imports.
        if job.function is not None:
            strategy = lifeline.load(job.function, job.path, job.options)
        else:
            from labkit.measured import strategies

            # Without the guard that counts errors: the meter counts them.
            strategy = partial(strategies.load(trial.strategy).__wrapped__, **trial.options)
        with asyncio.Runner(loop_factory=new_loop) as runner:
            measurement = runner.run(_measure(job, target, trial, strategy))
    except LabError as error:
        _PARENT.send("failed", message=str(error))
        return error.exit_code
    # The histogram is encoded here, the peak read last: the whole process is what `process` means.
    content = msgspec.to_builtins(measurement)
    _PARENT.send("measurement", measurement=content, peak_rss_bytes=own_peak_bytes())
    return 0


def _transport(job: Job, target: Reached, trial: Trial) -> TransportClient[Any]:
    """Return the transport of a trial, not yet entered, for the calls of all its items."""
    from labkit.measured.transports import calls_of, open_transport

    return open_transport(
        trial.transport,
        target.url,
        addresses=job.addresses,
        calls=calls_of(trial.workload, job.requests or [Request(path=trial.path)]),
        rows=getattr(trial.target, "rows", 1),
        limit=min(job.share.part(trial.slots), trial.requests),
        client=None if job.client is None else lifeline.load(job.client, job.path),
    )


async def _measure(job: Job, target: Reached, trial: Trial, strategy: Strategy) -> Measurement:
    """Open the transport, wrap `fetch` layer by layer, run the strategy over it, and collect."""
    if trial.switches.eager_tasks:
        asyncio.get_running_loop().set_task_factory(_eager_task)
    share, workload, processes = job.share, trial.workload, trial.target.processes
    limit = share.part(trial.limit)
    from labkit.measured.transports import paced

    timed, opened = trial.probes == "full", _transport(job, target, trial)
    async with opened as fetch:
        warmed = None
        if workload.warmup is not None:
            rps = MAX_REMOTE_RPS if trial.is_remote else math.inf
            warmed = await warm_up(trial, strategy, fetch, rps, job.raises, share)
            opened.forget()
            forget_own_peak()
        window = Window(target.pids or target.pid, processes, crowded=job.crowded)
        meter = Meter(trial.requests, opened.kind_of, window, raises=job.raises, share=share)
        sampler = Sampler(
            meter,
            partial(_PARENT.send_progress, meter),
            received_bytes=lambda: getattr(opened.received, "wire_bytes", None),
            own=trial.own_strategy,
        )
        # The layers, from the inside out. Due times are noted inside what is timed, as latency
        # counts from either; pacing is outside, as waiting for one's turn is no latency.
        open_loop, items = None, None
        by_request = ByRequest(opened.to.calls, timed=timed)
        call = by_request.noting(fetch)
        stages = StageCounts(workload.schedule if workload.stages else ())
        if workload.lasts_s is not None:
            items = TimedItems(meter, workload.lasts_s, stages=bool(workload.stages))
        if workload.schedule and not workload.is_open:
            strategy = staged(workload.schedule, stages, share)
        if workload.is_open:
            open_loop = OpenLoop(workload, meter, stages)
            strategy, call = open_loop.send, open_loop.time_since_due(call)
        call = (metered if timed else counted)(call, meter)
        if trial.is_remote:
            most = share.part(MAX_REMOTE_LIMIT)
            call = paced(call, MAX_REMOTE_RPS / share.of, limit=most, most=meter.planned)
        if workload.thinks.holds_back:
            call = thinking(call, workload.thinks, trial.seed, meter)
        if job.profile is not None:
            call, strategy = _profiled(job.profile, call, strategy)
        start = partial(strategy, call, meter.items if items is None else items, limit)
        call.__qualname__ = "fetch"  # what Python calls it in what it says to the user
        with _noticing(call) as not_awaited:
            result, notes = await _run(start, meter, sampler, timed, items, share.of)
        buckets = dict[str, dict[int, int]]()
        if share.of > 1:  # percentiles of several clients are those of all their requests
            buckets |= {"latency": histogram.sparse(meter.latencies)} if timed else {}
            buckets |= opened.tracer.histograms if opened.tracer else {}
            buckets |= open_loop.histograms if open_loop else {}
            buckets |= by_request.histograms
        returned, refused = _returned(result)
        notes = [*notes, *not_awaited, *refused, *([_PROFILED] if job.profile else [])]
        # The parent asks the server when it stood still, by the same clock.
        _PARENT.send("window", ns=meter.window.spans_ns)
        return Measurement(
            **meter.window.of_both(meter.counts()),
            latency_s=histogram.summary(meter.latencies) if timed else None,
            latency_hdr=histogram.to_hdr(meter.latencies) if timed else None,
            loop_lag_s=sampler.lag() if timed else None,
            stalls=sampler.stalls() if timed else [],
            timeline=to_timeline(sampler.rows, sampler.parts) if timed else Timeline(),
            effective=_effective(trial, meter.window)
            | {"transport": opened.effective, "of_file": job.of_file},
            warnings=notes,
            first_errors=meter.examples,
            returned=returned,
            arrivals=None if open_loop is None else open_loop.summary(),
            phases=opened.phases,
            received=opened.received,
            requests=by_request.summary(),
            warmup=warmed,
            stages=stages.summary(),
            histograms=buckets,
        )


def _profiled(options: ProfileOptions, call: Fetch, strategy: Strategy) -> tuple[Fetch, Strategy]:
    """Wrap both in a profiler. The figures of this run are no measurement any more."""

    def send(found: ProfileResult) -> None:
        _PARENT.send("profile", profile=found)

    if options.memory:
        from labkit.profiler import memory

        return call, memory.traced(strategy, send)
    from labkit.profiler.profiler import ProfiledRun

    profiled = ProfiledRun(options)
    return profiled.time_requests(call), profiled.wrap(strategy, send)


@contextlib.contextmanager
def _noticing(fetch: Fetch) -> Iterator[list[Note]]:
    """Give a list that gets a note if a call of `fetch` is never awaited: Python warns of it."""
    show, found = warnings.showwarning, list[Note]()

    def notice(message: Any, *more: Any, **named: Any) -> None:
        if f"'{fetch.__qualname__}' was never awaited" not in str(message):
            show(message, *more, **named)
        elif not found:
            message = "the strategy called fetch without awaiting it, and so did not send the item"
            found.append(Note(code="not-awaited", message=message))

    warnings.showwarning = notice
    try:
        yield found
    finally:
        warnings.showwarning = show


def _eager_task(loop: Any, coro: Any, *, eager_start: bool = True, **named: Any) -> Any:
    """Create a task by asyncio's eager factory, without `eager_start`, which uvloop passes."""
    factory: Any = vars(asyncio)["eager_task_factory"]  # since 3.12: the parent refused before
    return factory(loop, coro, **named)


async def _run(
    start: Start, meter: Meter, sampler: Sampler, timed: bool, items: TimedItems | None, of: int
) -> tuple[object, list[Note]]:
    """Run the strategy of one `of` so many clients to its end, that of its time, or SIGTERM.

    Return what it returned, or why it did not, and notes on how it ended.
    """
    before = asyncio.all_tasks()
    await _start_window(meter.window, of)
    if timed:
        sampler.start()
    task = asyncio.ensure_future(start())
    if items is not None:
        items.end(task)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    signal.signal(signal.SIGCONT, sampler.was_continued)
    (result,) = await asyncio.gather(task, return_exceptions=True)
    notes, is_over = [], items is not None and items.over
    if isinstance(result, asyncio.CancelledError):
        # What was still in flight is in the counts.
        if meter.counts().not_sent and not is_over:
            message = "the trial was ended before all items were sent"
            notes.append(Note(code="ended-early", message=message))
    elif isinstance(result, BaseException):
        message = f"the strategy itself raised {raised(result)}"
        notes.append(Note(code="strategy-failed", message=message))
    left = asyncio.all_tasks() - before
    if left:
        for one in left:
            one.cancel()
        await asyncio.wait(left, timeout=MAX_SETTLE_S)
    if left and not is_over:
        message = f"the strategy returned while {len(left):,} of its tasks were still running"
        notes.append(Note(code="tasks-left-behind", message=message))
    meter.window.close()
    sampler.stop()
    return result, notes


def _returned(result: object) -> tuple[Any, list[Note]]:
    """Return what a strategy returned as JSON has it, or a note on why a record cannot have it."""
    if isinstance(result, BaseException):
        return None, []
    try:
        data = json.dumps(result, allow_nan=False, ensure_ascii=False).encode()
        if len(data) > MAX_RETURNED_BYTES:
            why = f"{len(data):,} bytes as JSON, where {MAX_RETURNED_BYTES:,} are allowed"
        elif _depth(plain := msgspec.json.decode(data)) > MAX_RETURNED_DEPTH:
            why = f"over {MAX_RETURNED_DEPTH} lists deep"
        else:
            return plain, []
    except Exception as error:  # noqa: BLE001  # what is returned may be of any class
        why = f"no JSON ({error})"
    message = f"the strategy returned a {type(result).__name__} that is {why[:300]}"
    return None, [Note(code="not-returned", message=message)]


def _depth(value: Any) -> int:
    within = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, within), default=0)


# The barrier of several clients. All that takes long is done before: the collector before `ready`,
# the counters of the kernel once the word has come, which names a moment some milliseconds ahead.
# Clients on one core would then run one after another, each until all its connections are opened.
# So each reads the clock just before its first send, and holds that back until all had their turn.
async def _start_window(window: Window, clients: int = 1) -> None:
    """Read memory before the first request, and tell the parent that this process is ready.

    One of several clients waits until all are, and for the moment that the parent names.
    """
    # What was imported until now stays: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    gc.enable()
    if clients == 1:
        window.start()
        _PARENT.send("ready")
        return
    loop = asyncio.get_running_loop()
    word: asyncio.Future[bytes] = loop.create_future()
    lifeline.HEARD.append(lambda data: loop.call_soon_threadsafe(word.set_result, data))
    _PARENT.send("ready")
    begin = msgspec.json.decode(await word)
    at_ns, window.together_ns = begin["at_ns"], begin.get("together_ns", 0)
    window.start()
    if at_ns is None:
        _PARENT.send("went")
    else:
        await asyncio.sleep((at_ns - perf_counter_ns()) / 1e9)
    window.started_ns = perf_counter_ns()


def _effective(trial: Trial, window: Window) -> dict[str, Any]:
    """Return what is really in force in this process, read back."""
    loop = asyncio.get_running_loop()
    # Of others this process has none. What a person preloads, as another malloc, is left to them.
    shown = [*variables.parse(trial.switches.variables), "LD_PRELOAD"]
    libraries = ["aiohttp", "uvloop", *sorted(_LIBRARIES & sys.modules.keys())]
    files = [(n, getattr(one, "__file__", None) or "") for n, one in sys.modules.items()]
    return {
        "python": platform.python_version(),
        "loop": type(loop).__module__.partition(".")[0],
        "eager_tasks": loop.get_task_factory() is not None,
        "saturate": trial.saturates,
        "cores": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "malloc_maps_reads": window.maps_reads,
        "congestion_control": _congestion_control(),
        "variables": {name: os.environ[name] for name in shown if name in os.environ},
        "debug": loop.get_debug(),
        "versions": {name: _version(name) for name in libraries},
        # Those modules of packages that are compiled and were really imported.
        "extensions": sorted(n for n, at in files if "-packages" in at and ".so" in at[-4:]),
    }


def _version(package: str) -> str | None:
    """Return the version of an installed package, which stands in its folder's name; None: none.

    `importlib.metadata` says the same, and takes a tenth of the CPU of a short run: it is imported
    only for a package that has no such folder.
    """
    for folder in sys.path:
        for found in Path(folder).glob(f"{package}-*.dist-info"):
            return found.stem.removeprefix(f"{package}-")
    from importlib import metadata

    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _congestion_control() -> str | None:
    """Return how TCP avoids congestion in connections that nobody sets it for; None: unknown."""
    with contextlib.suppress(AttributeError, OSError), socket.socket() as unset:
        name = unset.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        return name.rstrip(b"\0").decode("ascii", "replace")
    return None


# Packages whose versions a record has where they are imported: strategies, transports, and what
# these are made of.
_LIBRARIES = {*LIBRARIES, *transports.LIBRARIES, "asyncpg", "psycopg", "redis", "rloop"}
_LIBRARIES |= {"httpcore", "httpcore2", "h11", "urllib3", "urllib3_future"}


if __name__ == "__main__":
    sys.exit(main())
