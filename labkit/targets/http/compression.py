"""Which content coding an answer gets, and the coding itself. Pure and deterministic.

The codings are those that aiohttp's client reads: gzip, deflate, br and zstd. A library is imported
when the first body needs it; a coding whose library is missing is never offered.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType

from labkit.errors import BadInput

ZLIB_LEVEL = 6
BROTLI_QUALITY = 5
ZSTD_LEVEL = 3
IDENTITY = "identity"

# zlib's window sizes: a gzip wrapper (whose time stamp zlib leaves 0) and a zlib wrapper, which is
# what RFC 9110 calls deflate.
_GZIP_WINDOW = 31
_ZLIB_WINDOW = 15
_ZSTD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"


def _gzip(body: bytes) -> bytes:
    return zlib.compress(body, ZLIB_LEVEL, wbits=_GZIP_WINDOW)


def _deflate(body: bytes) -> bytes:
    return zlib.compress(body, ZLIB_LEVEL, wbits=_ZLIB_WINDOW)


def _br(body: bytes) -> bytes:
    coded: bytes = import_module("brotli").compress(body, quality=BROTLI_QUALITY)
    return coded


def _zstd(body: bytes) -> bytes:
    coded: bytes = import_module(_ZSTD).compress(body, ZSTD_LEVEL)
    return coded


# In order of preference, where a client has none.
_CODERS: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType(
    {"gzip": _gzip, "deflate": _deflate, "br": _br, "zstd": _zstd}
)
# The weight of identity where a client does not name it: below all that it can write.
_LAST_CHOICE = 0.0001
_LIBRARIES = {"br": "brotli", "zstd": _ZSTD}


@cache
def available() -> tuple[str, ...]:
    """The codings that this interpreter can make, in order of preference."""
    return tuple(name for name in _CODERS if _installed(_LIBRARIES.get(name)))


def _installed(library: str | None) -> bool:
    try:
        return library is None or find_spec(library) is not None
    except ModuleNotFoundError:
        return False


NOT_ACCEPTABLE = (
    "the accept-encoding header refuses every coding: "
    f"accept one of {', '.join(available())}, {IDENTITY}"
)


def encode(coding: str, body: bytes) -> bytes:
    """`body` in one of the `available` codings, or unchanged where `coding` is identity."""
    return body if coding == IDENTITY else _CODERS[coding](body)


def forced(name: str) -> str:
    """The coding called `name`, or `BadInput` that lists those there are."""
    if name not in (*available(), IDENTITY):
        raise BadInput(
            f"encoding is {name[:40]!r}: it must be one of {', '.join(available())}, {IDENTITY}"
        )
    return name


def negotiate(accept_encoding: str | None) -> str | None:
    """The coding for a request with this Accept-Encoding header, None where none is acceptable.

    As in RFC 9110, section 12.5.3: the highest q-value wins, 0 forbids, `*` stands for all that are
    not named, and identity is acceptable, as the last choice, unless it is forbidden.
    """
    if accept_encoding is None:
        return IDENTITY
    named = _weights(accept_encoding)
    others = named.get("*", 0.0)
    weights = {name: named.get(name, others) for name in available()}
    best = max(weights, key=weights.__getitem__)
    plain = named.get(IDENTITY, named.get("*", _LAST_CHOICE))
    if weights[best] > 0 and weights[best] >= plain:
        return best
    return IDENTITY if plain > 0 else None


def _weights(accept_encoding: str) -> dict[str, float]:
    return dict(_weight(item) for item in accept_encoding.lower().split(",") if item.strip())


def _weight(item: str) -> tuple[str, float]:
    name, _, parameter = item.partition(";")
    key, _, value = parameter.partition("=")
    coding = name.strip().removeprefix("x-")
    return coding, _q_value(value.strip()) if key.strip() == "q" else 1.0


def _q_value(text: str) -> float:
    whole, _, decimals = text.partition(".")
    written = whole in ("0", "1") and len(decimals) <= 3 and (decimals or "0").isdecimal()
    return min(float(text), 1.0) if written and text.isascii() else 0.0
