"""asyncpg: a connection for each query, one for all of them, or a pool.

What a query costs is what `Connection.fetchrow` costs as a user calls it, with its cache of
prepared statements; a pool resets each connection that comes back, which is a query more, and is
not among the round trips that are counted here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any

import asyncpg

from labkit.measured.transports import Fetch, failures, postgres
from labkit.measured.transports.postgres import (
    COLUMNS,
    NotConnected,
    PoolTimeout,
    WrongRow,
    checked,
)
from labkit.spec.transports import AsyncpgTransport

QUERY, QUERY_MANY = f"{COLUMNS}$1", f"{COLUMNS}ANY($1)"


class Asyncpg:
    """`async with Asyncpg(settings, dsn, rows) as fetch: row = await fetch(item)`."""

    def __init__(self, settings: AsyncpgTransport, dsn: str, rows: int) -> None:
        self._settings, self._rows = settings, rows
        self._dsn = postgres.own_place(dsn)
        self._lock = asyncio.Lock()
        self._opened = self._round_trips = 0
        self._single: Any = None
        self._pool: Any = None

    async def __aenter__(self) -> Fetch:
        fetch = await self._open()
        if self._settings.batch == 1:
            return fetch
        from labkit.measured.patterns import Batcher

        most, delay_s = self._settings.batch, self._settings.batch_delay_s
        return Batcher(self.fetch_many, most=most, delay_s=delay_s).get

    async def _open(self) -> Fetch:
        if self._settings.mode == "connect":
            return self._fetch_connecting
        if self._settings.mode == "single":
            self._single = await self._connect()
            return self._fetch_in_turn
        self._pool = await self._made_pool()
        return self._fetch_from_pool

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._single is not None:
            self._single.terminate()
        if self._pool is not None:
            self._pool.terminate()

    async def _connect(self) -> Any:
        settings = self._settings
        try:
            connection = await asyncpg.connect(
                self._dsn,
                timeout=settings.connect_timeout_s,
                command_timeout=settings.command_timeout_s,
            )
        except asyncpg.ConnectionDoesNotExistError as error:
            raise NotConnected(str(error)) from None
        self._opened += 1
        return connection

    async def _made_pool(self) -> Any:
        settings = self._settings
        least = settings.max_size if settings.min_size is None else settings.min_size
        return await asyncpg.create_pool(
            self._dsn,
            # What is too many is to be met by the requests, and counted.
            min_size=0 if settings.overcommit and settings.min_size is None else least,
            max_size=settings.max_size,
            max_inactive_connection_lifetime=settings.max_inactive_s,
            init=self._count,
            timeout=settings.connect_timeout_s,
            command_timeout=settings.command_timeout_s,
        )

    async def _count(self, _: Any) -> None:
        self._opened += 1

    async def _fetch_connecting(self, item: int) -> object:
        key = item % self._rows
        connection = await self._connect()
        self._round_trips += 1
        try:
            row = await connection.fetchrow(QUERY, key)
        except BaseException:
            connection.terminate()
            raise
        await connection.close()
        return checked(row, key)

    async def _fetch_in_turn(self, item: int) -> object:
        key = item % self._rows
        async with self._lock:
            self._round_trips += 1
            return checked(await self._single.fetchrow(QUERY, key), key)

    async def _fetch_from_pool(self, item: int) -> object:
        key = item % self._rows
        connection = await self._acquired()
        self._round_trips += 1
        try:
            return checked(await connection.fetchrow(QUERY, key), key)
        finally:
            await self._pool.release(connection)

    async def _acquired(self) -> Any:
        within_s = self._settings.acquire_timeout_s
        try:
            return await self._pool.acquire(timeout=within_s)
        except TimeoutError:
            if within_s is None:
                raise
            raise PoolTimeout(f"no connection of the pool was free within {within_s:g} s") from None
        except asyncpg.ConnectionDoesNotExistError as error:
            raise NotConnected(str(error)) from None

    async def fetch_many(self, items: Sequence[int]) -> dict[int, object]:
        """The rows of many items, asked for at once; without those that the server has not."""
        keys = {item: item % self._rows for item in items}
        async with self._connection() as connection:
            self._round_trips += 1
            found = await connection.fetch(QUERY_MANY, sorted(set(keys.values())))
        rows = {row[0]: row for row in found}
        return {item: rows[key] for item, key in keys.items() if key in rows}

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        """A connection for one query, as `mode` says."""
        if self._settings.mode == "single":
            async with self._lock:
                yield self._single
        elif self._settings.mode == "pool":
            connection = await self._acquired()
            try:
                yield connection
            finally:
                await self._pool.release(connection)
        else:
            connection = await self._connect()
            try:
                yield connection
            except BaseException:
                connection.terminate()
                raise
            await connection.close()

    @property
    def effective(self) -> dict[str, Any]:
        """How it connects, what was opened and sent, and the pool's sizes as the pool tells them.

        asyncpg tells nothing of its timeouts, and so neither is told here.
        """
        asked, pool = self._settings, self._pool
        found: dict[str, Any] = {
            "mode": "pool" if pool else "single" if self._single else "connect",
            "connections_opened": self._opened,
            "round_trips": self._round_trips,
            "batch": asked.batch,
            "batch_delay_s": asked.batch_delay_s,
        }
        if pool is not None:
            sizes = {"min_size": pool.get_min_size(), "max_size": pool.get_max_size()}
            found |= sizes | {"pool": {**sizes, "size": pool.get_size()}}
        return found

    def kind_of(self, error: BaseException) -> str:
        """The kind of failure, as records count it."""
        for type_, kind in _KINDS:
            if isinstance(error, type_):
                return kind
        if isinstance(error, asyncpg.PostgresError):
            return postgres.kind_of_state(error.sqlstate)
        if isinstance(error, OSError):
            return failures.of_errno(error, "connect")
        return "disconnected" if isinstance(error, asyncpg.InterfaceError) else "other"


_KINDS: tuple[tuple[type[BaseException], str], ...] = (
    (PoolTimeout, "pool-timeout"),
    (NotConnected, "connect"),
    (WrongRow, "payload"),
    (KeyError, "payload"),  # a row that the answer to a batch lacks
    (TimeoutError, "timeout"),
)
