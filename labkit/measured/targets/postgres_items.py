"""What the lab needs in a database: its table, its view, and what the server says of itself.

All of it is in the schema `labkit`. Queries go to the view `labkit.items`; it reads
`labkit.stored`, and waits first where a query is to take its time on the server. In a database of
the user's own the schema stays, to be used again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import Any

import asyncpg
from asyncpg import InterfaceError, PostgresError

from labkit.spec.targets import PostgresServer

__all__ = ["InterfaceError", "PostgresError", "prepared", "since", "view"]

LEFT_WITHIN_S, LOOK_AGAIN_S = 1.0, 0.01
_MAKE = """
    CREATE TABLE labkit.stored (id integer PRIMARY KEY, name text NOT NULL, value float8 NOT NULL);
    INSERT INTO labkit.stored SELECT i, 'item ' || i, i * 0.5 FROM generate_series(0, {rows} - 1) i;
    ANALYZE labkit.stored;
"""
_ROWS = "SELECT count(*) FROM labkit.stored"
_SHOWN = (
    "server_version",
    "max_connections",
    "shared_buffers",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "autovacuum",
)
_COUNTED = """
    SELECT d.sessions, (SELECT coalesce(seq_scan, 0) + coalesce(idx_scan, 0)
                        FROM pg_stat_user_tables WHERE relid = 'labkit.stored'::regclass)
    FROM pg_stat_database AS d WHERE d.datname = current_database()
"""
_OTHERS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND datname = current_database()
      AND pid <> pg_backend_pid()
"""


async def prepared(dsn: str, settings: PostgresServer) -> tuple[dict[str, Any], dict[str, int]]:
    """Make the view, and the table where it has not so many rows; what is in force, the counts."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute("CREATE SCHEMA IF NOT EXISTS labkit")
            await _stored(connection, settings.rows)
            await connection.execute("DROP VIEW IF EXISTS labkit.items")
            await connection.execute(view(settings.query_s))
        return await _in_force(connection, settings), await _counts(connection)
    finally:
        await connection.close()


async def _in_force(connection: Any, settings: PostgresServer) -> dict[str, Any]:
    shown = {name: await connection.fetchval(f"SHOW {name}") for name in _SHOWN}
    return shown | {
        "max_connections": int(shown["max_connections"]),
        "rows": settings.rows,
        "query_s": settings.query_s,
    }


async def _stored(connection: Any, rows: int) -> None:
    there = await connection.fetchval("SELECT to_regclass('labkit.stored') IS NOT NULL")
    if there and await connection.fetchval(_ROWS) == rows:
        return
    await connection.execute("DROP TABLE IF EXISTS labkit.stored CASCADE")
    await connection.execute(_MAKE.format(rows=rows))


def view(query_s: float) -> str:
    """The view that queries go to. One query waits once, however many rows it asks for."""
    waits = f", pg_sleep({query_s})" if query_s else ""
    return f"CREATE VIEW labkit.items AS SELECT id, name, value FROM labkit.stored{waits}"  # noqa: S608  # a number


async def since(dsn: str, before: Mapping[str, int]) -> dict[str, int]:
    """What was counted since then: connections, and scans of the table as requests."""
    connection = await asyncpg.connect(dsn)
    try:
        now = await _counts(connection)
    finally:
        await connection.close()
    return {
        # This look is a session too.
        "connections_opened": now["sessions"] - before["sessions"] - 1,
        "requests": now["scans"] - before["scans"],
    }


async def _counts(connection: Any) -> dict[str, int]:
    """Sessions of the database and scans of the table so far, once its other clients have left.

    A server process counts for good when it ends. Where some stay, what is there after a second is
    what is told.
    """
    until = monotonic() + LEFT_WITHIN_S
    while await connection.fetchval(_OTHERS) and monotonic() < until:  # noqa: ASYNC110  # of the server
        await asyncio.sleep(LOOK_AGAIN_S)
    await connection.execute("SELECT pg_stat_force_next_flush()")
    sessions, scans = await connection.fetchrow(_COUNTED)
    return {"sessions": sessions, "scans": scans}
