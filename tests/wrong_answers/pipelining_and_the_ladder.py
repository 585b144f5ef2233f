from __future__ import annotations


def split_at_blank_lines(stream: bytes) -> list[bytes]:
    return stream.split(b"\r\n\r\n")[1:]


def as_text(stream: bytes) -> list[str]:
    return [stream.decode().partition("\r\n\r\n")[2]]


def read(stream: bytes, *, whole: bool = True) -> list[bytes]:
    found = []
    while b"\r\n\r\n" in stream:
        head, _, rest = stream.partition(b"\r\n\r\n")
        length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0] or 0)
        if whole and len(rest) < length:
            break
        found.append(rest[:length])
        stream = rest[length:]
    return found


def without_empty_ones(stream: bytes) -> list[bytes]:
    return [body for body in read(stream) if body]


def half_ones_too(stream: bytes) -> list[bytes]:
    return read(stream.replace(b"content", b"Content").replace(b"-length", b"-Length"), whole=False)


def needs_a_head(stream: bytes) -> list[bytes]:
    found = []
    stream = stream.replace(b"content-length", b"Content-Length")
    while stream:
        head, _, rest = stream.partition(b"\r\n\r\n")
        length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        if len(rest) < length:
            break
        found.append(rest[:length])
        stream = rest[length:]
    return found


WRONG = [
    ("ex-07-3", split_at_blank_lines, "two answers"),
    ("ex-07-3", as_text, "it returns text"),
    ("ex-07-3", without_empty_ones, "empty body"),
    ("ex-07-3", read, "small letters"),
    ("ex-07-3", half_ones_too, "last body"),
    ("ex-07-3", needs_a_head, "the function raised ValueError in its line"),
    ("ex-07-3", len, "return a list of bodies"),
    ("ex-07-3", [b"Hello", b"!"], "give a function"),
]
