"""The targets that the lab starts: until they accept connections, what they count, their end."""

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import msgspec

from labkit import paths
from labkit.launch import listeners, preflight, process
from labkit.launch.cluster import Remote
from labkit.launch.process import START_S, Child
from labkit.record.record import Note
from labkit.spec.addresses import EVERYWHERE
from labkit.spec.targets import Command, HttpServer, NoTarget
from labkit.spec.trial import Trial

LOOPBACK, CHECK_EVERY_S = ("127.0.0.1", "::1"), 0.01
# Seconds that a synthetic server may take to answer what it is asked over HTTP.
ASK_S = 10.0


@dataclass(frozen=True)
class Served:
    """A target that accepts connections; `pid` None is one that the lab did not start.

    Such a one is measured over all of its `pids`, and has the `cores` alone.
    `own`: it was started for one trial, and all that it counts is of that. `in_force` is what a
    target that reports no counts by HTTP reports of itself; `child` is its process, which `reports`
    them when asked by a signal.
    """

    url: str
    pid: int | None
    own: bool = True
    in_force: dict[str, Any] | None = None
    child: Child | None = None
    reports: bool = False
    pids: list[int] = field(default_factory=list)
    cores: Collection[int] = ()
    notes: list[Note] = field(default_factory=list)


@contextlib.asynccontextmanager
async def serving(settings: HttpServer) -> AsyncIterator[Served]:
    """Start a synthetic server for several trials or for none; it is gone at the end."""
    known = msgspec.structs.asdict(settings) | {"announce_json": True, "die_with_stdin": True}
    async with _started("http", known) as served:
        yield replace(served, own=False)


def running(ready: preflight.Ready, url: str) -> Served:
    """Return the server at the URL of a trial, with its processes where they can be read."""
    parts = urlsplit(url)
    if ready.trial.is_remote:
        return Served(url, None)
    port = parts.port or {"https": 443}.get(parts.scheme, 80)
    return measured(url, listeners.find(ready.addresses or [parts.hostname or ""], port))


def measured(url: str, found: listeners.Listener) -> Served:
    """Return what listens at a URL as a target; a note says so where it cannot be measured."""
    if not found.roots:
        message = paths.sentence("anothers" if found.hosts else "unseen", url=url)
        return Served(url, None, notes=[Note(code="target-not-read", message=message)])
    in_force = {"in_force": {"pids": found.roots, "cores": sorted(found.cores) or None}}
    pid = None if found.pids else found.roots[0]
    return Served(url, pid, in_force=in_force, pids=found.pids, cores=found.cores)


def target_of(
    ready: preflight.Ready, core: int | None, served: Served | None
) -> contextlib.AbstractAsyncContextManager[Served]:
    """Start the target of a trial, unless it runs already; it is gone at the end."""
    target = ready.trial.target
    if served is not None:
        return contextlib.nullcontext(served)
    if isinstance(target, NoTarget):
        return contextlib.nullcontext(Served("", None, in_force={}))
    if isinstance(target, Command):
        return _commanded(target, core)
    # The target's own settings, and those that only its process has.
    settings, start = {**ready.asked["target"], "core": core}, None
    kind, on = settings.pop("kind"), settings.pop("on", None)
    if ready.cluster is not None and on is not None:
        cores = [*[None] * ready.trial.clients, core]
        worker, settings["core"] = ready.cluster.places(ready.trial, cores)[-1]
        start = partial(ready.cluster.start, worker)
        settings |= {"host": worker.host, "allow_remote": worker.host}
    if kind == "http":
        settings |= {"seed": ready.trial.workload.seed, "announce_json": True}
        settings |= {"keep_history": ready.trial.program is not None}
    if kind != "valkey":  # its process watches standard input by itself
        settings |= {"die_with_stdin": True}
    return _started(kind, settings, start, ready.trial)


@contextlib.asynccontextmanager
async def _started(
    kind: str,
    settings: dict[str, Any],
    start: Callable[..., Child] | None = None,
    trial: Trial | None = None,
) -> AsyncIterator[Served]:
    """Start a target, and wait until it accepts connections and announces its URL.

    Raises `BadInput` where it has no room for the trial.
    """
    start, told = start or process.start, msgspec.json.encode(settings).decode()
    child = start(f"labkit.measured.targets.{kind}", told)
    try:
        late = f"the target announced nothing for {START_S:.0f} s"
        line = await child.first_line(START_S, late, "the target did not start")
        known = {"in_force": line.get("in_force"), "reports": line.get("counts", False)}
        if trial is not None:
            preflight.check_served(trial, known["in_force"] or {})
        pid = None if isinstance(child, Remote) else line["pid"]  # none of this host's
        yield Served(line["url"], pid, child=child, **known)
    finally:
        await child.stop()


