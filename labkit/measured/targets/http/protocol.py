"""The connections of the synthetic server: they receive, wait and send.

`behaviour` decides each answer, `requests` parses, `engine` counts, `connections` sends.

Plan. The requests of a connection are answered one after another in the order in which they came,
as in most servers: a slow one delays those behind it. A request is in flight from when its turn
comes (or its body begins to come in) until its answer is written. A connection is at rest, or has
one `_current` answer (its delay runs, or it goes out in `_pieces`) and others `_waiting`. It is
`_closing` once it takes no more requests, and `_closed` once it sends no more. `_advance` starts
what can be started; whatever ends something (an answer, a delay, a full buffer) calls it.

What a benchmark sends nearly always is known by its bytes: what was asked last, `GET /{name}` with
headers that were seen before, or what another route answered in this second (the date is in it). On
a connection at rest `data_received` sends what `Engine.recognise` has for it, and touches hardly
any state. Everything else goes through the reader, `_enqueue`, `_advance` and `_start`, as does the
first request of a connection. Measured without a socket: 0.24 us where the same is asked again,
0.75 us for another name, at most 2.5 us with a delay, 29 us where a request is parsed.

Backpressure both ways: above `MAX_WAITING` requests, or `MAX_WAITING_BYTES` of their bodies, a
connection is not read; for a client that does not read nothing is made. Answers are made one at a
time, when their turn comes; those that took `MAX_TURN_S` together let other connections go first.
"""

import asyncio
from time import perf_counter, perf_counter_ns, sleep
from typing import cast

import msgspec

from labkit.measured.http_framing import HEAD_END, BadMessage, TooLarge
from labkit.measured.targets.http import behaviour, messages
from labkit.measured.targets.http.connections import Connections, SendingConnection, Wait
from labkit.measured.targets.http.engine import FAILURES_FROM, Engine, Turn
from labkit.measured.targets.http.messages import Answer
from labkit.measured.targets.http.requests import Request, RequestReader

MAX_WAITING, MAX_WAITING_BYTES, MAX_TURN_S = 256, 1 << 20, 0.01


