"""Profiles: of code of known shape and of whole trials, call graphs by hand, and how they show."""

import asyncio
import html
import io
import json
import pstats
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yappi
from factories import call, make_function
from hypothesis import given
from hypothesis import strategies as st
from machines import checks

import labkit as lab
from labkit.errors import BadInput, TrialFailed
from labkit.lab import facade
from labkit.launch import launcher
from labkit.profiler.callgraph import CallGraph, Function, ProfileResult
from labkit.profiler.profiler import Profiler
from labkit.profiler.slow_callbacks import SlowCallback
from labkit.report import profile as profiles
from labkit.report import profile as profiling

WAIT_S = 0.05


async def waits() -> None:
    await asyncio.sleep(WAIT_S)


async def outer() -> None:
    await waits()
    await waits()
    time.sleep(0)  # noqa: ASYNC251  # it is what is looked for
    [].append(1)  # type: ignore[var-annotated]


async def profiled(clock: Any, **tags: Any) -> dict[str, Function]:
    profiler = Profiler(clock, **tags)
    profiler.start()
    await asyncio.gather(outer(), outer())
    profiler.stop()
    return {one.name: one for one in profiler.graph().functions}


# The profiler


async def test_profiler_sees_calls_and_waiting_and_leaves_yappi_as_it_was() -> None:
    before = yappi.get_clock_type()
    found = await profiled("wall")
    assert {"time.sleep", "list.append"} <= found.keys()
    assert found["outer"].calls == 2
    assert found["outer"].coroutine
    assert found["outer"].total_s >= 4 * 0.98 * WAIT_S
    assert found["waits"].calls == 4
    (inner,) = [one for one in found["outer"].called if one.calls == 4]
    assert list(found)[inner.callee] == "waits"
    assert not yappi.is_running()
    assert yappi.get_clock_type() == before
    assert yappi.get_func_stats().empty()


async def test_by_the_cpu_clock_waiting_takes_nothing() -> None:
    assert (await profiled("cpu"))["outer"].total_s < 2 * WAIT_S


async def test_calls_of_others_are_told_apart_by_their_tag() -> None:
    assert await profiled("wall", tag_of=lambda: 1, only=2) == {}


def test_another_thread_is_in_no_profile_and_prints_nothing(capfd: Any) -> None:
    profiler, begun = Profiler("wall"), threading.Event()
    other = threading.Thread(target=lambda: (begun.wait(), abs(-1)))
    other.start()
    profiler.start()
    begun.set()
    other.join()
    profiler.stop()
    names = {one.name for one in profiler.graph().functions}

    assert "Event.set" in names
    assert not names & {"abs", "<lambda>"}
    assert capfd.readouterr() == ("", "")


async def test_yappi_that_is_at_work_is_refused() -> None:
    yappi.start()
    try:
        with pytest.raises(BadInput, match=r"running in this process already.*yappi.stop\(\)"):
            Profiler("wall").start()
        assert yappi.is_running()
    finally:
        yappi.stop()
        yappi.clear_stats()


# Whole trials


async def mine(fetch: Any, items: Any, limit: int) -> None:
    for item in items:
        await fetch(item)
    time.sleep(0.3)  # noqa: ASYNC251  # it is to hold the loop


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_profile_of_a_trial_names_where_requests_wait(loop: str, store: Path) -> None:
    profile = await lab.profile(lab.Trial(requests=40, limit=10, delay="0.05", loop=loop))
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
    assert any(one.callback == "mine" and "mine" in one.where for one in profile.slow)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_the_memory_of_a_trial_has_names(loop: str, store: Path, tmp_path: Path) -> None:
    trial = lab.Trial(strategy="semaphore", requests=600, limit=10, delay="0.01", loop=loop)
    profile = await lab.profile(trial, memory=True)
    sizes = profile.frame().groupby("kind")["bytes"].sum()
    saved = profile.save(tmp_path / "profile.folded").read_text().splitlines()

    assert profile.record.counts.ok == 600
    # All tasks are there at once: each has more than 200 bytes, and so has its coroutine.
    assert sizes["tasks"] > 600 * 200 < sizes["coroutines and more of the strategy"]
    assert sizes.sum() == sum(int(line.rpartition(" ")[2]) for line in saved)
    assert any(re.match(r"semaphore labkit/measured/strategies/_semaphore.py", o) for o in saved)
    assert f"{sizes.sum() / 1e6:.1f} MB were in use" in profile.text()
    assert "by tasks" in profile.text()
    # It is no measurement: it says so itself, and is not stored.
    assert profile.record.verdict == "invalid"
    assert [one.code for one in profile.record.warnings if one.code == "profiled"]
    assert lab.results().empty


