"""Where HTTP/1.1 messages and their parts end in a stream of bytes (RFC 9112). Pure.

What client and server have in common: no sockets, no event loop, no clock. Steps are generators
that yield where they need more bytes; whoever drives them appends to `buffer` and goes on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator

HEAD_ENDS = b"\r\n\r\n"
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_LONGEST_CHUNK_LINE = 4_096

Steps = Generator[None, None, None]
Take = Callable[[bytes], object]


class BadMessage(Exception):
    """What came is no HTTP/1.1 message, ends too early, or is larger than allowed."""


class Frames:
    """The bytes received and not yet used, and the ways to cut them."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.ended = False

    def through(self, mark: bytes, most: int, what: str) -> Generator[None, None, bytes]:
        """The bytes up to and with `mark`, of which there may be `most`."""
        start = 0
        while (at := self.buffer.find(mark, start)) < 0 and len(self.buffer) <= most:
            start = max(len(self.buffer) - len(mark) + 1, 0)
            yield from self._more()
        if at < 0 or at + len(mark) > most:
            raise BadMessage(f"{what} is longer than {most:,} bytes")
        return self._cut(at + len(mark))

    def sized(self, size: int, take: Take) -> Steps:
        """Hand `size` bytes to `take`, piece by piece as they come."""
        while size:
            if not self.buffer:
                yield from self._more()
            piece = self._cut(min(size, len(self.buffer)))
            size -= len(piece)
            take(piece)

    def chunked(self, most_trailer_bytes: int, take: Take) -> Steps:
        """Hand the bytes of a chunked body to `take`; extensions and trailers are passed over."""
        line = b""
        while size := _chunk_size((yield from self._line("the size of a chunk"))):
            yield from self.sized(size, take)
            if (yield from self._line("a chunk")) != b"\r\n":
                raise BadMessage("a chunk is longer than its size says")
        left = most_trailer_bytes
        while line != b"\r\n":
            line = yield from self.through(b"\r\n", left, "the trailer")
            left -= len(line)

    def rest(self, take: Take) -> Steps:
        """Hand all that comes to `take`, until the other side ends."""
        while True:
            take(self._cut(len(self.buffer)))
            if self.ended:
                return
            yield

    def _line(self, what: str) -> Generator[None, None, bytes]:
        return (yield from self.through(b"\r\n", _LONGEST_CHUNK_LINE, what))

    def _more(self) -> Steps:
        if self.ended:
            raise BadMessage("the connection ended in the middle of a message")
        yield

    def _cut(self, size: int) -> bytes:
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken


class Framing:
    """The headers that say where a message ends and whether another follows.

    Hand it to an httptools parser; a subclass keeps more of the head.
    """

    def __init__(self) -> None:
        self.complete = False
        self.lengths: set[bytes] = set()
        self.codings: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by httptools for each header."""
        name = name.lower()
        if name == b"content-length":
            self.lengths.add(value.strip())  # the parser leaves the spaces behind a value
        elif name == b"transfer-encoding":
            self.codings += [coding.strip().lower() for coding in value.split(b",")]

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks (the last coding that was applied)."""
        if self.codings and self.lengths:
            raise BadMessage("the head has both Transfer-Encoding and Content-Length")
        return bool(self.codings) and self.codings[-1] == b"chunked"

    @property
    def length(self) -> int | None:
        """The Content-Length, None where there is none."""
        if len(self.lengths) > 1:
            raise BadMessage("the head has several Content-Lengths")
        for found in self.lengths:
            if not found.isdigit() or len(found) > 15:
                raise BadMessage(f"the Content-Length is {found[:40]!r}")
            return int(found)
        return None


def _chunk_size(line: bytes) -> int:
    found = _CHUNK_LINE.fullmatch(line)
    if not found:
        raise BadMessage(f"the size of a chunk is {line[:40]!r}")
    return int(found[1], 16)