class ServerConnection(SendingConnection):
    """One client: its requests in, their answers out, in turn."""

    def __init__(self, engine: Engine, connections: Connections) -> None:
        super().__init__(engine)
        self._connections = connections
        self._reader = RequestReader(self, engine.known)
        self._waiting_bytes = 0
        self._touched = False  # something came since it was last looked at
        self._due_ns = 0
        self._reading = True
        # In flight already, as its body comes in; the client waits for a 100.
        self._receiving = self._expecting = self._advancing = self._yielding = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a new connection."""
        self._transport = cast(asyncio.Transport, transport)
        self._stats.connected(self)
        self._connections.open.add(self)
        if len(self._connections.open) > self._connections.most:
            self._end()

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        engine, was_at_rest = self._engine, self._at_rest
        self._touched = True
        if was_at_rest:
            found = engine.recognised if data == engine.asked else engine.recognise(data)
            if found is not None:
                answer, requests, size, delay_s = found
                stats = self._stats
                stats.requests += requests
                if stats.in_flight >= stats.max_in_flight:
                    stats.max_in_flight = stats.in_flight + 1
                if delay_s:
                    stats.in_flight += 1
                    self._at_rest, self._current = False, engine.plain
                    self._wait(delay_s)
                else:
                    stats.bytes_out += size
                    self._transport.write(answer)
                return
        if self._closing:
            return
        self._at_rest = False
        is_one = was_at_rest and data.find(HEAD_END) == len(data) - len(HEAD_END)
        self._asked = data if is_one else b""
        try:
            self._reader.receive(data)
        except BadMessage as error:
            status = 431 if isinstance(error, TooLarge) else 400
            refusal = messages.text(status, str(error))
            self._enqueue(Turn(refusal, Request(target=""), last=True, counted=False))
        self._advance()

    def eof_received(self) -> None:
        """End the connection: a client that sends no more is gone, for a server."""
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget all that waits, a request in mid-delay among it."""
        self._closing, self._closed, self._at_rest = True, True, False
        self._waiting.clear()
        self._connections.forget(self)
        if self._current is not None or self._receiving:
            self._stats.given_up += 1
            self._pieces = None
            self._finish()
        self._stats.disconnected(self)

    def waits_for(self) -> Wait | None:
        """Return what it waits for; None where it is the server's turn."""
        if not self._writable:
            return Wait(idle=False, mark=self._transport.get_write_buffer_size())
        if self._current is not None or self._waiting or not self._reading:
            return None
        if not self._reader.between:  # a head is to be whole in time, a body to go on
            return Wait(idle=False, mark=(self._reader.begun, self._reader.body_bytes))
        touched, self._touched = self._touched, False
        return None if touched else Wait(idle=True, mark=None)

    def give_up(self, wait: Wait) -> None:
        """End the connection; say why to a client that has sent a part of a request."""
        if self._closed or not self._writable:
            self._transport.abort()
        elif wait.idle:
            self._end()
        else:
            refusal = messages.text(408, "the request did not come in time")
            self._enqueue(Turn(refusal, Request(target=""), last=True, counted=False))

    # Called by the reader, in the order in which the requests came.

    def plain_received(self, name: bytes) -> None:
        """Take `GET /{name}`, as benchmarks send it."""
        if self._current is not None or self._waiting or self._closing or not self._writable:
            self._enqueue(name)
        else:
            self._start_plain(name)

    def head_received(self, head: Request) -> int:
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

    def request_received(self, head: Request, body: bytes) -> None:
        """Take any other request."""
        if not self._closing:
            self._expecting = False
            self._enqueue(self._turn(head, body))

    def _turn(self, head: Request, body: bytes) -> Turn:
        last = not head.keep_alive
        if behaviour.asks_for_counters(head.target):
            return Turn(None, head, last, counted=False)
        return Turn(msgspec.structs.replace(head, body=body), head, last)

    def _enqueue(self, turn: bytes | Turn) -> None:
        if self._closing:
            return
        self._waiting.append(turn)
        self._closing = isinstance(turn, Turn) and turn.last
        self._waiting_bytes += _body_bytes(turn)
        if self._reading and not self._has_room():
            self._reading = False
            self._transport.pause_reading()
        self._advance()

    def _has_room(self) -> bool:
        few = len(self._waiting) <= MAX_WAITING
        return few and self._waiting_bytes <= MAX_WAITING_BYTES

    # One answer after another.

    def _advance(self) -> None:
        """Start the answers that wait, as far as they can be started now."""
        # Called from within the loop below, which goes on itself; or others have their turn.
        if self._advancing or self._yielding or self._closed:
            return
        self._advancing, began_s = True, perf_counter()
        while self._waiting and self._current is None and self._writable:
            turn = self._waiting.popleft()
            if isinstance(turn, bytes):
                self._start_plain(turn)
                continue
            self._waiting_bytes -= _body_bytes(turn)
            self._start(turn)
            if perf_counter() - began_s > MAX_TURN_S:
                self._yielding = True
                self._engine.loop.call_soon(self._go_on)
                break
        self._advancing = False
        if not self._reading and self._has_room() and not self._closed:
            self._reading = True
            self._transport.resume_reading()
        if self._current is None and not self._waiting:  # all that came is answered
            if self._expecting:
                self._expecting = False
                self._add(messages.CONTINUE)
            elif self._closing:
                self._end()
        self._flush()
        is_idle = self._current is None and self._is_clear() and not self._yielding
        self._at_rest = is_idle and self._stats.is_counted(self)

    def _go_on(self) -> None:
        self._yielding = False
        self._advance()

    def _start_plain(self, name: bytes) -> None:
        server = self._engine.behaviour
        if name in server.special_names or self._engine.log is not None:
            self._start(self._turn(Request(target="/" + name.decode("ascii")), b""))
        else:
            self._start(self._engine.plain, server.draw_s(name))

    def _start(self, turn: Turn, delay_s: float | None = None) -> None:
        answer = turn.answer
        if answer is None or not turn.counted:
            if self._receiving:  # its body was not understood
                self._receiving = False
                self._stats.ended()
            if not isinstance(answer, Answer):
                self._stats.observed(self)
                answer = self._engine.counters(turn.head)
            self._add(self._engine.encode(answer, turn))
            return
        if not self._receiving:
            self._stats.began(self)
        self._receiving = False
        if isinstance(answer, Request):
            answer = self._engine.behaviour.answer(answer)
            turn = turn._replace(answer=answer)
            if answer.status >= FAILURES_FROM:
                self._stats.failed(answer.status)
        if self._engine.log is not None:
            self._logged = self._engine.log.began(self, turn.head.target)
        self._current = turn
        if answer.stall_s:
            sleep(answer.stall_s)
        if delay_s is None:
            delay_s = answer.delay_s
        if delay_s:
            self._wait(delay_s)
        else:
            self._send(answer, turn)

    def _wait(self, delay_s: float) -> None:
        self._stats.delays_s += delay_s
        self._due_ns = due_ns = perf_counter_ns() + round(delay_s * 1e9)
        self._engine.alarm.at(due_ns, self._due)

    def _due(self, now_ns: int) -> None:
        """Send the answer whose delay has ended."""
        turn, engine, stats = self._current, self._engine, self._stats
        if turn is None or not isinstance(turn.answer, Answer):  # the client is gone
            return
        stats.delay_ended(now_ns - self._due_ns)
        if turn is engine.plain and engine.hello and self._is_clear():
            # What `_send` and `_advance` come to, in a third of their time.
            self._current, self._at_rest = None, True
            stats.bytes_out += engine.hello_bytes
            stats.in_flight -= 1
            self._transport.write(engine.hello)
        else:
            self._send(turn.answer, turn)
            self._advance()

    def _is_clear(self) -> bool:
        """Return whether nothing waits or is half received, and the client stays and reads."""
        return self._writable and not (self._closing or self._waiting) and self._reader.between


def _body_bytes(turn: bytes | Turn) -> int:
    """Return the bytes of a body that waits with its request."""
    asked = turn.answer if isinstance(turn, Turn) else None
    return len(asked.body) if isinstance(asked, Request) else 0
