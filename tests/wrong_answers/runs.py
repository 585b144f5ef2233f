"""Runs, trials and claims that are wrong answers."""

from __future__ import annotations

from typing import Any

from factories import make_record

import labkit as lab
from labkit.record.record import Received, Record


def run(requests: int, limit: int, **changes: Any) -> Record:
    return make_record(settings={"requests": requests, "limit": limit}, **changes)


def received(wire_bytes: int, decoded_bytes: int = 13_015) -> Record:
    bodies = Received(bodies=5, wire_bytes=5 * wire_bytes, decoded_bytes=5 * decoded_bytes)
    return run(5, 1, received=bodies)


def pool(size: int, limit: int, **more: Any) -> lab.Trial:
    settings = {"transport.max_size": size, "target.query_s": 0.004, **more}
    return lab.Trial(target="postgres", limit=limit, **settings)


SIXTY = {"requests": 60, "limit": 5}
OVER_WIRE = make_record(settings={**SIXTY, "transport": "wire"})
A_SESSION_EACH = make_record(
    settings={**SIXTY, "transport.session_per_request": True}, **{"server.connections_opened": 60}
)
CLAIM = """
[[claim]]
id = "connector-limit"
source = "own"
says = "No more than seven"

[[claim.check]]
says = "Most in flight at the server"
measure = "server_max_in_flight"
of = { limit = 50, delay = "0.01", requests = 500, "transport.limit" = 7 }
at_most = 7
exact = true
"""


def spoilt(right: str, wrong: str) -> str:
    assert right in CLAIM
    return CLAIM.replace(right, wrong)


WRONG = [
    ("ex-00-2", lab.Trial(requests=40, limit=40, delay="2"), "all its requests are in flight"),
    ("ex-00-2", lab.Trial(requests=20, limit=1, delay="0.1"), "one request at a time"),
    ("ex-00-2", lab.Trial(requests=40, limit=20), "no floor"),
    ("ex-00-2", lab.Trial(requests=28, limit=4, delay="0.25"), "too low"),
    ("ex-00-2", lab.Trial(requests=2_000, limit=100, delay="0.1"), "are allowed"),
    ("ex-02-3", lab.Trial(requests=300, limit=7), "await lab.run"),
    ("ex-02-3", run(100, 7), "100 requests were answered"),
    ("ex-02-3", run(300, 7, server=None), "does not count connections"),
    ("ex-02-3", run(300, 7, **{"server.connections_opened": 300}), "a connection for each request"),
    ("ex-02-3", lab.Run(run(300, 7, **{"server.connections_opened": 9})), "counted 9, more than"),
    ("ex-02-3", run(300, 7, **{"server.connections_opened": 5}), "counted 5, fewer than"),
    ("ex-04-2", run(60, 5), "counted 5 connections for 60 requests"),
    ("ex-04-2", run(10, 5, **{"server.connections_opened": 10}), "at least 50"),
    ("ex-04-2", A_SESSION_EACH, "one session is asked for"),
    ("ex-04-2", OVER_WIRE, "the transport 'aiohttp'"),
    ("ex-06-3", make_record(received=None), "no bodies were counted"),
    ("ex-06-3", received(94, 2_000), "not those of 13,015 bytes"),
    ("ex-06-3", received(13_015), "came as they are"),
    ("ex-06-3", received(4_000), "to more than a tenth"),
    ("ex-08-3", lab.Trial(limit=8), "whom do the queries ask"),
    ("ex-08-3", pool(8, 8, **{"target.query_s": 0.0}), "the task says how long"),
    ("ex-08-3", pool(8, 100), "some wait in the client"),
    ("ex-08-3", pool(16, 16), "too high"),
    ("ex-08-3", pool(8, 4), "too low"),
    ("ex-08-3", pool(8, 8, **{"transport.mode": "connect"}), "no pool"),
    ("ex-08-3", lab.Trial(target="postgres", transport="psycopg"), "no pool"),
    ("ex-12-3", 7, "as text"),
    ("ex-12-3", "", "the lab refuses it"),
    ("ex-12-3", spoilt("at_most = 7", "at_most = seven"), "the lab refuses it"),
    ("ex-12-3", spoilt("exact = true", "exakt = true"), "did you mean 'exact'"),
    ("ex-12-3", spoilt("exact = true\n", ""), "every run"),
    ("ex-12-3", spoilt("server_max_in_flight", "wall_s"), "it measures 'wall_s'"),
    ("ex-12-3", spoilt("at_most = 7", "at_most = 50"), "ends elsewhere"),
    ("ex-12-3", spoilt("at_most = 7", "at_least = 7"), "ends elsewhere"),
    ("ex-12-3", spoilt('"transport.limit" = 7', '"transport.limit" = 70'), "another limit"),
    ("ex-12-3", spoilt("limit = 50", "limit = 5"), "no more requests at a time"),
    ("ex-12-3", spoilt('delay = "0.01", ', ""), "answers at once"),
    ("ex-12-3", CLAIM + CLAIM.replace("connector-limit", "other"), "2 claims"),
    ("ex-13-3", lab.Trial(requests=40, limit=10, delay="uniform(0.1,0.2)"), "who waits for whom"),
    ("ex-13-3", lab.Trial(requests=40, limit=10), "no floor"),
    ("ex-13-3", lab.Trial(requests=10, limit=10, delay="0.1"), "nothing to go round"),
    ("ex-13-3", lab.Trial(requests=40, limit=1, delay="0.1"), "nothing to go round"),
    ("ex-13-3", lab.Trial(requests=4_000, limit=10, delay="0.1"), "are allowed"),
    ("ex-13-3", lab.Trial(requests=3, limit=2, delay="0.1"), "fill two rounds"),
    ("ex-13-3", lab.Trial(requests=5, limit=2, delay="randint(0,3)", seed=6), "by luck only"),
]
