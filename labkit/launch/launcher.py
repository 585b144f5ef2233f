"""Running one trial: target and client in fresh processes, watched, and gone when it is over.

The parent and the measured processes meet through JSON lines only. Whatever happens (deadline,
Ctrl-C, a process that dies), what was measured until then is given to `keep`, and no process of
the trial outlives the call by more than two seconds (`process` has the plan for that).
"""

import asyncio
import contextlib
import math
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

from labkit.errors import BadInput, TrialFailed
from labkit.launch import assembly, clients, cores, environment, preflight, programs, servers
from labkit.launch.assembly import StudyPosition
from labkit.launch.clients import Client
from labkit.launch.preflight import Ready
from labkit.launch.process import GRACE_S
from labkit.launch.servers import Served
from labkit.profiler.callgraph import ProfileOptions, ProfileResult
from labkit.record import interference, merging
from labkit.record.record import Counts, Measurement, Note, Record
from labkit.spec.delays import Share
from labkit.spec.targets import Command, UrlTarget
from labkit.spec.trial import Trial

# Seconds that a target may take to report what it counted, and after the deadline. A client may
# then take `LATE_S` too: with a target and a client that hang, the trial is over 2 s after it.
COUNT_S, LATE_S = 5.0, 0.7
# A profiled run may take so many times the deadline: memray looks at each allocation.
PROFILED = 10
# For so long a server that hangs answers nothing before the deadline.
MIN_SILENT_S = 1.0
# Seconds that an interrupted client may take to report: whoever pressed stop waits for it.
STOP_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the client has come, and what it and its target use now.

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
        """Return how many requests have come to an end."""
        return self.counts.sent - self.in_flight

    @property
    def share(self) -> float:
        """Return which share of the trial is done: of its requests or its time, what is more."""
        asked = self.trial.workload
        by_time = self.t_s / (asked.lasts_s or math.inf)
        return min(max(by_time, self.done / (asked.requests or math.inf)), 1.0)


Watch = Callable[[Progress], None]
Keep = Callable[[Record], None]


@dataclass
class ProfileRequest:
    """How a run is to be profiled, and the result: None until there is one."""

    options: ProfileOptions
    result: ProfileResult | None = None


async def run(
    trial: Trial | Ready,
    *,
    position: StudyPosition | None = None,
    watch: Watch | None = None,
    keep: Keep,
    served: Served | None = None,
    profile: ProfileRequest | None = None,
    following: Ready | None = None,
) -> Record:
    """Run `trial`; the record is given to `keep` and returned.

    A trial that comes from `preflight.prepare` was checked there, any other is checked here: none
    is started unchecked. With `profile` it is run under the profiler: the record is then none to
    store. `served` is a server that runs already: then none is started, and what it counted in all
    is not of this trial. `following` is the trial that is run next: once the clients of this one
    have ended, one of that is started ahead, which `process.stop_ahead` ends. Raises `BadInput`
    before anything is started, `TrialFailed` (with the record of what was measured) when the
    deadline passes or a process dies.
    """
    ready = trial if isinstance(trial, Ready) else preflight.prepare(trial)
    if ready.environment is not None:
        await ready.environment.build()
    if ready.cluster is not None:
        await ready.cluster.refresh()
        ready.cluster.check(ready.trial)
    work = _Run(ready, position or StudyPosition(), watch, keep, served, profile, following)
    # A task of its own: whoever awaits this through several calls sleeps until the record is there,
    # and only this module is resumed for each line that the client writes.
    return await asyncio.ensure_future(work.run())


