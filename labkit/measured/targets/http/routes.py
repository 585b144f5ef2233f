"""The routes whose answers depend on the request alone, as functions of it; `TABLE` names them.

Each takes the last segment of the path and the request. Numbers that are out of range raise
`BadInput`, which `behaviour` turns into a 400.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta

from labkit.errors import BadInput
from labkit.measured.targets.http import compression, documents, messages
from labkit.measured.targets.http.messages import Answer, Chunks, Request
from labkit.spec import parts, validation

# Statuses that never have a body (RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5).
EMPTY = frozenset({204, 205, 304})
DEFAULT_CHUNK = "8192"

ChunkBytes = Annotated[int, Meta(ge=1, le=1 << 24)]
Records = Annotated[int, Meta(ge=0, le=documents.MOST_RECORDS)]
Times = Annotated[int, Meta(ge=0, le=documents.MOST_TIMES)]
Rate = Annotated[int, Meta(ge=1, le=1 << 40)]
Status = Annotated[int, Meta(ge=200, le=599)]
Handler = Callable[[str, Request], Answer]


def number(field: str, text: str, type_: Any) -> Any:
    """The number that `text` writes, within the bounds of `type_`; `BadInput` names both."""
    try:
        return msgspec.convert(text, type_, strict=False)
    except msgspec.ValidationError:
        allowed = validation.allowed(type_)
        raise BadInput(f"{field} is {text[:40]!r}: it must be {allowed}") from None


def query(request: Request, name: str) -> str | None:
    """The first value of that name in the query; None where there is none."""
    pairs = parse_qsl(messages.split(request.target)[1], keep_blank_values=True)
    return next((value for key, value in pairs if key == name), None)


def _document(all_of_them: tuple[dict[str, Any], ...], text: str) -> Answer:
    index = number("i", text, int)
    if not 1 <= index <= len(all_of_them):
        return messages.json(b"{}", 404)
    return messages.json(msgspec.json.encode(all_of_them[index - 1]))


def all_posts(_: str, __: Request) -> Answer:
    """All posts, as a list."""
    return messages.json(msgspec.json.encode(documents.posts()))


def all_users(_: str, __: Request) -> Answer:
    """All users, as a list."""
    return messages.json(msgspec.json.encode(documents.users()))


def post(text: str, _: Request) -> Answer:
    """One post; 404 with an empty object where there is none of that number."""
    return _document(documents.posts(), text)


def user(text: str, _: Request) -> Answer:
    """One user; 404 with an empty object where there is none of that number."""
    return _document(documents.users(), text)


def size(text: str, _: Request) -> Answer:
    """A body of that many bytes, with a Content-Length."""
    body = messages.body_of(number("n", text, parts.Bytes))
    return Answer(headers=(("Content-Type", messages.BINARY),), body=body)


def stream(text: str, request: Request) -> Answer:
    """The same bytes as `size`, chunked; `?chunk=` is the size of a chunk."""
    asked = query(request, "chunk")
    body = Chunks(
        total_bytes=number("n", text, parts.Bytes),
        chunk_bytes=number("chunk", DEFAULT_CHUNK if asked is None else asked, ChunkBytes),
        framed=True,
    )
    return Answer(headers=(("Content-Type", messages.BINARY),), body=body)


def json(text: str, request: Request) -> Answer:
    """That many records, in the coding that the client prefers or that `?encoding=` forces."""
    return _coded(documents.records(number("n", text, Records)), request)


def message(text: str, request: Request) -> Answer:
    """One greeting that many times, coded likewise."""
    return _coded(documents.message(number("n", text, Times)), request)


def _coded(body: bytes, request: Request) -> Answer:
    coding = _coding(request)
    vary = (("Vary", "Accept-Encoding"),)
    if coding is None:
        return messages.text(406, compression.NOT_ACCEPTABLE, vary)
    coded = () if coding == compression.IDENTITY else (("Content-Encoding", coding),)
    level = _level(coding, request)
    return messages.json(compression.encode(coding, body, level), extra=vary + coded)


def _level(coding: str, request: Request) -> int | None:
    asked, levels = query(request, "level"), compression.CODERS[coding].levels
    if asked is None:
        return None
    type_ = Annotated[int, Meta(ge=levels[0], le=levels[-1])]
    return int(number(f"level of {coding}", asked, type_))


def _coding(request: Request) -> str | None:
    asked = query(request, "encoding")
    if asked is None:
        return compression.negotiate(request.headers.get("accept-encoding"))
    return compression.forced(asked)


def rate(request: Request) -> int | None:
    """At how many bytes a second `?rate=` asks for the body; None where it does not."""
    asked = query(request, "rate") if "?" in request.target else None
    return None if asked is None else int(number("rate", asked, Rate))


def seconds(request: Request) -> float:
    """For how many seconds a fault is to last; one where `?seconds=` does not say."""
    asked = query(request, "seconds")
    return 1.0 if asked is None else number("seconds", asked, parts.StallSeconds)


def status(text: str, _: Request) -> Answer:
    """That status, with a body that says so where the status may have one."""
    code = number("code", text, Status)
    if code in EMPTY:
        return Answer(status=code, headers=())
    return messages.text(code, f"status {code}")


TABLE: Mapping[str, Handler] = MappingProxyType(
    {
        "posts": post,
        "users": user,
        "bytes": size,
        "stream": stream,
        "json": json,
        "message": message,
        "status": status,
    }
)
