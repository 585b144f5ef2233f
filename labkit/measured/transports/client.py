"""What the lab's own clients have in common: entering, leaving, limits, timeouts, reading back.

aiohttp's client is not one of them: it has all of this itself.
"""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Sequence
from types import TracebackType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec

from labkit.measured.transports import Fetch, failures
from labkit.spec.transports import OwnTransport

MIN_SWEEP_S = 0.001
SWEEPS = 8
Settings = TypeVar("Settings", bound=OwnTransport)


class Abortable(Protocol):
    """A connection, as far as leaving a transport is concerned."""

    def abort(self) -> None:
        """End the connection now."""
        ...


class Client(ABC, Generic[Settings]):
    """`async with Client(...) as fetch: await fetch(item)`. `opened` counts its connections.

    A timer for each request would cost more than the request. So one timer looks eight times in
    `timeout_s` at all that is pending, and fails what it has seen for so long: at most an eighth of
    it late.
    """

    opened = 0

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._timer: asyncio.TimerHandle | None = None
        # How often the timer has seen what is pending.
        self._ages: dict[Hashable, int] = {}

    async def __aenter__(self) -> Fetch:
        if self.settings.timeout_s is not None:
            self._set_timer(self.settings.timeout_s)
        return self.fetcher()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for connection in list(self.open_connections()):
            connection.abort()
        await asyncio.sleep(0)  # for the loop to tell them

    @property
    def effective(self) -> dict[str, Any]:
        """The settings in force, and how many connections they came to."""
        return msgspec.structs.asdict(self.settings) | {"connections_opened": self.opened}

    def kind_of(self, error: BaseException) -> str:
        """Return the kind of a failure, as records count it."""
        return failures.kind_of(error)

    @abstractmethod
    def fetcher(self) -> Fetch:
        """Return what a strategy calls for each item."""

    @abstractmethod
    def open_connections(self) -> Iterable[Abortable]:
        """Return the connections that are open."""

    @abstractmethod
    def pending(self) -> Iterable[Hashable]:
        """Return all that waits, each as itself for as long as it does."""

    @abstractmethod
    def expire(self, pending: Any) -> None:
        """Fail one of those, which has waited too long."""

    def _set_timer(self, timeout_s: float) -> None:
        every_s = max(timeout_s / SWEEPS, MIN_SWEEP_S)
        self._timer = asyncio.get_running_loop().call_later(
            every_s, self._sweep, timeout_s, every_s
        )

    def _sweep(self, timeout_s: float, every_s: float) -> None:
        # What is found for the first time was pending for less than one interval.
        ages = {one: self._ages.get(one, -1) + 1 for one in self.pending()}
        oldest = math.ceil(timeout_s / every_s)
        self._ages = {one: age for one, age in ages.items() if age < oldest}
        for one in ages.keys() - self._ages.keys():
            self.expire(one)
        self._set_timer(timeout_s)


class OneAtATime(Client[Settings]):
    """A client whose connections carry one request each; where they are limited, the rest wait."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._slots = asyncio.Semaphore(settings.connections) if settings.connections else None

    def fetcher(self) -> Fetch:
        """Return `fetch`, in turn where connections are limited."""
        slots = self._slots
        if slots is None:
            return self.fetch

        async def fetch_in_turn(item: int) -> object:
            async with slots:
                return await self.fetch(item)

        return fetch_in_turn

    @abstractmethod
    async def fetch(self, item: int) -> object:
        """Make one request and return its answer."""


class Endpoint(NamedTuple):
    """Where to connect; `hosts` are tried one after another."""

    hosts: tuple[str, ...]
    port: int


def endpoint(url: str, addresses: Sequence[str] = ()) -> Endpoint:
    """Return where `url` leads; `addresses`, where given, are the only ones to connect to."""
    split = urlsplit(url)
    assert split.scheme == "http"  # the trial was checked
    return Endpoint(tuple(addresses) or (split.hostname or "",), split.port or 80)


def request_template(url: str, path: str) -> Callable[[int], bytes]:
    """Return a function from an item's number to the bytes of its request.

    `{item}` in URL or path stands for the number.
    """
    origin = urlsplit(url.replace("{item}", "0"))
    whole = url.rstrip("/") + path if path else url
    target = whole.partition("://")[2].partition("/")[2].partition("#")[0]
    lines = f"GET /{target} HTTP/1.1\r\nHost: {origin.netloc}\r\n\r\n"
    before, *after = lines.encode("ascii").split(b"{item}")
    if len(after) == 1:
        # As `str` writes it: a template would cut what is no whole number down to one.
        return lambda item: before + str(item).encode("ascii") + after[0]
    return lambda item: str(item).encode("ascii").join([before, *after])