@dataclass
class _Run:
    """One trial, from the start of its target to its record."""

    ready: Ready
    position: StudyPosition
    watch: Watch | None
    keep: Keep
    served: Served | None
    profile: ProfileRequest | None
    following: Ready | None
    clients: list[Client] = field(default_factory=list)
    latest: Progress | None = None
    # When a request last came to an end, on the time axis of the progress.
    answered_s: float = 0.0
    counted: dict[str, Any] | None = None
    notes: Sequence[Note] = ()
    lost: Sequence[Note] = ()
    program: programs.Running | None = None

    def __post_init__(self) -> None:
        self.trial, self.started_at, self.begun = self.ready.trial, datetime.now(UTC), False

    async def run(self) -> Record:
        """Run the trial and keep its record, also where it is cancelled after it has begun."""
        trial = self.trial
        # It begins at the first wait, once the processes have been started.
        knowing = asyncio.ensure_future(asyncio.to_thread(self._known))
        note: Note | None = None
        try:
            async with contextlib.AsyncExitStack() as stack:
                reserving = cores.reserved(pinned=trial.switches.pin, clients=trial.clients)
                own_cores = stack.enter_context(reserving)
                before = own_cores.state()
                served, url = self.served, self.ready.url
                if served is None and url is not None:
                    served = await asyncio.to_thread(servers.running, self.ready, url)
                # The core of a server that runs already is left alone. Else both start at once:
                # each takes a third of a second.
                chosen = own_cores.of_clients(trial.clients, served.cores if served else ())
                for client in self._start_clients(chosen):
                    stack.push_async_callback(client.child.stop)
                started = servers.target_of(self.ready, own_cores.server, served)
                target = await stack.enter_async_context(started)
                began, deadline_s = await knowing
                self.begun = True
                begin: dict[str, Any] = {"pid": target.pid, "pids": target.pids}
                begin["url"] = url or target.url
                if trial.program:
                    core = self.clients[0].core
                    self.program = await programs.started(trial, begin["url"], core, stack)
                    begin |= {"words": self.program.words, "folder": self.program.folder}
                for client in self.clients:
                    client.child.send(begin)
                note = await self._measure(target, deadline_s)
                # Where nobody listens, that no request succeeded says it all.
                ended = [one.measured for one in self.clients if one.measured]
                answered = any(one.counts.ok or self.program for one in ended)
                self.notes = [*own_cores.notes(before), *(target.notes if answered else ())]
            if self.program is not None:
                note = note or self.program.failure(self.clients[0].ended)
                if self.counted and "delays_s" in self.counted:
                    found = await asyncio.to_thread(programs.floor_and_bound, trial, self.counted)
                    began |= dict(zip(("floor_s", "bound_s"), found, strict=True))
        except TrialFailed as error:
            note = Note(code="target-lost", message=str(error))
            began, _ = await knowing
        except asyncio.CancelledError:
            # The disk may be slow: both processes are gone by now.
            if self.begun:
                note = Note(code="interrupted", message="the trial was interrupted")
                self._keep_record(began, note)
            raise
        record = self._keep_record(began, note)
        if note is not None:
            named = "" if self.profile else f" (record {record.id})"
            failed = f"; failed by then: {record.counts.why}" if record.counts.failures else ""
            raise TrialFailed(f"{note.message}{failed}{named}", record)
        return record

    def _known(self) -> tuple[dict[str, Any], float]:
        """Return what a record has of a run before it begins, and the deadline in seconds.

        To draw a million delays takes seconds.
        """
        trial, there = self.trial, [self.ready.environment, self.ready.cluster]
        machine = environment.now() | {k: v for one in there if one for k, v in one.known.items()}
        times = {"floor_s": trial.floor_s, "bound_s": trial.bound_s}
        slower = PROFILED if self.profile and trial.switches.deadline_s is None else 1
        deadline_s = min(slower * trial.deadline_s, self.ready.within_s)
        return {"trial": self.ready.asked, "environment": machine, **times}, deadline_s

    def _start_clients(self, chosen: Sequence[int | None]) -> Iterator[Client]:
        """Start a client on each core, and yield it."""
        own, kind = self.trial.function, clients.kind_of(self.ready)
        usable = environment.usable_cores()
        of_program = preflight.of_commands(self.ready.environment) | kind["asked"]
        job = {
            "trial": self.ready.asked,
            "addresses": self.ready.addresses,
            "environment": of_program if self.trial.program else None,
            "function": self.ready.function,
            "client": self.ready.client,
            "options": dict(self.trial.options),
            "path": self.ready.path,
            "requests": self.ready.asks.requests,
            "of_file": self.ready.asks.of_file,
            "raises": own and preflight.unguarded(own) is own,
            "profile": self.profile and self.profile.options,
        }
        cluster = self.ready.cluster
        places: Sequence[tuple[Any, int | None]] = [(None, core) for core in chosen]
        places = cluster.places(self.trial, chosen)[: len(chosen)] if cluster else places
        hosts = [(worker and worker.host, core) for worker, core in places]
        for number, (worker, core) in enumerate(places):
            share, crowded = Share(number, len(chosen)), hosts.count(hosts[number]) > 1
            beside = [] if core is None else [one for one in usable if one != core]
            on = {"core": core, "beside": beside, "crowded": crowded}
            start = partial(cluster.start, worker) if cluster else None
            child = clients.started(job | on, share, start, **kind)
            self.clients.append(Client(child, share, core))
            yield self.clients[-1]

    async def _measure(self, target: Served, deadline_s: float) -> Note | None:
        """See the clients through to their end; return a note where not all ended by themselves."""
        grace_s, note, now = GRACE_S, None, asyncio.get_running_loop().time
        until, silent, several = now() + deadline_s, list[str](), len(self.clients) > 1
        try:
            try:
                async with asyncio.timeout_at(until):
                    await self._read()
            except TimeoutError:
                message = f"the trial passed its deadline of {deadline_s:,.0f} s"
                note = Note(code="deadline", message=message + self._unanswered())
                await self._cut_short(LATE_S)
                hung = [str(one.share.client) for one in self.clients if one.measured is None]
                if hung:
                    silent.append(f"clients {', '.join(hung)}" if several else "client")
            # It ends by itself: what it used until then is all its own.
            await asyncio.wait([one.child.ended for one in self.clients], timeout=GRACE_S)
            clients.start_ahead(self.following)
            lost = [one for one in self.clients if one.lost]
            for one in lost:
                one.lost = str(one.child.failure(one.lost or ""))
            if lost and note is None and "message" not in lost[0].ended:
                note = Note(code="worker-lost", message="; ".join(str(one.lost) for one in lost))
            try:
                async with asyncio.timeout(min(COUNT_S, max(until - now(), LATE_S))):
                    self.counted = await servers.counted(target)
            except TimeoutError:
                silent.append("target")
                self.counted = {"in_force": target.in_force} if target.in_force else None
                if target.child is not None and target.own:
                    target.child.signal(signal.SIGKILL)
            if silent:
                message = f"the {' and the '.join(silent)} did not answer"
                known = note or Note(code="target-lost", message="the trial was measured")
                note = msgspec.structs.replace(known, message=f"{known.message}; {message}")
            if target.child is not None and target.child.ended.done():
                died = str(target.child.failure("the target died"))
                self.lost = [Note(code="target-lost", message=died)]
        except asyncio.CancelledError:
            grace_s = STOP_S / 2
            await asyncio.shield(asyncio.ensure_future(self._cut_short(STOP_S)))
            raise
        finally:
            await clients.together(one.child.stop(grace_s) for one in self.clients)
        return note

    def _unanswered(self) -> str:
        """Return for how long a server that nobody else watches has answered nothing, if long."""
        if self.latest is None or not isinstance(self.trial.target, UrlTarget | Command):
            return ""
        silent_s, waiting = self.latest.t_s - self.answered_s, self.latest.in_flight
        if not waiting or (self.latest.done and silent_s < MIN_SILENT_S):
            return ""
        return f"; the target answered none of {waiting:,} requests for {silent_s:,.1f} s"

    async def _read(self) -> None:
        """Let the clients begin, and read their lines until each has measured, or is lost.

        Where one is lost before all are ready, none begins.
        """
        if len(self.clients) > 1:
            ready = await clients.together(one.read("ready", self._note) for one in self.clients)
            if not all(ready):
                for one in self.clients:
                    one.child.signal(signal.SIGKILL)
                return
            clients.let_go(self.clients, scheduled=bool(self.trial.workload.schedule))
        await clients.together(one.read("measurement", self._note) for one in self.clients)

    def _note(self, client: Client, line: dict[str, Any], before: dict[str, Any]) -> None:
        """Take what is not of one client alone: what failed, a profile, how far all have come."""
        if line["type"] == "failed" and not self.trial.program:
            raise BadInput(line["message"])
        if line["type"] == "profile" and self.profile is not None:
            self.profile.result = msgspec.convert(line["profile"], ProfileResult)
        if line["type"] != "progress":
            return
        line["client_cpu_percent"] = _percent(before, line, "client_cpu_s")
        left = [one for one in self.clients if not (one.measured or one.lost)]
        running = [one.last["progress"] for one in left if "progress" in one.last]
        if line is not running[0]:  # one of them says when
            return
        counts = merging.combined(one.counts for one in self.clients)
        assert counts is not None
        done = self.latest.done if self.latest else 0
        self.latest = Progress(
            trial=self.trial,
            t_s=line["t_s"],
            in_flight=sum(one["in_flight"] for one in running),
            counts=counts,
            client_rss_bytes=sum(one["client_rss_bytes"] or 0 for one in running) or None,
            client_cpu_percent=sum(one["client_cpu_percent"] or 0 for one in running) or None,
            server_rss_bytes=line["server_rss_bytes"],
            server_cpu_percent=_percent(before, line, "server_cpu_s"),
            loop_lag_s=max(one["loop_lag_s"] for one in running),
        )
        if self.latest.done > done:
            self.answered_s = self.latest.t_s
        if self.watch is not None:
            self.watch(self.latest)

    async def _cut_short(self, grace_s: float) -> None:
        """Ask the clients to end now, and read what they measured until then if they still answer.

        What was measured to the end counts, whatever the parent was doing when it was stopped.
        """
        left = [one for one in self.clients if one.measured is None]
        for one in left:
            one.child.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                await clients.together(one.read("measurement", self._note) for one in left)
        except TimeoutError:
            # A loop that is blocked cannot answer, and will not end by itself either.
            for one in left:
                if one.measured is None:
                    one.child.signal(signal.SIGKILL)

    def _keep_record(self, began: dict[str, Any], note: Note | None) -> Record:
        measured, window_ns = self._whole()
        if measured is not None:
            measured = msgspec.structs.replace(measured, warnings=[*measured.warnings, *self.notes])
        used = None
        if self.program is not None and measured is not None:
            seen = (measured, self.clients[0].ended, self.counted, window_ns[0], began["floor_s"])
            measured, more = self.program.whole(*seen)
            began = began | more
        elif self.begun:
            used = merging.combined([one.used for one in self.clients], wall_s=max)
        record = assembly.record(
            self.trial,
            self.position,
            self.started_at,
            measured,
            reported=merging.combined(one.counts for one in self.clients),
            stats=self.counted,
            window_ns=window_ns,
            ended=[*([note] if note else []), *self.lost],
            **{"process": used} | began,
        )
        self.keep(record)
        return record

    def _whole(self) -> tuple[Measurement | None, Sequence[int]]:
        """Return what all clients measured together, None where none did, and their window."""
        first = next((one for one in self.clients if one.measured), None)
        if first is None or len(self.clients) == 1:
            return (first.measured, first.window_ns) if first else (None, (0, 0, 0))
        columns = zip(*(one.window_ns for one in self.clients), strict=True)
        started, opened, closed = ([*filter(None, ns)] or [0] for ns in columns)
        window_ns = min(started), min(opened), max(closed)
        parts = (one.part(self.trial, window_ns[0]) for one in self.clients)
        return merging.merged(parts, scheduled=bool(self.trial.workload.schedule)), window_ns


def _percent(before: dict[str, Any], now: dict[str, Any], column: str) -> float | None:
    """Return the CPU between two lines, in percent of one core; nothing is known of the first."""
    wall_s = now["t_s"] - before.get("t_s", now["t_s"])
    return interference.percent(before.get(column), now[column], wall_s)
