"""What the connections of the synthetic server have in common: how they send, when they are ended.

While the client does not read, nothing is made for it; a large body yields to other connections
every `PIECE_BYTES`.

Plan of the timeouts. A timer for each request would cost more than the request. So one timer looks
four times in a timeout at all connections, in slices so that nobody waits for it, and each says
what it waits for: a value that changes with each progress. One that says the same for the whole
timeout is given up: at most a quarter of it late. The short way of a request sets one attribute.
"""

import asyncio
import os
import resource
import socket
import struct
from abc import abstractmethod
from collections import deque
from collections.abc import Hashable, Iterator
from time import monotonic
from typing import Any, NamedTuple

from labkit.measured.targets.http import messages
from labkit.measured.targets.http.engine import Engine, Turn

LOOKS = 4
MAX_EVERY_S = 15.0
# Connections that are looked at in one turn of the loop: a tenth of a millisecond.
SLICE = 256
# Connections that are accepted in one turn; descriptors for those of a few turns and for files.
ACCEPT_AT_ONCE, RESERVED_DESCRIPTORS = 8, 64
# A smaller piece costs as much time as one of so many bytes.
MIN_PIECE_BYTES = 64


class Wait(NamedTuple):
    """What a connection waits for: its next request (`idle`), or something that it may not delay.

    `mark` changes with each progress.
    """

    idle: bool
    mark: Hashable


class SendingConnection(asyncio.Protocol):
    """What one client is sent. `_current` is the answer that is due or goes out, others wait."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._stats = engine, engine.stats
        # Nothing waits or is half received, the client reads, and a request of its was counted.
        self._at_rest = False
        self._asked = b""  # all that came, where that is one request without a body
        self._transport: asyncio.Transport
        self._waiting: deque[bytes | Turn] = deque()
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._current: Turn | None = None
        self._pieces: Iterator[bytes | int] | None = None
        self._waits_for_piece = False  # at a rate, until the next one is due
        self._writable = True
        self._logged: dict[str, Any] | None = None
        self._closing = self._closed = False
        self._fault = ""  # the fault that it is a victim of

    @abstractmethod
    def waits_for(self) -> Wait | None:
        """Return what it waits for; None where it is the server's turn."""

    @abstractmethod
    def give_up(self, wait: Wait) -> None:
        """End the connection, which has waited for this too long."""

    @abstractmethod
    def _advance(self) -> None:
        """Start the answers that wait, as far as they can be started now."""

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

    def _send(self, answer: messages.Answer, turn: Turn) -> None:
        """Send an answer, or begin to."""
        engine, bodiless, body = self._engine, turn.head.method == "HEAD", answer.body
        if answer.fault:
            # What is left of the answer; then the connection ends, and nothing else is answered.
            self._closing, self._fault = True, answer.fault
            self._waiting.clear()
            encoded = engine.encode(answer, turn._replace(last=True))
            self._pieces = messages.broken(answer, encoded, self._stats.sent)
            self._send_pieces()
        elif isinstance(body, bytes) and answer.rate is None and answer.drip_s is None:
            sent = engine.hello if turn is engine.plain else engine.encode(answer, turn)
            if self._asked:
                engine.remember(self._asked, turn, answer, sent)
                self._asked = b""
            self._add(sent)
            self._stats.bytes_out += 0 if bodiless else len(body)
            self._finish()
        else:
            self._add(messages.encode_head(answer, turn.head, engine.date, last=turn.last))
            if bodiless:
                self._finish()
                return
            chunked = messages.is_chunked(body, turn.head)
            self._pieces = messages.body_pieces(answer, self._stats.sent, chunked=chunked)
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
            unyielded += max(len(piece), MIN_PIECE_BYTES)
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


class Connections:
    """The connections of a server, at most so many, and since when each waits for the same."""

    def __init__(self, request_s: float, idle_s: float) -> None:
        self.open: set[SendingConnection] = set()
        # One more than these is closed at once.
        self.most = max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVED_DESCRIPTORS, 1)
        self._request_s, self._idle_s = request_s, idle_s
        self._since: dict[SendingConnection, tuple[Wait, float]] = {}
        self._every_s = min(request_s / LOOKS, idle_s / LOOKS, MAX_EVERY_S)

    def start(self) -> None:
        """Begin to look, and go on for as long as the loop runs."""
        self._turn([])

    def _turn(self, left: list[SendingConnection]) -> None:
        self.look(left[-SLICE:], monotonic())
        del left[-SLICE:]
        later = asyncio.get_running_loop().call_later
        if left:
            later(0, self._turn, left)
        else:
            later(self._every_s, lambda: self._turn(list(self.open)))

    def look(self, connections: list[SendingConnection], now_s: float) -> None:
        """Give up those that have waited too long for the same."""
        for one in connections:
            wait = one.waits_for()
            before, since_s = self._since.get(one, (None, now_s))
            if wait is None or one not in self.open:
                self._since.pop(one, None)
            elif wait != before:
                self._since[one] = wait, now_s
            elif now_s - since_s >= (self._idle_s if wait.idle else self._request_s):
                one.give_up(wait)

    def forget(self, connection: SendingConnection) -> None:
        """Forget a connection that is gone."""
        self.open.discard(connection)
        self._since.pop(connection, None)
