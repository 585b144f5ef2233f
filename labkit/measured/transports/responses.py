"""HTTP/1.1 responses out of a stream of bytes. No sockets, no event loop, no clock.

httptools parses each head; where a message ends is decided here, by the request's method too, which
a parser of responses does not know. A head that was parsed once is known by its bytes from then on:
a server repeats itself, and looking a head up costs a fraction of parsing it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import NamedTuple

import httptools

from labkit.measured.http_framing import HEAD_ENDS, BadMessage, Frames, Framing, Steps

CHUNKED, UNTIL_CLOSE = -1, -2
MOST_HEADS_KNOWN = 256
_NO_BODY = frozenset({204, 304})
_VERSIONS = (b"HTTP/1.1 ", b"HTTP/1.0 ")


class Head(NamedTuple):
    """What the head of a response says; `length` is in bytes, `CHUNKED` or `UNTIL_CLOSE`."""

    status: int
    length: int
    keep_alive: bool


Answered = Callable[[Head, bytes], None]


class Reader:
    """Calls `answered(head, body)` for each response in what it `receive`s, in order.

    `method` is that of every request. Informational responses (1xx) are passed over. Raises
    `BadMessage`, after which nothing more may be given to it. `known` and `plain` hold heads by
    their bytes; readers of one method may share them.
    """

    def __init__(
        self,
        answered: Answered,
        *,
        method: str = "GET",
        most_head_bytes: int,
        most_body_bytes: int,
        known: dict[bytes, Head] | None = None,
        plain: dict[bytes, int] | None = None,
    ) -> None:
        self._answered, self._known = answered, {} if known is None else known
        self._bodiless = method == "HEAD"
        self._most_head, self._most_body = most_head_bytes, most_body_bytes
        # The heads of plain successes on a connection that stays, with the lengths of their bodies.
        self._plain: dict[bytes, int] = {} if plain is None else plain
        self._frames = Frames()
        # At the start of a message, with nothing of it received.
        self._between = True
        self._steps = self._messages()

    def plain_body(self, data: bytes) -> bytes | None:
        """The body where `data` is one whole answer, a success with a known head; else None.

        The short way, and nearly all that a benchmark receives: `data` is then used, and `answered`
        is not called. Otherwise give it to `receive`.
        """
        if self._between:
            start = data.find(HEAD_ENDS) + 4
            if self._plain.get(data[:start]) == len(data) - start:
                return data[start:]
        return None

    def receive(self, data: bytes) -> None:
        """Take the bytes that follow those before, split anywhere."""
        if not self._between:
            self._slowly(data)
            return
        at, size, known = 0, len(data), self._known
        while at < size:
            start = data.find(HEAD_ENDS, at) + 4
            head = known.get(data[at:start])
            if head is None or start + head.length > size:
                self._slowly(data[at:])
                return
            at = start + head.length
            self._answered(head, data[start:at])

    @property
    def between(self) -> bool:
        """Whether what comes next is the start of an answer."""
        return self._between

    def end(self) -> None:
        """The server sends no more: completes a body that lasts until then."""
        self._frames.ended = True
        if not self._between:
            next(self._steps)

    def _slowly(self, data: bytes) -> None:
        self._frames.buffer += data
        next(self._steps)

    def _messages(self) -> Steps:
        while True:
            while not self._frames.buffer:
                self._between = True
                yield
            self._between = False
            head = yield from self._head()
            if head.status >= 200:
                body = yield from self._body(head.length)
                self._answered(head, body)

    def _head(self) -> Generator[None, None, Head]:
        raw = yield from self._frames.through(HEAD_ENDS, self._most_head, "the head")
        head = self._known.get(raw)
        if head is None:
            head = parsed(raw, bodiless=self._bodiless)
            if head.status >= 200 and 0 <= head.length <= self._most_body:
                self._know(raw, head)
        return head

    def _know(self, raw: bytes, head: Head) -> None:
        if len(self._known) >= MOST_HEADS_KNOWN:
            self._known.clear()
            self._plain.clear()
        self._known[raw] = head
        if head.status < 300 and head.keep_alive:
            self._plain[raw] = head.length

    def _body(self, length: int) -> Generator[None, None, bytes]:
        pieces: list[bytes] = []
        left = self._most_body

        def take(piece: bytes) -> None:
            nonlocal left
            left -= len(piece)
            if left < 0:
                raise BadMessage(f"the body is longer than {self._most_body:,} bytes")
            pieces.append(piece)

        if length == CHUNKED:
            yield from self._frames.chunked(self._most_head, take)
        elif length == UNTIL_CLOSE:
            yield from self._frames.rest(take)
        else:
            yield from self._frames.sized(length, take)
        return b"".join(pieces)


def parsed(raw: bytes, *, bodiless: bool = False) -> Head:
    """The head of one response, given whole; `bodiless` for the answer to HEAD."""
    headers = _Headers()
    parser = headers.parser = httptools.HttpResponseParser(headers)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        raise BadMessage("the server switched protocols, which nobody asked for") from None
    except httptools.HttpParserError as error:
        raise BadMessage(f"the head is not HTTP/1.1: {error}") from None
    status = parser.get_status_code()
    # The parser knows other protocols too, and other versions of this one.
    if not headers.complete or status < 100 or not raw.lstrip(b"\r\n").startswith(_VERSIONS):
        raise BadMessage("the head is not HTTP/1.1: it begins or ends in another way")
    length = 0 if bodiless or status in _NO_BODY or status < 200 else headers.body_length
    return Head(status, length, headers.stays and length != UNTIL_CLOSE)


class _Headers(Framing):
    parser: httptools.HttpResponseParser

    def __init__(self) -> None:
        super().__init__()
        self._options: set[bytes] = set()

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if name.lower() == b"connection":
            self._options |= {option.strip().lower() for option in value.split(b",")}

    def on_headers_complete(self) -> None:
        self.complete = True

    @property
    def stays(self) -> bool:
        """As in RFC 9112, section 9.3; the parser thinks that an answer to HEAD has a body."""
        if self.parser.get_http_version() == "1.1":
            return b"close" not in self._options
        return b"keep-alive" in self._options and b"close" not in self._options

    @property
    def body_length(self) -> int:
        """As in RFC 9112, section 6.3."""
        if self.chunked:
            return CHUNKED
        return UNTIL_CLOSE if self.codings or self.length is None else self.length
