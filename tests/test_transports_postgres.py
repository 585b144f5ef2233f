"""The transports of PostgreSQL: rows, connections, and each failure by its own name."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import asyncpg
import psycopg
import pytest
from databases import Database, postgres

from labkit.errors import BadInput
from labkit.launch import launcher
from labkit.measured.transports import open_transport
from labkit.measured.transports.asyncpg import Asyncpg
from labkit.measured.transports.postgres import (
    NotConnected,
    PoolTimeout,
    WrongRow,
    check_row,
    kind_of_error,
)
from labkit.measured.transports.psycopg import Psycopg
from labkit.record.record import FAILURES
from labkit.spec.transports import AsyncpgTransport, PsycopgTransport, Transport
from labkit.spec.trial import Trial

pytestmark = pytest.mark.service
ROWS, MOST = 30, 6
_ENDED = ("disconnected", "other")
SETTINGS = [
    AsyncpgTransport(mode="connect"),
    AsyncpgTransport(mode="single"),
    AsyncpgTransport(max_size=2),
    PsycopgTransport(),
    PsycopgTransport(threads=3),
]


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with postgres(rows=ROWS, max_connections=MOST) as running:
        yield running


@contextlib.asynccontextmanager
async def counted(database: Database, settings: Transport) -> Any:
    """An open transport; when it is closed, no session of it is left."""
    async with open_transport(settings, database.url, rows=ROWS) as fetch:
        yield fetch
    observer = await asyncpg.connect(database.url)
    left = 1
    while left:
        left = await observer.fetchval(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
    await observer.close()


async def kinds(settings: Transport, database: Database, items: range) -> list[str]:
    """What becomes of these items, all at once."""
    opened = open_transport(settings, database.url, rows=ROWS)
    async with opened as fetch:
        results = await asyncio.gather(*map(fetch, items), return_exceptions=True)
    return ["ok" if not isinstance(one, BaseException) else opened.kind_of(one) for one in results]


@contextlib.asynccontextmanager
async def slow(database: Database, query_s: float) -> Any:
    """Each query takes its time meanwhile."""
    from labkit.measured.targets import postgres as target

    connection = await asyncpg.connect(database.url)
    await connection.execute(f"DROP VIEW labkit.items; {target.view(query_s)}")
    try:
        yield
    finally:
        await connection.execute(f"DROP VIEW labkit.items; {target.view(0)}")
        await connection.close()


@pytest.mark.parametrize("settings", SETTINGS)
async def test_each_item_is_a_row_by_its_key(database: Database, settings: Transport) -> None:
    async with counted(database, settings) as fetch:
        rows = [await fetch(item) for item in (0, 7, ROWS - 1, ROWS + 7)]

    assert [tuple(row)[:2] for row in rows] == [
        (0, "item 0"),
        (7, "item 7"),
        (ROWS - 1, f"item {ROWS - 1}"),
        (7, "item 7"),
    ]


@pytest.mark.parametrize("settings", SETTINGS)
async def test_many_at_a_time_all_get_theirs(database: Database, settings: Transport) -> None:
    async with counted(database, settings) as fetch:
        rows = await asyncio.gather(*map(fetch, range(5)))

    assert [tuple(row)[:1] for row in rows] == [(item,) for item in range(5)]


async def test_how_many_connections_each_mode_opens(database: Database) -> None:
    opened = {}
    for settings in SETTINGS[:3]:
        transport = Asyncpg(settings, database.url, ROWS)  # type: ignore[arg-type]  # of asyncpg
        async with transport as fetch:
            for item in range(5):
                await fetch(item)
            opened[transport.effective["mode"]] = transport.effective["connections_opened"]
    assert opened == {"connect": 5, "single": 1, "pool": 2}


async def test_a_pool_says_what_its_sizes_are(database: Database) -> None:
    transport = Asyncpg(AsyncpgTransport(min_size=1, max_size=3), database.url, ROWS)
    async with transport:
        assert transport.effective["pool"] == {"min_size": 1, "max_size": 3, "size": 1}


async def test_psycopg_has_a_connection_for_each_thread(database: Database) -> None:
    transport = Psycopg(PsycopgTransport(threads=4), database.url, ROWS)
    async with transport as fetch:
        await asyncio.gather(*map(fetch, range(20)))
        assert transport.effective["connections_open"] == 4


# Failures


async def test_a_pool_that_is_exhausted_is_a_kind_of_its_own(database: Database) -> None:
    settings = AsyncpgTransport(max_size=1, acquire_timeout_s=0.05)
    async with slow(database, 0.4):
        found = await kinds(settings, database, range(3))

    assert sorted(found) == ["ok", "pool-timeout", "pool-timeout"]


@pytest.mark.parametrize(
    "settings",
    [
        AsyncpgTransport(mode="connect"),
        AsyncpgTransport(max_size=MOST + 2, overcommit=True),
        PsycopgTransport(threads=MOST + 2, overcommit=True),
    ],
)
async def test_more_connections_than_the_server_admits(
    database: Database, settings: Transport
) -> None:
    async with slow(database, 0.5):
        found = await kinds(settings, database, range(MOST + 2))

    # One connection is this test's own.
    assert found.count("ok") == MOST - 1
    assert found.count("too-many-connections") + found.count("connect") == 3


@pytest.mark.parametrize(
    "settings",
    [
        AsyncpgTransport(max_size=1, command_timeout_s=0.05),
        PsycopgTransport(command_timeout_s=0.05),
    ],
)
async def test_a_query_that_takes_too_long_times_out(
    database: Database, settings: Transport
) -> None:
    async with slow(database, 20):
        assert await kinds(settings, database, range(1)) == ["timeout"]


@pytest.mark.parametrize("settings", SETTINGS[1:4])
async def test_a_connection_that_ends_is_noticed(database: Database, settings: Transport) -> None:
    opened = open_transport(settings, database.url, rows=ROWS)
    async with opened as fetch:
        await fetch(0)
        observer = await asyncpg.connect(database.url)
        ended = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        await observer.execute(ended)
        await observer.close()
        [result] = await asyncio.gather(fetch(1), return_exceptions=True)

        # A pool may have noticed, and have opened another.
        assert not isinstance(result, BaseException) or opened.kind_of(result) in _ENDED


async def test_cancelling_gives_the_connection_back(database: Database) -> None:
    async with open_transport(AsyncpgTransport(max_size=1), database.url, rows=ROWS) as fetch:
        async with slow(database, 20):
            task = asyncio.ensure_future(fetch(0))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert (await fetch(1))["id"] == 1


async def test_leaving_waits_for_no_query(database: Database) -> None:
    async with slow(database, 20), asyncio.timeout(10):
        async with open_transport(PsycopgTransport(), database.url, rows=ROWS) as fetch:
            running, queued = [asyncio.ensure_future(fetch(item)) for item in range(2)]
            await asyncio.sleep(0.05)
        with pytest.raises(psycopg.Error):
            await running
        with pytest.raises(asyncio.CancelledError):
            await queued


def test_a_row_that_was_not_asked_for_is_noticed() -> None:
    assert check_row((3, "x"), 3) == (3, "x")
    for row in (None, (4, "x")):
        with pytest.raises(WrongRow):
            check_row(row, 3)


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("53300", "too-many-connections"),
        ("57014", "timeout"),
        ("57P01", "disconnected"),
        ("08006", "disconnected"),
        (None, "disconnected"),
        ("42P01", "query"),
    ],
)
def test_what_the_server_says_has_a_kind(state: str | None, kind: str) -> None:
    assert kind_of_error(SimpleNamespace(sqlstate=state)) == kind
    assert kind in FAILURES


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PoolTimeout(), "pool-timeout"),
        (NotConnected(), "connect"),
        (WrongRow(), "payload"),
        (TimeoutError(), "timeout"),
        (asyncpg.UndefinedTableError("x"), "query"),
        (asyncpg.ConnectionDoesNotExistError("x"), "disconnected"),
        (asyncpg.InterfaceError("x"), "disconnected"),
        (ConnectionRefusedError(), "connect"),
        (ConnectionResetError(104, "x"), "reset"),
        (ValueError(), "other"),
    ],
)
def test_each_failure_of_asyncpg_has_a_kind(error: BaseException, kind: str) -> None:
    transport = Asyncpg(AsyncpgTransport(), "postgresql://x@127.0.0.1/x", 1)
    assert transport.kind_of(error) == kind
    assert kind in FAILURES


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (WrongRow(), "payload"),
        (NotConnected(), "connect"),
        (psycopg.errors.ConnectionTimeout(), "timeout"),
        (psycopg.errors.UndefinedTable(), "query"),
        (
            psycopg.OperationalError("FATAL:  sorry, too many clients already"),
            "too-many-connections",
        ),
        (psycopg.OperationalError("gone"), "disconnected"),
        (ValueError(), "other"),
    ],
)
def test_each_failure_of_psycopg_has_a_kind(error: BaseException, kind: str) -> None:
    transport = Psycopg(PsycopgTransport(), "postgresql://x@127.0.0.1/x", 1)
    assert transport.kind_of(error) == kind


# A whole trial


@pytest.mark.parametrize(
    ("settings", "sessions"),
    [
        ({"transport.mode": "connect"}, 60),
        ({"transport.max_size": 4}, 4),
        ({"transport": "psycopg"}, 1),
    ],
)
async def test_a_trial_counts_what_the_server_saw(settings: dict[str, Any], sessions: int) -> None:
    trial = Trial(target="postgres", requests=60, limit=5, **{"target.rows": 40, **settings})
    kept: list[Any] = []

    record = await launcher.run(trial, keep=kept.append)

    assert kept == [record]
    assert (record.counts.ok, record.counts.conserved) == (60, True)
    assert record.server is not None
    assert record.server.requests == 60
    assert record.server.connections_opened == sessions
    assert (record.server.peak_rss_bytes or 0) > 10_000_000
    assert record.effective["server"]["own"] is True
    assert record.effective["server"]["rows"] == 40
    codes = {note.code for note in record.warnings}
    assert not codes & {"not-in-force", "server-busy", "connector-limit"}
    assert ("pool-queue" in codes) is (sessions < 5)


async def test_a_trial_on_a_server_of_the_user_s_own(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_POSTGRES_DSN", database.url)
    monkeypatch.setenv("PGHOST", "/nowhere")
    trial = Trial(target="postgres", requests=10, limit=2, **{"target.rows": ROWS})

    record = await launcher.run(trial.replace(**{"transport.max_size": 2}), keep=lambda _: None)
    with pytest.raises(BadInput, match=f"transport.max_size is 10 with {MOST} connections"):
        await launcher.run(trial, keep=lambda _: None)

    assert record.counts.ok == 10
    assert record.effective["server"]["own"] is False
    assert record.effective["server"]["max_connections"] == MOST
    assert record.server is not None
    assert record.server.cpu_percent is None
    assert record.server.requests == 10
    assert record.server.connections_opened is None  # others may have opened some
    assert "postgresql://" not in str(record.to_dict())
    assert database.process.poll() is None
