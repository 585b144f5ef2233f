"""What drivers of PostgreSQL make of rows: a server of the lab's own, and queries that read."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from importlib import import_module
from statistics import geometric_mean
from time import perf_counter
from typing import Any

from labkit.record.record import Figures
from labkit.spec import validation
from labkit.spec.targets import PostgresTarget

# One value; the catalogue of types, some 600 rows of 12 columns; 1,000 numbers; 100 arrays of 100.
QUERIES = {
    "one": "SELECT 1 + 1",
    "types": """SELECT typname, typnamespace, typowner, typlen, typbyval, typcategory,
        typispreferred, typisdefined, typdelim, typrelid, typelem, typarray FROM pg_type""",
    "series": "SELECT i FROM generate_series(1, 1000) AS i",
    "arrays": """SELECT (SELECT array_agg(i) FROM generate_series(1, 100) AS i)
        FROM generate_series(1, 100)""",
}
# Calls of a query before those that count: psycopg prepares it at the sixth.
WARM_UP_CALLS = 6
Ask = Callable[[str], Awaitable[Sequence[Any]]]


async def _asyncpg(dsn: str, stack: AsyncExitStack) -> Ask:
    import asyncpg

    connection = await asyncpg.connect(dsn)
    stack.push_async_callback(connection.close)
    ask: Ask = connection.fetch
    return ask


async def _psycopg(dsn: str, stack: AsyncExitStack) -> Ask:
    import psycopg

    connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    stack.push_async_callback(connection.close)

    async def ask(query: str) -> Sequence[Any]:
        cursor = await connection.execute(query.encode())
        return await cursor.fetchall()

    return ask


async def _aiopg(dsn: str, stack: AsyncExitStack) -> Ask:
    connection = await import_module("aiopg").connect(dsn)
    stack.callback(connection.close)
    cursor = await connection.cursor()

    async def ask(query: str) -> Sequence[Any]:
        await cursor.execute(query)
        rows: Sequence[Any] = await cursor.fetchall()
        return rows

    return ask


DRIVERS = {"asyncpg": _asyncpg, "psycopg": _psycopg, "aiopg": _aiopg}


async def queries(
    _url: None, *, driver: str, connections: int = 10, seconds: float = 0.3
) -> Figures:
    """Time each query for so many seconds over connections that ask all the time, by the row.

    `row_us` is the geometric mean of all queries: each counts alike, be its rows many or few.
    """
    validation.check_known("driver", driver, DRIVERS)
    async with AsyncExitStack() as stack:
        # In a thread, as it takes a second; the thread lives as long as the server, which the
        # kernel ends with it.
        server = ExitStack()
        dsn = await asyncio.to_thread(_started, server)
        stack.push_async_callback(asyncio.to_thread, server.close)
        opened = [await DRIVERS[driver](dsn, stack) for _ in range(connections)]
        each_us = {name: await _row_us(opened, sql, seconds) for name, sql in QUERIES.items()}
    figures = {f"{name}_row_us": one for name, one in each_us.items()}
    return {**figures, "row_us": geometric_mean(each_us.values())}


def _started(stack: ExitStack) -> str:
    """Start the server on the cores that this process has not, if there are any; return its DSN."""
    from labkit.measured.targets.postgres import running  # here: it needs asyncpg

    others = {*range(os.cpu_count() or 1)} - os.sched_getaffinity(0)
    with suppress(OSError):  # they are none that it may use
        os.sched_setaffinity(0, others or os.sched_getaffinity(0))
    dsn, _ = stack.enter_context(running(PostgresTarget()))
    return dsn


async def _row_us(opened: Sequence[Ask], query: str, seconds: float) -> float:
    """Return the microseconds for each row that came."""
    for ask in opened:
        for _ in range(WARM_UP_CALLS):
            await ask(query)
    began = perf_counter()

    async def rows_of(ask: Ask) -> int:
        rows = 0
        while perf_counter() - began < seconds:
            rows += len(await ask(query))
        return rows

    rows = sum(await asyncio.gather(*map(rows_of, opened)))
    return 1e6 * (perf_counter() - began) / rows
