"""What the transports share: entering and leaving, names of failures, limits, timeouts.

`TransportClient` is the base of every transport, `OwnClient` of those that the lab wrote itself:
wire, streams and echo. The drivers and aiohttp have limits and timeouts of their own.
"""

from __future__ import annotations

import asyncio
import errno
import math
import ssl
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

import httptools
import msgspec

from labkit.measured.http_framing import BadMessage, TooLarge
from labkit.measured.transports.responses import Answered, ResponseHead, ResponseReader
from labkit.record.requests import Phases, Received
from labkit.spec.transports import OwnHttpTransport, OwnTransport, Transport

Fetch = Callable[[int], Awaitable[object]]
Errors = type[BaseException] | tuple[type[BaseException], ...]
Kinds = Sequence[tuple[Errors, str | Callable[[Any], str]]]
"""Classes of errors, each with the kind of failure that records count, or a function that finds it.

The first class that fits decides.
"""

MIN_SWEEP_S = 0.001
SWEEPS = 8
ERRNO_KINDS: Mapping[int | None, str] = {
    errno.EMFILE: "emfile",
    errno.ENFILE: "emfile",
    errno.EADDRNOTAVAIL: "eaddrnotavail",
    errno.ECONNRESET: "reset",
    errno.ECONNABORTED: "reset",
    errno.EPIPE: "reset",
    errno.ETIMEDOUT: "timeout",
}

Settings = TypeVar("Settings", bound=Transport)
OwnSettings = TypeVar("OwnSettings", bound=OwnTransport)
HttpSettings = TypeVar("HttpSettings", bound=OwnHttpTransport)
Made = TypeVar("Made")


