"""Processes of a trial on the workers of a Dask cluster, each behind the promises of `Child`.

The plan. A share is a task that is pinned to one worker: no other may take it, nothing repeats it.
The task (`hold`) starts the measured process there through `process.start`, as the parent would
here, and stays until that has ended. The parent follows it by calls of `exchange` on that worker:
each waits for lines of the process, for `RENEW_S` at most, and brings them. So one call after the
other is in flight for each process, nothing is stored at the scheduler, and a worker that does not
answer is known by that alone.

Each call renews a lease as well, from end to end: the worker passes it on to the process, which
asks the kernel to end it `LEASE_S` later (`measured.lifeline`). Whoever of parent, scheduler and
worker is killed, cut off or stopped: no process is left when the lease is over. One that is stopped
itself is killed by the worker then. A worker that is killed closes its pipes, which end what it has
started at once. A task that is run again, as by a worker that came back at the same address, starts
nothing: it is for the worker with the id that the parent chose.

Clocks of two hosts are never subtracted: what a process measures is by its own clock.

Rejected: topics and queues of Dask (what nobody reads stays in the scheduler), actors (no thread of
the worker is taken while one measures, so Dask would give its host other work), ports of our own.
"""

import asyncio
import contextlib
import os
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from msgspec import Meta

from labkit import paths
from labkit.errors import NotInstalled, TrialFailed
from labkit.launch import environment, orphans, process
from labkit.launch.preflight import CLUSTER
from labkit.launch.process import GRACE_S, START_S, Child
from labkit.record import interference
from labkit.record.record import SCHEMA_VERSION
from labkit.spec.addresses import is_loopback
from labkit.spec.trial import Trial
from labkit.spec.validation import check_known, from_text, refusal

LEASE_S, RENEW_S = 4.0, 1.0
# Seconds that a scheduler and its workers may take to answer.
ANSWER_S = 10.0
FILE = "cluster.toml"
LocalWorkers = Annotated[int, Meta(ge=1, le=64)]


# Of a worker.


@dataclass
class _Relay:
    """A process on this worker: what the parent has not read of it, and when that last asked."""

    child: Child | None = None
    lines: list[dict[str, Any]] = field(default_factory=list)
    over: dict[str, Any] | None = None
    renewed_s: float = field(default_factory=time.monotonic)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    # CPU seconds of a server when it first said something.
    before_s: float | None = None

    async def read(self, child: Child) -> None:
        """Collect what the process writes until its end; of its progress the last line alone."""
        while (line := await child.line()) is not None:
            if line.get("type") != "progress":
                self.news.set()
            elif self.lines and self.lines[-1].get("type") == "progress":
                self.lines.pop()
            self.lines.append(line)
            self.before_s = self.before_s or interference.cpu_s(child.pid)
        await child.ended

    async def counted(self, url: str) -> dict[str, Any] | None:
        """Return what a synthetic server counted, and used since it was there."""
        from labkit.launch import servers  # which starts servers on workers, too

        assert self.child is not None
        stats, pid = await asyncio.to_thread(servers.asked, url, "/-/stats"), self.child.pid
        used_s = (interference.cpu_s(pid) or 0.0) - (self.before_s or 0.0)
        peak = {"peak_rss_bytes": interference.high_water_bytes(pid)}
        return stats and _by_age(stats) | peak | {"cpu_s": used_s}


_RELAYS = dict[str, _Relay]()


async def hold(token: str, worker: str, module: str, words: Sequence[str], asked: Any) -> None:
    """Start a process here, and stay until it has ended or its parent is silent: a task of Dask."""
    from distributed import get_worker

    relay = _RELAYS.setdefault(token, _Relay())
    if get_worker().id != worker or relay.child is not None:
        raise RuntimeError("this was started before, and nothing is started twice")
    leased = {**asked, "LABKIT_LEASE_S": str(LEASE_S)}
    relay.child = child = process.start(module, *words, asked=leased)
    reading = asyncio.ensure_future(relay.read(child))
    try:
        relay.news.set()
        while not reading.done() and time.monotonic() < relay.renewed_s + LEASE_S:
            await asyncio.wait([reading], timeout=RENEW_S)
    finally:
        reading.cancel()
        over = {"written": child.written}
        await child.stop(0)
        relay.over = over | {name: getattr(child, name) for name in ("status", "usage", "wall_s")}
        relay.news.set()
        asyncio.get_running_loop().call_later(ANSWER_S, _RELAYS.pop, token, None)


