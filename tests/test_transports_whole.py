"""Whole trials of the lab's own clients: every request is accounted for, on every loop."""

from __future__ import annotations

from typing import Any

import pytest

from labkit.launch import launcher
from labkit.record.record import Record
from labkit.spec.trial import Trial

REQUESTS = 400


async def ran(**settings: Any) -> Record:
    kept: list[Record] = []
    trial = Trial(requests=REQUESTS, limit=32, pin=False, **settings)
    record = await launcher.run(trial, keep=kept.append)
    assert kept == [record]
    return record


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("transport", "connections"),
    [
        ({"transport": "wire"}, 32),
        ({"transport": "wire", "depth": 4}, 8),
        ({"transport": "wire", "transport.connections": 2, "depth": 16}, 2),
        ({"transport": "streams"}, 32),
        ({"transport": "streams", "transport.connections": 5}, 5),
    ],
    ids=["wire", "pipelined", "two connections", "streams", "five connections"],
)
async def test_every_request_is_accounted_for(
    transport: dict[str, Any], connections: int, loop: str
) -> None:
    record = await ran(**transport, loop=loop)

    counts = record.counts
    assert (counts.planned, counts.sent, counts.ok) == (REQUESTS, REQUESTS, REQUESTS)
    assert (counts.not_sent, counts.failed, counts.cancelled) == (0, {}, 0)
    assert record.server is not None
    assert record.server.requests == REQUESTS
    assert record.server.connections_opened == record.effective["transport"]["connections_opened"]
    assert 1 <= record.server.connections_opened <= connections


@pytest.mark.parametrize("transport", ["wire", "streams"])
async def test_failures_are_counted_by_their_kind(transport: str) -> None:
    record = await ran(transport=transport, path="/status/503")

    assert record.counts.ok == 0
    assert record.counts.failed == {"status": REQUESTS}
