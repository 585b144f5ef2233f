"""What the synthetic server answers: as data, as bytes of HTTP/1.1, and in the pieces that go out.

Nothing here decides, waits or sends, and date and clock are given. The headers of an answer are
those of its content; framing (Content-Length, Transfer-Encoding, Connection), Date and Server are
added where it is encoded (RFC 9112).

It goes out whole, at a rate, byte by byte, or broken by a fault. A rate is that of a link, which
has delivered a piece when all of it has passed. So no piece is due before the time that all bytes
up to its end take, and n bytes take at least n / rate. What came late is caught up with, so that
the rate holds on average. An iterator yields pieces to send, and times (ns) until when to wait.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from http import HTTPStatus
from json import dumps
from time import perf_counter_ns
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from labkit.measured.targets.http.requests import Request

SERVER = "labkit"
HELLO = b"Hello, World!"
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
BINARY = "application/octet-stream"
MAX_WHOLE_BYTES = 1 << 20
PIECE_BYTES = 1 << 16
PATTERN = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# How long a piece takes where the size of pieces is free.
SLICE_S = 0.01
# After so long the server looks again, so that nothing waits long for a client that is gone.
MAX_NAP_NS = 1_000_000_000
# The faults of which a connection is the victim: nothing is answered after them.
BROKEN = frozenset({"reset", "close", "truncate", "garbage", "slow_headers"})
GARBAGE = b"\x00\xff this is no HTTP \xfe\r\n\r\n"
_NO_LENGTH = frozenset({204, 304})
_REASONS = {status.value: status.phrase for status in HTTPStatus}

Headers = tuple[tuple[str, str], ...]


class Chunks(msgspec.Struct, frozen=True, kw_only=True):
    """A body that is described, not stored: `total_bytes` of `PATTERN` over and over.

    It is sent in pieces of `chunk_bytes` (the last may be shorter). `framed`: each piece is one
    chunk of a chunked body; else the body goes out with a Content-Length.
    """

    total_bytes: int
    chunk_bytes: int = PIECE_BYTES
    framed: bool = False

    def pieces(self) -> Iterator[bytes]:
        """Yield the pieces, made one at a time."""
        block = PATTERN * (self.chunk_bytes // len(PATTERN) + 2)
        for start in range(0, self.total_bytes, self.chunk_bytes):
            phase = start % len(PATTERN)
            yield block[phase : phase + min(self.chunk_bytes, self.total_bytes - start)]


Body = bytes | Chunks


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What to send, and after how many seconds. The answer to HEAD goes out without its body.

    For `stall_s` the server first stands still, with all that it serves. `rate` is the most bytes
    of the body that go out in a second; None is as fast as the client reads. With `drip_s` the body
    goes out byte by byte over so many seconds. `fault` is one of `BROKEN`, or none.
    """

    status: int = 200
    headers: Headers = (("Content-Type", TEXT),)
    body: Body = b""
    delay_s: float = 0.0
    stall_s: float = 0.0
    rate: int | None = None
    drip_s: float | None = None
    fault: str = ""
    fault_s: float = 0.0


