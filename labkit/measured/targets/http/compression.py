"""Which content coding an answer gets, and the coding itself. Pure and deterministic.

The codings are those that aiohttp's client reads. Each body is compressed anew, as the cost of that
is worth measuring; a library is imported when the first body needs it.
"""

from __future__ import annotations

import math
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

    `slow` are levels that take more than half a second for the largest document, as measured on a
    core of 2020, with the bytes that they take so long for. A server stands still meanwhile.
    """

    code: Callable[[bytes, int], bytes]
    level: int
    levels: range
    slow: Mapping[int, int] = {}

    def max_bytes(self, level: int) -> float:
        """Return the largest body that is coded at a level."""
        return self.slow.get(level, math.inf)


_SLOW_ZLIB = {8: 4_700_000, 9: 4_700_000}
_SLOW_BROTLI = {7: 6_000_000, 8: 5_500_000, 9: 2_400_000, 10: 500_000, 11: 200_000}
_SLOW_ZSTD = {
    **{11: 6_500_000, 12: 4_400_000, 13: 2_200_000, 14: 1_700_000, 15: 1_200_000},
    **{16: 1_000_000, 17: 600_000, 18: 600_000, 19: 400_000},
}

# In order of preference, where a client has none. Of zlib, a window of 31 is a gzip wrapper (whose
# time stamp zlib leaves 0), and one of 15 a zlib wrapper, which is what RFC 9110 calls deflate.
CODERS: Mapping[str, Coder] = {
    "gzip": Coder(lambda body, level: zlib.compress(body, level, 31), 6, range(10), _SLOW_ZLIB),
    "deflate": Coder(lambda body, level: zlib.compress(body, level, 15), 6, range(10), _SLOW_ZLIB),
    "br": Coder(_brotli, 5, range(12), _SLOW_BROTLI),
    "zstd": Coder(_zstd, 3, range(1, 20), _SLOW_ZSTD),
    IDENTITY: Coder(lambda body, _: body, 0, range(1)),
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
