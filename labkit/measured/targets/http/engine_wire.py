"""The engine `wire`: httptools on an `asyncio.Protocol`, over `behaviour`.

It receives, waits, sends and counts; it decides no answer. The requests of one connection are
answered one after another, in the order in which they came, as in most servers: a slow one holds up
those behind it. A request is in flight from when its turn comes until its answer is written.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from email.utils import formatdate
from time import perf_counter_ns, sleep, time
from typing import Any, NamedTuple, TypeVar, cast

import httptools

from labkit.measured.http_framing import BadMessage
from labkit.measured.targets.http import behaviour, encoding, engines, faults, messages, pacing
from labkit.measured.targets.http.messages import Answer, Chunks, Request
from labkit.measured.targets.http.requests import Head, Reader, plain_head, plain_name, plain_names
from labkit.measured.targets.http.stats import Stats
from labkit.measured.timerfd import Alarm, best_clock
from labkit.spec import parts

MOST_WAITING = 256
_Piece = TypeVar("_Piece", bound=bytes | int)


class Turn(NamedTuple):
    """A request that waits for its answer; `last`: the connection ends after it.

    `counted` False is none of a client's work: either it asks for the counters, which are read when
    its turn comes (`answer` None), or it was not understood.
    """

    answer: Answer | None
    head: Head
    last: bool
    counted: bool = True


class Engine:
    """One server: what its connections share."""

    def __init__(self, settings: parts.Server) -> None:
        self.behaviour = behaviour.Behaviour(settings)
        self.named = self.behaviour.named
        self.stats = Stats()
        self.known: set[bytes] = set()
        self.loop = asyncio.get_running_loop()
        self.alarm = Alarm(best_clock)
        self.telling = engines.Telling(settings, self.stats, httptools=httptools.__version__)
        self.log = self.telling.log
        hello = self.behaviour.hello
        self.plain = Turn(hello, plain_head(""), last=False)
        # A body that is described, not held, has no short way; nor has what is written down.
        self.is_short = isinstance(hello.body, bytes) and self.log is None
        self.is_at_once = self.is_short and self.behaviour.is_at_once
        self.hello_bytes = len(hello.body) if isinstance(hello.body, bytes) else 0
        self._tell_time()

    def _tell_time(self) -> None:
        """Write the date into what is sent, now and at the beginning of each second."""
        self.date = formatdate(usegmt=True)
        self.hello = self.whole(self.behaviour.hello, self.plain) if self.is_short else b""
        self.loop.call_later(1 - time() % 1, self._tell_time)

    def whole(self, answer: Answer, turn: Turn) -> bytes:
        """`answer`, of which the body is held, as it is sent."""
        return encoding.whole(answer, turn.head, self.date, last=turn.last)


class Connection(asyncio.Protocol):
    """One client: its requests in, their answers out, in turn."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._stats = engine, engine.stats
        self._reader = Reader(self, engine.known)
        # Nothing waits, nothing is half received, and the client reads what it is sent.
        self._at_rest = True
        self._transport: asyncio.Transport
        self._waiting: deque[bytes | Turn] = deque()
        self._out: list[bytes] = []
        self._out_bytes = 0
        # The answer whose time has not come, or of which not all is sent.
        self._now: Turn | None = None
        self._due_ns = 0
        self._pieces: Iterator[bytes | int] | None = None
        # An answer at a rate waits until its next piece is due.
        self._napping = False
        self._writable, self._reading = True, True
        self._logged: dict[str, Any] | None = None
        # In flight already, as its body comes in.
        self._receiving = False
        self._going = False
        # The client waits to be told to send a body; no more requests are taken; it is all over.
        self._expecting = self._deaf = self._over = False
        self._broken = ""  # the fault that it is a victim of

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop for a new connection."""
        self._transport = cast(asyncio.Transport, transport)
        self._stats.connected(self)
        if self._engine.log is not None:
            self._engine.log.opened(self)

    def data_received(self, data: bytes) -> None:
        """Called by the loop with what the client sent."""
        engine = self._engine
        if self._at_rest and engine.is_short:
            # Nearly all that a benchmark sends: answered with hardly any state of the connection.
            name = plain_name(data, engine.known)
            if name and name not in engine.named:
                if not engine.is_at_once:
                    self._start_plain(name)
                    self._flush()
                    self._at_rest = self._now is None
                else:
                    self._stats.at_once(self, 1, engine.hello_bytes)
                    self._transport.write(engine.hello)
                return
            if engine.is_at_once and self._answer_all(data):
                return
        if not self._deaf:
            self._receive(data)

    def _answer_all(self, data: bytes) -> bool:
        engine = self._engine
        names, used = plain_names(data, engine.known)
        few = len(names) * len(engine.hello) <= messages.PIECE_BYTES
        if not few or used < len(data) or not engine.named.isdisjoint(names):
            return False
        self._stats.at_once(self, len(names), len(names) * engine.hello_bytes)
        self._transport.write(engine.hello * len(names))
        return True

    def _receive(self, data: bytes) -> None:
        self._at_rest = False
        try:
            self._reader.receive(data)
        except BadMessage as error:
            refusal = messages.text(400, str(error))
            self._enqueue(Turn(refusal, plain_head(""), last=True, counted=False))
        self._go_on()

    def eof_received(self) -> None:
        """Called by the loop when the client sends no more: for a server it is then gone."""
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop when the connection is gone; a request in mid-delay goes with it."""
        self._deaf, self._over, self._at_rest = True, True, False
        self._waiting.clear()
        if self._now is not None or self._receiving:
            self._now = self._pieces = None
            self._ended()
        self._stats.disconnected(self)
        if self._engine.log is not None:
            self._engine.log.closed(self)

    def pause_writing(self) -> None:
        """Called by the loop when the client reads more slowly than it is answered."""
        self._writable = self._at_rest = False

    def resume_writing(self) -> None:
        """Called by the loop when the client has caught up."""
        self._writable = True
        if self._pieces is not None:
            self._send_pieces()
        else:
            self._go_on()

    # What the reader tells, in the order in which it came.

    def plain(self, name: bytes) -> None:
        """`GET /{name}`, as benchmarks send it: the short way."""
        if self._now is not None or self._waiting or self._deaf or not self._writable:
            self._enqueue(name)
        else:
            self._start_plain(name)

    def most_kept(self, head: Head) -> int:
        """A head came; its body is kept where the answer depends on it."""
        server = self._engine.behaviour
        taken = server.takes_body(head.method, head.target)
        idle = self._now is None and not self._waiting
        if idle and head.length != 0 and not behaviour.is_inside(head.target):
            self._receiving = True
            self._stats.began(self)
        if head.expects and taken and (head.length or 0) <= server.client_max_size:
            self._expecting = True
            self._go_on()
        elif head.expects:
            # Answered now, for the client waits; it may or may not send the body after that.
            turn = Turn(server.too_large, head, last=True) if taken else self._turn(head, b"")
            self._enqueue(turn._replace(last=True))
        return server.client_max_size if taken else 0

    def asked(self, head: Head, body: bytes) -> None:
        """Any other request."""
        if not self._deaf:
            self._expecting = False
            self._enqueue(self._turn(head, body))

    def _turn(self, head: Head, body: bytes) -> Turn:
        last = not head.keep_alive
        if behaviour.is_inside(head.target):
            return Turn(None, head, last, counted=False)
        request = Request(method=head.method, target=head.target, headers=head.headers, body=body)
        return Turn(self._engine.behaviour.answer(request), head, last)

    def _enqueue(self, turn: bytes | Turn) -> None:
        if self._deaf:
            return
        self._waiting.append(turn)
        self._deaf = isinstance(turn, Turn) and turn.last
        if len(self._waiting) > MOST_WAITING and self._reading:
            self._reading = False
            self._transport.pause_reading()
        self._go_on()

    # One answer after another.

    def _go_on(self) -> None:
        if self._going:
            return  # called from within the loop below, which goes on by itself
        self._going = True
        while self._waiting and self._now is None and self._writable:
            turn = self._waiting.popleft()
            if isinstance(turn, bytes):
                self._start_plain(turn)
            else:
                self._start(turn, turn.answer.delay_s if turn.answer else 0.0)
        self._going = False
        if not self._reading and len(self._waiting) <= MOST_WAITING and not self._over:
            self._reading = True
            self._transport.resume_reading()
        if self._now is None and not self._waiting:
            self._catch_up()
        self._flush()
        self._at_rest = self._now is None and self._is_clear()

    def _catch_up(self) -> None:
        """All that came is answered."""
        if self._expecting:
            self._expecting = False
            self._put(encoding.CONTINUE)
        elif self._deaf:
            self._end()

    def _start_plain(self, name: bytes) -> None:
        server, target = self._engine.behaviour, "/" + name.decode("ascii")
        delay_s = server.hello_delay_s(target)
        if delay_s is None:  # a route with a name of its own
            answer = server.answer(Request(method="GET", target=target))
            self._start(Turn(answer, plain_head(target), last=False), answer.delay_s)
        elif self._engine.log is not None:
            self._start(Turn(server.hello, plain_head(target), last=False), delay_s)
        else:
            self._start(self._engine.plain, delay_s)

    def _start(self, turn: Turn, delay_s: float) -> None:
        if turn.answer is None or not turn.counted:
            self._tell(turn)
            return
        if not self._receiving:
            self._stats.began(self)
        self._receiving = False
        if self._engine.log is not None:
            self._logged = self._engine.log.began(self, turn.head.target)
        self._now = turn
        if turn.answer.stall_s:
            sleep(turn.answer.stall_s)
        if delay_s:
            self._due_ns = perf_counter_ns() + round(delay_s * 1e9)
            self._engine.alarm.at(self._due_ns, self._due)
        else:
            self._send(turn.answer, turn)

    def _tell(self, turn: Turn) -> None:
        if self._receiving:  # its body was not understood
            self._receiving = False
            self._stats.ended()
        answer = turn.answer
        if answer is None:
            self._stats.observed(self)
            answer = self._engine.telling.answer(turn.head.method, turn.head.target)
        self._put(self._engine.whole(answer, turn))

    def _due(self, now_ns: int) -> None:
        turn = self._now
        if turn is None or turn.answer is None:  # the client is gone
            return
        self._stats.delay_error.add(now_ns - self._due_ns)
        if turn is self._engine.plain and self._engine.hello and self._is_clear():
            # What `_send` and `_go_on` come to, in a third of their time.
            self._now, self._at_rest = None, True
            self._stats.bytes_out += self._engine.hello_bytes
            self._stats.ended()
            self._transport.write(self._engine.hello)
        else:
            self._send(turn.answer, turn)
            self._go_on()

    def _is_clear(self) -> bool:
        """Nothing waits, nothing is half received, and the client stays and reads."""
        listens = self._writable and not self._deaf
        return listens and not self._waiting and self._reader.between

    def _send(self, answer: Answer, turn: Turn) -> None:
        if answer.fault:
            self._send_fault(answer, turn)
            return
        if isinstance(answer.body, Chunks) or answer.is_slow:
            self._send_head(answer, turn)
            return
        if turn is self._engine.plain:
            self._put(self._engine.hello)
        else:
            self._put(self._engine.whole(answer, turn))
        if turn.head.method != "HEAD":
            self._stats.bytes_out += len(answer.body)
        self._sent()

    def _send_head(self, answer: Answer, turn: Turn) -> None:
        framed = encoding.is_framed(answer.body, turn.head)
        length = None if framed else messages.length(answer.body)
        date = self._engine.date
        self._put(encoding.head(answer, turn.head, date, length, last=turn.last))
        if turn.head.method == "HEAD":
            self._sent()
            return
        if framed:
            chunks = encoding.framed(self._counted(pacing.pieces(answer.body, answer.rate)))
            self._pieces = pacing.paced(chunks, answer.rate)
        else:
            self._pieces = self._counted(pacing.sent(answer))
        self._send_pieces()

    def _send_fault(self, answer: Answer, turn: Turn) -> None:
        """What is left of the answer; then the connection ends, and nothing else is answered."""
        self._deaf, self._broken = True, answer.fault
        self._waiting.clear()
        whole = self._engine.whole(answer, turn._replace(last=True))
        self._stats.bytes_out += faults.body_bytes(answer) if turn.head.method != "HEAD" else 0
        self._pieces = faults.sent(answer, whole)
        self._send_pieces()

    def _counted(self, pieces: Iterator[_Piece]) -> Iterator[_Piece]:
        for piece in pieces:
            if isinstance(piece, bytes):
                self._stats.bytes_out += len(piece)
            yield piece

    def _send_pieces(self) -> None:
        """Send as much of a large body as fits one turn of the loop, and the rest in later ones."""
        unyielded = 0
        while self._pieces is not None and self._writable and not self._napping:
            if unyielded >= messages.PIECE_BYTES:
                self._flush()
                # A client that reads as fast as this writes would else keep all others waiting.
                self._engine.loop.call_soon(self._send_pieces)
                return
            piece = next(self._pieces, None)
            if piece is None:
                self._pieces = None
                self._sent()
                self._go_on_or_break()
                return
            if isinstance(piece, int):
                self._napping = True
                self._engine.alarm.at(piece, self._wake)
                break
            self._put(piece)
            unyielded += len(piece)
        self._flush()

    def _go_on_or_break(self) -> None:
        if self._broken == "reset":
            self._flush()
            engines.reset(self._transport)
        elif self._broken:
            self._end()
        else:
            self._go_on()

    def _wake(self, _: int) -> None:
        self._napping = False
        self._send_pieces()

    def _sent(self) -> None:
        self._now = None
        self._ended()

    def _ended(self) -> None:
        self._stats.ended()
        if self._engine.log is not None and self._logged is not None:
            self._engine.log.ended(self._logged)
            self._logged = None

    def _put(self, data: bytes) -> None:
        self._out.append(data)
        self._out_bytes += len(data)
        # Whether the client keeps up is known only once it is sent.
        if self._out_bytes >= messages.PIECE_BYTES:
            self._flush()

    def _flush(self) -> None:
        out = self._out
        if out and not self._over:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))
        out.clear()
        self._out_bytes = 0

    def _end(self) -> None:
        self._flush()
        self._deaf, self._over, self._at_rest = True, True, False
        self._transport.close()


async def start(settings: parts.Server) -> asyncio.Server:
    """Listen on `settings.host` and `settings.port`; requests are accepted when this returns."""
    engine = Engine(settings)
    return await engines.listen(lambda: Connection(engine), settings)
