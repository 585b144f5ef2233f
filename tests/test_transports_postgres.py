"""The transports of PostgreSQL: rows, connections, batches, and each failure by its own name."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import asyncpg
import msgspec
import psycopg
import pytest
from calls import kinds, raised
from machines import checks
from targets import Target, connected, running

from labkit.errors import BadInput
from labkit.launch import launcher
from labkit.measured.patterns import Batcher
from labkit.measured.strategies import load
from labkit.measured.targets.postgres import view
from labkit.measured.transports import open_transport, postgres
from labkit.measured.transports.asyncpg import Asyncpg
from labkit.measured.transports.postgres import WrongRow, check_row
from labkit.measured.transports.psycopg import Psycopg
from labkit.record.guards import FAILURES
from labkit.spec.transports import AsyncpgTransport, PsycopgTransport, Transport
from labkit.spec.trial import Trial

pytestmark = pytest.mark.service
ROWS, MOST = 30, 6
OTHERS = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
# Settings, and how many connections nine calls open, the last five of them at once.
OPENED: list[tuple[Transport, int]] = [
    (AsyncpgTransport(mode="connect"), 9),
    (AsyncpgTransport(mode="single"), 1),
    (AsyncpgTransport(max_size=2), 2),
    (PsycopgTransport(), 1),
    (PsycopgTransport(threads=3), 3),
]
SETTINGS = [settings for settings, _ in OPENED]


@pytest.fixture(scope="module")
def database() -> Iterator[Target]:
    with running("postgres", rows=ROWS, max_connections=MOST) as target:
        yield target


def over(database: Target, settings: Transport, rows: int = ROWS) -> Any:
    return open_transport(settings, database.url, rows=rows)


async def kinds_of(settings: Transport, database: Target, items: range) -> list[str]:
    """Return what becomes of these items, all at once."""
    opened = over(database, settings)
    async with opened as fetch:
        return await kinds(opened, *map(fetch, items))


@contextlib.asynccontextmanager
async def slow(database: Target, query_s: float) -> Any:
    """Each query takes its time meanwhile."""
    async with connected(database) as connection:
        await connection.execute(f"DROP VIEW labkit.items; {view(query_s)}")
        try:
            yield
        finally:
            await connection.execute(f"DROP VIEW labkit.items; {view(0)}")


@pytest.mark.parametrize(("settings", "connections"), OPENED)
async def test_each_item_is_a_row_by_its_key(
    database: Target, settings: Transport, connections: int
) -> None:
    opened = over(database, settings)
    async with opened as fetch:
        rows = [await fetch(item) for item in (0, 7, ROWS - 1, ROWS + 7)]
        many = await asyncio.gather(*map(fetch, range(5)))
        found = opened.effective

    keys = [0, 7, ROWS - 1, 7, *range(5)]
    assert [tuple(row)[:2] for row in [*rows, *many]] == [(key, f"item {key}") for key in keys]
    assert found.get("connections_opened", found.get("connections_open")) == connections
    async with connected(database) as observer:  # no session of it is left
        while await observer.fetchval(f"SELECT count(*) {OTHERS}"):
            pass


async def test_a_pool_shows_its_sizes(database: Target) -> None:
    transport = over(database, AsyncpgTransport(min_size=1, max_size=3))
    async with transport:
        assert transport.effective["pool"] == {"min_size": 1, "max_size": 3, "size": 1}


# Batches


@pytest.mark.parametrize("mode", ["connect", "single", "pool"])
async def test_each_item_gets_its_own_row_of_one_query_for_many(
    database: Target, mode: Any
) -> None:
    got: dict[int, Any] = {}
    opened = over(database, AsyncpgTransport(mode=mode, max_size=2))
    async with opened:
        batcher = Batcher(opened.fetch_many, max_size=20)

        async def fetch(item: int) -> None:
            got[item] = await batcher.get(item)

        tally = await load("worker_pool")(fetch, range(400), 20)
    assert tally.ok == 400
    assert all(row["id"] == item % ROWS for item, row in got.items())
    assert opened.effective["round_trips"] == 400 / 20


async def test_a_row_that_does_not_exist_fails_its_own_item_alone(database: Target) -> None:
    opened = over(database, AsyncpgTransport(mode="single"), rows=ROWS + 1)
    async with opened:
        batcher = Batcher(opened.fetch_many, max_size=ROWS + 1)
        tally = await load("gather")(batcher.get, range(ROWS + 1), 1)
    assert (tally.ok, tally.kinds) == (ROWS, {"KeyError": 1})
    assert tally.first_error is not None
    assert opened.kind_of(tally.first_error) == "payload"


def test_a_batch_puts_more_on_each_connection() -> None:
    sent = [AsyncpgTransport(max_size=10, batch=batch).sent_at(100) for batch in (1, 5, 100)]

    assert sent == [10, 50, 100]


# Failures


async def test_a_pool_that_is_exhausted_is_a_kind_of_its_own(database: Target) -> None:
    settings = AsyncpgTransport(max_size=1, acquire_timeout_s=0.05)
    async with slow(database, 0.4):
        found = await kinds_of(settings, database, range(3))

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
    database: Target, settings: Transport
) -> None:
    async with slow(database, 0.5):
        found = await kinds_of(settings, database, range(MOST + 2))

    # One connection is this test's own.
    assert found.count("ok") == MOST - 1
    assert found.count("too-many-connections") + found.count("connect") == 3


@pytest.mark.parametrize("settings", [SETTINGS[1], SETTINGS[3]])
async def test_a_query_that_takes_too_long_times_out(database: Target, settings: Transport) -> None:
    impatient = msgspec.structs.replace(settings, command_timeout_s=0.05)
    async with slow(database, 20):
        assert await kinds_of(impatient, database, range(1)) == ["timeout"]


@pytest.mark.parametrize("settings", SETTINGS[1:4])
async def test_a_connection_that_ends_is_noticed(database: Target, settings: Transport) -> None:
    opened = over(database, settings)
    async with opened as fetch:
        await fetch(0)
        async with connected(database) as observer:
            await observer.execute(f"SELECT pg_terminate_backend(pid) {OTHERS}")
        # A pool may have noticed, and have opened another.
        assert await kinds(opened, fetch(1)) in (["ok"], ["disconnected"], ["reset"], ["other"])


@pytest.mark.parametrize("settings", SETTINGS[1:3])
async def test_cancelling_leaves_the_transport_usable(
    database: Target, settings: Transport
) -> None:
    async with over(database, settings) as fetch:
        async with slow(database, 20):
            task = asyncio.ensure_future(fetch(0))
            async with connected(database) as observer:
                while not await observer.fetchval(f"SELECT count(*) {OTHERS} AND state = 'active'"):
                    pass
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert (await fetch(1))["id"] == 1


async def test_leaving_waits_for_no_query(database: Target) -> None:
    async with slow(database, 20), asyncio.timeout(10):
        async with over(database, PsycopgTransport()) as fetch:
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


@pytest.mark.parametrize(("transport", "library"), [(Asyncpg, asyncpg), (Psycopg, psycopg.errors)])
def test_each_failure_has_a_kind(transport: Any, library: Any) -> None:
    for kind, examples in checks("transports.toml", transport.__name__.lower()).items():
        assert kind in FAILURES
        for name, *words in examples:
            error = raised(library if hasattr(library, name) else postgres, name, *words)
            assert transport.kind_of(error) == kind


# Whole trials


COUNTED = checks("transports.toml", "postgres")


@pytest.mark.parametrize(("settings", "sessions", "round_trips"), COUNTED)
async def test_a_trial_counts_what_the_server_saw(
    settings: dict[str, Any], sessions: int, round_trips: int | None
) -> None:
    trial = Trial(target="postgres", requests=60, limit=5, **{"target.rows": 40, **settings})

    record = await launcher.run(trial, keep=lambda _: None)

    assert (record.counts.ok, record.counts.conserved) == (60, True)
    assert record.server is not None
    assert record.server.requests == (round_trips or 60)
    assert record.server.connections_opened == sessions
    assert (record.server.peak_rss_bytes or 0) > 10_000_000
    in_force = record.effective["server"]
    assert (in_force["own"], in_force["rows"]) == (True, 40)
    assert record.effective["transport"].get("round_trips") == round_trips
    assert record.effective["transport"].get("batch", 1) == settings.get("batch", 1)
    codes = {note.code for note in record.warnings}
    assert not codes & {"not-in-force", "server-busy", "connector-limit"}
    assert ("pool-queue" in codes) is (sessions < 5 and "batch" not in settings)


async def test_a_trial_on_a_server_of_the_user_s_own(
    database: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_POSTGRES_DSN", database.url)
    monkeypatch.setenv("PGHOST", "/nowhere")
    trial = Trial(target="postgres", requests=10, limit=2, **{"target.rows": ROWS})

    record = await launcher.run(trial.replace(**{"transport.max_size": 2}), keep=lambda _: None)
    with pytest.raises(BadInput, match=f"transport.max_size is 10 with {MOST} connections"):
        await launcher.run(trial, keep=lambda _: None)

    assert record.counts.ok == 10
    in_force = record.effective["server"]
    assert (in_force["own"], in_force["max_connections"]) == (False, MOST)
    assert record.server is not None
    # Others may have opened connections, or used its CPU.
    assert (record.server.requests, record.server.connections_opened) == (10, None)
    assert record.server.cpu_percent is None
    assert "postgresql://" not in str(record.to_dict())
    assert database.process.poll() is None
