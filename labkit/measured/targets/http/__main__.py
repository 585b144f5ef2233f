"""`python -m labkit.measured.targets.http '<JSON of HttpServer>'`: run one synthetic server.

What a process owes whoever started it is in `targets.process`. What the server answers is in
`behaviour`, how that is sent in `protocol`. Several workers share a port: the system deals
connections out among them (SO_REUSEPORT), and `engine.SharedCounters` adds up what they count.
"""

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from labkit.errors import TrialFailed
from labkit.measured.targets import process
from labkit.measured.targets.http.connections import ACCEPT_AT_ONCE, Connections
from labkit.measured.targets.http.engine import Engine
from labkit.measured.targets.http.protocol import ServerConnection
from labkit.spec.targets import HttpServer


def serve(settings: HttpServer) -> int:
    """Serve in this process, or in several workers below it; return the exit status."""
    if settings.workers > 1 and settings.counters_folder is None:
        return supervise(settings)
    return process.listen(settings, start, announcement)


async def start(settings: HttpServer) -> asyncio.Server:
    """Listen where `settings` say; connections are accepted when this returns."""
    engine = Engine(settings)
    connections = Connections(settings.request_timeout_s, settings.idle_timeout_s)
    connections.start()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if settings.tls else None
    if tls is not None:
        folder = _certificates()
        tls.load_cert_chain(folder / "server.pem", folder / "server.key")
    loop, begin = asyncio.get_running_loop(), partial(ServerConnection, engine, connections)
    how: dict[str, Any] = {"backlog": ACCEPT_AT_ONCE, "reuse_port": settings.workers > 1 or None}
    server = await loop.create_server(begin, settings.host, settings.port, ssl=tls, **how)
    # asyncio accepts as many as it is told may wait, and fails for each that has no descriptor.
    for lent in server.sockets:
        with socket.socket(fileno=os.dup(lent.fileno())) as own:
            own.listen(process.BACKLOG)
    return server


def _certificates() -> Path:
    from labkit import paths  # here: without TLS a server of one process has no folder

    return paths.certificates()


def announcement(settings: HttpServer, host: str, port: int) -> str | dict[str, Any]:
    """Return what to print once the server accepts connections, for a program or a person."""
    url = f"https://{host}:{port}" if settings.tls else f"http://{host}:{port}"
    trusted = str(_certificates() / "client.pem") if settings.tls else ""
    if settings.announce_json:
        return {"url": url, "pid": os.getpid()} | ({"ca": trusted} if trusted else {})
    workers = f"{settings.workers} workers, " if settings.workers > 1 else ""
    return (
        f"serving {url} with a delay of {settings.delay} s "
        f"(loop {settings.loop}, {workers}seed {settings.seed}); Ctrl-C stops it"
        f"{trusted and f'; what a client is to trust is in {trusted}'}"
    )


def supervise(settings: HttpServer) -> int:
    """Run several workers until a signal comes, which raises `SystemExit`.

    Return 1 where one of them died.
    """
    from labkit import paths  # here: a server of one process has no folder

    try:
        reserved = _reserve_port(settings)
    except OSError as error:
        raise process.cannot_listen(settings, error) from None
    with reserved, paths.temporary_folder("http") as (folder, _), ExitStack() as stack:
        address = reserved.getsockname()
        changes = {"port": address[1], "announce_json": True, "die_with_stdin": True}
        each = msgspec.structs.replace(settings, counters_folder=str(folder), **changes)
        workers = [stack.enter_context(_worker(each)) for _ in range(settings.workers)]
        process.say(announcement, settings, address)
        pid, _ = os.wait()
        for worker in workers:
            if worker.pid == pid:
                worker.returncode = 1
        print(f"error: worker {pid} of the server ended by itself", file=sys.stderr)
    return 1


def _reserve_port(settings: HttpServer) -> socket.socket:
    """Return a socket that reserves the port for the workers, and does not listen."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    if settings.port:
        # Without the option that lets others in: the port may not be someone else's.
        with socket.socket(family) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind((settings.host, settings.port))
    shared = socket.socket(family)
    try:
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind((settings.host, settings.port))
    except OSError:
        shared.close()
        raise
    return shared


@contextmanager
def _worker(settings: HttpServer) -> Iterator[subprocess.Popen[bytes]]:
    """Start a worker, which listens already, and end it with the block."""
    described = msgspec.json.encode(settings).decode()
    command = [sys.executable, "-P", "-m", "labkit.measured.targets.http", described]
    pipes = {"stdout": subprocess.PIPE, "start_new_session": True}
    with process.child(command, end=signal.SIGTERM, given=None, **pipes) as worker:
        assert worker.stdout is not None
        if not worker.stdout.readline():
            worker.wait()
            raise TrialFailed("a worker of the server did not start")
        yield worker


if __name__ == "__main__":
    sys.exit(process.run(HttpServer, serve))