async def exchange(token: str) -> dict[str, Any]:
    """Renew the lease of a process; return what it wrote since, and how it ended if it has."""
    relay = _RELAYS.setdefault(token, _Relay())
    relay.renewed_s = time.monotonic()
    if relay.child is not None and relay.over is None:
        relay.child.send(None)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(RENEW_S):
            await relay.news.wait()
    relay.news.clear()
    lines, relay.lines = relay.lines, []
    return {"begun": relay.child is not None, "lines": lines, "over": relay.over}


async def tell(token: str, verb: str, what: Any) -> Any:
    """Do something with a process: `send` it a line, `signal` or `stop` it, ask what it counted."""
    relay = _RELAYS[token]
    done = getattr(relay if verb == "counted" else relay.child, verb)(what)
    return await done if verb in ("counted", "stop") else done


def _by_age(stats: dict[str, Any]) -> dict[str, Any]:
    """Return what a server counted, with its standstills by how long ago they were, or back again.

    That is a time by one clock. What the answer took on its way is less than a standstill.
    """
    now_ns, found = time.perf_counter_ns(), stats.get("standstills", ())
    ages = [(now_ns - since_ns, now_ns - until_ns, n) for since_ns, until_ns, n in found]
    return {**stats, "standstills": ages}


# Of the parent.


class Worker(NamedTuple):
    """A worker: where it is, how many tasks it takes at once, its host, and its versions."""

    address: str
    name: str
    id: str
    threads: int
    is_encrypted: bool
    cores: list[int]
    machine: dict[str, Any]
    labkit: str

    @property
    def host(self) -> str:
        """Return the address of its host."""
        return urlsplit(self.address).hostname or ""


Place = tuple[Worker, int | None]


async def about(dask_worker: Any) -> Worker:
    """Return what the parent has to know of this worker and its host."""
    one, here = dask_worker, (environment.usable_cores(), environment.machine(), _labkit())
    is_encrypted = one.security.require_encryption
    return Worker(one.address, str(one.name), one.id, one.state.nthreads, is_encrypted, *here)


def _labkit() -> str:
    here = environment.machine()
    return f"labkit {here['versions']['labkit']}, schema {SCHEMA_VERSION}, Python {here['python']}"


