"""An HTTP/1.1 client of the lab's own: `asyncio.Protocol`, httptools, keep-alive and pipelining.

It does what a transport needs and nothing else, and so shows what the event loop itself allows.

Plan. Answers belong to requests by their order (RFC 9112, section 9.3), so nothing is ever paired
by guessing. A connection is in one of four states:

- ready: it is in `Wire.ready`, once for each request that it takes (the one used last is next);
- full: `depth` requests are on their way; the next answer makes it ready again;
- retired: it takes no new request, but its answers are still for those that wait. So it is after
  a timeout, whose answer may yet come and holds up those behind it;
- over: what still comes is no answer to anything. So it is after the last answer, after garbage,
  and where bytes came that nobody had asked for.

A request is sent once: where its connection ends before the answer, it has failed as unanswered,
and only the one whose turn it was failed by what came. A call that is cancelled leaves its turn in
the order. A caller who finds none ready opens a connection, where those that are being opened are
not enough and there is room; else it waits in `queue` to be woken.

Measured: nearly every answer is one piece with a head that was seen before. `data_received` takes
it by comparing bytes (`ResponseReader.plain_answer`); to parse it would take 3.2 us. `fetch` sends
and returns the future that its caller awaits. It is no coroutine, as one more for each request
would take 5 % more instructions; so a redirect is followed in a task of its own.

Counted (callgrind): 18,800 instructions a request outside the kernel, those of uvloop and the meter
among them. Rejected: these modules compiled by Cython as they are (19,100); `fetch` and
`data_received` written for it (16,000: 4 % more requests, as the kernel takes most of the time); an
awaitable of its own that wakes its task at once (18,900: of what is no `asyncio.Future` itself a
task asks everything by name).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any, cast

from labkit.measured.http_framing import BadMessage
from labkit.measured.transports import client
from labkit.measured.transports.client import Destination, Fetch, HttpClient, Unanswered
from labkit.measured.transports.responses import Answer, ResponseHead
from labkit.spec.transports import WireTransport

Waiter = asyncio.Future[Any]


class Wire(HttpClient[WireTransport]):
    """`answer = await fetch(item)`."""

    def __init__(self, settings: WireTransport, to: Destination) -> None:
        super().__init__(settings, to)
        self.ready: list[WireConnection] = []
        self.queue: deque[Waiter] = deque()
        self._opening = 0

    def fetcher(self) -> Fetch:
        """Return what a strategy calls for each item."""
        return self._fetcher(self.to.calls.prepared(partial(client.request_template, self.to.url)))

    def _fetcher(self, request: Callable[[int], bytes]) -> Callable[[Any], Awaitable[object]]:
        ready, new_waiter, loop = self.ready, asyncio.Future, asyncio.get_running_loop()

        async def wait(item: Any) -> object:
            while not ready:
                await self._more()
            return await fetch(item)

        def fetch(item: Any) -> Awaitable[object]:
            if not ready:
                return wait(item)
            data, connection = request(item), ready.pop()
            waiter: Waiter = new_waiter(loop=loop)
            connection.waiting.append((waiter, item))
            connection.write(data)
            return waiter

        return fetch

    async def send(self, data: bytes) -> Answer:
        """Send a request and return its answer, whatever its status is."""
        return cast(Answer, await self._fetcher(lambda _: data)(None))

    async def follow(self, waiter: Waiter, item: int, answer: Answer) -> None:
        """Give a request the answer to which redirects lead, or what failed on the way."""
        calls, url = self.to.calls, self.to.url
        try:
            found = await calls.settled(url, item, answer, client.request_template, self.send)
            waiter.set_result(found)
        except BaseException as error:  # noqa: BLE001  # whatever it is, its caller gets it
            if not waiter.done():
                waiter.set_exception(error)

    async def _more(self) -> None:
        """Wait until there may be a connection that is ready; open one where that is needed."""
        limit, there = self.settings.connections, len(self.connections) + self._opening
        soon = self._opening * self.settings.depth
        if len(self.queue) + self._opening >= soon and (not limit or there < limit):
            open_to = asyncio.get_running_loop().create_connection
            self._opening += 1
            try:
                await self.connect(
                    lambda host: open_to(lambda: WireConnection(self), host, self.port, **self.tls)
                )
            except BaseException:
                self.wake()  # the next in the queue may try for itself
                raise
            finally:
                self._opening -= 1
            self.wake(self.settings.depth - 1)
            return
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self.queue.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self.wake()  # what this one was woken for is for the next
            raise

    def wake(self, count: int = 1) -> None:
        """Let so many of those that wait for a connection look again."""
        while count > 0 and self.queue:
            waiter = self.queue.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1

    def drop(self, connection: WireConnection) -> None:
        """Send nothing new on a connection."""
        while connection in self.ready:
            self.ready.remove(connection)

    def pending(self) -> Iterator[tuple[Waiter, WireConnection | None]]:
        """Return all that wait for a connection, or for an answer and on which.

        What was cancelled waits on: its answer is still to come, and holds up those behind it.
        """
        sent = ((waiter, one) for one in self.connections for waiter, _ in one.waiting)
        waiting = chain(((waiter, None) for waiter in self.queue), sent)
        return (one for one in waiting if not one[0].done() or one[0].cancelled())

    def expire(self, pending: tuple[Waiter, WireConnection | None]) -> None:
        """Fail what has waited too long, and use its connection for nothing new."""
        waiter, connection = pending
        if not waiter.done():
            waiter.set_exception(TimeoutError("no whole answer in time"))
        if connection:
            connection.retire()


class WireConnection(asyncio.Protocol):
    """One connection; `waiting` are the requests sent on it and not yet answered, in order."""

    def __init__(self, owner: Wire) -> None:
        # Each with its item, if it is to be followed where it is redirected.
        self.waiting: deque[tuple[Waiter, int | None]] = deque()
        self._client, self._ready, self._queue = owner, owner.ready, owner.queue
        self._transport: asyncio.Transport
        self._out: list[bytes] = []
        # Takes no new requests; takes no more answers either.
        self._retired = self._over = False
        self._reader = owner.new_reader(self._answered)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop once connected."""
        self._transport = cast(asyncio.Transport, transport)
        depth = self._client.settings.depth
        # A loop may write each request at once: those of one turn go out together.
        write = self._transport.write if depth == 1 else self._write_soon
        self.write = self._reader.noting(write)
        self._client.connections.add(self)
        self._ready += [self] * depth

    def data_received(self, data: bytes) -> None:
        """Called by the loop with what the server sent."""
        answer = self._reader.plain_answer(data)
        if answer is not None and self.waiting and not self._retired:
            waiter, _ = self.waiting.popleft()
            self._ready.append(self)
            if self._queue:
                self._client.wake()
            if not waiter.done():
                waiter.set_result(answer)
            return
        try:
            self._reader.receive(data)
        except BadMessage as error:
            if not self._over:  # else it came behind the last answer, and is of no request
                self._break(error)
        if not self.waiting and not self._reader.between:
            # The start of an answer that nobody asked for: the next one would be taken for its end.
            self.abort()

    def eof_received(self) -> None:
        """Called by the loop when the server sends no more: some bodies end so."""
        try:
            self._reader.end()
        except BadMessage as error:
            self._break(Unanswered(str(error)))

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop when the connection is gone: there is room for another."""
        owner, self._retired = self._client, True
        owner.drop(self)
        owner.connections.discard(self)
        owner.wake()
        why = f"the connection ended before the answer ({exc or 'closed by the server'})"
        while self.waiting:
            waiter, _ = self.waiting.popleft()
            if not waiter.done():
                waiter.set_exception(Unanswered(why))

    def _write_soon(self, data: bytes) -> None:
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def _answered(self, head: ResponseHead, body: bytes) -> None:
        waiting = self.waiting
        if self._over:
            return
        if not waiting:
            raise BadMessage("an answer came that nobody had asked for")
        waiter, item = waiting.popleft()
        if not waiter.done():
            answer = Answer(head.status, body, head.fields)
            if item is None or head.status in self._client.ok:
                waiter.set_result(answer)
            else:
                task = asyncio.ensure_future(self._client.follow(waiter, item, answer))
                waiter.add_done_callback(lambda _: task.cancel())
        if not head.keep_alive:
            self.abort()
        elif self._retired:
            self.retire()
        else:
            self._ready.append(self)
            self._client.wake()

    def retire(self) -> None:
        """Send nothing new here, and end once nobody waits for an answer any more."""
        self._retired = True
        self._client.drop(self)
        if all(waiter.done() for waiter, _ in self.waiting):
            self.abort()

    def abort(self) -> None:
        """End the connection now: what still comes is no answer to anything."""
        self._retired = self._over = True
        self._client.drop(self)
        self._transport.abort()

    def _break(self, error: Exception) -> None:
        """Fail the first that waits: what came was its answer, and cannot be understood."""
        if self.waiting and not self.waiting[0][0].done():
            self.waiting.popleft()[0].set_exception(error)
        self.abort()
