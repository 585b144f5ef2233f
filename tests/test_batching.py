"""Batches on a real PostgreSQL: each item gets its own row, in as few queries as there can be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from databases import Database, postgres

import labkit as lab
from labkit.errors import BadInput
from labkit.measured.patterns import Batcher
from labkit.measured.strategies import load
from labkit.measured.transports.asyncpg import Asyncpg
from labkit.spec.transports import AsyncpgTransport

ROWS = 50


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with postgres(rows=ROWS) as running:
        yield running


@pytest.mark.service
@pytest.mark.parametrize("mode", ["connect", "single", "pool"])
async def test_each_item_gets_its_own_row_of_one_query_for_many(
    database: Database, mode: Any
) -> None:
    got: dict[int, Any] = {}
    opened = Asyncpg(AsyncpgTransport(mode=mode, max_size=2), database.url, ROWS)
    async with opened:
        batcher = Batcher(opened.fetch_many, max_size=20)

        async def fetch(item: int) -> None:
            got[item] = await batcher.get(item)

        tally = await load("worker_pool")(fetch, range(400), 20)
    assert tally.ok == 400
    assert all(row["id"] == item % ROWS for item, row in got.items())
    assert opened.effective["round_trips"] == 400 / 20


@pytest.mark.service
async def test_a_row_that_is_not_there_fails_its_own_item_alone(database: Database) -> None:
    opened = Asyncpg(AsyncpgTransport(mode="single"), database.url, ROWS + 1)
    async with opened:
        batcher = Batcher(opened.fetch_many, max_size=ROWS + 1)
        tally = await load("gather")(batcher.get, range(ROWS + 1), 1)
    assert (tally.ok, tally.kinds) == (ROWS, {"KeyError": 1})
    assert tally.first_error is not None
    assert opened.kind_of(tally.first_error) == "payload"


@pytest.mark.service
@pytest.mark.parametrize(
    ("batch", "limit", "round_trips"),
    [
        pytest.param(1, 20, 1_000, id="one by one"),
        pytest.param(20, 20, 50, id="batches that fill"),
        pytest.param(20, 10, 100, id="batches that their delay sends"),
    ],
)
async def test_a_trial_counts_its_round_trips(
    batch: int, limit: int, round_trips: int, tmp_path: Path
) -> None:
    trial = lab.Trial(target="postgres", requests=1_000, limit=limit, batch=batch, probes="counts")
    run = await lab.run(trial, store=lab.Store(tmp_path))
    assert run.counts.ok == 1_000
    assert run.record.effective["transport"]["round_trips"] == round_trips
    assert batch == 1 or run.record.effective["transport"]["batch"] == batch


def test_a_batch_puts_more_on_each_connection() -> None:
    assert AsyncpgTransport(max_size=10).sent_at(100) == 10
    assert AsyncpgTransport(max_size=10, batch=5).sent_at(100) == 50
    assert AsyncpgTransport(max_size=10, batch=100).sent_at(100) == 100


def test_refuses_a_delay_that_nothing_waits_for() -> None:
    with pytest.raises(BadInput, match=r"batch_delay_s is 0.5 with transport.batch 1"):
        AsyncpgTransport(batch_delay_s=0.5)
