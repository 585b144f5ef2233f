"""Answers as the bytes of HTTP/1.1 (RFC 9112). No sockets, no clock: the date is given."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus

from labkit.measured.targets.http import messages
from labkit.measured.targets.http.messages import Answer, Body, Chunks
from labkit.measured.targets.http.requests import Head

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_NO_LENGTH = frozenset({204, 304})
_REASONS = {status.value: status.phrase for status in HTTPStatus}


def whole(answer: Answer, asked: Head, date: str, *, last: bool = False) -> bytes:
    """`answer`, of which the body is held; `last`: the connection ends after it."""
    assert isinstance(answer.body, bytes)
    body = b"" if asked.method == "HEAD" else answer.body
    return head(answer, asked, date, len(answer.body), last=last) + body


def head(answer: Answer, asked: Head, date: str, length: int | None, *, last: bool) -> bytes:
    """The head of an answer whose body has `length` bytes; None: it comes in chunks."""
    lines = [f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, '')}"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    if length is None:
        # The framing of a body that is not sent says nothing.
        lines += ["Transfer-Encoding: chunked"] if asked.method != "HEAD" else []
    elif answer.status not in _NO_LENGTH:
        lines.append(f"Content-Length: {length}")
    if last:
        lines.append("Connection: close")
    elif asked.version == "1.0":
        lines.append("Connection: keep-alive")
    lines += [f"Date: {date}", f"Server: {messages.SERVER}", "", ""]
    return "\r\n".join(lines).encode("latin-1")


def is_framed(body: Body, asked: Head) -> bool:
    """Whether the body goes out in chunks, which HTTP/1.0 does not know."""
    return isinstance(body, Chunks) and body.framed and asked.version == "1.1"


def framed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Each piece as one chunk, and the end of them."""
    for piece in pieces:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"
