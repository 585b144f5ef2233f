"""The target `postgres`: what it serves, what it counts, and that nothing of it stays behind."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import psutil
import pytest
from machines import checks
from targets import Target, announced, connected, ended, ending, running, started, until

from labkit import paths
from labkit.errors import TrialFailed
from labkit.measured.probes.window import ProcessReader, ProcessTreeReader, reader_of
from labkit.measured.targets import postgres as target
from labkit.measured.targets import process
from labkit.spec.targets import PostgresTarget

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def database() -> Iterator[Target]:
    with running("postgres", rows=50, max_connections=7) as one:
        yield one


def folder_of(database: Target) -> Path:
    """Where all its files are."""
    return Path(parse_qs(urlsplit(database.url).query)["host"][0])


def has_shared_memory(pid: int | None) -> bool:
    """Return whether there is some that this process has made, or used last."""
    return f" {pid} " in Path("/proc/sysvipc/shm").read_text()


# What it serves


async def test_the_table_has_its_rows_and_its_settings_are_announced(database: Target) -> None:
    async with connected(database) as connection:
        rows = await connection.fetch("SELECT id, name, value FROM labkit.items ORDER BY id")
        assert await connection.fetchval("SHOW listen_addresses") == ""

    assert [tuple(row) for row in rows] == [(i, f"item {i}", i / 2) for i in range(50)]
    expected = {"rows": 50, "max_connections": 7, "fsync": "off", "own": True}
    assert expected.items() <= database.in_force.items()
    assert folder_of(database).stat().st_mode & 0o077 == 0


async def test_it_counts_the_sessions_and_the_scans_of_its_table(database: Target) -> None:
    before = database.counted()
    for _ in range(3):
        async with connected(database) as connection:
            for key in range(5):
                await connection.fetchrow("SELECT name FROM labkit.items WHERE id = $1", key)
    after = database.counted()

    assert after["requests"] - before["requests"] == 15
    assert after["connections_opened"] - before["connections_opened"] == 3


async def test_with_all_connections_in_use_it_counts_nothing_and_goes_on(database: Target) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(7):
            await stack.enter_async_context(connected(database))
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await asyncpg.connect(database.url)

        assert database.counted() == {}
    # A server process ends a moment after its client has left.
    assert until(lambda: database.counted().keys() == {"requests", "connections_opened"})


async def test_a_query_waits_and_works_once_however_many_rows_it_asks_for(database: Target) -> None:
    async with connected(database) as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("DROP VIEW labkit.items")
        await connection.execute(target.view(0.01, work=70))
        plan = await connection.fetch(
            "EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) "
            "SELECT name FROM labkit.items WHERE id = ANY(ARRAY[1, 2, 3])"
        )
        await transaction.rollback()

    scans = [row[0] for row in plan if "Function Scan on" in row[0]]
    for function, rows in (
        ("pg_sleep", "rows=1.00 loops=1)"),
        ("generate_series", "rows=70.00 loops=1)"),
    ):
        assert [scan.endswith(rows) for scan in scans if function in scan] == [True], scans


async def test_a_table_that_exists_is_used_and_another_size_is_made() -> None:
    with running("postgres", rows=20) as one:
        async with connected(one) as connection:
            oid = "SELECT 'labkit.stored'::regclass::oid"
            made = await connection.fetchval(oid)
            await target.prepare(one.url, PostgresTarget(rows=20))
            assert await connection.fetchval(oid) == made
            await target.prepare(one.url, PostgresTarget(rows=21, query_s=0.001))
            assert await connection.fetchval("SELECT count(*) FROM labkit.items") == 21


# What is read of it


async def test_its_cpu_and_memory_are_those_of_all_its_processes(database: Target) -> None:
    family, alone = ProcessTreeReader(database.pid), ProcessReader(database.pid)
    before_s = family.cpu_s() or 0
    async with connected(database) as connection:
        await connection.fetchval("SELECT sum(sqrt(i)) FROM generate_series(1, 2000000) i")
        worked_s = (family.cpu_s() or 0) - before_s
        assert (family.rss_bytes() or 0) > (alone.rss_bytes() or 0)
        assert len(psutil.Process(database.pid).children()) >= 2
    assert before_s > 0
    assert worked_s > 0.02
    # The postmaster itself has done none of it, and takes over what an ended child has used.
    assert until(lambda: (alone.ended_children_s() or 0) > worked_s / 2)
    assert (family.cpu_s() or 0) - before_s > worked_s / 2


def test_who_is_reader_of() -> None:
    assert isinstance(reader_of(None, "many"), ProcessReader)
    assert isinstance(reader_of(os.getpid(), "one"), ProcessReader)
    family = reader_of(os.getpid(), "many")
    assert isinstance(family, ProcessTreeReader)
    assert (family.peak_bytes() or 0) > 1_000_000


# That nothing stays behind


@pytest.mark.parametrize("how", [None, signal.SIGKILL, signal.SIGTERM, "all"])
async def test_when_the_target_ends_the_server_and_its_files_are_gone(
    how: signal.Signals | str | None,
) -> None:
    database = announced(started("postgres", die_with_stdin=True))
    connection = await asyncpg.connect(database.url)
    waiting = asyncio.ensure_future(connection.fetchval("SELECT pg_sleep(60)"))
    await asyncio.sleep(0)
    own = psutil.Process(database.process.pid)
    # The server, and what it has started.
    below = own.children(recursive=True)
    try:
        assert len(below) >= 4
        with ending(own, *below):
            if how is None:
                database.close_stdin()
            elif how == "all":
                for one in [own, *below]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        one.kill()
            else:
                own.send_signal(how)
        if how != signal.SIGTERM:  # then whoever comes next removes them
            paths.sweep()
        assert until(lambda: not folder_of(database).exists())
        assert not has_shared_memory(database.pid)
        with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InternalClientError)):
            await waiting
    finally:
        connection.terminate()
        database.process.kill()
        end = ended(database.process)
    assert end == (-signal.SIGKILL if how in (signal.SIGKILL, "all") else 0, "")


def test_its_files_are_made_once_and_then_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_ENVIRONMENTS", str(tmp_path / "kept"))
    programs, child = list[str](), process.child

    def noting(command: Sequence[Path], **how: Any) -> Any:
        programs.append(Path(command[0]).name)
        return child(command, **how)

    monkeypatch.setattr(process, "child", noting)
    for _ in range(2):
        with target.running(PostgresTarget()) as (dsn, _):
            assert asyncio.run(target.prepare(dsn, PostgresTarget(rows=3)))["rows"] == 3

    assert programs == ["initdb", "postgres", "postgres"]
    [kept] = (tmp_path / "kept").iterdir()
    (kept / "PG_VERSION").unlink()
    with pytest.raises(TrialFailed, match="PG_VERSION"), target.running(PostgresTarget()):
        pass
    with target.running(PostgresTarget()):  # one that is damaged is made anew
        assert programs[3:] == ["postgres", "initdb", "postgres"]


def test_where_its_files_cannot_be_kept_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_ENVIRONMENTS", f"{__file__}/x")
    with target.running(PostgresTarget()) as (dsn, _):
        assert asyncio.run(target.prepare(dsn, PostgresTarget(rows=3)))["rows"] == 3


@pytest.mark.parametrize(("script", "within_s", "says"), checks("postgres_target.toml", "refused"))
def test_a_server_that_does_not_start_says_why(
    tmp_path: Path, script: str, within_s: float, says: str
) -> None:
    broken = tmp_path / "pginstall"
    for part in ("bin", "lib", "share"):
        (broken / part).mkdir(parents=True)
    for program in ("initdb", "postgres"):
        path = broken / "bin" / program
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, "find_programs", lambda: broken)
        patch.setattr(process, "READY_WITHIN_S", within_s)
        with pytest.raises(TrialFailed) as caught, target.running(PostgresTarget()):
            pass

    assert str(caught.value) == f"PostgreSQL did not start: {says}"
