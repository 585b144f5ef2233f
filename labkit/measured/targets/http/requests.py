"""HTTP/1.1 requests out of a stream of bytes. No sockets, no event loop, no clock.

httptools parses each head; where a message ends is decided in `http_framing`. A client repeats its
headers with every request, so a block of headers that was parsed once is known by its bytes:
`GET /{name}` with a known, plain block is recognised without parsing it again.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

import httptools
import msgspec

from labkit.measured.http_framing import HEAD_ENDS, BadMessage, Frames, Framing, Steps

MOST_HEAD_BYTES = 16_384
MOST_BLOCKS_KNOWN = 256
_VERSIONS = ("1.0", "1.1")


_LINE_ENDS = b" HTTP/1.1\r\n"


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The head of a request. `length` of its body in bytes; None where it comes in chunks."""

    method: str
    target: str
    version: str
    headers: dict[str, str]
    length: int | None
    keep_alive: bool

    @property
    def expects(self) -> bool:
        """Whether the client waits to be told before it sends the body."""
        asked = self.headers.get("expect", "").lower() == "100-continue"
        return asked and self.version == "1.1" and self.length != 0

    @property
    def is_plain(self) -> bool:
        """Whether its headers change nothing: neither a body nor anything about the connection."""
        return self.length == 0 and self.keep_alive and self.version == "1.1"


def plain_head(target: str) -> Head:
    """The head of `GET target` as `Listener.plain` is told of it."""
    return Head(method="GET", target=target, version="1.1", headers={}, length=0, keep_alive=True)


class Listener(Protocol):
    """Who is told what came. What `plain` is told and what `asked` is told come in order."""

    def plain(self, name: bytes) -> None:
        """`GET /{name}` came, with letters and digits only, from a client that stays."""
        ...

    def most_kept(self, head: Head) -> int:
        """A head came: how many bytes of its body to keep. The rest is passed over."""
        ...

    def asked(self, head: Head, body: bytes) -> None:
        """Any other request came, whole; of its body at most one byte more than is to be kept."""
        ...


class Reader:
    """Tells `listener` of each request in what it `receive`s, in order.

    Raises `BadMessage`, after which nothing more may be given to it. Readers may share the set
    `known` of plain header blocks.
    """

    def __init__(self, listener: Listener, known: set[bytes]) -> None:
        self._listener, self._known = listener, known
        self._frames: Frames | None = None
        self._steps: Steps | None = None
        # At the start of a message, with nothing of it received.
        self._between = True

    def receive(self, data: bytes) -> None:
        """Take the bytes that follow those before, split anywhere."""
        if not self._between:
            self._slowly(data)
            return
        names, at = plain_names(data, self._known)
        for name in names:
            self._listener.plain(name)
        if at < len(data):
            self._slowly(data[at:])

    @property
    def between(self) -> bool:
        """Whether what comes next is the start of a request."""
        return self._between

    def _slowly(self, data: bytes) -> None:
        if self._frames is None or self._steps is None:
            self._frames = Frames()
            self._steps = self._messages(self._frames)
        self._frames.buffer += data
        next(self._steps)

    def _messages(self, frames: Frames) -> Steps:
        while True:
            while not frames.buffer:
                self._between = True
                yield
            self._between = False
            raw = yield from frames.through(HEAD_ENDS, MOST_HEAD_BYTES, "the head")
            head = parsed(raw)
            # Where an empty line came first, the block would not begin in the request line.
            if head.is_plain and raw.startswith(b"GET "):
                self._know(raw)
            body = yield from self._body(frames, head)
            self._listener.asked(head, body)

    def _know(self, raw: bytes) -> None:
        if len(self._known) >= MOST_BLOCKS_KNOWN:
            self._known.clear()
        self._known.add(raw[raw.index(_LINE_ENDS) :])

    def _body(self, frames: Frames, head: Head) -> Generator[None, None, bytes]:
        kept, most = bytearray(), self._listener.most_kept(head) + 1

        def take(piece: bytes) -> None:
            kept.extend(piece[: most - len(kept)])

        if head.length is None:
            yield from frames.chunked(MOST_HEAD_BYTES, take)
        else:
            yield from frames.sized(head.length, take)
        return bytes(kept)


def plain_name(data: bytes, known: set[bytes]) -> bytes:
    """The name where `data` is one `GET /{name}` and nothing else, else the empty string.

    Only a name of letters and digits, and a header block that is `known`.
    """
    line_end = data.find(_LINE_ENDS)
    if data[line_end:] in known and data.startswith(b"GET /"):
        name = data[5:line_end]
        if name.isalnum():
            return name
    return b""


def plain_names(data: bytes, known: set[bytes]) -> tuple[list[bytes], int]:
    """The names of all such requests that `data` begins with, and where what follows begins."""
    names: list[bytes] = []
    at, size = 0, len(data)
    while at < size:
        line_end = data.find(_LINE_ENDS, at)
        end = data.find(HEAD_ENDS, line_end) + 4
        name = data[at + 5 : line_end]
        if (
            data[line_end:end] not in known
            or not name.isalnum()
            or not data.startswith(b"GET /", at)
        ):
            break
        names.append(name)
        at = end
    return names, at


def parsed(raw: bytes) -> Head:
    """The head of one request, given whole. Raises `BadMessage`."""
    headers = _Headers()
    parser = headers.parser = httptools.HttpRequestParser(headers)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # an offer that need not be taken (RFC 9110, section 7.8)
    except httptools.HttpParserError as error:
        raise BadMessage(f"the head is not HTTP/1.1: {error}") from None
    version = parser.get_http_version()
    if not headers.complete or version not in _VERSIONS:
        raise BadMessage("the head is not HTTP/1.1: it begins or ends in another way")
    if headers.codings and not headers.chunked:
        raise BadMessage("the body has a Transfer-Encoding that is not chunked")
    return Head(
        method=parser.get_method().decode("ascii"),
        target=headers.target.decode("utf-8", "surrogateescape"),
        version=version,
        headers=headers.joined,
        length=None if headers.chunked else headers.length or 0,
        keep_alive=headers.keep_alive,
    )


class _Headers(Framing):
    parser: httptools.HttpRequestParser
    keep_alive = False

    def __init__(self) -> None:
        super().__init__()
        self.target = b""
        self.joined: dict[str, str] = {}

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        key, text = name.decode("latin-1").lower(), value.decode("utf-8", "surrogateescape")
        self.joined[key] = f"{self.joined[key]}, {text}" if key in self.joined else text

    def on_headers_complete(self) -> None:
        self.complete = True
        self.keep_alive = self.parser.should_keep_alive()
