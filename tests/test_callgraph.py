"""Call graphs by hand: what is on whose behalf, what lies within what, and others' formats."""

from __future__ import annotations

import io
import pstats
from pathlib import Path
from typing import Any

import pytest
from factories import call, make_function
from hypothesis import given
from hypothesis import strategies as st
from machines import checks

from labkit.profiler.callgraph import CallGraph
from labkit.report import profile as profiles

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
