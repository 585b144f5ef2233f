"""The lab's own clients against servers that nobody here wrote.

Each answers `/{item}` with that path. A server that is not installed is skipped; `.ci/run` installs
what it can.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from time import monotonic

import pytest
from servers import PATIENCE_S

from labkit.measured.transports import open_transport
from labkit.spec.transports import StreamsTransport, Transport, WireTransport

REQUESTS, LIMIT, CONNECTIONS = 500, 64, 8

NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log off;
    default_type text/plain;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 $uri; }}
    }}
}}
"""
WSGI = """
def application(environ, start_response):
    body = environ["PATH_INFO"].encode()
    length = [("Content-Length", str(len(body)))] if len(body) % 2 else []
    start_response("200 OK", [("Content-Type", "text/plain"), *length])
    return [body]
"""
ASGI = """
async def application(scope, receive, send):
    body = scope["path"].encode()
    headers = [(b"content-length", b"%d" % len(body))] if len(body) % 2 else []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body[:1], "more_body": True})
    await send({"type": "http.response.body", "body": body[1:]})
"""
NODE = """
require("http").createServer((request, response) => {
  if (request.url.length % 2) response.setHeader("Content-Length", request.url.length);
  response.write(request.url[0]);
  response.end(request.url.slice(1));
}).listen(Number(process.argv[2]), "127.0.0.1");
"""


def nginx(folder: Path, port: int) -> list[str]:
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port), encoding="utf-8")
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def gunicorn(folder: Path, port: int) -> list[str]:
    (folder / "app.py").write_text(WSGI, encoding="utf-8")
    bind = ["--bind", f"127.0.0.1:{port}", "--worker-tmp-dir", str(folder)]
    threads = ["--worker-class", "gthread", "--threads", "8", "--keep-alive", "30"]
    return [
        sys.executable,
        "-m",
        "gunicorn",
        *bind,
        *threads,
        "--no-control-socket",
        "app:application",
    ]


def uvicorn(folder: Path, port: int) -> list[str]:
    (folder / "app.py").write_text(ASGI, encoding="utf-8")
    where = ["--host", "127.0.0.1", "--port", str(port), "--lifespan", "off"]
    return [sys.executable, "-m", "uvicorn", *where, "--no-access-log", "app:application"]


def uvicorn_h11(folder: Path, port: int) -> list[str]:
    return [*uvicorn(folder, port), "--http", "h11"]


def node(folder: Path, port: int) -> list[str]:
    (folder / "app.js").write_text(NODE, encoding="utf-8")
    return ["node", str(folder / "app.js"), str(port)]


Command = Callable[[Path, int], list[str]]
# With what has to be installed.
SERVERS: dict[str, tuple[Command, str]] = {
    "nginx": (nginx, "nginx"),
    "gunicorn": (gunicorn, "gunicorn"),
    "uvicorn": (uvicorn, "uvicorn"),
    "uvicorn on h11": (uvicorn_h11, "uvicorn"),
    "node": (node, "node"),
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def listens(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the server accepts connections; False where it ends instead."""
    deadline = monotonic() + PATIENCE_S
    while monotonic() < deadline:
        with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port)):
            return True
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
            return False
    return False


@contextmanager
def started(command: Command, folder: Path) -> Iterator[str]:
    """The URL of a server, which is gone afterwards with all its children."""
    port = free_port()
    with (folder / "stderr").open("wb") as log:
        process = subprocess.Popen(
            command(folder, port), cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    try:
        assert listens(process, port), (folder / "stderr").read_text(encoding="utf-8")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module", params=SERVERS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of each server."""
    command, needed = SERVERS[request.param]
    if shutil.which(needed) is None and find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    with started(command, tmp_path_factory.mktemp("server")) as url:
        yield url


async def exchanged(settings: Transport, url: str) -> tuple[list[object], int]:
    """The bodies in the order of their items, and how many connections they took."""
    bodies: list[object] = [None] * REQUESTS
    items = iter(range(REQUESTS))
    transport = open_transport(settings, url)

    async def worker() -> None:
        for item in items:
            bodies[item] = await fetch(item)

    async with transport as fetch:
        await asyncio.gather(*(worker() for _ in range(LIMIT)))
        return bodies, transport.effective["connections_opened"]


@pytest.mark.parametrize(
    "settings",
    [
        WireTransport(connections=CONNECTIONS),
        WireTransport(connections=CONNECTIONS, depth=16),
        StreamsTransport(connections=CONNECTIONS),
    ],
    ids=["wire", "pipelined", "streams"],
)
async def test_every_call_gets_its_own_answer(server: tuple[str, str], settings: Transport) -> None:
    bodies, opened = await exchanged(settings, server)
    assert bodies == [b"/%d" % item for item in range(REQUESTS)]
    # Few more than there are at a time: they are kept alive.
    assert opened <= 2 * CONNECTIONS