@contextlib.asynccontextmanager
async def _commanded(target: Command, core: int | None) -> AsyncIterator[Served]:
    """Start a server of the user's own, and wait until it answers; it is gone at the end."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = target.port or int(free.getsockname()[1])
    child = Child(target.words(port), core=core, environment=preflight.of_commands(), stranger=True)
    try:
        host = await _answering(child, target, port)
        found = await asyncio.to_thread(listeners.find, [host], port)
        family = await asyncio.to_thread(listeners.with_all_below, [child.pid])
        if {*found.roots} <= {*family}:  # all of it is the server, whoever of it listens
            found = replace(found, roots=[child.pid], pids=family)
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        served = measured(url, found)
        if {*found.hosts} & {*EVERYWHERE}:
            message = paths.sentence("exposed", host=found.hosts[0])
            served.notes.append(Note(code="target-exposed", message=message))
        # What it counts itself is not known: it is not asked.
        yield replace(served, child=child, in_force=served.in_force or {})
    finally:
        await child.stop()


async def _answering(child: Child, target: Command, port: int) -> str:
    """Wait until it answers HTTP; return the address. Raise `TrialFailed` where it never does.

    Some servers listen before they have loaded what is to answer: so they are asked.
    """
    try:
        async with asyncio.timeout(target.start_s):
            while not child.ended.done():
                for host in LOOPBACK:
                    with contextlib.suppress(OSError):
                        reader, writer = await asyncio.open_connection(host, port)
                        with contextlib.closing(writer):
                            writer.write(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                            if await reader.read(1):
                                return host
                await asyncio.wait([child.ended], timeout=CHECK_EVERY_S)
    except TimeoutError:
        at = ", ".join(await asyncio.to_thread(listeners.of_process, child.pid))
        which = "listens-elsewhere" if at else "answers-nothing"
        what = paths.sentence(which, port=port, start_s=target.start_s, at=at)
        raise child.failure(what, lines=3) from None
    what = f"target.command ended before it answered at port {port}"
    stay = "; what it left was ended, too: let it stay in the foreground, and not be a daemon"
    raise child.failure(what, lines=3, more="" if child.status else stay)


async def counted(served: Served) -> dict[str, Any] | None:
    """Return what the target counted of the trial, and what was in force in it.

    Waits for ever where it does not answer; a server that others use too is asked for that alone.
    """
    if served.child is not None and served.reports:
        served.child.signal(signal.SIGUSR1)
        counted = await served.child.line()
        if counted is None:
            await asyncio.wait([served.child.ended])
        return {"in_force": served.in_force or {}, **(counted or {})}
    if served.child is not None and served.in_force is None:
        if isinstance(served.child, Remote):
            return await served.child.counted(served.url)
        stats = await asyncio.to_thread(asked, served.url, "/-/stats")
        return stats if served.own else None
    if served.url.startswith("tcp:"):  # an echo server reports nothing, but sends back a line
        where = urlsplit(served.url)
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(where.hostname, where.port)
            with contextlib.closing(writer):
                writer.write(b"\n")
                await reader.readline()
    return served.in_force


def trusting() -> dict[str, str]:
    """Return what lets a process trust the certificate of the lab's own."""
    return {"SSL_CERT_FILE": str(paths.certificates() / "client.pem")}


def asked(url: str, path: str) -> dict[str, Any] | None:
    """Return what the synthetic server at `url` reports; None where it no longer answers."""
    from http.client import HTTPConnection, HTTPException, HTTPSConnection  # here: it takes a while

    server = urlsplit(url).netloc
    with contextlib.suppress(OSError, HTTPException, msgspec.DecodeError):
        asking = HTTPConnection(server, timeout=ASK_S)
        if url.startswith("https:"):
            context = ssl.create_default_context(cafile=trusting()["SSL_CERT_FILE"])
            asking = HTTPSConnection(server, timeout=ASK_S, context=context)
        with contextlib.closing(asking):
            asking.request("GET", path)
            return msgspec.json.decode(asking.getresponse().read(), type=dict[str, Any])
    return None
