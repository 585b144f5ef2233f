"""The connections of the synthetic server: they receive, wait and send.

`behaviour` decides each answer, `requests` parses, `engine` counts.

Plan. The requests of a connection are answered one after another in the order in which they came,
as in most servers: a slow one delays those behind it. A request is in flight from when its turn
comes (or its body begins to come in) until its answer is written. A connection is at rest, or has
one `_current` answer (its delay runs, or it goes out in `_pieces`) and others `_waiting`. It is
`_closing` once it takes no more requests, and `_closed` once it sends no more. `_advance` starts
what can be started; whatever ends something (an answer, a delay, a full buffer) calls it.

What a benchmark sends nearly always is `GET /{name}` with headers that were seen before, on
a connection at rest. That is recognised by comparing bytes, answered with bytes that are made once
a second (they hold the date), and touches hardly any state: `data_received` has this short way
twice, for answers with a delay and without. Everything else goes through the reader, `_enqueue`,
`_advance` and `_start`. Measured without a socket: 0.7 us at once, 2 us with a delay of nothing
that goes through `_start_plain`, 13 us where a request is parsed.

Backpressure both ways: above `MAX_WAITING` requests a connection is not read; while the client does
not read, nothing is made for it; and a large body yields to other connections every `PIECE_BYTES`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Iterator
from time import perf_counter_ns, sleep
from typing import Any, cast

from labkit.measured.http_framing import BadMessage
from labkit.measured.targets.http import behaviour, messages, pacing
from labkit.measured.targets.http.engine import Engine, Turn
from labkit.measured.targets.http.messages import Answer, Request
from labkit.measured.targets.http.requests import (
    RequestHead,
    RequestReader,
    plain_name,
    plain_names,
)

MAX_WAITING = 256


class ServerConnection(asyncio.Protocol):
    """One client: its requests in, their answers out, in turn."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._stats = engine, engine.stats
        self._reader = RequestReader(self, engine.known)
        self._at_rest = True  # nothing waits or is half received, and the client reads
        self._transport: asyncio.Transport
        self._waiting: deque[bytes | Turn] = deque()
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._current: Turn | None = None
        self._due_ns = 0
        self._pieces: Iterator[bytes | int] | None = None
        self._waits_for_piece = False  # at a rate, until the next one is due
        self._writable, self._reading = True, True
        self._logged: dict[str, Any] | None = None
        # In flight already, as its body comes in; the client waits for a 100.
        self._receiving = self._expecting = self._advancing = False
        self._closing = self._closed = False
        self._fault = ""  # the fault that it is a victim of

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a new connection."""
        self._transport = cast(asyncio.Transport, transport)
        self._stats.connected(self)
        if self._engine.log is not None:
            self._engine.log.opened(self)

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        engine = self._engine
        if self._at_rest and engine.is_short:
            name = plain_name(data, engine.known)
            if name and name not in engine.special_names:
                if not engine.is_at_once:
                    self._start_plain(name)
                    self._flush()
                    self._at_rest = self._current is None
                else:
                    self._stats.at_once(self, 1, engine.hello_bytes)
                    self._transport.write(engine.hello)
                return
            if engine.is_at_once:
                names, used = plain_names(data, engine.known)
                few = len(names) * len(engine.hello) <= messages.PIECE_BYTES
                if few and used == len(data) and engine.special_names.isdisjoint(names):
                    self._stats.at_once(self, len(names), len(names) * engine.hello_bytes)
                    self._transport.write(engine.hello * len(names))
                    return
        if self._closing:
            return
        self._at_rest = False
        try:
            self._reader.receive(data)
        except BadMessage as error:
            refusal = messages.text(400, str(error))
            self._enqueue(Turn(refusal, RequestHead(target=""), last=True, counted=False))
        self._advance()

    def eof_received(self) -> None:
        """End the connection: a client that sends no more is gone, for a server."""
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget all that waits, a request in mid-delay among it."""
        self._closing, self._closed, self._at_rest = True, True, False
        self._waiting.clear()
        if self._current is not None or self._receiving:
            self._pieces = None
            self._finish()
        self._stats.disconnected(self)
        if self._engine.log is not None:
            self._engine.log.closed(self)

    def pause_writing(self) -> None:
        """Send no more: the client reads more slowly than it is answered."""
        self._writable = self._at_rest = False

    def resume_writing(self) -> None:
        """Go on sending: the client has caught up."""
        self._writable = True
        if self._pieces is not None:
            self._send_pieces()
        else:
            self._advance()

    # Called by the reader, in the order in which the requests came.

    def plain_received(self, name: bytes) -> None:
        """Take `GET /{name}`, as benchmarks send it."""
        if self._current is not None or self._waiting or self._closing or not self._writable:
            self._enqueue(name)
        else:
            self._start_plain(name)

    def head_received(self, head: RequestHead) -> int:
        """Return how much of the body to keep: all that is allowed where the answer needs it."""
        server = self._engine.behaviour
        taken = server.takes_body(head.method, head.target)
        idle = self._current is None and not self._waiting
        if idle and head.length != 0 and not behaviour.asks_for_counters(head.target):
            self._receiving = True
            self._stats.began(self)
        if head.expects and taken and (head.length or 0) <= server.client_max_size:
            self._expecting = True
            self._advance()
        elif head.expects:
            # Answered now, for the client waits; it may or may not send the body after that.
            turn = Turn(server.too_large, head, last=True) if taken else self._turn(head, b"")
            self._enqueue(turn._replace(last=True))
        return server.client_max_size if taken else 0

    def request_received(self, head: RequestHead, body: bytes) -> None:
        """Take any other request."""
        if not self._closing:
            self._expecting = False
            self._enqueue(self._turn(head, body))

    def _turn(self, head: RequestHead, body: bytes) -> Turn:
        last = not head.keep_alive
        if behaviour.asks_for_counters(head.target):
            return Turn(None, head, last, counted=False)
        request = Request(method=head.method, target=head.target, headers=head.headers, body=body)
        return Turn(self._engine.behaviour.answer(request), head, last)

    def _enqueue(self, turn: bytes | Turn) -> None:
        if self._closing:
            return
        self._waiting.append(turn)
        self._closing = isinstance(turn, Turn) and turn.last
        if len(self._waiting) > MAX_WAITING and self._reading:
            self._reading = False
            self._transport.pause_reading()
        self._advance()

    # One answer after another.

    def _advance(self) -> None:
        """Start the answers that wait, as far as they can be started now."""
        if self._advancing:  # called from within the loop below, which goes on by itself
            return
        self._advancing = True
        while self._waiting and self._current is None and self._writable:
            turn = self._waiting.popleft()
            if isinstance(turn, bytes):
                self._start_plain(turn)
            else:
                self._start(turn)
        self._advancing = False
        if not self._reading and len(self._waiting) <= MAX_WAITING and not self._closed:
            self._reading = True
            self._transport.resume_reading()
        if self._current is None and not self._waiting:  # all that came is answered
            if self._expecting:
                self._expecting = False
                self._add(messages.CONTINUE)
            elif self._closing:
                self._end()
        self._flush()
        self._at_rest = self._current is None and self._is_clear()

    def _start_plain(self, name: bytes) -> None:
        target = "/" + name.decode("ascii")
        delay_s = self._engine.behaviour.hello_delay_s(target)
        if delay_s is None or self._engine.log is not None:  # a route of its own, or to be logged
            self._start(self._turn(RequestHead(target=target), b""))
        else:
            self._start(self._engine.plain, delay_s)

    def _start(self, turn: Turn, delay_s: float | None = None) -> None:
        answer = turn.answer
        if answer is None or not turn.counted:
            if self._receiving:  # its body was not understood
                self._receiving = False
                self._stats.ended()
            if answer is None:
                self._stats.observed(self)
                answer = self._engine.counters(turn.head)
            self._add(self._engine.encode(answer, turn))
            return
        if not self._receiving:
            self._stats.began(self)
        self._receiving = False
        if self._engine.log is not None:
            self._logged = self._engine.log.began(self, turn.head.target)
        self._current = turn
        if answer.stall_s:
            sleep(answer.stall_s)
        if delay_s is None:
            delay_s = answer.delay_s
        if delay_s:
            self._due_ns = perf_counter_ns() + round(delay_s * 1e9)
            self._engine.alarm.at(self._due_ns, self._due)
        else:
            self._send(answer, turn)

    def _due(self, now_ns: int) -> None:
        """Send the answer whose delay has ended."""
        turn = self._current
        if turn is None or turn.answer is None:  # the client is gone
            return
        self._stats.delay_ended(now_ns - self._due_ns)
        if turn is self._engine.plain and self._engine.hello and self._is_clear():
            # What `_send` and `_advance` come to, in a third of their time.
            self._current, self._at_rest = None, True
            self._stats.bytes_out += self._engine.hello_bytes
            self._stats.ended()
            self._transport.write(self._engine.hello)
        else:
            self._send(turn.answer, turn)
            self._advance()

    def _is_clear(self) -> bool:
        """Return whether nothing waits or is half received, and the client stays and reads."""
        return self._writable and not (self._closing or self._waiting) and self._reader.between

    def _send(self, answer: Answer, turn: Turn) -> None:
        """Send an answer, or begin to."""
        engine, bodiless = self._engine, turn.head.method == "HEAD"
        if answer.fault:
            # What is left of the answer; then the connection ends, and nothing else is answered.
            self._closing, self._fault = True, answer.fault
            self._waiting.clear()
            encoded = engine.encode(answer, turn._replace(last=True))
            self._pieces = pacing.broken(answer, encoded, self._stats.sent)
            self._send_pieces()
        elif answer.is_whole:
            self._add(engine.hello if turn is engine.plain else engine.encode(answer, turn))
            self._stats.bytes_out += 0 if bodiless else len(answer.body)  # type: ignore[arg-type]
            self._finish()
        else:
            self._add(messages.encode_head(answer, turn.head, engine.date, last=turn.last))
            if bodiless:
                self._finish()
                return
            chunked = messages.is_chunked(answer.body, turn.head)
            self._pieces = pacing.body_pieces(answer, self._stats.sent, chunked=chunked)
            self._send_pieces()

    def _send_pieces(self) -> None:
        """Send as much of a large body as fits one turn of the loop, and the rest in later ones."""
        unyielded = 0
        while self._pieces is not None and self._writable and not self._waits_for_piece:
            if unyielded >= messages.PIECE_BYTES:
                self._flush()
                # A client that reads as fast as this writes would else keep all others waiting.
                self._engine.loop.call_soon(self._send_pieces)
                return
            piece = next(self._pieces, None)
            if piece is None:
                self._pieces = None
                self._finish()
                if self._fault:
                    self._end()
                else:
                    self._advance()
                return
            if isinstance(piece, int):
                self._waits_for_piece = True
                self._engine.alarm.at(piece, self._wake)
                break
            self._add(piece)
            unyielded += len(piece)
        self._flush()

    def _wake(self, _: int) -> None:
        self._waits_for_piece = False
        self._send_pieces()

    def _finish(self) -> None:
        """Count and log the request that was answered, or given up."""
        self._current = None
        self._stats.ended()
        if self._engine.log is not None and self._logged is not None:
            self._engine.log.ended(self._logged)
            self._logged = None

    def _add(self, data: bytes) -> None:
        self._out.append(data)
        self._out_bytes += len(data)
        # Whether the client keeps up is known only once it is sent.
        if self._out_bytes >= messages.PIECE_BYTES:
            self._flush()

    def _flush(self) -> None:
        out = self._out
        if out and not self._closed:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))
        out.clear()
        self._out_bytes = 0

    def _end(self) -> None:
        """End the connection: with a reset (RST) where that is the fault asked for."""
        self._flush()
        self._closing, self._closed, self._at_rest = True, True, False
        if self._fault == "reset":
            # A copy of the descriptor: uvloop lends a socket on which nothing may be set.
            lent = self._transport.get_extra_info("socket")
            with socket.socket(fileno=os.dup(lent.fileno())) as own:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        self._transport.close()
