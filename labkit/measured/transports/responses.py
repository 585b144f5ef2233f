"""HTTP/1.1 responses out of a stream of bytes. No sockets, no event loop, no clock.

A server repeats itself, so a head that was parsed once is known by its bytes from then on: looking
it up costs a fraction of parsing it.
"""

from collections import deque
from collections.abc import Callable, Container
from typing import Any, NamedTuple

import httptools
import msgspec
from multidict import CIMultiDict

from labkit.measured.http_framing import HEAD_END, BadMessage, MessageReader, TooLarge, check_body

MAX_HEADS_KNOWN = 256
# Informational responses before an answer.
MAX_INTERIM = 32
_BODILESS = (204, 304)


# Names and values of headers, as they came.
Fields = tuple[tuple[bytes, bytes], ...]


class ResponseHead(NamedTuple):
    """What the head of a response says; `length` is that of its body in bytes."""

    status: int
    length: int
    keep_alive: bool
    fields: Fields = ()


# No answer is as long.
NO_HEAD = ResponseHead(0, -1, keep_alive=True)


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What a request was answered, as `fetch` returns it. `body` is empty where it was not read."""

    status: int
    body: bytes
    fields: Fields = ()

    @property
    def headers(self) -> CIMultiDict[str]:
        """Return the headers by name, in capitals or not; they are read when they are asked for."""
        decoded = ((name.decode("latin-1"), one.decode("latin-1")) for name, one in self.fields)
        return CIMultiDict(decoded)

    def json(self) -> Any:
        """Return what the body has as JSON."""
        return msgspec.json.decode(self.body)


Answered = Callable[[ResponseHead, bytes], None]


class Known:
    """What readers know of a server: heads after which the connection stays, and what came last.

    `heads` are by their bytes, `plain` are those of them with a status in `ok`. Of what came last,
    `last` is such a head, and `answer` what all of `data` says.
    """

    def __init__(self) -> None:
        self.heads: dict[bytes, ResponseHead] = {}
        self.plain: dict[bytes, ResponseHead] = {}
        self.last, self.data = (b"\n", NO_HEAD), b""
        self.answer: Answer | None = None


class ResponseReader(MessageReader):
    """Calls `answered(head, body)` for each response in what it `receive`s, in order.

    Informational responses (1xx) are passed over. Raises `BadMessage`, after which nothing more may
    be given to it. Readers may share what is `known`. Of a HEAD's answer it waits for a
    body: see `HeadReader`.
    """

    def __init__(
        self,
        answered: Answered,
        *,
        max_head_bytes: int,
        max_body_bytes: int | None,
        known: Known | None = None,
        ok: Container[int] = range(200, 300),
    ) -> None:
        super().__init__(httptools.HttpResponseParser, max_head_bytes)
        self._answered = answered
        self._max_body_bytes = max_body_bytes
        self._known = known or Known()
        self._ok = ok
        # The bytes of the head that is parsed, where it may become known.
        self._raw_head, self._interim = b"", 0

    def noting(self, write: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Return what writes requests to the connection whose answers this reader gets."""
        return write

    def plain_answer(self, data: bytes) -> Answer | None:
        """Return the answer where `data` is a whole one, a success with a known head; else None.

        The short way, and nearly all that a benchmark receives: `data` is then used, and `answered`
        is not called. Otherwise give it to `receive`. To compare with what came last takes a tenth
        of the time that a look-up of the head takes.
        """
        if not self.between:
            return None
        known = self._known
        if data != known.data:
            raw, head = known.last
            if not data.startswith(raw):
                raw = data[: data.find(HEAD_END) + 4]
                head = known.plain.get(raw, NO_HEAD)
            if head.length != len(data) - len(raw):
                return None
            known.last, known.data = (raw, head), data
            known.answer = Answer(head.status, data[len(raw) :], head.fields)
        return known.answer

    def receive(self, data: bytes) -> None:
        """Take the bytes that follow those before, split anywhere."""
        at, size, known = 0, len(data), self._known.heads
        while at < size and self.between:
            start = data.find(HEAD_END, at) + 4
            raw = data[at:start]
            head = known.get(raw)
            if head is None or start + head.length > size:
                # Empty lines before a head are none of it.
                whole = raw.startswith(b"HTTP/") and raw.endswith(HEAD_END)
                self._raw_head = raw if whole else b""
                break
            at = start + head.length
            self._answered(head, data[start:at])
        if at < size and self.feed(data[at:]):
            raise BadMessage("the server switched protocols, which nobody asked for")

    def end(self) -> None:
        """Complete a body that lasts until the server sends no more."""
        if not self.between:
            if not self._until_close:
                raise BadMessage("the connection ended in the middle of a message")
            self._raw_head = b""
            self.on_message_complete()

    def on_message_begin(self) -> None:
        """Called by httptools with the first byte of a response."""
        super().on_message_begin()
        self._body: list[bytes] = []
        self._fields: list[tuple[bytes, bytes]] = []
        self._body_bytes, self._status, self._length = 0, 0, b"0"
        self._framed = self._until_close = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by httptools with each header, those of a trailer among them."""
        self.count_head(len(name) + len(value))
        self._fields.append((name, value))
        name = name.lower()
        if name == b"content-length":
            self._framed, self._length = True, value
        elif name == b"transfer-encoding":
            self._framed = value.rpartition(b",")[2].strip().lower() == b"chunked"

    def on_headers_complete(self) -> None:
        """Called by httptools at the end of a head."""
        status, version = self._parser.get_status_code(), self._parser.get_http_version()
        if version not in ("1.0", "1.1") or status < 100:
            raise BadMessage(f"what came is not HTTP/1.1: version {version}, status {status}")
        if status == 101:
            raise BadMessage("the server switched protocols, which nobody asked for")
        self._status, self._keep_alive = status, self._parser.should_keep_alive()
        self._head_fields = tuple(self._fields)
        if status not in _BODILESS:
            self._check_size(int(self._length))  # before any of it is there
        # As in RFC 9112, section 6.3. The parser itself ends those that have no body.
        self._until_close = not self._framed

    def on_chunk_header(self) -> None:
        """Called by httptools with the size of a chunk."""
        self._raw_head = b""  # it does not say where the next head begins

    def on_body(self, piece: bytes) -> None:
        """Called by httptools with a part of the body."""
        self._pending_bytes = 0
        self._body_bytes += len(piece)
        self._check_size(self._body_bytes)
        self._body.append(piece)

    def _check_size(self, body_bytes: int) -> None:
        check_body(body_bytes, self._max_body_bytes)

    def on_message_complete(self) -> None:
        """Called by httptools at the end of a response."""
        raw, self._raw_head = self._raw_head, b""
        if self._status < 200:
            # Its answer is still to come, and is parsed: so they can be counted.
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise TooLarge(f"more than {MAX_INTERIM} informational responses before an answer")
            return
        self.between, self._interim = True, 0
        head = ResponseHead(self._status, self._body_bytes, self._keep_alive, self._head_fields)
        if raw and head.keep_alive:
            known = self._known
            if len(known.heads) >= MAX_HEADS_KNOWN:
                known.heads.clear()
                known.plain.clear()
            known.heads[raw] = head
            if head.status in self._ok:
                known.plain[raw] = head
        self._answered(head, b"".join(self._body))


class HeadReader(ResponseReader):
    """Reads answers of which some are to a HEAD: they have the length of a body, and none.

    Plan. httptools cannot be told so. It gets line after line, and is replaced where such a head
    ends; whether an answer is to a HEAD is known by the order of the requests. No head becomes
    known: a GET is answered with the same one. Where such a head has no length either, the parser
    takes its connection for one that ends with the answer, and it is not used again.
    """

    def noting(self, write: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Return what writes requests, and remembers which of them are a HEAD."""
        self._are_heads = deque[bool]()

        def noted(data: bytes) -> None:
            self._are_heads.append(data.startswith(b"HEAD "))
            write(data)

        return noted

    @property
    def _is_head(self) -> bool:
        return bool(self._are_heads) and self._are_heads[0]

    def receive(self, data: bytes) -> None:
        """Take the bytes that follow those before, split anywhere."""
        for line in data.splitlines(keepends=True):
            if self.feed(line):
                raise BadMessage("the server switched protocols, which nobody asked for")
            if self._is_head and not self.between and self._status >= 200:
                self._parser = None
                self.on_message_complete()

    def _check_size(self, body_bytes: int) -> None:
        if not self._is_head:
            super()._check_size(body_bytes)

    def on_message_complete(self) -> None:
        """Called at the end of a response."""
        if self._status >= 200 and self._are_heads:
            self._are_heads.popleft()
        super().on_message_complete()
