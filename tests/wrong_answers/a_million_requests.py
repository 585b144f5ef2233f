from __future__ import annotations

from typing import Any

from factories import make_record

import labkit as lab
from labkit.record.record import Record


def run(requests: int = 300, **changes: Any) -> Record:
    return make_record(settings={"requests": requests, "limit": 7}, **changes)


WRONG = [
    ("ex-02-1", 2_200, "in proportion"),
    ("ex-02-1", 4_000, "in proportion"),
    ("ex-02-1", 2_000, "does not begin at nothing"),
    ("ex-02-1", 1_800, "on top of the larger"),
    ("ex-02-1", 2.02, "factor of a thousand"),
    ("ex-02-2", ["files", "files", "ports"], "client 1"),
    ("ex-02-2", ["memory", "ports", "ports"], "client 2"),
    ("ex-02-2", ["memory", "files", "memory"], "client 3"),
    ("ex-02-2", ["memory", "files", "CPU"], "choose one of"),
    ("ex-02-2", "memory", "give a list"),
    ("ex-02-3", lab.Trial(requests=300, limit=7), "await lab.run"),
    ("ex-02-3", run(100), "100 requests were answered"),
    ("ex-02-3", run(server=None), "does not count connections"),
    ("ex-02-3", run(**{"server.connections_opened": 300}), "a connection for each request"),
    ("ex-02-3", lab.Run(run(**{"server.connections_opened": 9})), "counted 9, more than"),
    ("ex-02-3", run(**{"server.connections_opened": 5}), "counted 5, fewer than"),
]
