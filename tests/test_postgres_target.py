"""The target `postgres`: what it serves, what it counts, and that nothing of it stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from databases import PATIENCE_S, Database, postgres, started
from test_kills import GONE_WITHIN_S, Ends, children_of, until

from labkit.errors import TrialFailed
from labkit.measured.probes.window import ProcessReader, ProcessTreeReader, reader_of
from labkit.measured.targets import postgres as target
from labkit.measured.targets import process
from labkit.spec.targets import PostgresServer

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with postgres(rows=50, max_connections=7) as running:
        yield running


@contextlib.asynccontextmanager
async def connected(database: Database) -> Any:
    connection = await asyncpg.connect(database.url)
    try:
        yield connection
    finally:
        await connection.close()


# What it serves


async def test_the_table_has_its_rows_and_says_what_is_in_force(database: Database) -> None:
    async with connected(database) as connection:
        rows = await connection.fetch("SELECT id, name, value FROM labkit.items ORDER BY id")

    assert [tuple(row) for row in rows] == [(i, f"item {i}", i / 2) for i in range(50)]
    assert database.in_force["rows"] == 50
    assert database.in_force["max_connections"] == 7
    assert database.in_force["fsync"] == "off"
    assert database.in_force["auth"] == "trust"
    assert database.in_force["own"] is True


async def test_it_admits_as_many_connections_as_it_says(database: Database) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(7):
            await stack.enter_async_context(connected(database))
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await asyncpg.connect(database.url)


async def test_its_folder_is_nobody_else_s(database: Database) -> None:
    assert database.folder.stat().st_mode & 0o077 == 0
    async with connected(database) as connection:
        assert await connection.fetchval("SHOW listen_addresses") == ""


async def test_it_counts_the_sessions_and_the_scans_of_its_table(database: Database) -> None:
    before = counted(database)
    for _ in range(3):
        async with connected(database) as connection:
            for key in range(5):
                await connection.fetchrow("SELECT name FROM labkit.items WHERE id = $1", key)
    after = counted(database)

    assert after["requests"] - before["requests"] == 15
    # The look before is a session too.
    assert after["connections_opened"] - before["connections_opened"] == 3 + 1


async def test_where_it_cannot_be_asked_it_counts_nothing_and_goes_on(database: Database) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(7):
            await stack.enter_async_context(connected(database))

        assert counted(database) == {}
    # A server process ends a moment after its client has left.
    assert until(lambda: counted(database).keys() == {"requests", "connections_opened"})


def counted(database: Database) -> dict[str, int]:
    database.process.send_signal(signal.SIGUSR1)
    assert database.process.stdout is not None
    return dict(json.loads(database.process.stdout.readline()))


async def test_a_query_waits_once_however_many_rows_it_asks_for(database: Database) -> None:
    async with connected(database) as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("DROP VIEW labkit.items")
        await connection.execute(target.view(0.01))
        plan = await connection.fetch(
            "EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) "
            "SELECT name FROM labkit.items WHERE id = ANY(ARRAY[1, 2, 3])"
        )
        await transaction.rollback()

    [waits] = [row[0] for row in plan if "Function Scan on pg_sleep" in row[0]]
    assert "rows=1" in waits


async def test_a_table_that_is_there_is_kept_and_another_size_is_made() -> None:
    with postgres(rows=20, auth="scram-sha-256") as running:
        assert ":" in running.url.partition("@")[0].removeprefix("postgresql://")
        async with connected(running) as connection:
            oid = "SELECT 'labkit.stored'::regclass::oid"
            made = await connection.fetchval(oid)
        settings = PostgresServer(rows=20)
        await target.prepare(running.url, settings)
        async with connected(running) as connection:
            assert await connection.fetchval(oid) == made
        await target.prepare(running.url, PostgresServer(rows=21, query_s=0.001))
        async with connected(running) as connection:
            assert await connection.fetchval("SELECT count(*) FROM labkit.items") == 21


# What is read of it


async def test_its_cpu_and_memory_are_those_of_all_its_processes(database: Database) -> None:
    family, alone = ProcessTreeReader(database.pid), ProcessReader(database.pid)
    before_s = family.cpu_s()
    async with connected(database) as connection:
        await connection.fetchval("SELECT sum(sqrt(i)) FROM generate_series(1, 2000000) i")
        during_s = family.cpu_s()
        assert (family.rss_bytes() or 0) > (alone.rss_bytes() or 0)
        assert len(children_of(database.pid)) >= 2
    assert before_s is not None
    assert during_s is not None
    worked_s = during_s - before_s
    assert worked_s > 0.02
    # The postmaster itself has done none of it, and takes over what an ended child has used.
    assert until(lambda: (alone.ended_children_s() or 0) > worked_s / 2)
    assert (family.cpu_s() or 0) - before_s > worked_s / 2
    family.close()
    assert family.cpu_s() is None
    assert family.rss_bytes() is None
    alone.close()


def test_who_is_reader_of() -> None:
    assert isinstance(reader_of(None, "many"), ProcessReader)
    assert isinstance(reader_of(os.getpid(), "one"), ProcessReader)
    family = reader_of(os.getpid(), "many")
    assert isinstance(family, ProcessTreeReader)
    assert (family.peak_bytes() or 0) > 1_000_000
    family.close()


# That nothing stays behind


def everything(database: Database) -> list[int]:
    """The process of the target, the server, what it has started, and what removes the folder."""
    parents = children_of(database.process.pid)
    return [database.process.pid, *parents, *(pid for one in parents for pid in children_of(one))]


def ended(database: Database) -> None:
    process = database.process
    process.kill()
    process.wait(PATIENCE_S)
    for pipe in (process.stdin, process.stdout, process.stderr):
        assert pipe is not None
        with contextlib.suppress(BrokenPipeError):
            pipe.close()


@pytest.mark.parametrize("how", ["killed", "stdin"])
async def test_when_the_target_dies_the_server_and_its_files_are_gone(how: str) -> None:
    database = started(die_with_stdin=True)
    connection = await asyncpg.connect(database.url)
    busy = connection.fetchval("SELECT pg_sleep(60)")
    waiting = asyncio.ensure_future(busy)
    await asyncio.sleep(0)
    ends = Ends(everything(database))
    try:
        assert len(ends.descriptors) >= 5
        if how == "killed":
            database.process.kill()
        else:
            assert database.process.stdin is not None
            database.process.stdin.close()
        assert ends.within(GONE_WITHIN_S)
        assert until(lambda: not database.folder.exists())
        with pytest.raises((OSError, asyncpg.PostgresError)):
            await waiting
    finally:
        ends.close()
        connection.terminate()
        ended(database)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_status_0(number: signal.Signals) -> None:
    database = started()
    ends = Ends(everything(database))
    database.process.send_signal(number)
    _, errors = database.process.communicate(timeout=PATIENCE_S)

    assert (database.process.returncode, errors) == (0, "")
    assert ends.within(GONE_WITHIN_S)
    assert not database.folder.exists()
    ends.close()


@pytest.mark.parametrize(
    ("script", "within_s", "said"),
    [
        ("echo 'no space left'\nexit 1", 20.0, "its files were not made (no space left)"),
        ("echo busy\nexec sleep 60", 0.2, "its files were not made in 0.2 s (busy)"),
    ],
)
def test_a_server_that_does_not_start_says_why(
    tmp_path: Path, script: str, within_s: float, said: str
) -> None:
    broken = tmp_path / "pginstall"
    (broken / "bin").mkdir(parents=True)
    initdb = broken / "bin" / "initdb"
    initdb.write_text(f"#!/bin/sh\n{script}\n")
    initdb.chmod(0o755)
    shutil.copy(initdb, broken / "bin" / "postgres")
    (broken / "lib").mkdir()
    (broken / "share").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, "find_programs", lambda: broken)
        patch.setattr(process, "READY_WITHIN_S", within_s)
        with (
            pytest.raises(TrialFailed) as caught,
            target.running(PostgresServer()),
        ):
            pass

    assert str(caught.value) == f"PostgreSQL did not start: {said}"
