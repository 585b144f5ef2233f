"""What the lab's own clients have in common: entering, leaving, limits, and reading back.

aiohttp's client is not one of them: it has all of this itself.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from labkit.measured.transports import Fetch, failures
from labkit.measured.transports.sweeper import Sweeper
from labkit.spec import parts

Settings = TypeVar("Settings", bound=parts.OwnTransport)


class Abortable(Protocol):
    """A connection, as far as leaving a transport is concerned."""

    def abort(self) -> None:
        """End the connection now."""
        ...


class Client(ABC, Generic[Settings]):
    """`async with Client(...) as fetch: await fetch(item)`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sweeper: Sweeper | None = None

    async def __aenter__(self) -> Fetch:
        self._sweeper = Sweeper(self._settings.timeout_s, self._pending, self._expire)
        return self._fetcher()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._sweeper is not None:
            self._sweeper.stop()
        for connection in list(self._connections()):
            connection.abort()
        await asyncio.sleep(0)  # for the loop to tell them

    @property
    def effective(self) -> dict[str, Any]:
        """The settings in force, and how many connections they came to."""
        return msgspec.structs.asdict(self._settings) | {"connections_opened": self._opened}

    def kind_of(self, error: BaseException) -> str:
        """The kind of failure, as records count it."""
        return failures.kind_of(error)

    @abstractmethod
    def _fetcher(self) -> Fetch:
        """What a strategy calls for each item."""

    @property
    @abstractmethod
    def _opened(self) -> int:
        """How many connections were opened so far."""

    @abstractmethod
    def _connections(self) -> Iterable[Abortable]:
        """Those that are open."""

    @abstractmethod
    def _pending(self) -> Iterable[Hashable]:
        """All that waits, each as itself for as long as it does."""

    @abstractmethod
    def _expire(self, pending: Any) -> None:
        """Fail one of those, which has waited too long."""


class OneAtATime(Client[Settings]):
    """A client whose connections carry one request each; where they are limited, the rest wait."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._slots = asyncio.Semaphore(settings.connections) if settings.connections else None
        self._count = 0

    def _fetcher(self) -> Fetch:
        return self._fetch if self._slots is None else self._fetch_in_turn

    @property
    def _opened(self) -> int:
        return self._count

    async def _fetch_in_turn(self, item: int) -> object:
        assert self._slots is not None
        async with self._slots:
            return await self._fetch(item)

    @abstractmethod
    async def _fetch(self, item: int) -> object:
        """One request and its answer."""
