"""Several processes as one server: they share a port, and tell each other what they counted.

The system deals connections out among them (SO_REUSEPORT). Each writes its counters down several
times a second; whoever is asked adds up its own and what the others wrote last, so that theirs are
up to `EVERY_S` old.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec

from labkit.errors import TrialFailed
from labkit.measured.targets import process
from labkit.measured.targets.http.stats import Stats
from labkit.spec.parts import Server

EVERY_S = 0.1
GRACE_S = 2.0


class Board:
    """Where one of several workers writes its counters and reads those of the others."""

    def __init__(self, folder: str, stats: Stats) -> None:
        self._folder, self._stats, self._last = Path(folder), stats, b""
        self._own = self._folder / f"{os.getpid()}.json"
        self._write()

    def _write(self) -> None:
        data = msgspec.json.encode(self._stats.raw())
        if data != self._last:
            self._last, new = data, self._own.with_suffix(".new")
            with suppress(OSError):  # the folder is gone: so is the server
                new.write_bytes(data)
                new.replace(self._own)
        asyncio.get_running_loop().call_later(EVERY_S, self._write)

    def total(self) -> Stats:
        """All that the server counted: of the most in flight it is the sum, an upper bound."""
        total = Stats()
        total.add(self._stats.raw())
        for path in self._folder.glob("*.json"):
            if path != self._own:
                with suppress(OSError, msgspec.DecodeError):
                    total.add(msgspec.json.decode(path.read_bytes()))
        return total


def supervise(settings: Server) -> int:
    """Start the workers, say where they listen, end them at a signal; 1 where one of them died."""
    from labkit.measured.targets.http.__main__ import announcement

    try:
        reserved = _reserved(settings)
    except OSError as error:
        raise process.cannot_listen(settings, error) from None
    with reserved, tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        address = reserved.getsockname()
        changes = {"port": address[1], "announce_json": True, "die_with_stdin": True}
        each = msgspec.structs.replace(settings, board=folder, **changes)
        workers = [stack.enter_context(_worker(each)) for _ in range(settings.workers)]
        process.say(announcement, settings, address)
        status = _first_end(workers)
    return status


def _reserved(settings: Server) -> socket.socket:
    """A socket that holds the port for the workers, and does not listen."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    if settings.port:
        # Without the option that lets others in: the port may not be someone else's.
        with socket.socket(family) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind((settings.host, settings.port))
    if not hasattr(socket, "SO_REUSEPORT"):
        raise OSError(errno.ENOTSUP, "this system cannot share a port among processes")
    shared = socket.socket(family)
    try:
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind((settings.host, settings.port))
    except OSError:
        shared.close()
        raise
    return shared


@contextmanager
def _worker(settings: Server) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        sys.executable,
        "-m",
        "labkit.measured.targets.http",
        msgspec.json.encode(settings).decode(),
    ]
    worker = subprocess.Popen(  # noqa: S603  # our own interpreter and module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert worker.stdout is not None
        if not worker.stdout.readline():
            worker.wait()
            raise TrialFailed("a worker of the server did not start")
        yield worker
    finally:
        # It ends with its standard input; and if its loop is blocked, at once.
        assert worker.stdin is not None
        worker.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            worker.wait(GRACE_S)
        worker.kill()
        worker.wait()


def _first_end(workers: list[subprocess.Popen[bytes]]) -> int:
    """Wait for a signal, which leaves by `SystemExit`, or for a worker that ends by itself."""
    pid, _ = os.wait()
    for worker in workers:
        if worker.pid == pid:
            worker.returncode = 1
    print(f"error: worker {pid} of the server ended by itself", file=sys.stderr)
    return 1
