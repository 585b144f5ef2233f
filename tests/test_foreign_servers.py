"""The lab's own clients against servers that nobody here wrote.

Each answers `/{item}` with that path. A server that is not installed is skipped; `.ci/run` installs
what it can.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any

import programs
import pytest
from machines import checks
from servers import PATIENCE_S

from labkit.measured.transports import open_transport
from labkit.spec.transports import StreamsTransport, Transport, WireTransport

REQUESTS, LIMIT, CONNECTIONS = 500, 64, 8
FOREIGN = Path(__file__).parent / "foreign"

WSGI = checks("foreign.toml", "wsgi")
ASGI = checks("foreign.toml", "asgi")


def nginx(folder: Path, port: int) -> list[str]:
    conf = (FOREIGN / "nginx.conf").read_text(encoding="utf-8")
    conf = conf.replace("FOLDER", str(folder)).replace("PORT", str(port))
    (folder / "nginx.conf").write_text(conf, encoding="utf-8")
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def gunicorn(folder: Path, port: int) -> list[str]:
    (folder / "app.py").write_text(WSGI, encoding="utf-8")
    threads = "--worker-class gthread --threads 8 --keep-alive 30 --no-control-socket"
    bind = f"--bind 127.0.0.1:{port} --worker-tmp-dir {folder} app:application"
    return [sys.executable, "-m", "gunicorn", *threads.split(), *bind.split()]


def uvicorn(folder: Path, port: int) -> list[str]:
    (folder / "app.py").write_text(ASGI, encoding="utf-8")
    words = f"-m uvicorn --host 127.0.0.1 --port {port} --lifespan off --no-access-log"
    return [sys.executable, *words.split(), "app:application"]


def uvicorn_h11(folder: Path, port: int) -> list[str]:
    return [*uvicorn(folder, port), "--http", "h11"]


def node(folder: Path, port: int) -> list[str]:
    return ["node", str(FOREIGN / "node.js"), str(port)]


def listens(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the server accepts connections; False where it ends instead."""
    deadline = monotonic() + PATIENCE_S
    while monotonic() < deadline and process.poll() is None:
        with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port)):
            return True
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    return False


@pytest.fixture(scope="module", params=[nginx, gunicorn, uvicorn, uvicorn_h11, node])
def server(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of each server, which is gone afterwards with all its children."""
    needed = request.param.__name__.removesuffix("_h11")
    if shutil.which(needed) is None and find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    folder = tmp_path_factory.mktemp("server")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
    with (folder / "stderr").open("wb") as log:
        process = subprocess.Popen(
            request.param(folder, port), cwd=folder, stdout=log, stderr=log, start_new_session=True
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


SETTINGS = {
    "wire": WireTransport(connections=CONNECTIONS),
    "pipelined": WireTransport(connections=CONNECTIONS, depth=16),
    "streams": StreamsTransport(connections=CONNECTIONS),
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
async def test_every_call_gets_its_own_answer(server: str, settings: Transport) -> None:
    bodies, items = dict[int, object](), iter(range(REQUESTS))

    async def worker() -> None:
        for item in items:
            bodies[item] = (await fetch(item)).body

    async with (transport := open_transport(settings, server)) as fetch:
        await asyncio.gather(*(worker() for _ in range(LIMIT)))
        # Few more than there are at a time: they are kept alive.
        assert transport.effective["connections_opened"] <= 2 * CONNECTIONS
    assert bodies == {item: b"/%d" % item for item in range(REQUESTS)}


SKIPS = """import pytest
def test_program(): pytest.skip("nginx is not installed")
def test_cores(): pytest.skip("there is one core")
"""


def test_where_programs_can_be_installed_a_skip_for_want_of_one_fails(tmp_path: Path) -> None:
    (tmp_path / "test_skips.py").write_text(SKIPS)
    here = Path(__file__).parent
    command = [sys.executable, "-m", "pytest", "-c", here.parent / "pyproject.toml", tmp_path]
    env = {**os.environ, "PYTHONPATH": str(here), "LABKIT_MISSING": "fail"}
    done = programs.ran(*command, "-p", "conftest", env=env)

    assert "1 failed, 1 skipped" in done.stdout
    assert "nginx is not installed, and may not be skipped here" in done.stdout
