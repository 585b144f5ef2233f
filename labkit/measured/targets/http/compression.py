"""Which content coding an answer gets, and the coding itself. Pure and deterministic.

The codings are those that aiohttp's client reads. Each body is compressed anew, as the cost of that
is worth measuring; a library is imported when the first body needs it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

IDENTITY = "identity"

_Q_VALUE = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
# The weight of identity where a client does not name it: below all that it can write.
_LAST_CHOICE = 0.0001


def _brotli(body: bytes, level: int) -> bytes:
    import brotli

    coded: bytes = brotli.compress(body, quality=level)
    return coded


def _zstd(body: bytes, level: int) -> bytes:
    from backports import zstd

    return zstd.compress(body, level)


class Coder(NamedTuple):
    """A coding: its function, its default level, and the levels that it allows.

    From the level `slow_from` on a body may have `max_slow_bytes`: the largest document would take
    over a second then, at the highest level 25, in which the server answers nobody else.
    """

    code: Callable[[bytes, int], bytes]
    level: int
    levels: range
    slow_from: int
    max_slow_bytes: int


# In order of preference, where a client has none. Of zlib, a window of 31 is a gzip wrapper (whose
# time stamp zlib leaves 0), and one of 15 a zlib wrapper, which is what RFC 9110 calls deflate.
CODERS: Mapping[str, Coder] = {
    "gzip": Coder(lambda body, n: zlib.compress(body, n, 31), 6, range(10), 8, 4_000_000),
    "deflate": Coder(lambda body, n: zlib.compress(body, n, 15), 6, range(10), 8, 4_000_000),
    "br": Coder(_brotli, 5, range(12), 9, 200_000),
    "zstd": Coder(_zstd, 3, range(1, 20), 13, 400_000),
    IDENTITY: Coder(lambda body, _: body, 0, range(1), 1, 0),
}


def negotiate(accept_encoding: str | None) -> str | None:
    """Return the coding for this Accept-Encoding header, None where none is acceptable.

    As in RFC 9110, section 12.5.3: the highest q-value wins, 0 forbids, `*` stands for all that are
    not named, and identity is acceptable, as the last choice, unless it is forbidden.
    """
    if accept_encoding is None:
        return IDENTITY
    named: dict[str, float] = {}
    for item in filter(str.strip, accept_encoding.lower().split(",")):
        name, _, parameter = item.partition(";")
        key, _, value = (part.strip() for part in parameter.partition("="))
        weight = float(value) if _Q_VALUE.fullmatch(value) else 0.0
        named[name.strip().removeprefix("x-")] = weight if key == "q" else 1.0
    unnamed = {name: named.get("*", 0.0) for name in CODERS}
    if "*" not in named:
        unnamed[IDENTITY] = _LAST_CHOICE
    weights = {name: named.get(name, weight) for name, weight in unnamed.items()}
    best = max(weights, key=weights.__getitem__)
    return best if weights[best] > 0 else None
