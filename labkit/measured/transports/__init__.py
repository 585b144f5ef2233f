"""How one call is made: async context managers that yield `fetch(item)`.

`fetch` raises where the call failed; `kind_of(error)` names the failure as records count it, and
`effective` says, once entered, what is really in force.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import import_module
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

from labkit.record.record import Phases, Received
from labkit.spec.transports import (
    AsyncpgTransport,
    EchoTransport,
    PsycopgTransport,
    RedisTransport,
    Transport,
)

Fetch = Callable[[int], Awaitable[object]]

# Kind of transport -> its class, in the module of the kind's name.
_CLASSES: Mapping[str, str] = {
    "aiohttp": "Aiohttp",
    "asyncpg": "Asyncpg",
    "echo": "Echo",
    "psycopg": "Psycopg",
    "redis": "Redis",
    "streams": "Streams",
    "wire": "Wire",
}


class Open(Protocol):
    """A transport, not yet entered."""

    async def __aenter__(self) -> Fetch: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    @property
    def effective(self) -> dict[str, Any]:
        """What is in force, read back; empty until entered."""
        ...

    def kind_of(self, error: BaseException) -> str:
        """The kind of a failure, one of `record.FAILURES`."""
        ...


@runtime_checkable
class Tracing(Protocol):
    """A transport that can tell in which phases its requests spent their time."""

    @property
    def phases(self) -> Phases | None:
        """The phases of the requests so far; None where they are not traced."""
        ...


@runtime_checkable
class Receiving(Protocol):
    """A transport that counts the bodies that it reads, as they came and unpacked."""

    @property
    def received(self) -> Received:
        """The bodies that were read so far."""
        ...


def open_transport(
    settings: Transport,
    url: str,
    path: str = "/{item}",
    addresses: Sequence[str] = (),
    *,
    rows: int = 1,
) -> Open:
    """The transport that `settings` describe, for calls on `url` + `path`.

    `addresses` are the checked addresses of the URL's host; where given, no other is connected to.
    `rows` is how many keys a database has, from 0.
    """
    # Imported when it is opened: a measured process contains the client that it measures, only.
    kind = settings.kind
    make: Callable[..., Open] = getattr(import_module(f"{__name__}.{kind}"), _CLASSES[kind])
    if isinstance(settings, EchoTransport | RedisTransport):
        return make(settings, url)
    if isinstance(settings, AsyncpgTransport | PsycopgTransport):
        return make(settings, url, rows)
    return make(settings, url, path, addresses)


def url_template(url: str, path: str) -> Callable[[int], str]:
    """Return a function from an item's number to its URL, in which `{item}` stands for it."""
    before, *after = (url.rstrip("/") + path if path else url).split("{item}")
    if not after:
        return lambda item: before
    if len(after) == 1:
        return lambda item: f"{before}{item}{after[0]}"
    return lambda item: str(item).join([before, *after])
