from __future__ import annotations

from typing import Any

import labkit as lab


def pool(size: int, limit: int, **more: Any) -> lab.Trial:
    settings = {"transport.max_size": size, "target.query_s": 0.004, **more}
    return lab.Trial(target="postgres", limit=limit, **settings)


READINGS = ["small pool", "full server", "no pool", "slow query", "small pool"]


def but(place: int, word: str) -> list[str]:
    return [*READINGS[: place - 1], word, *READINGS[place:]]


WRONG = [
    ("ex-08-1", 4.5, "queries alone"),
    ("ex-08-1", 7.5, "while your code computes"),
    ("ex-08-1", 12_000, "factor of a thousand"),
    ("ex-08-1", 7_500, "multiplies them"),
    ("ex-08-1", 720, "unit of the rate"),
    ("ex-08-1", 20, "too high"),
    ("ex-08-2", but(1, "slow query"), "row 1"),
    ("ex-08-2", but(2, "small pool"), "row 2"),
    ("ex-08-2", but(3, "slow query"), "row 3"),
    ("ex-08-2", but(4, "small pool"), "row 4"),
    ("ex-08-2", but(5, "full server"), "row 5"),
    ("ex-08-2", but(5, "disk"), "choose one of"),
    ("ex-08-3", lab.Trial(limit=8), "whom do the queries ask"),
    ("ex-08-3", pool(8, 8, **{"target.query_s": 0.0}), "the task says how long"),
    ("ex-08-3", pool(8, 100), "some wait in the client"),
    ("ex-08-3", pool(16, 16), "too high"),
    ("ex-08-3", pool(8, 4), "too low"),
    ("ex-08-3", pool(8, 8, **{"transport.mode": "connect"}), "no pool"),
    ("ex-08-3", lab.Trial(target="postgres", transport="psycopg"), "no pool"),
    ("ex-08-3", 8, "give a lab.Trial"),
]
