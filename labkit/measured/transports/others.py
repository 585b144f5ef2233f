"""Clients that others wrote, as transports: the user's own, and four that everybody knows.

Only the library that the trial names is imported. Each is used as its own documents show it, with
one client for all calls, but for what every transport does alike: it sends what the item asks for,
follows redirects on the target's host alone (`Calls.fetching`), and reads no more than a ceiling.
"""

import asyncio
import inspect
import os
import ssl
import threading
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from importlib import import_module
from typing import Any

from labkit.errors import raised
from labkit.measured.http_framing import check_body
from labkit.measured.transports import client
from labkit.measured.transports.responses import Answer, Fields
from labkit.spec.requests import Request
from labkit.spec.transports import ClientTransport, LibraryTransport
from labkit.spec.validation import refusal

# Returns what a call is answered, whatever its status.
Send = Callable[[tuple[str, Request]], Awaitable[Answer]]
PIECE_BYTES = 1 << 16
# So long a client of the user's own may take to be left: what was measured waits for it.
MAX_LEAVE_S = 1.0


class Asked:
    """What a client of the user's own is called with: what it is to call, and how.

    Up to `limit` calls are in flight at a time. `url(item)` is all that a plain GET needs;
    `request(item)` has method, headers and body. `tls` is a context that trusts whom the lab
    trusts, True without TLS. `redirects` says whether the trial wants them followed.
    """

    def __init__(self, to: client.Destination) -> None:
        self.limit, self.redirects = to.limit, to.calls.follows
        self.tls: ssl.SSLContext | bool = client.tls_context(to.url, None, verify=True) or True
        self._call = to.calls.prepared(partial(client.call_template, to.url))

    def url(self, item: int) -> str:
        """Return the URL of an item."""
        return self._call(item)[0]

    def request(self, item: int) -> Request:
        """Return what is sent there."""
        return self._call(item)[1]


class Own(client.TransportClient[ClientTransport]):
    """`await fetch(item)` is what the user's own returns, as an `Answer` where it has a status."""

    async def open(self) -> client.Fetch:
        """Enter it; return its `fetch`. Raises `BadInput` where it yields none."""
        own, name = self.to.client, self.settings.name
        make: Any = asynccontextmanager(own) if inspect.isasyncgenfunction(own) else own
        self._entered = AsyncExitStack()
        try:
            theirs: Any = await self._entered.enter_async_context(make(Asked(self.to)))
        except Exception as error:  # noqa: BLE001  # it is the user's code
            raise refusal("client-failed", name=name, why=raised(error)) from None
        self.stack.push_async_callback(self._leave)
        if not callable(theirs):
            raise refusal("client-yields", name=name, found=theirs)
        ok = self.to.calls.ok

        async def fetch(item: int) -> object:
            cause = None
            try:
                answer = answer_of(await theirs(item))
            except Exception as error:
                # What is raised for a status has the response, or is like one.
                response, cause = getattr(error, "response", None), error
                answer = answer_of(error if response is None else response)
                if not isinstance(answer, Answer):
                    raise
            if isinstance(answer, Answer) and answer.status not in ok:
                raise client.BadStatus(answer.status, answer) from cause
            return answer

        return fetch

    async def _leave(self) -> None:
        # It was measured by then: what fails or hangs here takes nothing from that.
        with suppress(Exception):
            async with asyncio.timeout(MAX_LEAVE_S):
                await self._entered.aclose()


def answer_of(found: Any) -> Any:
    """Return what a client of any library answered as an `Answer`; as it is if it has no status."""
    if isinstance(found, Answer):
        return found
    status = getattr(found, "status_code", getattr(found, "status", None))
    if not isinstance(status, int):
        return found
    body = b""
    with suppress(RuntimeError):  # it was not read
        bodies = (getattr(found, name, None) for name in ("body", "_body", "content"))
        body = next((one for one in bodies if isinstance(one, bytes)), b"")
    return Answer(int(status), body, fields_of(getattr(found, "headers", None) or {}))


def fields_of(headers: Any) -> Fields:
    """Return the headers of an answer of any library."""
    raw = getattr(headers, "raw", None)  # of httpx: as they came
    if raw is not None:
        return tuple(raw)
    return tuple((str(n).encode("latin-1"), str(v).encode("latin-1")) for n, v in headers.items())


