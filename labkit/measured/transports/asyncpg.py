"""asyncpg: a connection for each query, one for all of them, or a pool.

What a query costs is what `Connection.fetchrow` costs as a user calls it, with its cache of
prepared statements; a pool resets each connection that comes back, which is a query more, and is
not among the round trips that are counted here.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg

from labkit.measured.transports import postgres
from labkit.measured.transports.client import Destination, Fetch
from labkit.spec.transports import AsyncpgTransport

QUERY, QUERY_MANY = f"{postgres.COLUMNS}$1", f"{postgres.COLUMNS}ANY($1)"


class Asyncpg(postgres.PostgresClient[AsyncpgTransport]):
    """`row = await fetch(item)`."""

    @classmethod
    def kind_of(cls, error: BaseException) -> str:
        """Return the kind of a failure: a row that the answer to a batch lacks is one."""
        return "payload" if isinstance(error, KeyError) else super().kind_of(error)

    def __init__(self, settings: AsyncpgTransport, to: Destination) -> None:
        super().__init__(settings, to)
        self._lock = asyncio.Lock()
        limits: dict[str, Any] = {"timeout": settings.connect_timeout_s}
        self._limits_s = limits | {"command_timeout": settings.command_timeout_s}
        self._round_trips = 0
        self._single: Any = None
        self._pool: Any = None

    async def open(self) -> Fetch:
        """Open the connection or pool that `mode` asks for; return `fetch`."""
        settings = self.settings
        if settings.mode == "single":
            self._single = await self._connect()
            self.stack.callback(self._single.terminate)
        elif settings.mode == "pool":
            least = settings.min_size
            if least is None:  # what is too many is to be met by the requests, and counted
                least = 0 if settings.overcommit else settings.max_size

            async def count(_: Any) -> None:
                self.opened += 1

            async def leave(_: Any) -> None:
                """Leave a connection as it comes back."""

            how = {"init": count, "reset": None if settings.reset else leave, **self._limits_s}
            how["max_inactive_connection_lifetime"] = settings.max_inactive_s
            sizes = {"min_size": least, "max_size": settings.max_size}
            self._pool = await asyncpg.create_pool(self.to.url, **sizes, **how)
            self.stack.callback(self._pool.terminate)
        if settings.batch == 1:
            return self.fetch
        from labkit.measured.patterns import Batcher

        most, delay_s = settings.batch, settings.batch_delay_s
        return Batcher(self.fetch_many, max_size=most, delay_s=delay_s).get

    async def fetch(self, item: int) -> object:
        """Return the row of an item."""
        key = item % self.to.rows
        return postgres.check_row(await self._ask("fetchrow", QUERY, key), key)

    async def fetch_many(self, items: Sequence[int]) -> dict[int, object]:
        """Return the rows of many items, asked for at once; without those that do not exist."""
        keys = {item: item % self.to.rows for item in items}
        found = await self._ask("fetch", QUERY_MANY, sorted(set(keys.values())))
        rows = {row[0]: row for row in found}
        return {item: rows[key] for item, key in keys.items() if key in rows}

    async def _ask(self, method: str, query: str, argument: Any) -> Any:
        """Call `method` for one query, on a connection that is chosen as `mode` says."""
        if self._single is not None:
            async with self._lock:
                self._round_trips += 1
                return await getattr(self._single, method)(query, argument)
        pool, within_s = self._pool, self.settings.acquire_timeout_s
        try:
            connection = await (pool.acquire(timeout=within_s) if pool else self._connect())
        except asyncpg.ConnectionDoesNotExistError as error:
            raise postgres.NotConnected(str(error)) from None
        except TimeoutError:
            if pool is None or within_s is None:
                raise
            why = f"no connection of the pool was free within {within_s:g} s"
            raise postgres.PoolTimeout(why) from None
        self._round_trips += 1
        try:
            return await getattr(connection, method)(query, argument)
        except BaseException:
            if pool is None:
                connection.terminate()  # then closing it waits for nothing
            raise
        finally:
            await (pool.release(connection) if pool else connection.close())

    async def _connect(self) -> Any:
        connection = await asyncpg.connect(self.to.url, **self._limits_s)
        self.opened += 1
        return connection

    @property
    def effective(self) -> dict[str, Any]:
        """Return how it connects, what was opened and sent, and the sizes that the pool reports.

        asyncpg reports none of its timeouts, so none is returned here.
        """
        asked, pool = self.settings, self._pool
        found: dict[str, Any] = {name: getattr(asked, name) for name in ("batch", "batch_delay_s")}
        found["mode"] = "pool" if pool else "single" if self._single else "connect"
        found |= {"connections_opened": self.opened, "round_trips": self._round_trips}
        if pool is not None:
            sizes = {"min_size": pool.get_min_size(), "max_size": pool.get_max_size()}
            found |= {**sizes, "reset": asked.reset, "pool": {**sizes, "size": pool.get_size()}}
        return found
