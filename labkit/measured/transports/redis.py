"""redis-py's asyncio client as a transport: one GET is one call.

The URL's fragment, which is never sent, has the keys that exist: `#prefix=lab:&keys=1000`. Nothing
is retried, as the lab counts each call once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import redis.asyncio as redis
from redis.utils import HIREDIS_AVAILABLE

from labkit.measured.transports.client import Destination, Fetch, TransportClient
from labkit.spec.transports import RedisTransport

# What redis-py gets where there is to be no limit: 0 would be its own default of 100.
UNLIMITED = (1 << 31) - 1


class Missing(Exception):
    """The server answered that it has no such key."""


class Redis(TransportClient[RedisTransport]):
    """`value = await fetch(item)`."""

    def __init__(self, settings: RedisTransport, to: Destination) -> None:
        super().__init__(settings, to)
        self._in_force: dict[str, Any] = {}
        # TCP or a Unix socket, as the URL says.
        own: Any = redis.ConnectionPool.from_url(to.url).connection_class
        transport = self

        # Made once: a class for each call would be a good part of what a call costs.
        class Counted(own):  # type: ignore[misc]
            async def _connect(self) -> None:
                await super()._connect()
                transport.opened += 1

        self._connection_class = Counted

    async def open(self) -> Fetch:
        """Open a pool; return what a strategy calls for each item."""
        asked, key_of = self.settings, keys_of(self.to.url)
        pool = self._make_pool()
        client: redis.Redis = await self.stack.enter_async_context(redis.Redis.from_pool(pool))
        limit, given = pool.max_connections, pool.connection_kwargs
        self._in_force = {"mode": asked.mode, "pool": type(pool).__name__}
        self._in_force["max_connections"] = 0 if limit == UNLIMITED else limit
        for name in ("timeout", "connect_timeout"):
            self._in_force[f"{name}_s"] = given[f"socket_{name}"]
        self._in_force["hiredis"] = HIREDIS_AVAILABLE
        if isinstance(pool, redis.BlockingConnectionPool):
            self._in_force["pool_timeout_s"] = pool.timeout
        get: Callable[[str], Any] = client.get
        if asked.mode == "client":
            get = self._get_with_new_client
        elif asked.mode == "pipeline":
            self._in_force["depth"] = asked.depth
            get = Batches(client, asked.depth).get

        async def fetch(item: int) -> bytes:
            value = await get(key_of(item))
            if value is None:
                raise Missing("the server has no such key")
            return cast(bytes, value)

        return fetch

    @property
    def effective(self) -> dict[str, Any]:
        """Return the settings in force, read back from the pool, and the connections opened."""
        return self._in_force | {"connections_opened": self.opened} if self._in_force else {}

    def _make_pool(self) -> redis.ConnectionPool:
        asked = self.settings
        more: dict[str, Any] = {"max_connections": asked.max_connections or UNLIMITED}
        more["socket_timeout"] = asked.timeout_s
        more["socket_connect_timeout"] = asked.connect_timeout_s
        kind = redis.BlockingConnectionPool if asked.queues else redis.ConnectionPool
        more |= {"timeout": asked.pool_timeout_s} if asked.queues else {}
        pool = kind.from_url(self.to.url, **more)
        pool.connection_class = self._connection_class
        return pool

    async def _get_with_new_client(self, key: str) -> Any:
        async with redis.Redis.from_pool(self._make_pool()) as client:
            return await client.get(key)


class Batches:
    """Calls of one turn of the loop, up to `depth` of them, in one round trip."""

    def __init__(self, client: redis.Redis, depth: int) -> None:
        from labkit.measured.patterns.shared_calls import Flight  # here: other modes need none

        self._client, self._depth, self._begin = client, depth, Flight[list[Any]]
        self._keys: list[str] = []
        self._flight: Flight[list[Any]]

    async def get(self, key: str) -> Any:
        """Return the value of a key, asked for with those of other calls."""
        if len(self._keys) in (0, self._depth) or self._flight.ending:
            self._keys = []
            self._flight = self._begin(self._execute(self._keys))
        flight, place = self._flight, len(self._keys)
        self._keys.append(key)
        answer = (await flight.result())[place]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _execute(self, keys: list[str]) -> list[Any]:
        await asyncio.sleep(0)  # the other calls of this turn are to come in; tasks may be eager
        if self._keys is keys:
            self._keys = []
        async with self._client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.get(key)
            return list(await pipe.execute(raise_on_error=False))


def keys_of(url: str) -> Callable[[int], str]:
    """Return a function from an item to its key: as many as the URL's fragment says, in turn."""
    given = parse_qs(urlsplit(url).fragment)
    prefix, keys = given.get("prefix", [""])[0], int(given.get("keys", ["1"])[0])
    return lambda item: f"{prefix}{item % keys}"
