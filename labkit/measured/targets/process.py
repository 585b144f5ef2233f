"""What a target's process owes whoever started it, whatever it serves.

Limits, core, loop, an announcement on standard output, and a quick end: at a signal with status 0,
or at once when its standard input ends. What is served, and in which words a human is told, is the
target's own.
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
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from importlib import import_module
from threading import Thread
from typing import Any, Protocol, TypeVar

import msgspec

from labkit.errors import BadInput, LabError
from labkit.spec.parts import Process, TargetProcess

SIGNALS = (signal.SIGINT, signal.SIGTERM)
BACKLOG = 4096


class Listening(Protocol):
    """What accepts connections; an `asyncio.Server` is one."""

    @property
    def sockets(self) -> Sequence[Any]:
        """The sockets that listen."""
        ...

    def close(self) -> None:
        """Accept no more."""
        ...


Settings = TypeVar("Settings", bound=TargetProcess)
Work = TypeVar("Work", bound=Process)
Start = Callable[[Settings], Awaitable[Listening]]
Announce = Callable[[Settings, str, int], str | dict[str, Any]]
"""Settings, host (as URLs write it) and port -> what is printed; a mapping is printed as JSON."""


def main(
    arguments: list[str],
    kind: type[Settings],
    start: Start[Settings],
    announce: Announce[Settings],
    usage: str,
    supervise: Callable[[Settings], int | None] = lambda _: None,
) -> int:
    """Serve until a signal comes; the exit status is 0 then, and 2 where nothing could start.

    `supervise` lets others serve instead, and gives the exit status; None where it does not.
    """

    def serve(settings: Settings) -> int:
        if (status := supervise(settings)) is not None:
            return status
        with asyncio.Runner(loop_factory=_loop_factory(settings)) as runner:
            runner.run(_serve(settings, start, announce))
        return 0

    return run(arguments, kind, serve, usage)


def run(arguments: list[str], kind: type[Work], work: Callable[[Work], int], usage: str) -> int:
    """Do `work` with the settings in `arguments`; the exit status, 0 where a signal ended it.

    The signal raises `SystemExit` in `work`, which cleans up after itself.
    """
    for number in SIGNALS:
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        settings = _settings(arguments, kind, usage)
        _prepare(settings)
        return work(settings)
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _settings(arguments: list[str], kind: type[Work], usage: str) -> Work:
    if len(arguments) != 1:
        raise BadInput(usage)
    try:
        return msgspec.json.decode(arguments[0], type=kind)
    except msgspec.DecodeError as error:
        raise BadInput(f"the server's settings are {arguments[0]!r}: {error}") from None


def _prepare(settings: Process) -> None:
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


def _loop_factory(settings: TargetProcess) -> Callable[[], asyncio.AbstractEventLoop]:
    if settings.loop == "asyncio":
        return asyncio.new_event_loop
    try:
        factory: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    except ImportError:
        raise BadInput(
            "serve.loop is 'uvloop': it is not installed here; install it, or write asyncio"
        ) from None
    return factory


async def _serve(settings: Settings, start: Start[Settings], announce: Announce[Settings]) -> None:
    stopped = asyncio.Event()
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    server = await _listening(settings, start)
    # What was made until now stays: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    say(announce, settings, server.sockets[0].getsockname())
    await stopped.wait()
    # Requests that are still waiting are cancelled when the runner closes.
    server.close()


def say(announce: Announce[Settings], settings: Settings, address: Sequence[Any]) -> None:
    """Say where connections are accepted from now on."""
    host, port = address[:2]
    said = announce(settings, f"[{host}]" if ":" in host else host, port)
    print(said if isinstance(said, str) else json.dumps(said), flush=True)


async def _listening(settings: Settings, start: Start[Settings]) -> Listening:
    try:
        return await start(settings)
    except OSError as error:
        raise cannot_listen(settings, error) from None


def cannot_listen(settings: TargetProcess, error: OSError) -> BadInput:
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


def loop_name() -> str:
    """The kind of the running loop: asyncio or uvloop."""
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]
