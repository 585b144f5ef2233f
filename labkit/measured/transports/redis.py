"""redis-py's asyncio client as a transport: one GET is one call.

The keys that there are stand in the URL's fragment, which is never sent: `#prefix=lab:&keys=1000`.
Nothing is retried, as the lab counts each call once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import redis.asyncio as redis
from redis import exceptions
from redis.utils import HIREDIS_AVAILABLE

from labkit.measured.transports import Fetch, failures
from labkit.spec.transports import RedisTransport

UNLIMITED = (1 << 31) - 1
"""What redis-py is told where there is to be no limit: 0 would be its own default of 100."""
_AT_SERVER = "max number of clients reached"


class Missing(Exception):
    """The server answered that it has no such key."""


class Redis:
    """`async with Redis(settings, url) as fetch: value = await fetch(item)`."""

    def __init__(self, settings: RedisTransport, url: str) -> None:
        self._settings, self._url = settings, url
        self._key = keys_of(url)
        self._stack = AsyncExitStack()
        self._in_force: dict[str, Any] = {}
        self._opened = 0
        self._counted: dict[Any, Any] = {}

    async def __aenter__(self) -> Fetch:
        pool = self._pool()
        client: redis.Redis = await self._stack.enter_async_context(redis.Redis.from_pool(pool))
        self._in_force = _in_force(pool, self._settings)
        if self._settings.mode == "client":
            return self._fetch_with_new_client
        if self._settings.mode == "pipeline":
            batches = Batches(client, self._settings.depth)
            self._stack.push_async_callback(batches.end)
            return self._fetch_of(batches.get)
        return self._fetch_of(client.get)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    @property
    def effective(self) -> dict[str, Any]:
        """The settings in force, read back from the pool, and the connections they came to."""
        return self._in_force | {"connections_opened": self._opened} if self._in_force else {}

    def kind_of(self, error: BaseException) -> str:
        """The kind of failure, as records count it."""
        return kind_of(error)

    def _pool(self) -> redis.ConnectionPool:
        asked = self._settings
        more: dict[str, Any] = {
            "max_connections": asked.max_connections or UNLIMITED,
            "socket_timeout": asked.timeout_s,
            "socket_connect_timeout": asked.connect_timeout_s,
        }
        kind: type[redis.ConnectionPool] = redis.ConnectionPool
        if asked.mode in ("blocking", "pipeline"):
            kind = redis.BlockingConnectionPool
            more["timeout"] = asked.pool_timeout_s
        pool = kind.from_url(self._url, **more)
        own = pool.connection_class
        # Made once: a class for each call would be a good part of what a call costs.
        if own not in self._counted:
            self._counted[own] = self._counting(own)
        pool.connection_class = self._counted[own]
        return pool

    def _counting(self, kind: Any) -> Any:
        """A connection of this kind that is counted when it is opened."""
        transport = self

        class Counted(kind):  # type: ignore[misc]  # TCP or a Unix socket, as the URL says
            async def _connect(self) -> None:
                await super()._connect()
                transport._opened += 1

        return Counted

    def _fetch_of(self, get: Callable[[str], Any]) -> Fetch:
        key = self._key

        async def fetch(item: int) -> bytes:
            return _found(await get(key(item)))

        return fetch

    async def _fetch_with_new_client(self, item: int) -> bytes:
        async with redis.Redis.from_pool(self._pool()) as client:
            return _found(await client.get(self._key(item)))


class Batches:
    """Calls of one turn of the loop, up to `depth` of them, in one round trip."""

    def __init__(self, client: redis.Redis, depth: int) -> None:
        self._client, self._depth = client, depth
        self._waiting: list[tuple[str, asyncio.Future[Any]]] = []
        self._turn: asyncio.Handle | None = None
        self._sent: set[asyncio.Task[None]] = set()

    async def get(self, key: str) -> Any:
        """The value of a key, asked for with those of other calls."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((key, future))
        if len(self._waiting) >= self._depth:
            self._send()
        elif self._turn is None:
            self._turn = loop.call_soon(self._send)
        return await future

    def _send(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        batch, self._waiting = self._waiting, []
        task = asyncio.get_running_loop().create_task(self._execute(batch))
        self._sent.add(task)
        task.add_done_callback(self._sent.discard)
        for _, future in batch:
            # An answer that nobody waits for any more is not waited for either.
            future.add_done_callback(lambda _: _cancel_if_idle(task, batch))

    async def _execute(self, batch: list[tuple[str, asyncio.Future[Any]]]) -> None:
        try:
            async with self._client.pipeline(transaction=False) as pipe:
                for key, _ in batch:
                    pipe.get(key)
                answers = await pipe.execute(raise_on_error=False)
        except Exception as error:  # noqa: BLE001  # whatever it is, each caller gets it
            answers = [error] * len(batch)
        # Set last, so that this task has ended before any caller goes on.
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    async def end(self) -> None:
        """Give up what is under way."""
        for task in list(self._sent):
            task.cancel()
        await asyncio.gather(*self._sent, return_exceptions=True)


def _cancel_if_idle(task: asyncio.Task[None], batch: list[tuple[str, asyncio.Future[Any]]]) -> None:
    if all(future.cancelled() for _, future in batch):
        task.cancel()


def keys_of(url: str) -> Callable[[int], str]:
    """Item -> the key that is asked for: as many as the URL's fragment says, in turn."""
    told = parse_qs(urlsplit(url).fragment)
    prefix, keys = told.get("prefix", [""])[0], int(told.get("keys", ["1"])[0])
    return lambda item: f"{prefix}{item % keys}"


def _found(value: Any) -> bytes:
    if value is None:
        raise Missing("the server has no such key")
    return cast(bytes, value)


def kind_of(error: BaseException) -> str:
    """The kind of failure, as records count it; the most specific kind wins."""
    for type_, kind in _KINDS:
        if isinstance(error, type_):
            return kind
    if isinstance(error, exceptions.ConnectionError):
        return _of_connection(error)
    return failures.of_errno(error, "connect") if isinstance(error, OSError) else "other"


_KINDS: tuple[tuple[type[BaseException], str], ...] = (
    (exceptions.MaxConnectionsError, "pool-exhausted"),
    (exceptions.TimeoutError, "timeout"),
    (exceptions.InvalidResponse, "payload"),
    (Missing, "payload"),
    (exceptions.ResponseError, "status"),
    (exceptions.AuthenticationError, "status"),
)


def _of_connection(error: exceptions.ConnectionError) -> str:
    """One class stands for many failures; what it was raised for tells them apart."""
    before = error.__cause__ or error.__context__
    if isinstance(before, TimeoutError):
        return "pool-timeout"
    if isinstance(before, OSError):
        return failures.of_errno(before, "connect")
    # The server says so in words alone.
    return "too-many-connections" if _AT_SERVER in str(error) else "disconnected"


def _in_force(pool: redis.ConnectionPool, asked: RedisTransport) -> dict[str, Any]:
    most, given = pool.max_connections, pool.connection_kwargs
    in_force = {
        "mode": asked.mode,
        "pool": type(pool).__name__,
        "max_connections": 0 if most == UNLIMITED else most,
        "timeout_s": given["socket_timeout"],
        "connect_timeout_s": given["socket_connect_timeout"],
        "hiredis": HIREDIS_AVAILABLE,
    }
    if isinstance(pool, redis.BlockingConnectionPool):
        in_force["pool_timeout_s"] = pool.timeout
    return in_force | ({"depth": asked.depth} if asked.mode == "pipeline" else {})
