"""Running one trial: target and client in fresh processes, watched, and gone when it is over.

The parent and the measured processes meet through JSON lines only. Whatever happens (deadline,
Ctrl-C, a process that dies), what was measured until then is handed to `keep`, and no process of
the trial outlives the call by more than two seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from labkit.errors import BadInput, TrialFailed
from labkit.launch import assembly, environment, pickling, preflight
from labkit.launch.assembly import Beginning, Place
from labkit.launch.process import GRACE_S, Child, failed, surely_ended
from labkit.profiler.callgraph import ProfileOptions, ProfileResult
from labkit.record.record import Counts, Measurement, Note, Process, Record
from labkit.spec.targets import (
    EchoServer,
    HttpServer,
    PostgresServer,
    TargetServer,
    ValkeyServer,
)
from labkit.spec.trial import Trial

START_S, COUNT_S = 30.0, 5.0
STOP_S = 0.5
"""How long a client that is interrupted has to say what it measured: whoever pressed stop waits."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the client has come, and what it and its target take now.

    CPU is in percent of one core since the progress before; None is not known.
    """

    trial: Trial
    t_s: float
    in_flight: int
    counts: Counts
    client_rss_bytes: int | None = None
    client_cpu_percent: float | None = None
    server_rss_bytes: int | None = None
    server_cpu_percent: float | None = None
    loop_lag_s: float | None = None

    @property
    def done(self) -> int:
        """Requests that came to an end."""
        return self.counts.sent - self.in_flight


Watch = Callable[[Progress], None]
Keep = Callable[[Record], None]


@dataclass
class Look:
    """How a run is to be profiled, and what was found: None until there is something."""

    ask: ProfileOptions
    found: ProfileResult | None = None


async def run(
    trial: Trial,
    *,
    place: Place | None = None,
    watch: Watch | None = None,
    keep: Keep,
    served: Served | None = None,
    look: Look | None = None,
) -> Record:
    """Run `trial`; the record is given to `keep` and returned.

    With `look` it is run under the profiler: the record is then none to store.

    `served` is a server that is there already: then none is started, and what it counted in all is
    not of this trial. Raises `BadInput` before anything is started, `TrialFailed` (with the record
    of what there is) when the deadline passes or a process dies.
    """
    preflight.check(trial)
    addresses = preflight.addresses(trial.url) if trial.url else []
    function = pickling.pickled(trial)
    # Drawing a million delays takes seconds: not in the loop of a notebook.
    floor_s, deadline_s = await asyncio.to_thread(lambda: (trial.floor_s, trial.deadline_s))
    cores = _cores(trial)
    began = Beginning(
        trial=trial,
        place=place or Place(),
        started_at=datetime.now(UTC),
        floor_s=floor_s,
        environment=environment.now(),
    )
    work = _Run(began, deadline_s, watch, keep, look)
    async with work.kept_if_interrupted(), _target(trial, cores[1], served) as target:
        preflight.check_served(trial, target.in_force or {})
        job = {
            "trial": trial.to_dict(),
            "url": trial.url or target.url,
            "addresses": addresses,
            "server_pid": target.pid,
            "core": cores[0],
            "function": function,
            "path": [entry or str(Path.cwd()) for entry in sys.path],
            "profile": look and look.ask,
        }
        return await work.client(job, target)


@dataclass(frozen=True)
class Served:
    """A target that accepts connections; `pid` None is one that the lab did not start.

    `in_force` is what a target that is asked for no counts by HTTP says of itself; `process` is
    the one to ask, where it counts.
    """

    url: str
    pid: int | None
    own: bool = True
    in_force: dict[str, Any] | None = None
    process: Child | None = None

    @property
    def counted(self) -> bool:
        """Whether all that it counted is of the one trial that it was started for."""
        return self.pid is not None and self.own and self.in_force is None


@contextlib.asynccontextmanager
async def serving(settings: HttpServer) -> AsyncIterator[Served]:
    """A synthetic server of its own process, for several trials or for none; gone at the end."""
    alone = msgspec.structs.replace(settings, announce_json=True, die_with_stdin=True)
    async with _started("labkit.measured.targets.http", alone) as served:
        yield dataclasses.replace(served, own=False)


def _cores(trial: Trial) -> tuple[int | None, int | None]:
    """The cores of client and target: one each where there are two."""
    return environment.core_each() if trial.switches.pin else (None, None)


@contextlib.asynccontextmanager
async def _target(trial: Trial, core: int | None, there: Served | None) -> AsyncIterator[Served]:
    kind = trial.target.kind
    if there is not None or kind not in _SERVERS:
        yield there or Served(trial.url or "", None)
        return
    module, server = _SERVERS[kind]
    # The target's own settings, and what only its process has.
    settings = msgspec.structs.asdict(trial.target) | {"core": core}
    if kind == "http":
        settings |= {"seed": trial.seed, "announce_json": True}
    if kind != "valkey":  # that watches its standard input by itself
        settings |= {"die_with_stdin": True}
    async with _started(module, server(**settings)) as served:
        yield served


_SERVERS: dict[str, tuple[str, type[TargetServer]]] = {
    "http": ("labkit.measured.targets.http", HttpServer),
    "echo": ("labkit.measured.targets.echo", EchoServer),
    "postgres": ("labkit.measured.targets.postgres", PostgresServer),
    "valkey": ("labkit.measured.targets.valkey", ValkeyServer),
}
"""For each target that the lab starts the module of its process, and its settings."""


@contextlib.asynccontextmanager
async def _started(module: str, settings: TargetServer) -> AsyncIterator[Served]:
    child = Child(module, msgspec.json.encode(settings).decode())
    try:
        said = await _announced(child)
        asked = child if said.get("counts") else None
        yield Served(said["url"], said["pid"], in_force=said.get("in_force"), process=asked)
    finally:
        await surely_ended(child)


async def _announced(server: Child) -> dict[str, Any]:
    """What the server says once it accepts connections, its URL among it."""
    try:
        async with asyncio.timeout(START_S):
            line = await server.read_line()
    except TimeoutError:
        raise failed(server, f"the target said nothing for {START_S:.0f} s") from None
    if line is None:
        await server.exited(GRACE_S)
        raise failed(server, "the target did not start")
    return line


class _Run:
    """One client process, from spawn to record."""

    def __init__(
        self,
        began: Beginning,
        deadline_s: float,
        watch: Watch | None,
        keep: Keep,
        look: Look | None,
    ) -> None:
        self.trial, self.began, self.deadline_s = began.trial, began, deadline_s
        self.watch, self.keep, self.look = watch, keep, look
        self.latest: Progress | None = None
        self.line: dict[str, Any] | None = None
        self.measured: Measurement | None = None
        self.peak_rss_bytes: int | None = None
        self.interrupted: Record | None = None

    async def client(self, job: dict[str, Any], served: Served) -> Record:
        """Start the client on `job` and see it through."""
        child = Child("labkit.measured.worker")
        try:
            await child.write_line(job)
            measured, note = await self._watched(child)
            await child.exited(GRACE_S)
            counted = await _counted(served)
            record = self._record(child, measured, counted, note)
        except asyncio.CancelledError:
            await asyncio.shield(asyncio.ensure_future(self._interrupted(child)))
            raise
        finally:
            await surely_ended(child)
        self.keep(record)
        if note is not None:
            kept = "" if self.look else f" (record {record.id})"
            raise TrialFailed(f"{note.message}{kept}", record)
        return record

    async def _watched(self, child: Child) -> tuple[Measurement, Note | None]:
        try:
            async with asyncio.timeout(self.deadline_s):
                measured = await self._measurement(child)
        except TimeoutError:
            message = f"the trial passed its deadline of {self.deadline_s:,.0f} s"
            measured = await self._cut_short(child)
            return measured or self._lost(), Note(code="deadline", message=message)
        if measured is None:
            await child.exited(GRACE_S)
            message = str(failed(child, "the client process died"))
            return self._lost(), Note(code="worker-lost", message=message)
        return measured, None

    async def _measurement(self, child: Child) -> Measurement | None:
        """Read the client's lines until the measurement; None where it dies before."""
        while (line := await child.read_line()) is not None:
            if line["type"] == "measurement":
                self.peak_rss_bytes = line["peak_rss_bytes"]
                self.measured = msgspec.convert(line["measurement"], Measurement)
                return self.measured
            if line["type"] == "profile" and self.look is not None:
                self.look.found = msgspec.convert(line["profile"], ProfileResult)
            if line["type"] == "failed":
                raise BadInput(line["message"])
            if line["type"] == "progress":
                self._progress(line)
        return None

    def _progress(self, line: dict[str, Any]) -> None:
        counts = msgspec.convert(line["counts"], Counts)
        before, self.line = self.line or {}, line
        self.latest = Progress(
            trial=self.trial,
            t_s=line["t_s"],
            in_flight=line["in_flight"],
            counts=counts,
            client_rss_bytes=line["client_rss_bytes"],
            client_cpu_percent=_percent(before, line, "client_cpu_s"),
            server_rss_bytes=line["server_rss_bytes"],
            server_cpu_percent=_percent(before, line, "server_cpu_s"),
            loop_lag_s=line["loop_lag_s"],
        )
        if self.watch is not None:
            self.watch(self.latest)

    async def _cut_short(self, child: Child, grace_s: float = GRACE_S) -> Measurement | None:
        """Ask the client to end now; what it measured until then, if it still answers."""
        child.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                return await self._measurement(child)
        except TimeoutError:
            # A loop that is blocked cannot answer, and will not end by itself either.
            child.signal(signal.SIGKILL)
            return None

    async def _interrupted(self, child: Child) -> None:
        note = Note(code="interrupted", message="the trial was interrupted")
        # What was measured to the end counts, whatever the parent was doing when it was stopped.
        measured = self.measured or await self._cut_short(child, STOP_S) or self._lost()
        await child.end(STOP_S / 2)
        self.interrupted = self._record(child, measured, None, note)

    @contextlib.asynccontextmanager
    async def kept_if_interrupted(self) -> AsyncIterator[None]:
        """Around both processes: the disk is slow, and they need not wait for it to end."""
        try:
            yield
        finally:
            if self.interrupted is not None:
                self.keep(self.interrupted)

    def _record(
        self, child: Child, measured: Measurement, stats: dict[str, Any] | None, note: Note | None
    ) -> Record:
        process = _process(child, self.peak_rss_bytes)
        return assembly.record(self.began, measured, process=process, stats=stats, note=note)

    def _lost(self) -> Measurement:
        return assembly.lost(self.trial, self.latest.counts if self.latest else None)