class Remote(Child):
    """A process on a worker. Whoever has it need not know where it is.

    It is lost when its worker does not answer: then its lines end, and `failure` says why. It has a
    clock of its own, and so begins as soon as it is let go; that it went is known `apart_s` later.
    Where its window lies is counted from there, by no more than how long it lasted.
    """

    def __init__(self, client: Any, worker: Worker, module: str, words: Any, how: Any) -> None:
        self._client, self.worker, self._began_ns = client, worker, 0
        self.place = f"worker {worker.name} at {worker.address}"
        self._token, self._over = secrets.token_hex(8), dict[str, Any]()
        self.status, self.usage, self.wall_s = None, None, 0.0
        loop = asyncio.get_running_loop()
        self.ended, self._begun = loop.create_future(), loop.create_future()
        self._arrived = asyncio.Queue[dict[str, Any] | None]()
        task = (hold, self._token, worker.id, module, words, dict(how.get("asked", {})))
        pinned = {"workers": [worker.address], "allow_other_workers": False}
        key = f"labkit-{self._token}"
        self._task = client.submit(*task, key=key, pure=False, retries=0, **pinned)
        self._following = asyncio.ensure_future(self._follow())
        self._telling: asyncio.Future[Any] = self._begun
        if how.get("job") is not None:
            self.send(how["job"])

    async def _call(self, function: Any, *more: Any) -> Any:
        """Call a function on the worker. Raises whatever keeps it from answering in time."""
        async with asyncio.timeout(ANSWER_S):
            at = self.worker.address
            return (await self._client.run(function, self._token, *more, workers=[at]))[at]

    async def _follow(self) -> None:
        """Take what the process writes until it has ended, or its worker does not answer."""
        until = time.monotonic() + START_S
        try:
            while not self._over:
                found = await self._call(exchange)
                if found["begun"] and not self._begun.done():
                    self._begun.set_result(None)
                if self._task.status == "error":
                    await self._task
                if not found["begun"] and (self._begun.done() or time.monotonic() > until):
                    raise OSError("it was started anew, or had no free thread")
                for line in found["lines"]:
                    self._arrived.put_nowait(line)
                self._over = found["over"] or {}
            self.status, self.usage = self._over["status"], self._over["usage"]
            self.wall_s = self._over["wall_s"]
        except Exception as error:  # noqa: BLE001  # whatever the cluster raises, it is lost
            silent = f"it did not answer for {ANSWER_S:.0f} s"
            self._over = {"written": silent if isinstance(error, TimeoutError) else repr(error)}
        finally:
            self._arrived.put_nowait(None)
            for one in (self.ended, self._begun):
                if not one.done():
                    one.set_result(None)

    def _tell(self, verb: str, what: Any) -> None:
        """Say something to the process, after all that was said to it before."""
        self._telling = asyncio.ensure_future(self._tell_after(self._telling, verb, what))

    async def _tell_after(self, before: asyncio.Future[Any], verb: str, what: Any) -> None:
        await asyncio.wait([before])
        with contextlib.suppress(Exception):  # it is lost, as `_follow` finds, too
            await self._call(tell, verb, what)

    def send(self, job: Any) -> None:
        """Send a line of JSON; of the moment at which to begin, that it has come."""
        if isinstance(job, dict) and "at_ns" in job:
            self._began_ns, job = time.perf_counter_ns(), {"at_ns": None}
        self._tell("send", job)

    def signal(self, number: int) -> None:
        """Send a signal, unless the process is gone."""
        self._tell("signal", number)

    async def line(self) -> dict[str, Any] | None:
        """Return the next line that it wrote; None once it has ended, or is lost."""
        line = await self._arrived.get()
        if line is None:
            self._arrived.put_nowait(None)
        elif line.get("type") == "went":
            self.apart_s = (time.perf_counter_ns() - self._began_ns) / 1e9
        elif line.get("type") == "ready":
            self._began_ns = time.perf_counter_ns()
        elif line.get("type") == "window":
            line["ns"] = [ns and self._began_ns + ns - line["ns"][0] for ns in line["ns"]]
        return line

    async def counted(self, url: str) -> dict[str, Any] | None:
        """Return what a synthetic server counted, and used: read on its own host."""
        with contextlib.suppress(Exception):  # it is lost, as is seen in other ways
            found = await self._call(tell, "counted", url)
            return found and _by_age(found)
        return None

    @property
    def written(self) -> str:
        """Return the end of what it wrote for people to read, or why it is lost."""
        return str(self._over.get("written", ""))

    def failure(self, what: str, lines: int = 1, more: str = "") -> TrialFailed:
        """Return the error for a process that did not do its work, with its worker."""
        return super().failure(f"{what} on {self.place}", lines, more)

    async def stop(self, grace_s: float = GRACE_S) -> None:
        """End the process: at once by a call, and where nothing answers by its lease."""
        try:
            if not self.ended.done():
                self._tell("stop", grace_s)
                await asyncio.wait([self._telling, self.ended])
        finally:
            self._following.cancel()
            self._task.release()


