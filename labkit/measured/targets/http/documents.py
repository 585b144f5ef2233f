"""The JSON documents that the synthetic server serves: posts, users and numbered records.

Pure and deterministic, and made here: the documents have the shape that tutorials expect of a
placeholder service, and a text of their own.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import msgspec

from labkit.spec.delays import uniform

POSTS = 100
USERS = 10
MAX_RECORDS = 125_000
"""About ten megabytes of JSON."""
MAX_TIMES = 800_000
"""The same, of the message."""

_FIRST = ["Ada", "Bruno", "Chen", "Dalia", "Emil", "Farah", "Goran", "Hana", "Ivo", "Jun"]
_LAST = ["Abbot", "Brandt", "Costa", "Diaz", "Eklund", "Fuchs", "Garza", "Holm", "Ibsen", "Joshi"]
_STREETS = ["Socket Lane", "Buffer Street", "Packet Road", "Backlog Way", "Epoll Avenue"]
_CITIES = ["Northport", "Southgate", "Easton", "Westhaven", "Midbridge"]
_WORDS = [
    *("answer", "backlog", "balance", "batch", "bound", "buffer", "burst", "cache", "chunk"),
    *("clock", "core", "delay", "drain", "event", "floor", "frame", "header", "idle", "lag"),
    *("latency", "limit", "loop", "measure", "median", "network", "packet", "pool", "queue"),
    *("reader", "request", "sample", "schedule", "server", "session", "signal", "slot"),
    *("socket", "stream", "task", "window"),
]
# Knuth's multiplier for hashing whole numbers to 32 bits: neighbours end up far apart.
_SPREAD = 2_654_435_761


def _pick(name: str, words: list[str]) -> str:
    return words[int(uniform(0, name) * len(words))]


def _number(name: str, low: int, high: int) -> int:
    return low + int(uniform(0, name) * (high - low + 1))


def _sentence(name: str, words: int) -> str:
    return " ".join(_pick(f"{name}/{word}", _WORDS) for word in range(words))


@cache
def posts() -> tuple[dict[str, Any], ...]:
    """Return posts 1 to `POSTS`, ten of each user."""
    found = []
    for number in range(1, POSTS + 1):
        name = f"post/{number}"
        lines = [
            _sentence(f"{name}/body/{line}", _number(f"{name}/{line}", 5, 8)) for line in range(4)
        ]
        post = {
            "userId": (number - 1) * USERS // POSTS + 1,
            "id": number,
            "title": _sentence(f"{name}/title", _number(name, 3, 7)),
            "body": "\n".join(lines),
        }
        found.append(post)
    return tuple(found)


@cache
def users() -> tuple[dict[str, Any], ...]:
    """Return users 1 to `USERS`."""
    found = []
    for number, (first, last) in enumerate(zip(_FIRST, _LAST, strict=True), 1):
        name = f"user/{number}"
        user = {
            "id": number,
            "name": f"{first} {last}",
            "username": f"{first.lower()}.{last.lower()}",
            "email": f"{first.lower()}@{last.lower()}.example",
            "address": {
                "street": f"{_number(f'{name}/house', 1, 99)} {_pick(f'{name}/street', _STREETS)}",
                "suite": f"Suite {_number(f'{name}/suite', 100, 999)}",
                "city": _pick(f"{name}/city", _CITIES),
                "zipcode": f"{_number(f'{name}/zip', 10_000, 99_999)}",
                "geo": {
                    "lat": f"{uniform(0, f'{name}/lat') * 180 - 90:.4f}",
                    "lng": f"{uniform(0, f'{name}/lng') * 360 - 180:.4f}",
                },
            },
            "phone": f"1-555-01{_number(name, 0, 99):02d}",
            "website": f"{last.lower()}.example",
            "company": {
                "name": f"{last} and Sons",
                "catchPhrase": _sentence(f"{name}/phrase", 4),
                "bs": _sentence(f"{name}/bs", 3),
            },
        }
        found.append(user)
    return tuple(found)


@lru_cache(maxsize=4)
def records(count: int) -> bytes:
    """Return a JSON list of records 0 to `count` - 1, encoded.

    The last few lists are kept, so that what a request costs is its coding.
    """
    found = []
    for number in range(count):
        spread = number * _SPREAD % 2**32
        record = {
            "id": number,
            "key": f"{spread:08x}",
            "name": f"{_WORDS[spread % len(_WORDS)]} {_WORDS[spread // 64 % len(_WORDS)]}",
            "value": spread % 1_000_000 / 1_000,
            "active": spread & 4096 != 0,
        }
        found.append(record)
    return msgspec.json.encode(found)


@lru_cache(maxsize=4)
def message(times: int) -> bytes:
    """Return the JSON object of a tutorial on compression: one greeting, so many times over.

    Spaced as Python's own `json` does it, for its size is quoted.
    """
    return b'{"message": "' + b"Hello, World!" * times + b'"}'
