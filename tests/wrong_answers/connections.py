from __future__ import annotations

from typing import Any

from factories import make_record

from labkit.record.record import Record


def run(requests: int = 60, **changes: Any) -> Record:
    return make_record(settings={"requests": requests, "limit": 5}, **changes)


def a_session_each() -> Record:
    settings = {"requests": 60, "limit": 5, "transport.session_per_request": True}
    return make_record(settings=settings, **{"server.connections_opened": 60})


def over(transport: str) -> Record:
    return make_record(settings={"requests": 60, "limit": 5, "transport": transport})


WRONG = [
    ("ex-04-1", 2.0, "give a list of 2 times"),
    ("ex-04-1", [0.53, 2.0], "the other way round"),
    ("ex-04-1", [40, 0.53], "one request after another"),
    ("ex-04-1", [1.5, 0.53], "only what connecting takes"),
    ("ex-04-1", [0.5, 0.53], "leaves out what connecting takes"),
    ("ex-04-1", [2, 0.5], "have to be opened once"),
    ("ex-04-1", [2, 1.1], "one by one"),
    ("ex-04-1", [2, 2], "opens a connection for each request as well"),
    ("ex-04-1", [2_000, 530], "the first time: the digits are right"),
    ("ex-04-1", [2, 0.55], "the second time: close, but a little too high"),
    ("ex-04-2", 60, "await lab.run"),
    ("ex-04-2", run(), "counted 5 connections for 60 requests"),
    ("ex-04-2", run(10, **{"server.connections_opened": 10}), "at least 50"),
    ("ex-04-2", a_session_each(), "one session is asked for"),
    ("ex-04-2", over("wire"), "the transport 'aiohttp'"),
    ("ex-04-3", ["pool", "pool", "server", "loop"], "client A"),
    ("ex-04-3", ["session", "server", "server", "loop"], "client B"),
    ("ex-04-3", ["session", "pool", "loop", "loop"], "client C"),
    ("ex-04-3", ["session", "pool", "server", "server"], "client D"),
    ("ex-04-3", ["session", "pool", "server"], "holds 3"),
]
