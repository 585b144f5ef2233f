"""redis-py's asyncio client as a transport: one GET is one call.

The URL's fragment, which is never sent, has the keys that exist: `#prefix=lab:&keys=1000`. Nothing
is retried, as the lab counts each call once.
"""

from collections.abc import Callable, Sequence
from functools import partial
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
        asked, pool = self.settings, self._make_pool()
        # What `get` is asked for: a key, or of a pipeline the item, which no other call has.
        key_of: Callable[[int], Any] = keys_of(self.to.url)
        client: redis.Redis = await self.stack.enter_async_context(redis.Redis.from_pool(pool))
        limit, given = pool.max_connections, pool.connection_kwargs
        self._in_force = {"mode": asked.mode, "pool": type(pool).__name__}
        self._in_force["max_connections"] = 0 if limit == UNLIMITED else limit
        for name in ("timeout", "connect_timeout"):
            self._in_force[f"{name}_s"] = given[f"socket_{name}"]
        self._in_force["hiredis"] = HIREDIS_AVAILABLE
        if isinstance(pool, redis.BlockingConnectionPool):
            self._in_force["pool_timeout_s"] = pool.timeout
        get: Callable[[Any], Any] = client.get
        if asked.mode == "client":
            get = self._get_with_new_client
        elif asked.mode == "pipeline":
            from labkit.measured.patterns import Batcher  # here: other modes need none

            self._in_force["depth"] = asked.depth
            ask, key_of = partial(pipelined, client, key_of), int
            get = Batcher(ask, max_size=asked.depth, delay_s=0).get

        async def fetch(item: int) -> bytes:
            value = await get(key_of(item))
            if value is None:
                raise Missing("the server has no such key")
            if isinstance(value, Exception):  # of a pipeline it is among the answers
                raise value
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


async def pipelined(
    client: redis.Redis, key_of: Callable[[int], str], items: Sequence[int]
) -> dict[int, Any]:
    """Return what the server answers for each of many items, asked for in one round trip."""
    async with client.pipeline(transaction=False) as pipe:
        for item in items:
            pipe.get(key_of(item))
        return dict(zip(items, await pipe.execute(raise_on_error=False), strict=True))


def keys_of(url: str) -> Callable[[int], str]:
    """Return a function from an item to its key: as many as the URL's fragment says, in turn."""
    given = parse_qs(urlsplit(url).fragment)
    prefix, keys = given.get("prefix", [""])[0], int(given.get("keys", ["1"])[0])
    return lambda item: f"{prefix}{item % keys}"
