"""The profiler on code of known shape, whole profiled trials, and how a profile shows itself."""

from __future__ import annotations

import asyncio
import html
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yappi

import labkit as lab
from labkit.errors import BadInput, TrialFailed
from labkit.profiler.callgraph import CallGraph, Function, ProfileResult
from labkit.profiler.profiler import Profiler
from labkit.profiler.slow_callbacks import SlowCallback, format_slow_callbacks
from labkit.report import profile as profiling

WAIT_S = 0.05


async def waits() -> None:
    await asyncio.sleep(WAIT_S)


async def outer() -> None:
    await waits()
    await waits()


async def profiled(clock: Any, **named: Any) -> CallGraph:
    profiler = Profiler(clock, **named)
    profiler.start()
    await asyncio.gather(outer(), outer())
    profiler.stop()
    return profiler.graph()


def named(graph: CallGraph, name: str) -> Function:
    (found,) = [one for one in graph.functions if one.name == name]
    return found


# The profiler


async def test_by_the_wall_clock_a_coroutine_takes_as_long_as_it_waits() -> None:
    graph = await profiled("wall")
    assert named(graph, "outer").calls == 2
    assert named(graph, "outer").coroutine
    assert named(graph, "outer").total_s >= 4 * 0.98 * WAIT_S
    assert named(graph, "waits").calls == 4
    (inner,) = [one for one in named(graph, "outer").called if one.calls == 4]
    assert graph.functions[inner.callee].name == "waits"


async def test_by_the_cpu_clock_waiting_takes_nothing() -> None:
    graph = await profiled("cpu")
    assert named(graph, "outer").total_s < 2 * WAIT_S


async def test_what_is_written_in_c_is_named_as_it_is_called() -> None:
    profiler = Profiler("wall")
    profiler.start()
    time.sleep(0)  # noqa: ASYNC251  # it is what is looked for
    [].append(1)  # type: ignore[var-annotated]
    profiler.stop()
    names = {one.name for one in profiler.graph().functions}
    assert {"time.sleep", "list.append"} <= names


async def test_profiler_leaves_yappi_as_it_was() -> None:
    before = yappi.get_clock_type()
    await profiled("wall")
    assert not yappi.is_running()
    assert yappi.get_clock_type() == before
    assert yappi.get_func_stats().empty()


async def test_yappi_that_is_at_work_is_refused() -> None:
    yappi.start()
    try:
        with pytest.raises(BadInput, match=r"running in this process already.*yappi.stop\(\)"):
            Profiler("wall").start()
        assert yappi.is_running()
    finally:
        yappi.stop()
        yappi.clear_stats()


async def test_calls_of_others_are_told_apart_by_their_tag() -> None:
    graph = await profiled("wall", tag_of=lambda: 1, only=2)
    assert graph.functions == ()


# Whole trials


async def mine(fetch: Any, items: Any, limit: int) -> None:
    for item in items:
        await fetch(item)
    time.sleep(0.3)  # noqa: ASYNC251  # it is to hold the loop


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LABKIT_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_profile_of_a_trial_names_where_requests_wait(loop: str, store: Path) -> None:
    trial = lab.Trial(requests=40, limit=10, delay="0.05", loop=loop)
    profile = await lab.profile(trial)
    frame = profile.frame()

    assert profile.record.counts.ok == 40
    assert profile.requests_s >= 40 * 0.98 * 0.05
    assert 0.5 < profile.attributed <= 1.01
    assert set(frame["kind"]) == {"coroutine", "function"}
    assert {"worker_pool", "ClientSession._request"} <= set(profile.coroutines()["function"])
    assert list(frame["self_s"]) == sorted(frame["self_s"], reverse=True)
    assert lab.results().empty


async def test_by_the_cpu_clock_hardly_any_of_it_is_found(store: Path) -> None:
    profile = await lab.profile(lab.Trial(requests=20, limit=10, delay="0.1"), clock="cpu")
    assert profile.attributed < 0.5


async def test_strategy_of_ones_own_is_profiled_and_its_blocking_named(store: Path) -> None:
    profile = await lab.profile(lab.Trial(strategy=mine, requests=5), slow_s=0.1)
    assert "mine" in set(profile.coroutines()["function"])
    assert "time.sleep" in set(profile.frame()["function"])
    assert any(held.callback == "mine" and "mine" in held.where for held in profile.slow)


async def test_unknown_clock_and_bare_probes_are_refused() -> None:
    with pytest.raises(BadInput, match="did you mean 'wall'"):
        await lab.profile(lab.Trial(), clock="wal")
    with pytest.raises(BadInput, match="probes is 'bare'"):
        await lab.profile(lab.Trial(probes="bare"))


async def test_profiled_trial_that_passes_its_deadline_fails_without_a_record(store: Path) -> None:
    trial = lab.Trial(requests=2, limit=1, delay="5", deadline_s=0.5)
    with pytest.raises(TrialFailed) as caught:
        await lab.profile(trial)
    assert "deadline" in str(caught.value)
    assert "record" not in str(caught.value)
    assert lab.results().empty


# How it shows itself

EVIL = "<script>alert('x')</script>&\""


def made(name: str = EVIL, **more: Any) -> profiling.Profile:
    one = Function(
        name=name,
        file=f"/x/{name}.py",
        line=1,
        coroutine=True,
        calls=2,
        total_s=1.0,
        self_s=1.0,
    )
    graph = CallGraph(clock="wall", functions=(one,))
    return profiling.Profile(ProfileResult(graph=graph, wall_s=1.0, **more))


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)


def test_names_are_escaped_wherever_html_is_made() -> None:
    held = SlowCallback(callback=EVIL, where=EVIL, at_s=0.0, blocked_s=1.0)
    page = made(slow_s=0.05, slow=(held,)).html()
    assert "script" not in Tags(page).tags
    assert html.escape(EVIL) in page


def test_text_says_that_it_is_no_measurement() -> None:
    assert "this is no measurement" in repr(made())
    assert "blocked the loop" not in repr(made())
    assert "No callback blocked the loop for 50 ms." in repr(made(slow_s=0.05))


def test_rows_and_sorting_are_checked() -> None:
    with pytest.raises(BadInput, match="self, total, calls, mean"):
        made().text(sort="time")
    with pytest.raises(BadInput, match="rows is 0"):
        made().table(rows=0)
    assert "<script>" not in made().table().html()


def test_profile_without_requests_attributes_nothing() -> None:
    assert made().attributed is None
    assert made().to_dict()["attributed"] is None
    assert json.dumps(made().to_dict())


@pytest.mark.parametrize("name", ["x.txt", "none/x.pstat"])
def test_profile_is_saved_for_viewers_only(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=re.escape(".pstat")):
        made().save(tmp_path / name)


def test_stalls_without_a_slow_callback_are_reported_as_such() -> None:
    text = format_slow_callbacks([], 0.05, [0.06, 0.08])
    assert "No callback blocked the loop" in text
    assert "2 times the loop was late by 50 ms or more (at most 80 ms)" in text
