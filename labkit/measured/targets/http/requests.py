"""HTTP/1.1 requests out of a stream of bytes. No sockets, no event loop, no clock.

A client repeats its headers with every request, so a block of headers that was parsed once is known
by its bytes: `GET /{name}` with a known, plain block is recognised without parsing it again.
"""

import re
from typing import Any

import httptools
import msgspec

from labkit.measured.http_framing import HEAD_END, BadMessage, MessageReader

MAX_HEAD_BYTES = 16_384
# A longer request line is parsed, as its head may be too large; and so is a block of headers that
# leaves no room for such a line.
MAX_PLAIN_LINE = 1_024
MAX_BLOCKS_KNOWN, MAX_BLOCK_BYTES = 256, MAX_HEAD_BYTES - MAX_PLAIN_LINE
_LINE_END = b" HTTP/1.1\r\n"
_HOST = re.compile(r"([\w.~!$&'()*+,;=%-]*|\[[0-9a-f:.]+\])(:[0-9]*)?", re.ASCII | re.IGNORECASE)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came in, a plain GET by default. `length` is None where chunks come.

    `target` is the request line's, undecoded, with its query. `headers` finds values by lower-case
    name; a header that came several times is joined with commas. `body` is empty unless
    `Behaviour.takes_body` asked for it.
    """

    target: str
    method: str = "GET"
    version: str = "1.1"
    headers: dict[str, str] = {}
    length: int | None = 0
    keep_alive: bool = True
    body: bytes = b""

    @property
    def expects(self) -> bool:
        """Return whether the client waits for a 100 before it sends the body."""
        asked = self.headers.get("expect", "").lower() == "100-continue"
        return asked and self.version == "1.1" and self.length != 0


class RequestReader(MessageReader):
    """Calls `listener` for each request in what it `receive`s, in order.

    `plain_received(name)` takes `GET /{name}`, with letters and digits only, from a client that
    stays, `request_received(head, body)` any other, whole. `head_received(head)`, before that,
    returns how many bytes of the body to keep, of which one more comes: the rest is passed over.
    Raises `BadMessage`, after which nothing more may be given to it. Readers may share the set
    `known` of plain header blocks.
    """

    def __init__(self, listener: Any, known: set[bytes]) -> None:
        super().__init__(httptools.HttpRequestParser, MAX_HEAD_BYTES)
        self._listener, self._known = listener, known
        self._first_head = b""
        # How many requests have begun to be parsed, and the bytes of all their bodies.
        self.begun = self.body_bytes = 0

    def receive(self, data: bytes) -> None:
        """Take the bytes that follow those before, split anywhere."""
        while data:
            if self.between:
                names, at = plain_names(data, self._known)
                for name in names:
                    self._listener.plain_received(name)
                data = data[at:]
                self._first_head = data[: data.find(HEAD_END) + 4]
            # Nothing left needs no parser, which is a kilobyte for each connection.
            data = self.feed(data) if data else b""

    def on_message_begin(self) -> None:
        """Begin a request: httptools calls this with its first byte."""
        super().on_message_begin()
        self.begun += 1
        self._target, self._headers = b"", dict[str, str]()
        self._body, self._max_body = bytearray(), 0

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        self.count_head(len(url))
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, perhaps of a trailer."""
        self.count_head(len(name) + len(value))
        key, text = name.decode("latin-1").lower(), value.decode("utf-8", "surrogateescape")
        before = self._headers.get(key)
        if key == "host" and (before is not None or not _HOST.fullmatch(text)):
            raise BadMessage("its Host is no name or address, or is there twice: send one")
        self._headers[key] = text if before is None else f"{before}, {text}"

    def on_headers_complete(self) -> None:
        """Give the head to the listener, and remember its headers if they are plain."""
        parser, headers = self._parser, self._headers
        if (version := parser.get_http_version()) not in ("1.0", "1.1"):
            raise BadMessage(f"the version of HTTP is {version}: send 1.1 or 1.0")
        if version == "1.1" and "host" not in headers:
            raise BadMessage("it has no Host: HTTP/1.1 asks for one")
        chunked = "transfer-encoding" in headers
        if parser.should_upgrade() and (chunked or headers.get("content-length", "0") != "0"):
            raise BadMessage("it offers another protocol, and has a body: send it without Upgrade")
        self._head = head = Request(
            method=parser.get_method().decode("ascii"),
            target=self._target.decode("utf-8", "surrogateescape"),
            version=version,
            headers=headers,
            length=None if chunked else int(headers.get("content-length", 0)),
            keep_alive=parser.should_keep_alive(),
        )
        # What follows in a trailer is not of the head.
        self._headers = {}
        raw, self._first_head = self._first_head, b""
        block = raw.partition(_LINE_END)[2]
        # Plain headers change nothing: neither body nor connection.
        is_plain = head.length == 0 and head.keep_alive and version == "1.1"
        if is_plain and raw.startswith(b"GET ") and 0 < len(block) <= MAX_BLOCK_BYTES:
            if len(self._known) >= MAX_BLOCKS_KNOWN:
                self._known.clear()
            self._known.add(block)
        self._max_body = self._listener.head_received(head) + 1

    def on_body(self, piece: bytes) -> None:
        """Take a part of the body, as far as it is wanted."""
        self._pending_bytes = 0
        self.body_bytes += len(piece)
        self._body += piece[: self._max_body - len(self._body)]

    def on_message_complete(self) -> None:
        """Give the request to the listener."""
        self.between = True
        self._listener.request_received(self._head, bytes(self._body))


def plain_name(data: bytes, known: set[bytes]) -> bytes | None:
    """Return the name where `data` is one `GET /{name}` and nothing else, else None.

    Only a name of letters and digits, or none, and a header block that is `known`.
    """
    line, _, block = data.partition(_LINE_END)
    if block in known and line[:5] == b"GET /":
        name = line[5:]
        if (name.isalnum() or not name) and len(name) < MAX_PLAIN_LINE:
            return name
    return None


def plain_names(data: bytes, known: set[bytes]) -> tuple[list[bytes], int]:
    """Return the names of all such requests that `data` begins with, and where the rest begins."""
    names: list[bytes] = []
    at, size = 0, len(data)
    while at < size:
        line_end = data.find(_LINE_END, at)
        end = data.find(HEAD_END, line_end) + 4
        name = data[at + 5 : line_end]
        if (
            data[line_end + len(_LINE_END) : end] not in known
            or line_end - at > MAX_PLAIN_LINE
            or not (name.isalnum() or not name)
            or not data.startswith(b"GET /", at)
        ):
            break
        names.append(name)
        at = end
    return names, at
