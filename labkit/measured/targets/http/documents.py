"""What the synthetic server's bodies are: JSON documents, and the content coding that they get.

Deterministic. The documents (`data/documents.json`, numbered records) have the shape that tutorials
expect of a placeholder service, and a text of their own. The codings are those that aiohttp's
client reads. Each body is compressed anew, as the cost of that is worth measuring; a library is
imported when the first body needs it.
"""

import re
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple

import msgspec

# About ten megabytes of JSON.
MAX_RECORDS = 125_000
# The same, of the message.
MAX_TIMES = 800_000

# Knuth's multiplier for hashing whole numbers to 32 bits: neighbours end up far apart.
_SPREAD = 2_654_435_761


def tables() -> dict[str, Any]:
    """Return posts, users, comments and todos by these names, each numbered from 1 by its `id`.

    And the `words` of numbered records, and what is answered where there is `no_route`.
    """
    from labkit import paths  # here: few servers are asked for one

    return paths.table("documents.json")


@lru_cache(maxsize=4)
def records(count: int) -> bytes:
    """Return a JSON list of records 0 to `count` - 1, encoded.

    The last few lists are kept, so that what a request costs is its coding.
    """
    listed, words = [], tables()["words"]
    for number in range(count):
        spread = number * _SPREAD % 2**32
        numbered = {
            "id": number,
            "key": f"{spread:08x}",
            "name": f"{words[spread % len(words)]} {words[spread // 64 % len(words)]}",
            "value": spread % 1_000_000 / 1_000,
            "active": spread & 4096 != 0,
        }
        listed.append(numbered)
    return msgspec.json.encode(listed)


@lru_cache(maxsize=4)
def message(times: int) -> bytes:
    """Return the JSON object of a tutorial on compression: one greeting, so many times over.

    Spaced as Python's own `json` does it, for its size is quoted.
    """
    return b'{"message": "' + b"Hello, World!" * times + b'"}'


# Codings

IDENTITY = "identity"

_Q_VALUE = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
# The weight of identity where a client does not name it: below all that it can write.
_LAST_CHOICE = 0.0001


def _brotli(body: bytes, level: int) -> bytes:
    return bytes(import_module("brotli").compress(body, quality=level))


def _zstd(body: bytes, level: int) -> bytes:
    library = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    return bytes(import_module(library).compress(body, level))


class Coder(NamedTuple):
    """A coding: its function, its default level, and the levels that it allows.

    `most_kb`, level by level, is the largest body: it takes a quarter of a second, in which the
    server answers nobody else. The largest document would take 1.1 s by gzip at level 9, and 25 s
    by br at level 11. Rejected: to code in a thread, which would share the server's core with it.
    """

    code: Callable[[bytes, int], bytes]
    level: int
    levels: range
    most_kb: Sequence[int]

    def may(self, level: int, body: bytes) -> bool:
        """Return whether a body may be coded at this level."""
        return len(body) <= 1_000 * self.most_kb[level - self.levels[0]]


# Above the size of each document.
_ALL_KB = 10_500
_ZLIB_KB = [*[_ALL_KB] * 7, 7_000, 2_000, 2_000]
_BR_KB = [*[_ALL_KB] * 5, 5_000, 4_000, 3_000, 2_500, 1_500, 250, 110]
_ZSTD_KB = [*[_ALL_KB] * 9, 7_000, 5_000, 3_500, 2_500, 1_400, 1_400, 800, 600, 500, 300]

# In order of preference, where a client has none. Of zlib, a window of 31 is a gzip wrapper (whose
# time stamp zlib leaves 0), and one of 15 a zlib wrapper, which is what RFC 9110 calls deflate.
CODERS: Mapping[str, Coder] = {
    "gzip": Coder(lambda body, n: zlib.compress(body, n, 31), 6, range(10), _ZLIB_KB),
    "deflate": Coder(lambda body, n: zlib.compress(body, n, 15), 6, range(10), _ZLIB_KB),
    "br": Coder(_brotli, 5, range(12), _BR_KB),
    "zstd": Coder(_zstd, 3, range(1, 20), _ZSTD_KB),
    IDENTITY: Coder(lambda body, _: body, 0, range(1), [_ALL_KB]),
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
