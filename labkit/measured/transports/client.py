"""What the transports share: entering and leaving, names of failures, limits, timeouts.

`TransportClient` is the base of every transport, `OwnClient` of those that the lab wrote itself:
wire, streams and echo. The drivers and aiohttp have limits and timeouts of their own.
"""

from __future__ import annotations

import asyncio
import errno
import math
import re
import ssl
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import httptools
import msgspec

from labkit.measured.http_framing import HEAD_END
from labkit.measured.transports import responses
from labkit.measured.transports.responses import Answer, Answered, Known, ResponseReader
from labkit.record.requests import Phases, Received
from labkit.spec.requests import ITEM, Request, whole_url
from labkit.spec.transports import OwnHttpTransport, OwnTransport, Transport

if TYPE_CHECKING:
    from labkit.measured.transports.tracing import Tracer

Fetch = Callable[[int], Awaitable[object]]

# As aiohttp has them.
MAX_REDIRECTS, REDIRECTS = 10, frozenset({301, 302, 303, 307, 308})
# Methods of which an empty body has a length, too.
_WITH_BODY = ("POST", "PUT", "PATCH", "DELETE")
MIN_SWEEP_S = 0.001
SWEEPS = 8

Settings = TypeVar("Settings", bound=Transport)
OwnSettings = TypeVar("OwnSettings", bound=OwnTransport)
HttpSettings = TypeVar("HttpSettings", bound=OwnHttpTransport)
Made = TypeVar("Made")


class BadStatus(Exception):
    """The server answered, with a status that is not a success."""

    def __init__(self, status: int, answer: Answer | None = None) -> None:
        super().__init__(f"status {status}")
        self.status, self.answer = status, answer


class BadRedirect(Exception):
    """The server sent the client on, to where it does not go."""


def tls_context(url: str, ca: str | None, verify: bool) -> ssl.SSLContext | None:
    """Return how a client of this URL speaks TLS, and whom it trusts; None without TLS."""
    if not url.startswith("https:"):
        return None
    context = ssl.create_default_context(cafile=ca)
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _named(table: Mapping[str, Mapping[str, str]], error: BaseException) -> str | None:
    number = errno.errorcode.get(getattr(error, "errno", None) or 0, "")
    state = getattr(error, "sqlstate", None) or ""
    classes = (base.__name__ for base in type(error).__mro__)
    for name in (number, state, state[:3], state[:2], *classes):
        for text, kind in table.get(name, {}).items():
            # aiohttp's text of an answer is more than its message.
            if not text or re.search(text, str(getattr(error, "message", error))):
                return kind
    return None


class Unanswered(Exception):
    """The request was sent, and its connection ended before the whole answer had come."""


class Calls(NamedTuple):
    """What each item asks for, and which status of an answer is `ok`.

    Items take `requests` in turn, or as `picks` says. Statuses `at_once` are successes whatever
    else the answer says; those of redirects are not where they are followed.
    """

    requests: Sequence[Request]
    picks: Sequence[int] = ()
    ok: Collection[int] = range(200, 300)
    follows: bool = True

    @property
    def at_once(self) -> frozenset[int]:
        """Return the statuses of a success that need no further look."""
        return frozenset(self.ok) - (REDIRECTS if self.follows else frozenset())

    def prepared(self, make: Callable[[Request], Callable[[int], Made]]) -> Callable[[int], Made]:
        """Return a function from an item to what `make` gives for its request, all made now."""
        made, which = [*map(make, self.requests)], self.which
        return made[0] if len(made) == 1 else lambda item: made[which(item)](item)

    def which(self, item: int) -> int:
        """Return which of the requests an item takes."""
        return self.picks[item % len(self.picks)] if self.picks else item % len(self.requests)

    def fetching(
        self,
        url: str,
        prepare: Callable[[str, Request], Callable[[int], Made]],
        send: Callable[[Made], Awaitable[Answer]],
    ) -> Callable[[int], Awaitable[Answer]]:
        """Return `fetch` of a client that sends by `send` what `prepare` makes of URL and request.

        Whatever its status is, `send` returns the answer.
        """
        asked, ok = self.prepared(partial(prepare, url)), self.at_once

        async def fetch(item: int) -> Answer:
            answer = await send(asked(item))
            if answer.status in ok:
                return answer
            return await self.settled(url, item, answer, prepare, send)

        return fetch

    async def settled(
        self,
        url: str,
        item: int,
        answer: Answer,
        prepare: Callable[[str, Request], Callable[[int], Made]],
        send: Callable[[Made], Awaitable[Answer]],
    ) -> Answer:
        """Return the answer to which redirects lead; raise `BadStatus` where it is no success.

        They are followed as browsers and aiohttp do it, but never to another host: what a trial may
        call was checked before it began. `prepare` and `send` are as of `fetching`.
        """
        request, followed = self.requests[self.which(item)].at(item), 0
        at, origin = whole_url(url, request.path), "{0.scheme}://{0.netloc}".format(urlsplit(url))
        while self.follows and answer.status in REDIRECTS and "Location" in answer.headers:
            if followed == MAX_REDIRECTS:
                raise BadRedirect(f"more than {followed} redirects, the last to {at[:200]!r}")
            request, at = redirected(request, at, answer.status, answer.headers["Location"])
            answer, followed = await send(prepare(origin, request)(item)), followed + 1
        if answer.status not in self.ok:
            raise BadStatus(answer.status, answer)
        return answer


