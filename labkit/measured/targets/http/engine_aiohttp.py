"""The engine `aiohttp`: aiohttp's low-level server, without an Application, over `behaviour`.

It parses, waits, sends and counts; it decides no answer. A request is in flight from when aiohttp
hands it over until its answer is written. Time is `perf_counter_ns`, never the loop's: uvloop's
clock ticks in milliseconds.
"""

from __future__ import annotations

import asyncio
import logging
from email.utils import formatdate
from time import perf_counter_ns, sleep

import aiohttp
import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict

from labkit.measured.targets.http import behaviour, encoding, engines, faults, messages, pacing
from labkit.measured.targets.http.messages import Answer, Chunks, Request
from labkit.measured.targets.http.requests import plain_head
from labkit.measured.targets.http.stats import Stats
from labkit.measured.timerfd import LOOP_TICK_S
from labkit.spec import parts


class Engine(web.Server):
    """One server: connections in, answers out, everything counted in `stats`."""

    def __init__(self, settings: parts.Server) -> None:
        super().__init__(
            self._handle,
            # A client that goes away takes its request with it, in mid-delay too.
            handler_cancellation=True,
            access_log=None,
            logger=_logger(),
            auto_decompress=False,
        )
        self._behaviour = behaviour.Behaviour(settings)
        self._hello_headers = _headers(self._behaviour.hello)
        self.stats = Stats()
        self._telling = engines.Telling(settings, self.stats, aiohttp=aiohttp.__version__)
        self._log = self._telling.log

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Called by aiohttp for each connection that is opened."""
        super().connection_made(handler, transport)
        self.stats.connected(handler)
        if self._log is not None:
            self._log.opened(handler)

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        """Called by aiohttp for each connection that is gone."""
        super().connection_lost(handler, exc)
        self.stats.disconnected(handler)
        if self._log is not None:
            self._log.closed(handler)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        method, target, headers = request.method, request.raw_path, self._hello_headers
        delay_s = self._behaviour.hello_delay_s(target) if method == "GET" else None
        if delay_s is None and behaviour.is_inside(target):
            return self._told(request)
        self.stats.began(request.protocol)
        logged = self._log.began(request.protocol, target) if self._log is not None else None
        try:
            answer = self._behaviour.hello
            if delay_s is None:
                answer = await self._answer(request)
                delay_s, headers = answer.delay_s, _headers(answer)
            if answer.stall_s:
                sleep(answer.stall_s)  # noqa: ASYNC251 - all that is served is to stand still
            if delay_s:
                await self._wait(delay_s)
            if answer.fault:
                return await self._break(request, answer)
            if isinstance(answer.body, Chunks) or answer.is_slow:
                return await self._send_pieces(request, answer, headers)
            # Sent from here: a coroutine of its own would be a cost of every request.
            response = web.Response(status=answer.status, headers=headers, body=answer.body)
            try:
                await response.prepare(request)
                await response.write_eof()
            except ConnectionError:
                return response  # aiohttp meets the error again as it finishes, and lets go
            if method != "HEAD":
                self.stats.bytes_out += len(answer.body)
            return response
        finally:
            self.stats.ended()
            if self._log is not None and logged is not None:
                self._log.ended(logged)

    def _told(self, request: web.BaseRequest) -> web.Response:
        self.stats.observed(request.protocol)
        answer = self._telling.answer(request.method, request.raw_path)
        return web.Response(status=answer.status, headers=_headers(answer), body=answer.body)

    async def _answer(self, request: web.BaseRequest) -> Answer:
        body = b""
        if self._behaviour.takes_body(request.method, request.raw_path):
            if (request.content_length or 0) > self._behaviour.client_max_size:
                return self._behaviour.too_large
            body = await _read(request, self._behaviour.client_max_size)
        return self._behaviour.answer(
            Request(
                method=request.method,
                target=request.raw_path,
                headers={
                    name.lower(): ", ".join(request.headers.getall(name))
                    for name in request.headers
                },
                body=body,
            )
        )

    async def _wait(self, delay_s: float) -> None:
        self.stats.delay_error.add(await _until(perf_counter_ns() + round(delay_s * 1e9)))

    async def _send_pieces(
        self, request: web.BaseRequest, answer: Answer, headers: CIMultiDict[str]
    ) -> web.StreamResponse:
        response, body = web.StreamResponse(status=answer.status, headers=headers), answer.body
        if isinstance(body, Chunks) and body.framed and request.version >= aiohttp.HttpVersion11:
            response.enable_chunked_encoding()
        else:
            response.content_length = messages.length(body)
        try:
            await response.prepare(request)
            if request.method != "HEAD":
                await self._write_pieces(response, answer)
            await response.write_eof()
        except ConnectionError:
            pass
        return response

    async def _break(self, request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
        """Send what is left of the answer past aiohttp, and end the connection."""
        transport, head = request.transport, plain_head(request.raw_path)
        if transport is None:  # the client is gone
            return _Sent()
        asked = msgspec.structs.replace(head, method=request.method)
        whole = encoding.whole(answer, asked, formatdate(usegmt=True), last=True)
        self.stats.bytes_out += faults.body_bytes(answer) if request.method != "HEAD" else 0
        for piece in faults.sent(answer, whole):
            if isinstance(piece, int):
                await _until(piece)
            else:
                transport.write(piece)
        if answer.fault == "reset":
            engines.reset(transport)
        else:
            transport.close()
        return _Sent()

    async def _write_pieces(self, response: web.StreamResponse, answer: Answer) -> None:
        unyielded = 0
        for piece in pacing.sent(answer):
            if isinstance(piece, int):
                await _until(piece)
                continue
            await response.write(piece)
            self.stats.bytes_out += len(piece)
            unyielded += len(piece)
            # A client that reads as fast as this writes would else keep the loop from all others.
            if unyielded >= messages.PIECE_BYTES:
                unyielded = 0
                await asyncio.sleep(0)


class _Sent(web.StreamResponse):
    """For aiohttp, which wants an answer: one that was sent already."""

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing is left to send."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to send."""


async def start(settings: parts.Server) -> asyncio.Server:
    """Listen on `settings.host` and `settings.port`; requests are accepted when this returns."""
    return await engines.listen(Engine(settings), settings)


async def _until(due_ns: int) -> int:
    """Wait until `due_ns`; by how much it was late."""
    await asyncio.sleep((due_ns - perf_counter_ns()) / 1e9)
    # Never early: the floor of a trial is a bound only if every delay lasts its whole time.
    while (late_ns := perf_counter_ns() - due_ns) < 0:  # noqa: ASYNC110 - it awaits the clock
        await asyncio.sleep(LOOP_TICK_S)
    return late_ns


async def _read(request: web.BaseRequest, most_bytes: int) -> bytes:
    """The body of `request`; of one above `most_bytes`, enough to see that it is."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > most_bytes:
            break
    return bytes(body)


def _headers(answer: Answer) -> CIMultiDict[str]:
    return CIMultiDict((*answer.headers, ("Server", messages.SERVER)))


def _logger() -> logging.Logger:
    logger = logging.getLogger(__name__)
    logger.addFilter(_is_our_fault)
    return logger


def _is_our_fault(record: logging.LogRecord) -> bool:
    """What is not HTTP gets a 400 from aiohttp; only the server's own errors are logged."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