def _percent(before: dict[str, Any], now: dict[str, Any], column: str) -> float | None:
    """The CPU between two lines, in percent of one core; of the first line nothing is known."""
    took, had = now[column], before.get(column)
    if took is None or had is None or now["t_s"] <= before["t_s"]:
        return None
    return round(100 * float(took - had) / float(now["t_s"] - before["t_s"]), 1)


def _process(child: Child, peak_rss_bytes: int | None) -> Process | None:
    usage, wall_s = child.usage, child.wall_s
    if usage is None or wall_s is None:
        return None
    return Process(
        wall_s=wall_s,
        cpu_user_s=usage.ru_utime,
        cpu_system_s=usage.ru_stime,
        cpu_percent=round(100 * (usage.ru_utime + usage.ru_stime) / wall_s, 2),
        peak_rss_bytes=peak_rss_bytes,
    )


async def _counted(served: Served) -> dict[str, Any] | None:
    """What the target counted of the trial, and what was in force in it."""
    if served.process is None:
        return await asyncio.to_thread(_stats, served)
    served.process.signal(signal.SIGUSR1)
    said: dict[str, Any] | None = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(COUNT_S):
            said = await served.process.read_line()
    return {"in_force": served.in_force or {}, **(said or {})}


def _stats(served: Served) -> dict[str, Any] | None:
    return asked(served.url, "/-/stats") if served.counted else served.in_force


def asked(url: str, path: str) -> dict[str, Any] | None:
    """What the synthetic server at `url` tells of itself; None where it no longer answers."""
    try:
        # No proxy, whatever the environment says: the server is on loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{url}{path}", timeout=5) as answer:
            counted: dict[str, Any] = msgspec.json.decode(answer.read())
    except (OSError, msgspec.DecodeError):
        return None
    return counted