@lru_cache(maxsize=8)
def body_of(size_bytes: int) -> Body:
    """Return a body of that size: stored (and shared) up to `MAX_WHOLE_BYTES`, else described."""
    if size_bytes > MAX_WHOLE_BYTES:
        return Chunks(total_bytes=size_bytes)
    return (PATTERN * (size_bytes // len(PATTERN) + 1))[:size_bytes]


def text(status: int, sentence: str, extra: Headers = ()) -> Answer:
    """Return an answer in plain text: what it repeats from the request never becomes HTML."""
    body = sentence.encode("utf-8", "backslashreplace")
    return Answer(status=status, headers=(("Content-Type", TEXT), *extra), body=body)


def json(body: bytes, status: int = 200, extra: Headers = ()) -> Answer:
    """Return an answer whose body is JSON already encoded (and perhaps compressed)."""
    return Answer(status=status, headers=(("Content-Type", JSON), *extra), body=body)


def shown(request: Request) -> bytes:
    """Return a request as JSON: its body as text and, where it is JSON, as that."""
    sent = {
        "method": request.method,
        "target": request.target,
        "params": dict(parse_qsl(split(request.target)[1], keep_blank_values=True)),
        "headers": request.headers,
        "body": request.body.decode("utf-8", "replace"),
        "json": None,
    }
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        sent["json"] = msgspec.json.decode(request.body)
    return dumps(sent).encode()  # of bytes that are no UTF-8 as well


def split(target: str) -> tuple[list[str], str]:
    """Split a target into the decoded segments of its path, and its query undecoded.

    A target in absolute form loses its scheme and authority. A slash that is percent-encoded is
    part of its segment. What is neither, such as '*', has no segments.
    """
    if not target.startswith("/"):
        _, absolute, rest = target.partition("://")
        if not absolute:
            return [], ""
        target = "/" + rest.partition("/")[2]
    path, _, query = target.partition("?")
    segments = path.split("/")[1:]
    if "%" in path or not path.isascii():
        # Bytes that are not UTF-8 come as surrogates.
        raw = (segment.encode("utf-8", "surrogateescape") for segment in segments)
        segments = [unquote_to_bytes(segment).decode("utf-8", "replace") for segment in raw]
    return segments, query


def encode(answer: Answer, asked: Request, date: str, *, last: bool = False) -> bytes:
    """Return an answer with a stored body as bytes; `last`: the connection ends after it."""
    assert isinstance(answer.body, bytes)
    body = b"" if asked.method == "HEAD" else answer.body
    return encode_head(answer, asked, date, last=last) + body


def encode_head(answer: Answer, asked: Request, date: str, *, last: bool) -> bytes:
    """Return the head of an answer as bytes."""
    lines = [f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, '')}"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    if is_chunked(answer.body, asked):
        # The framing of a body that is not sent says nothing.
        lines += ["Transfer-Encoding: chunked"] if asked.method != "HEAD" else []
    elif answer.status not in _NO_LENGTH:
        body = answer.body
        size = len(body) if isinstance(body, bytes) else body.total_bytes
        lines.append(f"Content-Length: {size}")
    if last:
        lines.append("Connection: close")
    elif asked.version == "1.0":
        lines.append("Connection: keep-alive")
    lines += [f"Date: {date}", f"Server: {SERVER}", "", ""]
    return "\r\n".join(lines).encode("latin-1")


def is_chunked(body: Body, asked: Request) -> bool:
    """Return whether the body goes out in chunks, which HTTP/1.0 does not know."""
    return isinstance(body, Chunks) and body.framed and asked.version == "1.1"


def encode_chunks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield each piece as one chunk, and the end of them."""
    for piece in pieces:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def body_pieces(
    answer: Answer, count: Callable[[int], None], *, chunked: bool
) -> Iterator[bytes | int]:
    """Return the pieces of an answer's body; `count` gets the bytes of each that goes out."""

    def counted(pieces: Iterator[Any]) -> Iterator[Any]:
        for piece in pieces:
            if isinstance(piece, bytes):
                count(len(piece))
            yield piece

    if answer.drip_s is not None:
        assert isinstance(answer.body, bytes)
        return counted(dripped(answer.body, answer.drip_s))
    parts = counted(pieces(answer.body, answer.rate))
    return paced(encode_chunks(parts) if chunked else parts, answer.rate)


def pieces(body: Body, rate: int | None) -> Iterator[bytes]:
    """Return the pieces of `body`, at a rate small ones; chunks keep the size asked for."""
    size = PIECE_BYTES if rate is None else max(1, min(PIECE_BYTES, int(rate * SLICE_S)))
    if isinstance(body, bytes):
        return (body[at : at + size] for at in range(0, len(body), size))
    if not body.framed:
        body = msgspec.structs.replace(body, chunk_bytes=min(body.chunk_bytes, size))
    return body.pieces()


def paced(
    pieces: Iterator[bytes], rate: float | None, clock: Callable[[], int] = perf_counter_ns
) -> Iterator[bytes | int]:
    """Yield each piece once it is due; before that, as often as asked, until when to wait.

    Times are nanoseconds of `clock`, and count from the first call of `next`.
    """
    if rate is None:
        yield from pieces
        return
    began_ns, passed = clock(), 0
    for piece in pieces:
        passed += len(piece)
        due_ns = began_ns - int(-passed * 1_000_000_000 // rate)
        while (now_ns := clock()) < due_ns:
            yield min(due_ns, now_ns + MAX_NAP_NS)
        yield piece


def dripped(
    data: bytes, over_s: float, clock: Callable[[], int] = perf_counter_ns
) -> Iterator[bytes | int]:
    """Return each byte of `data` alone, the last one after `over_s` seconds."""
    each = (data[at : at + 1] for at in range(len(data)))
    return paced(each, len(data) / over_s if over_s else None, clock)


def broken(answer: Answer, encoded: bytes, count: Callable[[int], None]) -> Iterator[bytes | int]:
    """Yield what goes out of an answer with a fault that is in `BROKEN`; count its body's bytes."""
    head, blank, body = encoded.partition(b"\r\n\r\n")
    if answer.fault == "truncate":
        count(len(body) // 2)
        yield head + blank + body[: len(body) // 2]
    elif answer.fault == "garbage":
        yield GARBAGE
    elif answer.fault == "slow_headers":
        yield from dripped(head + blank, answer.fault_s)
        count(len(body))
        yield body
