"""Run the process of a target, whatever it serves, and the servers of others that it starts.

Limits, core, loop, an announcement on standard output, and a quick end: at a signal with status 0,
or at once when its standard input ends. What is served, and what is announced, is the target's own.
A server that a target starts ends with the target, however that one ends.
"""

import asyncio
import errno
import gc
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from time import monotonic
from typing import Any, NoReturn, TypeVar

import msgspec

from labkit.errors import BadInput, LabError, TrialFailed
from labkit.measured import lifeline
from labkit.spec.targets import Listener, TargetServer
from labkit.spec.validation import refusal

SIGNALS = (signal.SIGINT, signal.SIGTERM)
BACKLOG = 4096
READY_WITHIN_S, GONE_WITHIN_S, CHECK_EVERY_S = 20.0, 1.0, 0.005


Settings = TypeVar("Settings", bound=Listener)
Work = TypeVar("Work", bound=TargetServer)
# Reads what a server has counted so far.
Read = Callable[[], dict[str, int]]
Errors = tuple[type[Exception], ...]
# Gives a server that accepts connections, with `sockets` and `close` as of `asyncio.Server`.
Start = Callable[[Settings], Awaitable[Any]]
# Settings, host (as URLs write it) and port -> what is printed; a mapping is printed as JSON.
Announce = Callable[[Settings, str, int], str | dict[str, Any]]


class OfProcess(msgspec.Struct):
    """What every process of a target is told besides the settings of its server."""

    core: int | None = None
    die_with_stdin: bool = False


def listen(settings: Settings, start: Start[Settings], announce: Announce[Settings]) -> int:
    """Serve in an event loop until a signal comes; return 0, the exit status."""

    async def serve() -> None:
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
        # Those of asyncio from 3.13 on print an error for each that outlives its server.
        getattr(server, "close_clients", str)()

    with asyncio.Runner(loop_factory=lifeline.loop_factory(settings.loop, "serve.loop")) as runner:
        runner.run(serve())
    return 0


def run(kind: type[Work], work: Callable[[Work], int]) -> int:
    """Do `work` with the settings that are the argument; return its status, 0 after a signal.

    The signal raises `SystemExit` in `work`, which cleans up after itself.
    """
    for number in SIGNALS:
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        described = " ".join(sys.argv[1:])
        try:
            own = msgspec.json.decode(described, type=OfProcess)
            given = msgspec.json.decode(described, type=dict[str, Any])
            known = {name: given[name] for name in given.keys() - {*OfProcess.__struct_fields__}}
            settings = msgspec.convert(known, kind)
        except msgspec.DecodeError as error:
            raise BadInput(f"the server's settings are {described!r}: {error}") from None
        if own.die_with_stdin:
            lifeline.end_with_parent(0)
        lifeline.raise_descriptor_limit()
        if own.core is not None:
            try:
                os.sched_setaffinity(0, {own.core})
            except (AttributeError, OSError, ValueError) as error:
                raise refusal("core", core=own.core, error=error) from None
        return work(settings)
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def serve_counts(
    url: str, pid: int | None, in_force: dict[str, Any], read: Read, errors: Errors, own: str
) -> NoReturn:
    """Announce a server that runs beside this process; print its counts at each SIGUSR1.

    `pid` None is one of the user's own. `read` returns the counts so far; what is printed is their
    growth from now on. Each reading adds 1 to the count `own`, which is taken off again. Where
    reading raises one of `errors`, nothing is counted. For targets that only look after the server;
    a signal ends the process. Raises `TrialFailed` where the server has ended by itself.
    """
    before, readings = read(), 0
    came: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGUSR1, signal.SIGCHLD):
        signal.signal(number, lambda number, _: came.put(number))
    known = {"in_force": {**in_force, "own": pid is not None}, "counts": True}
    print(json.dumps({"url": url, "pid": pid, **known}), flush=True)
    while True:
        which = came.get()
        if pid and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
            raise TrialFailed("its server ended by itself")
        if which == signal.SIGCHLD:  # it was stopped, or goes on
            continue
        readings, growth = readings + 1, {}
        with suppress(*errors):  # all of its connections are in use
            growth = {name: count - before[name] for name, count in read().items()}
        if own in growth:
            growth[own] -= readings
        print(json.dumps(growth), flush=True)


@contextmanager
def child(
    command: Sequence[str | os.PathLike[str]],
    *,
    end: signal.Signals = signal.SIGKILL,
    given: bytes | None = b"",
    **options: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program for the time of the block; `given` is its input, None stays open until then.

    It gets the signal `end` when the block ends, and from the kernel when this process is killed.
    One that is still there a second after the block is killed.
    """
    program = subprocess.Popen(  # noqa: S603  # programs of packages, arguments of our own
        command,
        stdin=subprocess.PIPE,
        preexec_fn=lifeline.killed_with_parent(end),  # noqa: PLW1509  # see there
        **options,
    )
    assert program.stdin is not None
    try:
        if given is not None:
            with suppress(BrokenPipeError), program.stdin as standard_input:
                standard_input.write(given)
        yield program
    finally:
        program.stdin.close()
        program.send_signal(end)
        try:
            program.wait(GONE_WITHIN_S)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()


def wait_until_ready(
    server: subprocess.Popen[bytes], is_ready: Callable[[], object], not_yet: type[Exception]
) -> bool:
    """Return True once `is_ready()` is true, False where the server ends before, or takes 20 s.

    Where it raises `not_yet`, the server is not ready.
    """
    until = monotonic() + READY_WITHIN_S
    while server.poll() is None and monotonic() < until:
        with suppress(not_yet):
            if is_ready():
                # Another server may have answered on the same port: ours is ready if it still runs.
                return server.poll() is None
        with suppress(subprocess.TimeoutExpired):
            server.wait(CHECK_EVERY_S)
    return False


def say(announce: Announce[Settings], settings: Settings, address: Sequence[Any]) -> None:
    """Print where connections are accepted from now on."""
    host, port = address[:2]
    message = announce(settings, f"[{host}]" if ":" in host else host, port)
    print(message if isinstance(message, str) else json.dumps(message), flush=True)


def cannot_listen(settings: Listener, error: OSError) -> LabError:
    """Return the error for an address that cannot be had."""
    which = "port-taken" if error.errno == errno.EADDRINUSE else "cannot-listen"
    return refusal(which, serve=settings, why=error.strerror)


def in_force() -> dict[str, Any]:
    """Return the loop that runs here and the versions."""
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    there = {} if loop == "asyncio" else {loop: sys.modules[loop].__version__}
    return {"loop": loop, "python": platform.python_version(), "uvloop": None, **there}
