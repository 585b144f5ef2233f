"""What the synthetic server is asked and what it answers, as data: `Request`, `Answer`, `Chunks`.

Nothing here decides or sends anything. The headers of an answer are those of its content; framing
(Content-Length, Transfer-Encoding, Connection), Date and Server belong to the engine that sends it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from urllib.parse import unquote_to_bytes

import msgspec

SERVER = "labkit"
HELLO = b"Hello, World!"
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
BINARY = "application/octet-stream"
WHOLE_BYTES = 1 << 20
PIECE_BYTES = 1 << 16
PATTERN = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\n"

Headers = tuple[tuple[str, str], ...]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came in.

    `target` is the request line's, undecoded, with its query. `headers` finds values by lower-case
    name; a header that came several times is joined with commas. `body` is empty unless
    `Behaviour.takes_body` asked for it.
    """

    method: str
    target: str
    headers: Mapping[str, str] = {}
    body: bytes = b""


class Chunks(msgspec.Struct, frozen=True, kw_only=True):
    """A body that is described, not held: `total_bytes` of `PATTERN` over and over.

    It is sent in pieces of `chunk_bytes` (the last may be shorter). `framed`: each piece is one
    chunk of a chunked body; else the body goes out with a Content-Length.
    """

    total_bytes: int
    chunk_bytes: int = PIECE_BYTES
    framed: bool = False

    def pieces(self) -> Iterator[bytes]:
        """The pieces, made one at a time."""
        block = PATTERN * (self.chunk_bytes // len(PATTERN) + 2)
        for start in range(0, self.total_bytes, self.chunk_bytes):
            phase = start % len(PATTERN)
            yield block[phase : phase + min(self.chunk_bytes, self.total_bytes - start)]


Body = bytes | Chunks


def length(body: Body) -> int:
    """How many bytes a body has."""
    return len(body) if isinstance(body, bytes) else body.total_bytes


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What to send, and after how many seconds. For HEAD the engine leaves the body out.

    For `stall_s` the engine first stands still, with all that it serves. `rate` is at how many
    bytes a second the body goes out, at most; None is as fast as the client reads. With `drip_s` it
    goes out byte by byte over so many seconds. `fault` is one of `faults.BROKEN`, or none.
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

    @property
    def is_slow(self) -> bool:
        """Whether its body is held back on purpose."""
        return self.rate is not None or self.drip_s is not None


@lru_cache(maxsize=8)
def body_of(size_bytes: int) -> Body:
    """A body of `size_bytes`: held (and shared) up to `WHOLE_BYTES`, described above it."""
    if size_bytes > WHOLE_BYTES:
        return Chunks(total_bytes=size_bytes)
    return (PATTERN * (size_bytes // len(PATTERN) + 1))[:size_bytes]


def text(status: int, sentence: str, extra: Headers = ()) -> Answer:
    """An answer in plain text: what it repeats from the request never becomes HTML."""
    body = sentence.encode("utf-8", "backslashreplace")
    return Answer(status=status, headers=(("Content-Type", TEXT), *extra), body=body)


def json(body: bytes, status: int = 200, extra: Headers = ()) -> Answer:
    """An answer whose body is JSON already encoded (and perhaps compressed)."""
    return Answer(status=status, headers=(("Content-Type", JSON), *extra), body=body)


def split(target: str) -> tuple[list[str], str]:
    """The decoded segments of a target's path, and its query undecoded.

    A target in absolute form loses its scheme and authority. A slash that is percent-encoded is
    part of its segment.
    """
    if not target.startswith("/"):
        target = "/" + target.partition("://")[2].partition("/")[2]
    path, _, query = target.partition("?")
    return [_decoded(segment) for segment in path.split("/")[1:]], query


def _decoded(segment: str) -> str:
    if "%" not in segment and segment.isascii():
        return segment
    # Bytes that are not UTF-8 reach an engine's strings as surrogates.
    return unquote_to_bytes(segment.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")
