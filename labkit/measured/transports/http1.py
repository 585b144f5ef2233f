"""What the lab's own HTTP/1.1 clients have in common: what they send, and where to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

Request = Callable[[int], bytes]


class Endpoint(NamedTuple):
    """Where to connect; `hosts` are tried one after another."""

    hosts: tuple[str, ...]
    port: int


def endpoint(url: str, addresses: Sequence[str] = ()) -> Endpoint:
    """Where `url` leads; `addresses`, where given, are the only ones that are connected to."""
    split = urlsplit(url)
    assert split.scheme == "http"  # the trial was checked
    return Endpoint(tuple(addresses) or (split.hostname or "",), split.port or 80)


def requests(url: str, path: str, method: str) -> Request:
    """The bytes of the request for an item: `{item}` in URL or path stands for its number."""
    origin = urlsplit(url.replace("{item}", "0"))
    whole = url.rstrip("/") + path if path else url
    target = whole.partition("://")[2].partition("/")[2].partition("#")[0]
    lines = f"{method} /{target} HTTP/1.1\r\nHost: {origin.netloc}\r\n\r\n"
    before, *after = lines.encode("ascii").split(b"{item}")
    if len(after) == 1:
        # As `str` writes it: a template would cut what is no whole number down to one.
        return lambda item: before + str(item).encode("ascii") + after[0]
    return lambda item: str(item).encode("ascii").join([before, *after])
