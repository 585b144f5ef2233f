"""`lab.panel()`: its fields as settings, its code, and its widgets driven without a browser."""

import ast
import asyncio
import html
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest
from counted import cancel
from factories import make_record
from hypothesis import given
from hypothesis import strategies as st
from machines import checks

import labkit as lab
from labkit.errors import BadInput, NotInstalled
from labkit.launch import preflight
from labkit.notebook.panel import bench as benches
from labkit.notebook.panel import form as forms
from labkit.record.record import Note
from labkit.report.study import Study
from labkit.spec import plan
from labkit.spec.plan import Step
from labkit.spec.transports import SPEAK
from labkit.spec.trial import OWN, Trial

QUICK = Trial(requests=40, limit=10)
LONG = Trial(requests=50, limit=1, delay="0.4")
# What is typed, the field that is wrong, and what it says.
WRONG = Path(__file__).parent / "data" / "panel_wrong.json"
CHUNKED = Trial(strategy="chunked", chunk_size=7)


async def mine(fetch: Any, items: Any, limit: int) -> None:
    """A learner's own: one after another."""
    for item in items:
        await fetch(item)


pytestmark = pytest.mark.usefixtures("store")


def read(trial: Trial = QUICK, strategies: Any = None, repeats: Any = 1, **texts: str) -> Any:
    """Return what fields ask for that begin as the trial; a double underscore is a dot."""
    usual = {"target": trial.target.kind, "transport": trial.transport.kind}
    usual |= {"url": trial.url} if trial.url else {}
    named = {name.replace("__", "."): text for name, text in texts.items()}
    ticked = [trial.get("strategy")] if strategies is None else strategies
    return forms.read(trial, ticked, usual | named | {"repeats": str(repeats)})


def steps(request: forms.PanelRun) -> list[Step]:
    """Return the trials that a request stands for."""
    return plan.interleave(plan.arms(request.trial, request.axes), repeats=request.repeats)


class Recorded:
    """Stands for `lab` in a cell: it makes the plan of what it is asked to run."""

    Trial = Trial

    steps: Sequence[Step] = ()

    async def run(self, trial: Trial) -> None:
        await self.compare(trial, repeats=1)

    async def compare(self, trial: Trial, repeats: int = 5, **axes: Any) -> None:
        self.steps = plan.interleave(plan.arms(trial, axes), repeats=repeats)