class Library(client.TransportClient[LibraryTransport]):
    """`answer = await fetch(item)`, whose body is read up to the ceiling."""

    async def open(self) -> client.Fetch:
        """Open the library's client; return what a strategy calls for each item."""
        kind = self.settings.kind
        opened = _OPENERS.get(kind, _httpx)(import_module(kind), self.settings, self.to)
        send: Send = await self.stack.enter_async_context(opened)
        return self.to.calls.fetching(self.to.url, client.call_template, send)


async def _read(response: Any, pieces: AsyncIterable[bytes], most: int | None) -> Answer:
    """Return the answer, once its body is read. Raises `TooLarge`."""
    body = bytearray()
    check_body(int(response.headers.get("content-length") or 0), most)
    async for piece in pieces:
        body += piece
        check_body(len(body), most)
    return Answer(response.status_code, bytes(body), fields_of(response.headers))


@asynccontextmanager
async def _httpx(library: Any, asked: Any, to: client.Destination) -> AsyncIterator[Send]:
    """Give what sends over one `AsyncClient`, of httpx or httpx2."""
    most, idle = asked.limit or None, asked.keepalive_limit or None
    limits = library.Limits(max_connections=most, max_keepalive_connections=idle)
    # Without TLS no context is made: it takes megabytes.
    tls = client.tls_context(to.url, asked.ca, asked.verify) or False
    how = {"limits": limits, "timeout": asked.timeout_s, "verify": tls, "trust_env": False}
    async with library.AsyncClient(**how) as session:

        async def send(call: tuple[str, Request]) -> Answer:
            url, one = call
            begun = session.stream(one.method, url, headers=one.headers, content=one.body)
            async with begun as response:
                return await _read(response, response.aiter_bytes(), asked.max_body_bytes)

        yield send


def _arguments(asked: LibraryTransport, url: str, one: Request) -> dict[str, Any]:
    """Return what a session of requests and niquests is asked for."""
    # They take a file and no context. The variable is how the lab names its own certificate.
    trusted = asked.ca or os.environ.get("SSL_CERT_FILE") or True
    how = {"stream": True, "allow_redirects": False, "timeout": asked.timeout_s}
    what = {"method": one.method, "url": url, "headers": one.headers, "data": one.body}
    return {**what, **how, "verify": asked.verify and trusted}


@asynccontextmanager
async def _niquests(library: Any, asked: Any, to: client.Destination) -> AsyncIterator[Send]:
    """Give what sends over one `AsyncSession`."""
    most = asked.connections_at(to.limit)
    how = {"pool_connections": 1, "pool_maxsize": most}
    # A certificate names where to ask if it was revoked: any host, which niquests would call.
    async with library.AsyncSession(**how, revocation_configuration=None) as session:
        session.trust_env = False

        async def send(call: tuple[str, Request]) -> Answer:
            begun = await session.request(**_arguments(asked, *call))
            async with begun as response:
                pieces = await response.iter_content(PIECE_BYTES)
                return await _read(response, pieces, asked.max_body_bytes)

        yield send


@asynccontextmanager
async def _requests(library: Any, asked: Any, to: client.Destination) -> AsyncIterator[Send]:
    """Give what sends in threads, each with a session: one is not meant to be shared."""
    here, sessions = threading.local(), list[Any]()

    def begin() -> None:
        here.session = library.Session()
        here.session.trust_env = False
        sessions.append(here.session)

    def ask(call: tuple[str, Request]) -> Answer:
        with here.session.request(**_arguments(asked, *call)) as response:
            body = bytearray()
            check_body(int(response.headers.get("content-length") or 0), asked.max_body_bytes)
            for piece in response.iter_content(PIECE_BYTES):
                body += piece
                check_body(len(body), asked.max_body_bytes)
            return Answer(response.status_code, bytes(body), fields_of(response.headers))

    threads = ThreadPoolExecutor(asked.connections_at(to.limit), initializer=begin)
    yield partial(asyncio.get_running_loop().run_in_executor, threads, ask)  # type: ignore[arg-type]
    # A thread in a call ends with it: nobody else can end it.
    threads.shutdown(wait=False, cancel_futures=True)
    for session in sessions:
        session.close()


_OPENERS = {"niquests": _niquests, "requests": _requests}