async def test_memory_without_memray_is_refused(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memray.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(BadInput, match=r"memray is not installed.*pip install 'labkit\[profile\]'"):
        await lab.profile(lab.Trial(requests=1), memory=True)


async def test_memory_without_memray_is_refused_before_anything_starts(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facade, "find_spec", lambda _: None)
    monkeypatch.setattr(launcher, "run", None)
    with pytest.raises(BadInput, match="memray is not installed"):
        await lab.profile(lab.Trial(requests=1), memory=True)


async def test_an_unknown_clock_is_refused() -> None:
    with pytest.raises(BadInput, match="did you mean 'wall'"):
        await lab.profile(lab.Trial(), clock="wal")


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
    graph = CallGraph(clock="wall", functions=(make_function(name, 1.0),))
    return profiling.Profile(ProfileResult(graph=graph, wall_s=1.0, **more))


def test_names_are_escaped_wherever_html_is_made() -> None:
    blocker = SlowCallback(callback=EVIL, where=EVIL, at_s=0.0, blocked_s=1.0)
    page = made(slow_s=0.05, slow=(blocker,)).html()
    assert "<script" not in page.casefold()
    assert html.escape(EVIL) in page


def test_text_tells_of_blocking_where_the_loop_was_watched_and_that_it_is_no_measurement() -> None:
    assert "this is no measurement" in repr(made())
    assert "blocked the loop" not in repr(made())
    late = repr(made(slow_s=0.05, unattributed_stalls_s=(0.06, 0.08)))
    assert "No callback blocked the loop for 50 ms." in late
    assert "2 times the loop was late by 50 ms or more (at most 80 ms)" in late


def test_rows_and_sorting_are_checked() -> None:
    with pytest.raises(BadInput, match="self, total, calls, mean"):
        made().text(sort="time")
    with pytest.raises(BadInput, match="rows is 0"):
        made().table(rows=0)


def test_profile_without_requests_attributes_nothing() -> None:
    assert made().attributed is None
    assert made().to_dict()["attributed"] is None
    assert json.dumps(made().to_dict())


@pytest.mark.parametrize("name", ["x.txt", "none/x.pstat"])
def test_profile_is_saved_for_viewers_only(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=re.escape(".pstat")):
        made().save(tmp_path / name)


# Call graphs by hand: what is on whose behalf, what lies within what, and others' formats

REQUEST, OTHER, SHARED, LOOP = range(4)
GRAPH = CallGraph(
    clock="wall",
    functions=(
        make_function("request", 6.0, call(SHARED, 3.0)),
        make_function("other", 2.0, call(SHARED, 1.0)),
        make_function("shared", 4.0),
        make_function("loop", 1.0, call(REQUEST, 6.0), self_s=0.0, coroutine=False),
    ),
)


def test_what_two_call_is_shared_out_by_the_time_that_each_needed_it() -> None:
    assert GRAPH.shares({REQUEST}) == pytest.approx([1.0, 0.0, 0.75, 0.0])
    assert GRAPH.shares({REQUEST, OTHER}) == pytest.approx([1.0, 1.0, 1.0, 0.0])


def test_time_in_coroutines_is_their_own_below_the_root() -> None:
    # 3 s of its own, and three quarters of the 4 s that the shared one took.
    assert GRAPH.in_coroutines_s(REQUEST) == pytest.approx(6.0)
    parse = make_function("parse", 1.5, coroutine=False)
    functions = (make_function("request", 2.0, call(1, 1.5)), parse)
    assert CallGraph(clock="wall", functions=functions).in_coroutines_s(0) == pytest.approx(0.5)


def test_loop_that_steps_a_task_is_not_its_caller_by_the_wall_clock() -> None:
    assert [place for place, _ in GRAPH.roots()] == [REQUEST, OTHER]
    assert list(GRAPH.calls_of(GRAPH.functions[LOOP])) == []


def test_by_the_cpu_clock_everything_is_within_its_caller() -> None:
    loop = make_function("loop", 3.0, call(0, 1.0), coroutine=False)
    graph = CallGraph(clock="cpu", functions=(make_function("task", 1.0), loop))
    assert graph.roots() == [(1, pytest.approx(3.0))]


@pytest.mark.parametrize(("roots", "hidden"), [({REQUEST}, ()), ({REQUEST, OTHER}, {OTHER})])
def test_within_leaves_out_others_and_hidden_ones_with_their_time(roots: Any, hidden: Any) -> None:
    request, shared = GRAPH.within(roots, hidden).functions
    assert (request.name, shared.name) == ("request", "shared")
    assert (shared.total_s, shared.self_s) == (pytest.approx(3.0), pytest.approx(3.0))
    assert shared.calls == 3
    assert [one.callee for one in request.called] == [1]


def test_recursion_ends() -> None:
    a = make_function("a", 2.0, call(0, 1.0), call(1, 1.0), self_s=1.0)
    b = make_function("b", 1.0, call(0, 1.0), self_s=0.0)
    graph = CallGraph(clock="cpu", functions=(a, b))
    assert all(0 <= share <= 1 for share in graph.shares({0}))
    assert graph.blocks() == [] or len(graph.blocks()) <= 4


@st.composite
def graphs(draw: st.DrawFn) -> CallGraph:
    """Functions that call later ones only, with any times."""
    size = draw(st.integers(1, 6))
    seconds = st.floats(0, 10)
    functions = []
    for place in range(size):
        callees = draw(st.sets(st.integers(place + 1, size))) - {size}
        calls = [call(one, draw(seconds)) for one in sorted(callees)]
        kind = draw(st.booleans())
        functions.append(
            make_function(f"f{place}", draw(seconds), *calls, self_s=draw(seconds), coroutine=kind)
        )
    return CallGraph(clock=draw(st.sampled_from(["wall", "cpu"])), functions=tuple(functions))


@given(graphs())
def test_a_block_lies_within_the_one_above_it(graph: CallGraph) -> None:
    above = []
    whole_s = sum(took_s for _, took_s in graph.roots())
    for block in graph.blocks():
        above = [*above[: block.depth], block]
        assert block.start_s + block.took_s <= whole_s + 1e-6
        if block.depth:
            outer = above[-2]
            assert outer.start_s - 1e-6 <= block.start_s
            assert block.start_s + block.took_s <= outer.start_s + outer.took_s + 1e-6


@given(graphs())
def test_shares_are_shares(graph: CallGraph) -> None:
    assert all(0 <= share <= 1 for share in graph.shares({0}))
    assert graph.shares({0})[0] == 1


@pytest.mark.parametrize(("file", "place"), checks("callgraph.toml", "places"))
def test_place_names_no_folder_of_the_machine(file: str, place: str) -> None:
    assert make_function("f", 0.0, file=file).place == place


def test_pstat_is_what_pstats_reads(tmp_path: Path) -> None:
    path = tmp_path / "x.pstat"
    path.write_bytes(profiles.pstat(GRAPH))
    out = io.StringIO()
    stats = pstats.Stats(str(path), stream=out).sort_stats("cumulative")
    stats.print_callees("request")
    assert stats.total_tt == pytest.approx(sum(one.self_s for one in GRAPH.functions))  # type: ignore[attr-defined]
    assert "shared.py:7(shared)" in out.getvalue()
