"""Which content coding an answer gets, and the coding itself. Pure and deterministic.

The codings are those that aiohttp's client reads. Each body is compressed anew, as the cost of that
is worth measuring; a library is imported when the first body needs it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from labkit.errors import BadInput

ZLIB_LEVEL = 6
BROTLI_QUALITY = 5
ZSTD_LEVEL = 3
IDENTITY = "identity"

# zlib's window sizes: a gzip wrapper (whose time stamp zlib leaves 0) and a zlib wrapper, which is
# what RFC 9110 calls deflate.
_GZIP_WINDOW = 31
_ZLIB_WINDOW = 15
_Q_VALUE = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
# The weight of identity where a client does not name it: below all that it can write.
_LAST_CHOICE = 0.0001


def _gzip(body: bytes, level: int) -> bytes:
    return zlib.compress(body, level, wbits=_GZIP_WINDOW)


def _deflate(body: bytes, level: int) -> bytes:
    return zlib.compress(body, level, wbits=_ZLIB_WINDOW)


def _br(body: bytes, level: int) -> bytes:
    import brotli

    coded: bytes = brotli.compress(body, quality=level)
    return coded


def _zstd(body: bytes, level: int) -> bytes:
    from backports import zstd

    return zstd.compress(body, level)


def _identity(body: bytes, _: int) -> bytes:
    return body


class Coder(NamedTuple):
    """A coding: how it is done, at which level unless told, and the levels that there are."""

    code: Callable[[bytes, int], bytes]
    level: int
    levels: range


# In order of preference, where a client has none.
CODERS: Mapping[str, Coder] = MappingProxyType(
    {
        "gzip": Coder(_gzip, ZLIB_LEVEL, range(10)),
        "deflate": Coder(_deflate, ZLIB_LEVEL, range(10)),
        "br": Coder(_br, BROTLI_QUALITY, range(12)),
        "zstd": Coder(_zstd, ZSTD_LEVEL, range(1, 20)),
        IDENTITY: Coder(_identity, 0, range(1)),
    }
)


NOT_ACCEPTABLE = (
    f"the accept-encoding header refuses every coding: accept one of {', '.join(CODERS)}"
)


def encode(coding: str, body: bytes, level: int | None = None) -> bytes:
    """`body` in one of the codings that `CODERS` names, at one of its levels or its usual one."""
    coder = CODERS[coding]
    return coder.code(body, coder.level if level is None else level)


def forced(name: str) -> str:
    """The coding called `name`, or `BadInput` that lists those there are."""
    if name not in CODERS:
        raise BadInput(f"encoding is {name[:40]!r}: it must be one of {', '.join(CODERS)}")
    return name


def negotiate(accept_encoding: str | None) -> str | None:
    """The coding for a request with this Accept-Encoding header, None where none is acceptable.

    As in RFC 9110, section 12.5.3: the highest q-value wins, 0 forbids, `*` stands for all that are
    not named, and identity is acceptable, as the last choice, unless it is forbidden.
    """
    if accept_encoding is None:
        return IDENTITY
    named = _weights(accept_encoding)
    unnamed = {name: named.get("*", 0.0) for name in CODERS}
    if "*" not in named:
        unnamed[IDENTITY] = _LAST_CHOICE
    weights = {name: named.get(name, weight) for name, weight in unnamed.items()}
    best = max(weights, key=weights.__getitem__)
    return best if weights[best] > 0 else None


def _weights(accept_encoding: str) -> dict[str, float]:
    return dict(_weight(item) for item in accept_encoding.lower().split(",") if item.strip())


def _weight(item: str) -> tuple[str, float]:
    name, _, parameter = item.partition(";")
    key, _, value = parameter.partition("=")
    coding = name.strip().removeprefix("x-")
    return coding, _q_value(value.strip()) if key.strip() == "q" else 1.0


def _q_value(text: str) -> float:
    return float(text) if _Q_VALUE.fullmatch(text) else 0.0