class Cluster:
    """The workers of a cluster that a trial may run on."""

    def __init__(self, on: str, client: Any, workers: Sequence[Worker]) -> None:
        self.on, self._client, self.workers = on, client, workers

    def start(self, worker: Worker, module: str, *words: str, **how: Any) -> Remote:
        """Start a module of the lab's on a worker, as `process.start` does, in its own Python."""
        return Remote(self._client, worker, module, words, how)

    async def refresh(self) -> None:
        """Ask which workers there are now: one may have died, and another come in its place.

        Raises `BadInput` for one that others reach, or of another labkit.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                found = await self._client.run(about, on_error="return")
        except (OSError, TimeoutError, TypeError) as error:
            why = "one of its workers is silent" if isinstance(error, TimeoutError) else error
            raise refusal("no-cluster", on=self.on, within_s=ANSWER_S, why=why) from None
        if not found:
            raise refusal("no-workers", on=self.on)
        for address, worker in sorted(found.items()):
            if (there := getattr(worker, "labkit", repr(worker))) != _labkit():
                raise refusal("other-labkit", worker=address, there=there, mine=_labkit())
            _check_closed("worker", address, worker.is_encrypted)
        self.workers = [*found.values()]

    @property
    def known(self) -> dict[str, Any]:
        """Return what a record says of the cluster, beside the machine of the parent."""
        machines = {one.address: {**one.machine, "versions": None} for one in self.workers}
        return {"cluster": {"scheduler": self.on, "workers": machines}}

    def places(self, trial: Trial, cores: Sequence[int | None] = ()) -> list[Place]:
        """Return the worker of each client, and at last of a server, with a core on its host.

        The first of every host come first, then the second ones, and so on; each takes as many
        processes as it has threads. On this machine the `cores` are those given, on another host
        they are taken in turn. Raises `BadInput` for too few threads.
        """
        on, clients = getattr(trial.target, "on", None), trial.clients
        named = {key: worker for worker in self.workers for key in (worker.address, worker.name)}
        if on is not None:
            check_known("target.on", on, named)
        server, slots, by_host = [named[on]] if on else [], list[Any](), Counter[str]()
        for worker in self.workers:
            free = range(worker.threads - server.count(worker))
            slots += [(n, by_host[worker.host], worker) for n in free]
            by_host[worker.host] += 1
        if len(slots) < clients:
            raise refusal("few-workers", clients=clients, n=len(self.workers), free=len(slots))
        slots.sort(key=lambda slot: slot[:2])
        chosen = [*(worker for *_, worker in slots[:clients]), *server]
        places, given = list[Place](), Counter[str]()
        for worker, core in zip(chosen, [*cores, *[None] * len(chosen)], strict=False):
            own = worker.cores[given[worker.host] % len(worker.cores)] if worker.cores else None
            given[worker.host] += 1
            places.append((worker, core if is_loopback(worker.host) else own))
        return places

    def check(self, trial: Trial) -> None:
        """Raise `BadInput` where the trial cannot run on these workers."""
        target, on = trial.target, getattr(trial.target, "on", None)
        for name in ("program", "python", "packages"):
            if value := getattr(trial.switches, name):
                raise refusal("on-workers", name=name, value=value, on=self.on)
        away = next((one for one, _ in self.places(trial) if not is_loopback(one.host)), None)
        if away is not None and on is None and not trial.is_remote:
            raise refusal("loopback-on-workers", kind=target.kind, worker=away.address)
        if away is not None and getattr(target, "tls", False):
            raise refusal("tls-on-workers", on=on)


@contextlib.asynccontextmanager
async def joined(on: Any) -> AsyncIterator[None]:
    """Prepare trials for a cluster: that of a Dask client, of a scheduler's address, of 'local:N'.

    A connection of its own is opened, in this loop, and closed at the end. Raises `BadInput` where
    the cluster does not answer, is open to others, or has another labkit.
    """
    if find_spec("distributed") is None:
        raise NotInstalled(f"on is {on!r}", "distributed", "cluster")
    dask: Any = import_module("distributed")
    async with contextlib.AsyncExitStack() as stack:
        where, security, local = on, None, 0
        if isinstance(on, dask.Client):
            where, security = on.scheduler.address if on.scheduler else "", on.security
        elif isinstance(on, str) and on.startswith("local:"):
            local = from_text("on=local", on.removeprefix("local:"), LocalWorkers)
        if not isinstance(where, str) or where.startswith("inproc:"):
            raise refusal("on", on=on)
        if not local:
            _check_closed("scheduler", where if "://" in where else f"tcp://{where}")
        how = {"security": security, "asynchronous": True, "set_as_default": False}
        try:
            if local:
                where = await stack.enter_async_context(_local(local))
                how["security"] = dask.Security()
            client = dask.Client(where, timeout=ANSWER_S, **how)
            await stack.push_async_exit(client)
        except (OSError, RuntimeError, TimeoutError, TypeError, ValueError) as error:
            raise refusal("no-cluster", on=where, within_s=ANSWER_S, why=error) from None
        there = Cluster(where, client, [])
        await there.refresh()
        stack.callback(CLUSTER.reset, CLUSTER.set(there))
        yield


@contextlib.asynccontextmanager
async def _local(workers: int) -> AsyncIterator[str]:
    """Start workers on this machine, and a scheduler; both are gone at the end."""
    dask, distributed = import_module("dask.config"), import_module("distributed")
    how, there, made = paths.table(FILE), {*os.environ}, paths.temporary_folder("cluster")
    own = {**how["config"]}
    with process.WATCH as mark, made as (own["temporary-directory"], _), dask.set(own):
        orphans.mark(os.getpid(), mark)  # what Dask starts has it from its start
        try:
            how = {"n_workers": workers, "dashboard_address": None, **how["local"]}
            async with distributed.LocalCluster(**how) as started:
                yield started.scheduler_address
        finally:
            orphans.mark(os.getpid())
            # What Dask sets for its workers, it sets in this process.
            for name in {*os.environ} - there:
                del os.environ[name]


def _check_closed(what: str, address: str, is_encrypted: bool = True) -> None:
    """Raise `BadInput` for what others than the owners of its certificates may reach."""
    at = urlsplit(address)
    if not is_loopback(at.hostname or "") and (at.scheme != "tls" or not is_encrypted):
        raise refusal("no-tls", what=what, address=address)
