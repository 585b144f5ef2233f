"""`python -m labkit.targets.http '<JSON of parts.Server>'`: one synthetic server, as a process.

What a process owes whoever started it stands here: limits, core, loop, the announcement, a quick
end. What it answers is in `behaviour`, how that is sent in the engine.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from threading import Thread
from typing import Any

import msgspec

from labkit.errors import BadInput, LabError
from labkit.parts import Server
from labkit.targets.http.workers import supervise

SIGNALS = (signal.SIGINT, signal.SIGTERM)
USAGE = """usage: python -m labkit.targets.http '{"port": 8080, "delay": "randint(0,3)"}'"""


def main(arguments: list[str]) -> int:
    """Serve until a signal comes; the exit status is 0 then, and 2 where nothing could start."""
    for number in SIGNALS:
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        settings = _settings(arguments)
        _prepare(settings)
        if settings.workers > 1 and settings.board is None:
            return supervise(settings)
        with asyncio.Runner(loop_factory=_loop_factory(settings)) as runner:
            runner.run(_serve(settings))
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _settings(arguments: list[str]) -> Server:
    if len(arguments) != 1:
        raise BadInput(USAGE)
    try:
        return msgspec.json.decode(arguments[0], type=Server)
    except msgspec.DecodeError as error:
        raise BadInput(f"the server's settings are {arguments[0]!r}: {error}") from None


def _prepare(settings: Server) -> None:
    if settings.die_with_stdin:
        Thread(target=_die_with_stdin, name="die-with-stdin", daemon=True).start()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if settings.core is not None:
        _pin(settings.core)


def _pin(core: int) -> None:
    try:
        os.sched_setaffinity(0, {core})
    except (AttributeError, OSError, ValueError) as error:
        raise BadInput(
            f"serve.core is {core}: this process cannot be pinned to it ({error}); leave it out"
        ) from None


def _die_with_stdin() -> None:
    """End the process when its parent is gone, which holds the other end of its standard input.

    At once and from a thread: a loop that is blocked could not do it.
    """
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    os._exit(0)


def _loop_factory(settings: Server) -> Callable[[], asyncio.AbstractEventLoop]:
    if settings.loop == "asyncio":
        return asyncio.new_event_loop
    try:
        factory: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    except ImportError:
        raise BadInput(
            "serve.loop is 'uvloop': it is not installed here; install it, or write asyncio"
        ) from None
    return factory


async def _serve(settings: Server) -> None:
    stopped = asyncio.Event()
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    server = await _listening(settings)
    # What was made until now stays: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    announce(settings, server.sockets[0].getsockname())
    await stopped.wait()
    # Requests that are still waiting are cancelled when the runner closes.
    server.close()


async def _listening(settings: Server) -> asyncio.Server:
    engine: Any = import_module(f"labkit.targets.http.engine_{settings.engine}")
    try:
        server: asyncio.Server = await engine.start(settings)
    except OSError as error:
        raise cannot_listen(settings, error) from None
    return server


def cannot_listen(settings: Server, error: OSError) -> BadInput:
    """What to tell whoever asked for an address that cannot be had."""
    if error.errno == errno.EADDRINUSE:
        return BadInput(
            f"serve.port is {settings.port}: it is taken on {settings.host}; stop what listens "
            "there, or write 0 for any free port"
        )
    return BadInput(
        f"serve.host is {settings.host!r} and serve.port is {settings.port}: this machine cannot "
        f"listen there ({error.strerror}); write 127.0.0.1 and a port above 1023, or 0"
    )


def announce(settings: Server, address: tuple[Any, ...]) -> None:
    """Say where the server listens, once it accepts connections."""
    host, port = address[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    if settings.announce_json:
        print(json.dumps({"url": url, "pid": os.getpid()}), flush=True)
        return
    print(
        f"serving {url} with a delay of {settings.delay} s "
        f"(engine {settings.engine}, loop {settings.loop}, {_workers(settings)}seed "
        f"{settings.seed}); Ctrl-C stops it",
        flush=True,
    )


def _workers(settings: Server) -> str:
    return f"{settings.workers} workers, " if settings.workers > 1 else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