async def planned(text: str) -> Sequence[Step]:
    """Return the trials that a cell of the code would run."""
    recorded = Recorded()
    first = "import labkit as lab\n"
    assert text.startswith(first)
    compiled = compile(text.removeprefix(first), "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    await eval(compiled, {"lab": recorded, "mine": mine})  # noqa: S307  # the text under test
    return recorded.steps


KINDS = checks("panel.toml", "kinds")
NAMES = ["sequential", "gather", "task_pool", "queue", "worker_pool", mine]


@given(
    kinds=st.sampled_from(KINDS),
    requests=st.lists(st.integers(1, 1_000_000), min_size=1, max_size=3, unique=True),
    limit=st.integers(1, 1_000_000),
    delay=st.sampled_from(["0", "0.05", "randint(0,3)*0.1", "0,lognormal(0.05,0.5)"]),
    strategies=st.lists(st.sampled_from(NAMES), min_size=1, unique=True),
    loop=st.sampled_from(["asyncio", "uvloop", "asyncio,uvloop"]),
    repeats=st.integers(1, 7),
    more=st.sampled_from([{}, {"seed": 7}, {"probes": "counts"}, {"deadline_s": 2.5}]),
)
async def test_the_code_repeats_what_the_fields_say(
    kinds: Any, requests: list[int], limit: int, delay: str, loop: str, more: Any, **chosen: Any
) -> None:
    texts = {"requests": ",".join(map(str, requests)), "limit": str(limit), "loop": loop}
    texts |= {"delay": delay} if kinds["target"] == "http" else {}
    with mock.patch.object(preflight, "check"):  # whatever is installed here
        request, wrong = read(Trial(**kinds, **more), **texts, **chosen)
    assert request is not None, wrong
    assert await planned(request.code) == steps(request)
    arms = len(requests) * len(chosen["strategies"]) * len(loop.split(","))
    arms *= 2 if "lognormal" in delay and kinds["target"] == "http" else 1
    assert len(steps(request)) == arms * int(chosen["repeats"])


TRIALS = [Trial(**settings) for settings in checks("panel.toml", "trials")]
TRIALS += [Trial(strategy=mine, path="""/it's"quoted",a/{item}""")]


@pytest.mark.parametrize("trial", TRIALS)
async def test_the_code_of_any_trial_makes_it_again(trial: Trial) -> None:
    texts = {
        one.name.replace(".", "__"): "none" if one.value is None else str(one.value).lower()
        for one in forms.settings_of(trial)
        if one.type in (bool, int) or one.value is None
    }
    request, wrong = read(trial, **texts)
    assert request is not None, wrong
    (step,) = await planned(request.code)
    assert step.trial == trial


@pytest.mark.parametrize("changes", [{"repeats": "2"}, {"loop": "asyncio,uvloop"}])
async def test_options_of_the_strategy_reach_every_trial(changes: Any) -> None:
    request, wrong = read(CHUNKED, chunk_size="7", **changes)
    assert request is not None, wrong
    assert [dict(step.trial.options) for step in steps(request)] == [{"chunk_size": 7}] * 2
    assert await planned(request.code) == steps(request)


def test_code_holds_only_what_differs_from_the_default() -> None:
    request = forms.PanelRun(trial=Trial(requests=20_000, strategy="queue"), axes={})
    assert "run = await lab.run(lab.Trial(strategy='queue', requests=20000))" in request.code


@given(text=st.text())
def test_no_text_in_a_field_is_a_traceback(text: str) -> None:
    for name in ("requests", "delay", "repeats", "loop"):
        request, wrong = read(**{name: text})
        assert (request is None) == bool(wrong)
    request, wrong = read(target="url", url=text)
    assert (request is None) == bool(wrong)


def test_seconds_end_a_trial_whose_requests_nobody_changed() -> None:
    for requests, most in (("1000", None), ("50", 50)):
        request, wrong = read(Trial(), requests=requests, seconds="5", think="uniform(0,1)")
        assert not wrong
        assert request.trial.workload.requests == most


def test_what_has_no_field_stays_as_the_trial_has_it() -> None:
    request, _ = read(Trial(seed=7, **{"transport.limit": 30}), limit="20")
    assert request is not None
    assert request.trial == Trial(seed=7, limit=20, **{"transport.limit": 30})


# Driven as a hand would drive it: values are set, buttons are clicked.


@pytest.fixture
def bench() -> Iterator[Any]:
    made = lab.panel(QUICK, strategies=["queue", mine])
    yield made
    assert not made.is_running, "something was left running"
    made.widget.close_all()


def fill(bench: Any, **texts: str) -> None:
    """Type into fields, which are all shown where one is not among the usual ones."""
    for name, text in texts.items():
        bench.form.all_settings.value |= name not in bench.form.fields
        bench.form.fields[name].value = text


@pytest.mark.parametrize(("texts", "field", "says"), json.loads(WRONG.read_text("utf-8")))
def test_what_is_wrong_is_shown_at_its_field(texts: Any, field: str, says: str) -> None:
    bench = lab.panel(QUICK, strategies=["gather"])
    fill(bench, **texts)
    assert list(bench.form.wrong) == [field]
    assert says in bench.form.wrong[field]


async def test_bad_input_is_shown_and_nothing_can_be_run(bench: Any) -> None:
    fill(bench, requests="x", delay="z", limit="none <script>")
    assert set(bench.form.wrong) == {"requests", "delay", "limit"}
    assert bench.run_button.disabled
    assert bench.code.startswith("# A field is wrong")
    assert "<script>" not in bench._repr_mimebundle_()["text/html"]
    shown = [box.value for box in widgets_of(bench.form.box) if "labkit-wrong" in str(box.value)]
    assert len(shown) == 3
    assert "<script>" not in "".join(shown)
    fill(bench, requests="40", delay="0")
    with pytest.raises(BadInput, match="limit is 'none <script>': it must be a whole number"):
        await bench.run()
    bench.run_button.click()
    assert not bench.records
    fill(bench, limit="5")
    assert not bench.form.wrong
    assert not bench.run_button.disabled


def widgets_of(box: Any) -> Iterator[Any]:
    """Yield all that a box holds and that has a value."""
    for one in box.children:
        if hasattr(one, "children"):
            yield from widgets_of(one)
        elif hasattr(one, "value"):
            yield one


def test_what_no_field_can_mend_is_shown_below_the_form(bench: Any) -> None:
    async def queue(fetch: Any, items: Any, limit: int) -> None: ...

    assert "the same arm twice" in lab.panel(strategies=["queue", queue]).form.wrong[forms.GENERAL]
    for box in bench.form.strategies.values():
        box.value = False
    assert "choose at least one" in bench.form.wrong["strategy"]


def test_every_setting_of_every_kind_has_a_field() -> None:
    bench = lab.panel()
    form = bench.form
    form.all_settings.value = True
    for target in form.fields["target"].options:
        form.fields["target"].value = target
        kind = forms.ANY.get(target, target)
        for transport in form.fields["transport"].options:
            form.fields["transport"].value = transport
            wanted = forms.settings_of(Trial(target=kind, transport=transport))
            assert {one.name for one in wanted} <= set(form.fields)
    fill(bench, target="echo")
    assert form.fields["transport"].value == "echo"
    assert "target='echo'" in bench.code


def test_a_transport_of_ones_own_is_listed_where_the_trial_has_it() -> None:
    def own(trial: Trial) -> Any: ...

    assert {"aiohttp", "wire"} < {*lab.panel().form.fields["transport"].options} < {*SPEAK["http"]}
    field = lab.panel(Trial(transport=own)).form.fields["transport"]
    assert (field.value, field.options) == ("own", SPEAK["http"])


async def test_a_strategy_from_a_file_has_fields_for_its_options(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("async def mine(fetch, items, limit, *, size: int = 5): ...")
    bench = lab.panel(strategies=[f"{tmp_path}/own.py:mine"])

    assert bench.form.fields["size"].value == "5"
    fill(bench, size="7,9")
    assert {one.trial.options["size"] for one in await planned(bench.code)} == {7, 9}
    fill(bench, size="x")
    assert "size is 'x'" in bench.form.wrong["size"]


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = NotInstalled("strategy is 'anyio'", "anyio", "peers")
    monkeypatch.setattr(preflight, "check", mock.Mock(side_effect=missing))
    assert "pip install 'labkit[peers]'" in lab.panel(strategies=["anyio"]).form.wrong["strategy"]
    monkeypatch.setattr("labkit.notebook.panel.find_spec", lambda name: None)
    with pytest.raises(NotInstalled, match=r"ipywidgets is not installed.*labkit\[lab\]"):
        lab.panel()


def test_a_strategy_is_ticked_however_it_is_named() -> None:
    registered = lab.strategy(mine)
    try:
        bench = lab.panel(strategies=[lab.strategies.queue, "mine", "gather"])
    finally:
        del OWN["mine"]
    assert ticked(bench) == ["gather", "queue", "mine"]
    assert bench.form.ticked() == ["gather", "queue", registered]
    with pytest.raises(BadInput, match="did you mean 'task_pool'"):
        lab.panel(strategies=["taskpool"])


def ticked(bench: Any) -> list[str]:
    return [name for name, box in bench.form.strategies.items() if box.value]


def untagged(html: str) -> str:
    return re.sub(r"<[^>]*>", "", html)


async def ended(bench: Any) -> None:
    current = asyncio.current_task()
    while bench.is_running:
        others = asyncio.all_tasks() - {current}
        await (asyncio.wait(others, return_when="FIRST_COMPLETED") if others else asyncio.sleep(0))


async def begun(bench: Any) -> set[int]:
    """Wait until a trial reports; return the processes that this one has started."""
    await asyncio.sleep(0)
    while " in flight; " not in bench.live.value:
        assert bench.is_running, bench.live.value
        await asyncio.sleep(0.01)
    return children()


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


async def test_runs_fill_table_picture_and_study_and_their_arms_are_told_apart(bench: Any) -> None:
    # Fields begin as the trial says, and without a kernel the page stands still.
    assert bench.form.fields["requests"].value == "40"
    assert ticked(bench) == ["queue", "mine"]
    assert (bench.run_button.disabled, bench.stop_button.disabled) == (False, True)
    assert "strategy=['queue', mine]" in bench.code
    bundle = bench._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert benches.NOTHING in bundle["text/html"]
    assert benches.STYLE in bundle["text/html"]
    assert bench.code in bundle["text/plain"]

    bench.run_button.click()
    assert (bench.run_button.disabled, bench.stop_button.disabled) == (True, False)
    await ended(bench)
    assert (bench.run_button.disabled, bench.stop_button.disabled) == (False, True)
    assert [record.counts.ok for record in bench.records] == [40, 40]
    assert "2 trials in " in untagged(bench.live.value)
    assert "<svg" in bench.live.value
    assert all(name in untagged(bench.table.value) for name in ("queue", "mine"))
    assert "queue" in repr(bench)

    bench.form.strategies["mine"].value = False
    fill(bench, limit="3")
    assert (await bench.run()).by == ["strategy", "limit"]
    await bench.run()
    summary = bench.study.summary()
    rows = zip(summary["strategy"], summary["limit"], summary["n"], strict=True)
    assert sorted(rows) == [("mine", 10, 1), ("queue", 3, 2), ("queue", 10, 1)]
    bench.clear_button.click()
    assert bench.records == []
    assert benches.NOTHING in bench.table.value


def drawn(bench: Any) -> list[str]:
    """Return the arms in the legend of the picture."""
    return re.findall(r"</svg> (\w+)</span>", bench.live.value)


async def test_an_arm_is_hidden_by_its_box_and_stays_so_in_the_next_run(bench: Any) -> None:
    await bench.run()
    (queue,) = (box for box in bench.arms.children if box.description == "queue")
    queue.value = False
    assert drawn(bench) == ["mine"]
    await bench.run()
    assert drawn(bench) == ["mine"]
    queue.value = True
    assert sorted(drawn(bench)) == ["mine", "queue"]
    assert "2 trials in " in bench.live.value
    bench.clear()
    assert not bench.arms.children


def test_a_sentence_says_what_each_ticked_strategy_and_the_transport_do(bench: Any) -> None:
    bench.form.strategies["semaphore"].value = True
    about = html.unescape(untagged(bench.form.about.value))
    assert "aiohttp: aiohttp's client, with one session" in about
    assert "semaphore: Create a task for every item up front, and let each wait" in about
    assert "mine: A learner's own: one after another." in about
    bench.form.strategies["semaphore"].value = False
    fill(bench, transport="wire")
    assert "semaphore:" not in bench.form.about.value
    assert "wire: HTTP/1.1 on an" in bench.form.about.value


async def test_your_queue_and_the_labs_are_two_arms_and_one_that_fails_is_said_and_kept() -> None:
    async def queue(fetch: Any, items: Any, limit: int) -> None:
        raise RuntimeError("on purpose")

    bench = lab.panel(QUICK, strategies=[queue])
    await bench.run()
    assert [record.verdict for record in bench.records] == ["invalid"]
    assert "strategy-failed" in bench.table.value
    assert "on purpose" in untagged(bench.table.value)
    bench.form.strategies["queue (yours)"].value = False
    bench.form.strategies["queue"].value = True
    study = await bench.run()
    assert sorted(study.summary()["strategy"]) == ["queue", "queue (yours)"]


async def test_one_thing_runs_at_a_time_and_stop_from_any_thread_keeps_what_was_finished() -> None:
    before = children()
    bench = lab.panel(QUICK)
    await bench.run()
    fill(bench, limit="1", delay="0.4")
    bench.run_button.click()
    with pytest.raises(BadInput, match="already runs"):
        await bench.run()
    running = await begun(bench) - before
    assert running
    await asyncio.to_thread(bench.stop)
    assert bench.stop_button.disabled
    bench.stop_button.click()
    await ended(bench)
    assert not running & children()
    assert "interrupted" in bench.live.value
    assert not bench.run_button.disabled
    assert len(bench.records) == 1


async def test_cancelling_the_awaiting_code_stops_the_trial_too() -> None:
    before = children()
    bench = lab.panel(LONG)
    waiting = asyncio.ensure_future(bench.run())
    running = await begun(bench) - before
    await cancel(waiting)
    assert not running & children()
    assert not bench.is_running


async def test_a_drawing_that_fails_ends_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = lab.panel(QUICK)
    with monkeypatch.context() as drawing:
        drawing.setattr("labkit.lab.live.strips", mock.Mock(side_effect=RuntimeError("no ink")))
        await bench.run()
        assert "no ink" in bench.live.value
    assert len((await bench.run()).records) == 2
    assert "no ink" not in bench.live.value
    assert "<svg" in bench.live.value


async def test_what_is_refused_at_the_start_is_said_at_its_field(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = mock.AsyncMock(side_effect=BadInput("limit is 10: the server refuses the others"))
    monkeypatch.setattr("labkit.lab.facade.compare", refused)
    with pytest.raises(BadInput, match="the server refuses"):
        await bench.run()
    assert list(bench.form.wrong) == ["limit"]
    assert not bench.run_button.disabled


def test_each_warning_stands_once_below_the_table() -> None:
    records = [
        make_record(axes={"strategy": name}, warnings=[Note(code="loop-lag", message=text)])
        for name, text in (("queue", "late <b> & so"), ("wait", "later"))
    ]
    page = benches.table_html(Study(records, ["strategy"]))
    assert re.findall(r"<li>(.*?)</li>", page) == ["loop-lag (queue): late &lt;b&gt; &amp; so"]
