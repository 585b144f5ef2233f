"""Runs that are wrong answers."""

from __future__ import annotations

from typing import Any

from factories import make_record

import labkit as lab
from labkit.record.record import Record
from labkit.record.requests import Received


def run(requests: int, limit: int, **changes: Any) -> Record:
    settings = {"requests": requests, "limit": limit}
    return make_record(settings={**settings, **changes.pop("settings", {})}, **changes)


def received(wire_bytes: int, decoded_bytes: int = 13_015) -> Record:
    bodies = Received(bodies=5, wire_bytes=5 * wire_bytes, decoded_bytes=5 * decoded_bytes)
    return run(5, 1, received=bodies)


A_SESSION_EACH = {"transport.session_per_request": True}
EACH = {"settings": A_SESSION_EACH, "server.connections_opened": 60}
WRONG = [
    ("ex-02-3", run(100, 7), "100 requests were answered"),
    ("ex-02-3", run(300, 7, server=None), "does not count connections"),
    ("ex-02-3", run(300, 7, **{"server.connections_opened": 300}), "a connection for each request"),
    ("ex-02-3", lab.Run(run(300, 7, **{"server.connections_opened": 9})), "counted 9, more than"),
    ("ex-02-3", run(300, 7, **{"server.connections_opened": 5}), "counted 5, fewer than"),
    ("ex-04-2", run(60, 5), "counted 5 connections for 60 requests"),
    ("ex-04-2", run(10, 5, **{"server.connections_opened": 10}), "at least 50"),
    ("ex-04-2", run(60, 5, **EACH), "one session is asked for"),
    ("ex-04-2", run(60, 5, settings={"transport": "wire"}), "the transport 'aiohttp'"),
    ("ex-06-3", make_record(received=None), "no bodies were counted"),
    ("ex-06-3", received(94, 2_000), "not those of 13,015 bytes"),
    ("ex-06-3", received(13_015), "came as they are"),
    ("ex-06-3", received(4_000), "to more than a tenth"),
]