def redirected(request: Request, at: str, status: int, location: str) -> tuple[Request, str]:
    """Return the request that a redirect asks for, and its URL. Raises `BadRedirect`."""
    to = urljoin(at, quote(location, safe="!#$&'()*+,;=:@/?%[]~"))
    was, now = urlsplit(at), urlsplit(to)
    if (was.scheme, was.netloc) != (now.scheme, now.netloc):
        only = f"only {was.scheme}://{was.netloc} is called; give where it leads to as the target"
        raise BadRedirect(f"the redirect leads to {to[:200]!r}, and {only}")
    path = (now.path or "/") + (f"?{now.query}" if now.query else "")
    posted = request.method == "POST" and status in (301, 302)
    if posted or (status == 303 and request.method != "HEAD"):
        headers = {n: v for n, v in request.headers.items() if n.lower() != "content-type"}
        return Request(path=path, headers=headers), to
    return msgspec.structs.replace(request, path=path), to


class Destination(NamedTuple):
    """What is called: `calls` on the server at `url`.

    `addresses` are the checked addresses of the URL's host; where given, no other is connected to.
    `rows` is how many keys a database has, from 0. Up to `limit` calls are in flight at a time; the
    user's own `client` makes them, where there is one.
    """

    url: str
    calls: Calls = Calls([Request()])
    addresses: Sequence[str] = ()
    rows: int = 1
    limit: int = 100
    client: Callable[..., Any] | None = None


class TransportClient(ABC, Generic[Settings]):
    """A transport: `async with TransportClient(settings, to) as fetch: await fetch(item)`.

    `fetch` raises where the call failed. `opened` counts the connections, `tracer` the phases of
    requests, where they are traced. What `open` puts on `stack` is ended with the transport.
    """

    opened = 0
    tracer: Tracer | None = None

    def __init__(self, settings: Settings, to: Destination) -> None:
        self.settings, self.to = settings, to
        self.stack = AsyncExitStack()

    async def __aenter__(self) -> Fetch:
        return await self.open()

    async def __aexit__(self, *error: object) -> None:
        await self.stack.aclose()

    @abstractmethod
    async def open(self) -> Fetch:
        """Prepare the calls; return what a strategy calls for each item."""

    @property
    def effective(self) -> dict[str, Any]:
        """Return the settings in force, read back where that is possible."""
        return msgspec.structs.asdict(self.settings)

    def forget(self) -> None:
        """Count anew from now on: a warm-up is over."""
        self.opened = 0

    @property
    def phases(self) -> Phases | None:
        """Return the phases of the requests so far; None where they are not traced."""
        return None if self.tracer is None else self.tracer.summary()

    @property
    def received(self) -> Received | None:
        """Return the bodies that were read so far; None where they are not counted."""
        return None

    # The plan. Libraries wrap the errors of others, some of them several times, and each says less
    # than the one inside: a refused certificate is a ConnectError of httpx, a ConnectionError of
    # requests. So the innermost that says something decides: by its errno or SQLSTATE, or by the
    # names of its classes, since no library but the measured one is there to ask. A few say what
    # happened better than their cause: the lab's own, and some of aiohttp and redis.
    @classmethod
    def kind_of(cls, error: BaseException) -> str:
        """Return the kind of a failure, one of `data/failures.toml`."""
        if type(error) is BadStatus:
            return "status"
        from labkit import paths  # here: where nothing fails it is not needed

        # Which classes of errors mean what: with a text, where they say it.
        known, chain = paths.table("errors.json"), list[BaseException]()
        cause: BaseException | None = error
        while cause is not None:
            chain.append(cause)
            cause = cause.__cause__ or cause.__context__
        kinds = [_named(known["outermost"], error)]
        kinds += [_named(known["innermost"], one) for one in reversed(chain)]
        return next(filter(None, kinds), "other")


