"""The sending side of a connection of the synthetic server: answers whole, in pieces, or broken.

While the client does not read, nothing is made for it; a large body yields to other connections
every `PIECE_BYTES`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator
from typing import Any

from labkit.measured.targets.http import messages, pacing
from labkit.measured.targets.http.engine import Engine, Turn
from labkit.measured.targets.http.messages import Answer

MIN_PIECE_BYTES = 64
"""A smaller piece costs as much time as one of so many bytes."""


class SendingConnection(asyncio.Protocol):
    """What one client is sent. `_current` is the answer that is due or goes out, others wait."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._stats = engine, engine.stats
        self._at_rest = True  # nothing waits or is half received, and the client reads
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
