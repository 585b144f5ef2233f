"""Run the process of a target, whatever it serves.

Limits, core, loop, an announcement on standard output, and a quick end: at a signal with status 0,
or at once when its standard input ends. What is served, and what is announced, is the target's own.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from queue import SimpleQueue
from typing import Any, NoReturn, Protocol, TypeVar

import msgspec

from labkit.errors import BadInput, LabError
from labkit.measured import lifeline
from labkit.spec.targets import Listener, TargetServer

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


Settings = TypeVar("Settings", bound=Listener)
Work = TypeVar("Work", bound=TargetServer)
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
    """Serve until a signal comes; return 0 then, and 2 where nothing could start.

    `supervise` may let other processes serve instead, and then returns the exit status, else None.
    """

    async def serve(settings: Settings) -> None:
        stopped = asyncio.Event()
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        try:
            server = await start(settings)
        except OSError as error:
            raise cannot_listen(settings, error) from None
        # What was created until now stays: the garbage collector need not look at it again.
        gc.collect()
        gc.freeze()
        say(announce, settings, server.sockets[0].getsockname())
        await stopped.wait()
        # Requests that are still waiting are cancelled when the runner closes.
        server.close()

    def work(settings: Settings) -> int:
        if (status := supervise(settings)) is not None:
            return status
        factory = lifeline.loop_factory(settings.loop, "serve.loop")
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(serve(settings))
        return 0

    return run(arguments, kind, work, usage)


def run(arguments: list[str], kind: type[Work], work: Callable[[Work], int], usage: str) -> int:
    """Do `work` with the settings in `arguments`; return its status, 0 where a signal ended it.

    The signal raises `SystemExit` in `work`, which cleans up after itself.
    """
    for number in SIGNALS:
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        if len(arguments) != 1:
            raise BadInput(usage)
        try:
            settings = msgspec.json.decode(arguments[0], type=kind)
        except msgspec.DecodeError as error:
            raise BadInput(f"the server's settings are {arguments[0]!r}: {error}") from None
        if settings.die_with_stdin:
            lifeline.end_with_parent(0)
        lifeline.raise_descriptor_limit()
        if settings.core is not None:
            try:
                os.sched_setaffinity(0, {settings.core})
            except (AttributeError, OSError, ValueError) as error:
                raise BadInput(
                    f"serve.core is {settings.core}: this process cannot be pinned to it "
                    f"({error}); leave it out"
                ) from None
        return work(settings)
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def serve_counts(announcement: dict[str, Any], count: Callable[[], dict[str, int]]) -> NoReturn:
    """Announce a server that runs beside this process; print its counts at each SIGUSR1.

    For targets that only look after the server. It ends when a signal ends the process.
    """
    asked: SimpleQueue[None] = SimpleQueue()
    signal.signal(signal.SIGUSR1, lambda *_: asked.put(None))
    print(json.dumps(announcement), flush=True)
    while True:
        asked.get()
        print(json.dumps(count()), flush=True)


def say(announce: Announce[Settings], settings: Settings, address: Sequence[Any]) -> None:
    """Print where connections are accepted from now on."""
    host, port = address[:2]
    message = announce(settings, f"[{host}]" if ":" in host else host, port)
    print(message if isinstance(message, str) else json.dumps(message), flush=True)


def cannot_listen(settings: Listener, error: OSError) -> BadInput:
    """Return the error for an address that cannot be had."""
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
    """Return the kind of the running loop: asyncio or uvloop."""
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]
