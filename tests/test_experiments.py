"""Coded experiments: each gives its figures, leaves a record, and sees the fault it is about."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
import signal
import sys
from typing import Any

import msgspec
import pytest
from machines import checks
from servers import STOPPED_S, noted_children

from labkit.errors import TrialFailed
from labkit.launch import experiment, servers
from labkit.launch.assembly import StudyPosition
from labkit.launch.process import Child
from labkit.measured import experiments
from labkit.record import codes
from labkit.record.codec import decode, encode
from labkit.report import tables
from labkit.report.study import Run
from labkit.spec.plan import Coded
from labkit.studies import study_file
from labkit.studies.study_file import EXPERIMENTS


@functools.cache
def coded() -> dict[str, Coded]:
    """An arm of each experiment that a study file asks for."""
    files = {"claims": "smoke", "audit": "full", "eager-2023": "smoke", "asyncpg-2023": "smoke"}
    arms = [a for n, s in files.items() for a in study_file.load(n).plan(s, cores=2).arms.values()]
    return {arm.name: arm for arm in arms if isinstance(arm, Coded)}


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_the_settings_of_an_experiment_are_those_of_its_code(name: str) -> None:
    taken = inspect.signature(experiments.load(name)).parameters.values()
    keywords = [one for one in taken if one.kind is one.KEYWORD_ONLY]
    marks = [f"{one.name}{'' if one.default is one.empty else '?'}" for one in keywords]
    assert EXPERIMENTS[name]["settings"] == marks


@pytest.mark.parametrize(
    "name",
    [*sorted(EXPERIMENTS.keys() - {"queries"}), pytest.param("queries", marks=pytest.mark.service)],
)
async def test_an_experiment_of_a_study_leaves_a_record_with_its_figures(name: str) -> None:
    arm = coded()[name]
    if name == "freed_block" and sys.version_info >= (3, 13):
        pytest.skip("this Python has freed a large block once aiohttp is imported")
    short = {"overhead": {"turns": 2}, "queries": {"driver": "psycopg", "seconds": 0.02}}
    arm = msgspec.structs.replace(arm, settings={**arm.settings, **short.get(name, {})})
    record = await experiment.run(arm, StudyPosition(study="s", axes={"arm": name}, repeat=2))
    assert set(record.figures) == set(EXPERIMENTS[name]["figures"])
    assert all(math.isfinite(value) and value >= 0 for value in record.figures.values())
    assert (record.ran, record.study, record.repeat) == (name, "s", 2)
    # A busy machine may spoil it, and is noted then; nothing else is wrong with it.
    assert not codes.failed(record)
    assert record.verdict != "invalid" or codes.by_others(record)
    assert record.client is not None
    assert decode(encode(record)) == record
    assert name in record.says
    for shown in (Run(record).text(), tables.of_records([record]).text()):
        assert name in shown


@pytest.mark.parametrize(("name", "settings", "figures"), checks("experiments.toml", "faults"))
async def test_faults_are_seen_every_time(
    name: str, settings: dict[str, Any], figures: dict[str, float]
) -> None:
    assert await experiments.load(name)(None, **settings) == figures


async def test_urgent_work_waits_less_in_a_priority_queue_and_equals_keep_their_order() -> None:
    measure = experiments.load("priority")
    kinds = ("fifo", "printed", "priority")
    plain, printed, own = [await measure(None, queue=kind) for kind in kinds]
    assert own["urgent_wait_s"] < plain["urgent_wait_s"]
    assert (plain["overtaken"], own["overtaken"]) == (0, 0)
    assert printed["overtaken"] > 100


async def test_a_stream_holds_no_more_results_than_its_limit_and_the_printed_list_all() -> None:
    measure = experiments.load("chunk_results")
    assert (await measure(None, how="printed", items=60))["most_held"] == 60
    assert (await measure(None, how="stream", items=60))["most_held"] <= 10 + 1


async def test_a_weak_cache_gives_back_what_nobody_uses() -> None:
    weak, kept = [
        (await experiment.measured("cache_memory", {"how": how, "values": 20}, None))[0]
        for how in ("weak", "dict")
    ]
    assert min(weak["in_use_bytes"], kept["in_use_bytes"], kept["left_bytes"]) > 15 << 20
    assert weak["left_bytes"] < 5 << 20


@pytest.mark.parametrize(("name", "settings", "message"), checks("experiments.toml", "refused"))
async def test_an_experiment_that_cannot_be_run_says_so(
    name: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(TrialFailed, match=message):
        await experiment.measured(name, settings, None)


async def test_an_experiment_is_guarded_like_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process stands still for a while, and its server after that."""
    jobs, asked, send = dict[str, Any](), asyncio.Event(), Child.send
    arm = Coded(name="idle_gaps", settings={"keepalive_timeout": 15}, server={})

    def noting(child: Child, job: dict[str, Any]) -> None:
        jobs.update(job)
        asked.set()
        send(child, job)

    async def stop(module: str, answered: int) -> None:
        served: dict[str, Any] | None = None
        while (served or {"requests": 0})["requests"] < answered:
            served = await asyncio.to_thread(servers.asked, jobs["url"], "/-/stats")
        children[module].signal(signal.SIGSTOP)
        await asyncio.sleep(STOPPED_S)
        children[module].signal(signal.SIGCONT)

    monkeypatch.setattr(Child, "send", noting)
    with noted_children() as children:
        running = asyncio.ensure_future(experiment.run(arm, StudyPosition()))
        await asked.wait()
        await stop("labkit.measured.experiments", 3)
        await stop("labkit.measured.targets.http", 20)
        record = await running
    notes = [note.message for note in record.warnings if note.code == "stalled"]
    assert [note.partition(" for ")[0] for note in notes] == [
        "the client stood still",
        "the server stood still",
    ]
    assert (record.verdict, codes.by_others(record)) == ("invalid", True)
    assert record.client.waited_percent is not None
    assert record.server.waited_percent is not None


async def test_an_experiment_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "DEADLINE_S", 0.0)
    arm = Coded(name="held_lock", settings={"twice": True})
    record = await experiment.run(arm, StudyPosition())
    assert (record.verdict, record.figures) == ("invalid", {})
    assert [note.code for note in record.warnings] == ["program-failed"]
    assert "took over" in record.warnings[0].message
