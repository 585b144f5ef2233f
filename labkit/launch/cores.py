"""Reserve cores for a run, so that no two runs of the lab take the same ones without a word.

The plan. A file for each core lies in a folder of the user's own under the temporary folder, and
whoever uses a core has a shared lock (flock) on its file, which the kernel frees when the process
dies. A core is free where the lock can be had alone: the first two free ones are taken. Where fewer
are free, the usual two are shared, and each run says so, the one that came first too: at the end of
each trial it looks whether the locks can still be had alone, and whether anybody came meanwhile,
since everyone who takes a core touches its file. Runs within one process are told apart by their
context: what a study starts runs on the study's cores, two studies at once are two runs.

Rejected: exclusive locks, as the second of two that share would have none, and a third would
believe itself alone. Where there is no such folder (a full disk, a link that another user laid
there), nothing is locked.
"""

import fcntl
import os
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from labkit import paths
from labkit.launch import environment
from labkit.record.record import Note

State = tuple[bool, list[int]]


@dataclass(frozen=True)
class Cores:
    """A core for the client and one for the server; None where they have no core of their own.

    `files` are the descriptors of those that are locked. Several clients have `more`.
    """

    client: int | None
    server: int | None
    files: list[int] = field(default_factory=list)
    more: Sequence[int] = ()

    def of_clients(self, clients: int, taken: Collection[int] = ()) -> list[int | None]:
        """Return a core for each client; a server that runs already has those `taken`.

        Where there are fewer cores than clients, several share one, and not that of the server.
        """
        if self.client is None or self.server is None:
            return [None] * clients
        own: list[int] = [self.client, *self.more][:clients]
        if not {*own}.isdisjoint(taken):
            every = dict.fromkeys([*own, self.server, *environment.usable_cores()])
            own = [core for core in every if core not in taken][:clients] or own[:1]
        return [own[client % len(own)] for client in range(clients)]

    def state(self) -> State:
        """Return whether others of the lab have one of them now, and when each was last taken."""
        others = [file for file in self.files if not _lock_alone(file)]
        for file in self.files:
            fcntl.flock(file, fcntl.LOCK_SH)
        return bool(others), [os.fstat(file).st_mtime_ns for file in self.files]

    def notes(self, before: State) -> list[Note]:
        """Return the note on another run that had one of them since, or none."""
        now = self.state()
        message = paths.sentence("core-shared")
        return [Note(code="core-shared", message=message)] if now[0] or now != before else []


_RESERVED: ContextVar[Cores | None] = ContextVar("reserved", default=None)


@contextmanager
def reserved(*, pinned: bool = True, clients: int = 1) -> Iterator[Cores]:
    """Reserve a core for the server and, where there are so many, one for each client.

    Without `pinned` all of them. A run that is part of one that has some has these.
    """
    outer = _RESERVED.get()
    if outer is not None:
        yield outer if pinned else Cores(None, None, outer.files)
        return
    with ExitStack() as stack:
        try:
            cores = _take(stack, pinned, clients)
        except OSError:
            cores = Cores(*(environment.core_each() if pinned else (None, None)))
        token = _RESERVED.set(cores)
        try:
            yield cores
        finally:
            _RESERVED.reset(token)


def _take(stack: ExitStack, pinned: bool, clients: int) -> Cores:
    """Choose cores and lock them; `stack` frees them. Raises `OSError` where nothing can be locked.

    One process chooses at a time: it has the lock of the folder.
    """
    usable = environment.usable_cores()
    with ExitStack() as choosing:
        path = Path(tempfile.gettempdir()) / f"labkit_cores_{os.getuid()}"
        path.mkdir(mode=0o700, exist_ok=True)
        folder = _open(choosing, path, os.O_DIRECTORY)
        status = os.fstat(folder)
        if status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise PermissionError(path)
        fcntl.flock(folder, fcntl.LOCK_EX)
        files = {core: _open(choosing, f"core-{core}", os.O_CREAT, folder) for core in usable}
        free = [core for core, file in files.items() if _lock_alone(file)]
        chosen = free if len(free) > 1 else usable
        client, server = environment.core_each(chosen) if pinned else (None, None)
        own = [one for one in (client, server) if one is not None]
        more = [one for one in chosen if one not in own][: clients - 1] if own else []
        locked = [os.dup(files[core]) for core in [*own, *more] or usable]
        for file in locked:
            stack.callback(os.close, file)
            fcntl.flock(file, fcntl.LOCK_SH)
            os.utime(file)
        return Cores(client, server, locked, more)


def _open(stack: ExitStack, path: Path | str, flags: int, folder: int | None = None) -> int:
    file = os.open(path, flags | os.O_RDONLY | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    stack.callback(os.close, file)
    return file


def _lock_alone(file: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
