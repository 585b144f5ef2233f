"""Several clients of one trial: what each takes, how they start, what becomes of their figures."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import WORKER, ran

from labkit.errors import BadInput
from labkit.measured.strategies import strategy
from labkit.report import tables
from labkit.spec import delays
from labkit.spec.delays import Share
from labkit.spec.trial import Trial

# Shares


@given(st.integers(1, 64), st.integers(0, 1_000))
def test_shares_have_every_item_once_and_differ_by_one(clients: int, requests: int) -> None:
    shares = [Share(client, clients) for client in range(clients)]

    taken = [share.items(requests) for share in shares]
    assert sorted(chain(*taken)) == [*range(requests)]
    assert [share.part(requests) for share in shares] == [*map(len, taken)]
    assert max(map(len, taken)) - min(map(len, taken)) <= 1


def test_the_floor_of_clients_is_that_of_the_one_that_ends_last() -> None:
    # Client 0 has the items of 3 s and 1 s on one slot, client 1 those of 0 s.
    trial = Trial(requests=4, limit=2, delay="randint(0,3)", clients=2)
    drawn = [*delays.of_items(delays.parse(trial.target.delay), trial.seed, 4)]

    floor_s = max(sum(drawn[0::2]), sum(drawn[1::2]))
    assert (trial.floor_s, trial.bound_s) == (floor_s, max(sum(drawn) / 2, *drawn))
    assert Trial(requests=5, limit=2, delay="1", clients=2).floor_s == 3


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"clients": 65}, "trial.clients is 65"),
        ({"clients": 3, "limit": 2}, "clients is 3 with 2 at a time"),
        ({"clients": 3, "requests": 2}, "requests 2"),
        ({"clients": 2, "probes": "bare"}, "probes is 'bare'"),
        ({"clients": 2, "program": "a {url}"}, "trial.clients is set with program"),
    ],
)
def test_what_does_not_go_with_clients_is_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(BadInput) as refused:
        Trial(**settings)
    assert named in str(refused.value)


# Runs


@strategy
async def noting(fetch: Any, items: Any, limit: int) -> list[int]:
    for item in items:
        await fetch(item)
    return [*items]


async def test_clients_do_the_work_of_one_and_give_one_record() -> None:
    trial = Trial(strategy=noting, requests=31, limit=3, clients=3, warmup="6 requests", trace=True)

    record = (await ran(trial)).record

    assert record.returned == [[*range(client, 31, 3)] for client in range(3)]
    assert (record.counts.planned, record.counts.ok, record.counts.not_sent) == (31, 31, 0)
    assert [one.counts.ok for one in record.clients] == [11, 10, 10]
    assert record.warmup.requests == 6
    assert (record.phases.n, len(record.phases.sample), record.received.bodies) == (31, 31, 31)
    assert (record.timeline.completed[0], record.timeline.completed[-1]) == (0, 31)
    assert 0 <= record.start_skew_s <= record.wall_s
    assert record.client.peak_rss_bytes == sum(one.client.peak_rss_bytes for one in record.clients)
    assert record.latency_s.max >= max(one.latency_s.p50 for one in record.clients)
    assert record.process.cpu_user_s > record.client.cpu_user_s


async def test_a_client_that_dies_takes_its_items_with_it_and_no_others() -> None:
    trial = Trial(requests=300, limit=3, delay="0.02", clients=3)

    found = await ran(trial, killing=WORKER)

    record, (*others, lost) = found.record, found.record.clients
    assert "client 2 of 3 died, and with it its items 2, 5, ..." in str(found.error)
    assert (record.warnings[0].code, record.verdict) == ("worker-lost", "invalid")
    assert [(one.counts.ok, one.lost) for one in others] == [(100, None)] * 2
    assert "exit status -9" in lost.lost
    assert 200 <= record.counts.ok < 300
    # What the server saw beyond that client's last report was sent, and ended nobody knows how.
    assert record.counts.sent >= record.server.requests >= record.counts.ok
    assert "client 2 of 3 died" in tables.of_run(record).text()