class OwnClient(TransportClient[OwnSettings]):
    """A client of the lab's own, which connects to `hosts` at `port`, and to no other address.

    Plan of its timeouts. A timer for each request would cost more than the request. So one timer
    looks eight times in `timeout_s` at all that is pending, and fails what it has seen for so long:
    at most an eighth of it late.
    """

    def __init__(self, settings: OwnSettings, to: Destination) -> None:
        super().__init__(settings, to)
        split = urlsplit(to.url)
        usual = 443 if split.scheme == "https" else 80
        self.hosts, self.port = tuple(to.addresses) or (split.hostname or "",), split.port or usual
        self._timer: asyncio.TimerHandle | None = None
        # How often the timer has seen what is pending.
        self._ages: dict[Hashable, int] = {}
        # Those that are open; each has a method `abort`.
        self.connections: set[Any] = set()

    async def open(self) -> Fetch:
        """Start the timer; return what a strategy calls for each item."""
        if self.settings.timeout_s is not None:
            self._set_timer(self.settings.timeout_s)
        self.stack.push_async_callback(self._leave)
        return self.fetcher()

    async def _leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for connection in list(self.connections):
            connection.abort()
        await asyncio.sleep(0)  # for the loop to tell them

    @property
    def effective(self) -> dict[str, Any]:
        """Return the settings in force, and how many connections were opened."""
        return super().effective | {"connections_opened": self.opened}

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

    # Makes one request and returns its answer.
    fetch: Fetch

    def fetcher(self) -> Fetch:
        """Return `fetch`, in turn where connections are limited."""
        if not self.settings.connections:
            return self.fetch
        slots = asyncio.Semaphore(self.settings.connections)

        async def fetch_in_turn(item: int) -> object:
            async with slots:
                return await self.fetch(item)

        return fetch_in_turn


class HttpClient(OwnClient[HttpSettings]):
    """A client that speaks HTTP/1.1; its connections share the heads of responses they know."""

    def __init__(self, settings: HttpSettings, to: Destination) -> None:
        super().__init__(settings, to)
        context = tls_context(to.url, settings.ca, settings.verify)
        name = urlsplit(to.url).hostname
        self.tls: dict[str, Any] = {"ssl": context, "server_hostname": name} if context else {}
        self.ok = to.calls.at_once
        has_heads = any(one.method == "HEAD" for one in to.calls.requests)
        kind = responses.HeadReader if has_heads else ResponseReader
        most = {one: getattr(settings, one) for one in ("max_head_bytes", "max_body_bytes")}
        make = partial(kind, known=Known(), ok=self.ok, **most)
        # Makes the reader of responses of a new connection.
        self.new_reader: Callable[[Answered], ResponseReader] = make

    @property
    def effective(self) -> dict[str, Any]:
        """Return the settings in force, how many connections were opened, and the parser."""
        return super().effective | {"httptools": httptools.__version__}

    @abstractmethod
    async def send(self, data: bytes) -> Answer:
        """Send a request and return its answer, whatever its status is."""


def url_template(url: str, path: str) -> Callable[[int], str]:
    """Return a function from an item's number to its URL, in which `{item}` stands for it."""
    before, *after = whole_url(url, path).split(ITEM)
    if len(after) == 1:
        return lambda item: f"{before}{item}{after[0]}"
    return lambda item: str(item).join([before, *after])


def call_template(url: str, request: Request) -> Callable[[int], tuple[str, Request]]:
    """Return a function from an item's number to its URL and its request, for others' clients."""
    url_of = url_template(url, request.path)
    if not request.varies:
        return lambda item: (url_of(item), request)
    return lambda item: (url_of(item), request.at(item))


def request_template(url: str, request: Request) -> Callable[[int], bytes]:
    """Return a function from an item's number to the bytes of its request.

    `{item}` in URL, path, headers and body stands for the number.
    """
    origin = urlsplit(url.replace(ITEM, "0"))
    target = whole_url(url, request.path).partition("://")[2].partition("/")[2].partition("#")[0]
    lines = [f"{request.method} /{target} HTTP/1.1", f"Host: {origin.netloc}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    head, body, mark = "\r\n".join(lines).encode("ascii"), request.body or b"", ITEM.encode("ascii")
    marks = body.count(mark)
    if marks:
        # The length of such a body depends on that of the number.
        first, rest = head.split(mark), (HEAD_END + body).split(mark)
        fixed = len(body) - marks * len(mark)

        def varying(item: int) -> bytes:
            number = str(item).encode("ascii")
            length = b"\r\nContent-Length: %d" % (fixed + marks * len(number))
            return number.join(first) + length + number.join(rest)

        return varying
    if request.body is not None or request.method in _WITH_BODY:
        head += b"\r\nContent-Length: %d" % len(body)
    parts = (head + HEAD_END + body).split(mark)
    if len(parts) == 1:
        return lambda item: parts[0]
    # As `str` writes it: a template would cut what is no whole number down to one.
    return lambda item: str(item).encode().join(parts)