class BadStatus(Exception):
    """The server answered, with a status that is not a success."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


def tls_context(url: str, ca: str | None, verify: bool) -> ssl.SSLContext | None:
    """Return how a client of this URL speaks TLS, and whom it trusts; None without TLS."""
    if not url.startswith("https:"):
        return None
    context = ssl.create_default_context(cafile=ca)
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Unanswered(Exception):
    """The request was sent, and its connection ended before the whole answer had come."""


def kind_of_errno(error: OSError, otherwise: str = "connect") -> str:
    """Return the kind of an error of the system, by its number."""
    return ERRNO_KINDS.get(error.errno, otherwise)


class Destination(NamedTuple):
    """What is called: `url` + `path`, in which `{item}` stands for the item's number.

    `addresses` are the checked addresses of the URL's host; where given, no other is connected to.
    `rows` is how many keys a database has, from 0.
    """

    url: str
    path: str = "/{item}"
    addresses: Sequence[str] = ()
    rows: int = 1


class TransportClient(ABC, Generic[Settings]):
    """A transport: `async with TransportClient(settings, to) as fetch: await fetch(item)`.

    `fetch` raises where the call failed. `opened` counts the connections. What `open` puts on
    `stack` is ended with the transport.
    """

    kinds: ClassVar[Kinds]
    opened = 0

    def __init__(self, settings: Settings, to: Destination) -> None:
        self.settings, self.to = settings, to
        self.stack = AsyncExitStack()

    async def __aenter__(self) -> Fetch:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stack.aclose()

    @abstractmethod
    async def open(self) -> Fetch:
        """Prepare the calls; return what a strategy calls for each item."""

    @property
    @abstractmethod
    def effective(self) -> dict[str, Any]:
        """Return the settings in force, read back where that is possible."""

    @property
    def phases(self) -> Phases | None:
        """Return the phases of the requests so far; None where they are not traced."""
        return None

    @property
    def received(self) -> Received | None:
        """Return the bodies that were read so far; None where they are not counted."""
        return None

    @classmethod
    def kind_of(cls, error: BaseException) -> str:
        """Return the kind of a failure, one of `requests.FAILURES`."""
        for errors, kind in cls.kinds:
            if isinstance(error, errors):
                return kind if isinstance(kind, str) else kind(error)
        return "other"


class OwnClient(TransportClient[OwnSettings]):
    """A client of the lab's own, which connects to `hosts` at `port`, and to no other address.

    Plan of its timeouts. A timer for each request would cost more than the request. So one timer
    looks eight times in `timeout_s` at all that is pending, and fails what it has seen for so long:
    at most an eighth of it late.
    """

    # Once connected, whatever the system reports has become `Unanswered`.
    kinds = (
        (TimeoutError, "timeout"),
        (BadStatus, "status"),
        (Unanswered, "unanswered"),
        (TooLarge, "too-large"),
        (BadMessage, "payload"),
        (ssl.SSLCertVerificationError, "certificate"),
        (ssl.SSLError, "tls"),
        (OSError, kind_of_errno),
    )

    def __init__(self, settings: OwnSettings, to: Destination) -> None:
        super().__init__(settings, to)
        split = urlsplit(to.url)
        usual = 443 if split.scheme == "https" else 80
        self.hosts, self.port = tuple(to.addresses) or (split.hostname or "",), split.port or usual
        self._timer: asyncio.TimerHandle | None = None
        # How often the timer has seen what is pending.
        self._ages: dict[Hashable, int] = {}

    async def open(self) -> Fetch:
        """Start the timer; return what a strategy calls for each item."""
        if self.settings.timeout_s is not None:
            self._set_timer(self.settings.timeout_s)
        self.stack.push_async_callback(self._leave)
        return self.fetcher()

    async def _leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for connection in list(self.open_connections()):
            connection.abort()
        await asyncio.sleep(0)  # for the loop to tell them

    @property
    def effective(self) -> dict[str, Any]:
        """Return the settings in force, and how many connections were opened."""
        return msgspec.structs.asdict(self.settings) | {"connections_opened": self.opened}

    async def connect(self, connect_to: Callable[[str], Awaitable[Made]]) -> Made:
        """Open a connection, to the last of several addresses where no other answers."""
        *others, last = self.hosts
        async with asyncio.timeout(self.settings.connect_timeout_s):
            for host in others:
                with suppress(OSError):
                    made = await connect_to(host)
                    break
            else:
                made = await connect_to(last)
        self.opened += 1
        return made

    @abstractmethod
    def fetcher(self) -> Fetch:
        """Return what a strategy calls for each item."""

    @abstractmethod
    def open_connections(self) -> Iterable[Any]:
        """Return the connections that are open; each has a method `abort`."""

    @abstractmethod
    def pending(self) -> Iterable[Hashable]:
        """Return all that waits, each as itself for as long as it does."""

    @abstractmethod
    def expire(self, pending: Any) -> None:
        """Fail one of those, which has waited too long."""

    def _set_timer(self, timeout_s: float) -> None:
        every_s = max(timeout_s / SWEEPS, MIN_SWEEP_S)

        def sweep() -> None:
            # What is found for the first time was pending for less than one interval.
            ages = {one: self._ages.get(one, -1) + 1 for one in self.pending()}
            oldest = math.ceil(timeout_s / every_s)
            self._ages = {one: age for one, age in ages.items() if age < oldest}
            for one in ages.keys() - self._ages.keys():
                self.expire(one)
            self._set_timer(timeout_s)

        self._timer = asyncio.get_running_loop().call_later(every_s, sweep)


class OneAtATime(OwnClient[OwnSettings]):
    """A client whose connections carry one request each; where they are limited, the rest wait."""

    def fetcher(self) -> Fetch:
        """Return `fetch`, in turn where connections are limited."""
        if not self.settings.connections:
            return self.fetch
        slots = asyncio.Semaphore(self.settings.connections)

        async def fetch_in_turn(item: int) -> object:
            async with slots:
                return await self.fetch(item)

        return fetch_in_turn

    @abstractmethod
    async def fetch(self, item: int) -> object:
        """Make one request and return its answer."""


class HttpClient(OwnClient[HttpSettings]):
    """A client that speaks HTTP/1.1; its connections share the heads of responses they know."""

    def __init__(self, settings: HttpSettings, to: Destination) -> None:
        super().__init__(settings, to)
        self.request = request_template(to.url, to.path)
        context = tls_context(to.url, settings.ca, settings.verify)
        name = urlsplit(to.url).hostname
        self.tls: dict[str, Any] = {"ssl": context, "server_hostname": name} if context else {}
        self._known: dict[bytes, ResponseHead] = {}
        self._plain: dict[bytes, ResponseHead] = {}

    @property
    def effective(self) -> dict[str, Any]:
        """Return the settings in force, how many connections were opened, and the parser."""
        return super().effective | {"httptools": httptools.__version__}

    def new_reader(self, answered: Answered) -> ResponseReader:
        """Return a reader of responses for a new connection."""
        return ResponseReader(
            answered,
            max_head_bytes=self.settings.max_head_bytes,
            max_body_bytes=self.settings.max_body_bytes,
            known=self._known,
            plain=self._plain,
        )


def url_template(url: str, path: str) -> Callable[[int], str]:
    """Return a function from an item's number to its URL, in which `{item}` stands for it."""
    before, *after = (url.rstrip("/") + path if path else url).split("{item}")
    if len(after) == 1:
        return lambda item: f"{before}{item}{after[0]}"
    return lambda item: str(item).join([before, *after])


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
