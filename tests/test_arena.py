"""The arena: who is let in, what the board says of whom, and the whole of it in fresh processes."""

import asyncio
import itertools
import json
import math
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from counted import cancel
from machines import checks
from servers import noted_children

import labkit as lab
from labkit.errors import BadInput
from labkit.lab.arena import default_trial
from labkit.lab.progress import Reporter
from labkit.launch.experiment import run_exam
from labkit.record.exam import Backlog, ExamResult, ScenarioResult
from labkit.record.record import Counts, Record
from labkit.report.arena import FAULTS, Arena, Examined, Fault, judge
from labkit.spec.plan import Step
from labkit.spec.trial import Trial
from labkit.stats import metrics
from labkit.stats.comparisons import RANKED, rank_all
from tests.factories import make_record
from wrong_answers.strategies import BROKEN, SOUND, by_the_wall, in_a_cell

TRIAL = Trial(requests=100, limit=10, transport="wire", delay="0.005")


# --- who is let in


def make(name: str) -> Any:
    """Return a strategy of that name."""

    async def one(fetch: Any, items: Any, limit: int) -> None:
        pass

    one.__name__ = name
    return one


mine = make("mine")


def not_async(fetch: Any, items: Any, limit: int) -> None:
    pass


async def of_two(fetch: Any, items: Any) -> None:
    pass


async def generates(fetch: Any, items: Any, limit: int) -> Any:
    yield


REFUSED: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "nobody": ([], {}, "at least one function"),
    "a name that is none": (["worker_pol"], {}, "did you mean 'worker_pool'"),
    "a number": ([3], {}, "strategy is '3'"),
    "a function that is not async": ([not_async], {}, "not_async.*async def"),
    "a generator": ([generates], {}, "generates.*async def"),
    "two arguments": ([of_two], {}, r"takes \(fetch.*write 'async def of_two\(fetch, items"),
    "two of a name": ([make("a"), make("a")], {}, "same arm twice.*'a'"),
    "one of the lab's names": ([make("queue")], {}, "same arm twice.*'queue'.*__name__"),
    "among a word": ([mine], {"among": "queue"}, "must be a list"),
    "among nobody known": ([mine], {"among": ["queues"]}, "did you mean 'queue'"),
    "no seed": ([mine], {"seed": -1}, "seed is -1"),
    "no repeats": ([mine], {"repeats": 0}, "repeats is 0"),
    "an unknown scale": ([mine], {"scale": "huge"}, "scale is 'huge'"),
}


@pytest.mark.parametrize(("strategies", "more", "message"), REFUSED.values(), ids=REFUSED)
async def test_bad_input_is_refused_before_anything_starts(
    strategies: list[Any], more: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labkit.lab.arena.run_exam", None)
    with pytest.raises(BadInput, match=message):
        await lab.arena(*strategies, **more)


async def test_a_call_instead_of_the_function_is_refused() -> None:
    with pytest.raises(BadInput, match=r"called already.*lab\.arena\(mine\)"):
        await lab.arena(mine(None, [], 1))


def test_what_is_ranked_by_has_delays_of_unlike_length_at_every_scale() -> None:
    trials = [default_trial(scale) for scale in ("smoke", "workshop", "paper")]

    assert [trial.requests for trial in trials] == [1_000, 5_000, 20_000]
    assert all(trial.floor_s for trial in trials[:2])


# --- an exam's result, judged


def scenario(name: str = "many", **changes: Any) -> ScenarioResult:
    return ScenarioResult(**{"name": name, "planned": 61, "limit": 8, "end": "returned", **changes})


def codes(*scenarios: ScenarioResult, lost: str = "") -> list[str]:
    return judge("mine", ExamResult(scenarios=list(scenarios), lost=lost)).codes


def test_the_run_furthest_over_its_limit_is_named_and_each_code_has_its_advice() -> None:
    over = [scenario(max_in_flight=9), scenario(max_in_flight=20)]
    (fault,) = judge("mine", ExamResult(scenarios=over)).faults

    assert fault.code == "over-limit"
    assert fault.seen == "With a limit of 8 the exam counted 20 calls in flight at once."
    assert fault.says == f"{fault.seen} {fault.advice}"
    assert len(FAULTS) == 15
    assert all(one["advice"].endswith(".") for one in FAULTS.values())


def waits(few: int, many: int, **changes: Any) -> list[ScenarioResult]:
    """So many items waiting for an answer, of 3,000 and of 6,000."""
    usual = {"turns": 2, "cpu_s": 0.001, "duration_s": 0.3, **changes}
    return [
        scenario("waits", planned=planned, backlog=Backlog(waiting=waiting, **usual))
        for planned, waiting in ((3_000, few), (6_000, many))
    ]


@pytest.mark.parametrize(("lost", "code"), checks("arena.toml", "lost"))
def test_an_exam_that_was_lost_is_a_fault(lost: str, code: str) -> None:
    assert codes(scenario(), lost=lost) == [code]


JUDGED = checks("arena.toml", "judged")


@pytest.mark.parametrize(("what", "observed", "expected"), JUDGED, ids=[one[0] for one in JUDGED])
def test_faults_follow_from_what_was_observed(
    what: str, observed: list[dict[str, Any]], expected: list[str]
) -> None:
    made = [waits(**one) if "few" in one else [scenario(**one)] for one in observed]
    assert codes(*itertools.chain(*made)) == expected, what


# --- ranks


def records(
    arms: dict[str, Sequence[float]], metric: str = "efficiency", **more: Any
) -> list[Record]:
    """Of each arm a record for each value of the metric, in blocks."""
    field = metric.replace("process_", "process.").replace("to_first", "client.to_first")
    made = []
    for name, values in arms.items():
        for repeat, value in enumerate(values):
            changes = {"axes": {"strategy": name}, "repeat": repeat, field: value, **more}
            made.append(make_record(id=f"20261120-120000-{len(made):06}", **changes))
    return made


def ranks(records: Sequence[Record], metric: str = "efficiency") -> dict[str, str]:
    place = list(RANKED).index(metric)
    return {one.name: one.ranks[place].text for one in rank_all(records, ["mine"])}


NOISE = (1.0, 1.004, 0.997, 1.002, 0.999)


def around(value: float) -> list[float]:
    return [value * noise for noise in NOISE]


def test_who_shares_every_rank_comes_by_value() -> None:
    board = rank_all(records({"low": around(0.900), "high": around(0.905)}), [])
    assert [(row.name, row.ranks[0].text) for row in board] == [("high", "1="), ("low", "1=")]


def test_who_has_no_rank_comes_by_value_and_last_without_one() -> None:
    board = rank_all(records({"none": [math.nan], "low": [0.1], "high": [0.9]}), [])
    assert [row.name for row in board] == ["high", "low", "none"]


def of_mine(records: Sequence[Record]) -> Arena:
    return Arena([Examined(name="mine", faults=[])], records)


@pytest.mark.parametrize(("arms", "metric", "expected"), checks("arena.toml", "ranks"))
def test_the_better_come_first_and_those_alike_share_a_rank(
    arms: dict[str, float], metric: str, expected: list[str]
) -> None:
    many = records({name: around(value) for name, value in arms.items()}, metric)

    assert ranks(many, metric) == dict(zip(arms, expected, strict=True))


def test_noise_wins_no_place() -> None:
    """0.92 ms is second; so is 4 ms, as it spreads too widely to be worse than anyone for sure."""
    wild = [0.5e-3, 4e-3, 9e-3, 4e-3, 0.8e-3]
    arms = {"noisy": wild, "second": around(0.92e-3), "first": around(0.8e-3)}
    many = records(arms, "to_first_send_s")
    assert ranks(many, "to_first_send_s") == {"first": "1", "second": "2=", "noisy": "2="}
    alone = records({"noisy": wild, "other": around(4.1e-3)}, "to_first_send_s")
    assert set(ranks(alone, "to_first_send_s").values()) == {"1="}


def test_too_few_repeats_decide_nothing() -> None:
    arena = of_mine(records({"mine": [0.1], "queue": [0.9]}))

    assert {one.ranks[0].text for one in arena.board} == {"-"}
    assert arena.sentences() == [
        "No rank for queue, mine by efficiency, CPU/request, memory, first request: "
        "1 repeat; 5 needed."
    ]


def changed(records: Sequence[Record], repeats: int, **changes: Any) -> list[Record]:
    """The records, with changes in the first so many repeats of `mine`."""
    return [
        msgspec.structs.replace(one, **changes)
        if one.axes["strategy"] == "mine" and one.repeat < repeats
        else one
        for one in records
    ]


FAILED_COUNTS = Counts(planned=100, sent=100, not_sent=0, ok=80, failed={"reset": 20}, cancelled=0)


@pytest.mark.parametrize("n", [5, 7])
@pytest.mark.parametrize("repeats", [1, 5])
@pytest.mark.parametrize(
    ("changes", "why"),
    [({"verdict": "invalid"}, "invalid"), ({"counts": FAILED_COUNTS}, "over 1% failed")],
)
def test_who_did_not_do_the_work_in_each_repeat_has_no_rank(
    changes: dict[str, Any], why: str, repeats: int, n: int
) -> None:
    many = [*NOISE, 1.001, 0.998][:n]
    arms = {name: [value * one for one in many] for name, value in (("mine", 0.5), ("queue", 0.9))}
    arena = of_mine(changed(records(arms), repeats, **changes))

    texts = {one.name: [rank.text for rank in one.ranks] for one in arena.board}
    assert texts == {"queue": ["1"] * 4, "mine": ["-"] * 4}
    assert "mine has rank" not in arena.text()
    assert arena.sentences()[-1] == (
        "No rank for mine by efficiency, CPU/request, memory, first request: "
        f"{repeats} of {n} repeats cannot be used ({why})."
    )
    assert arena.board[-1].ranks[0].value == (
        None if repeats == n else pytest.approx(0.5, rel=0.01)
    )


def test_where_the_server_set_the_rate_nobody_has_a_rank_by_efficiency() -> None:
    busy = {"client.cpu_percent": 40.0, "server.cpu_percent": 99.0}
    limited = records({"mine": around(0.9), "queue": around(0.8)}, **busy)
    arena = of_mine(limited)

    assert set(ranks(limited).values()) == {"-"}
    assert set(ranks(limited, "cpu_us_per_request").values()) == {"1="}
    assert arena.sentences()[-1] == (
        "No rank for mine, queue by efficiency: "
        f"5 of 5 repeats cannot be used ({metrics.SERVER_BOUND})."
    )


def test_without_a_floor_the_other_metrics_are_read_as_ever() -> None:
    many = records({"mine": around(0.9), "queue": around(0.9)})
    bare = [msgspec.structs.replace(one, floor_s=None, efficiency=None) for one in many]
    says = of_mine(bare).sentences()

    assert "1= by CPU/request" in says[0]
    assert says[-1] == (
        "No rank for mine, queue by efficiency: 5 of 5 repeats cannot be used (not measured)."
    )


# --- as it is shown


FAULT = Fault(code="polls-hot", seen="It asks <again> & again.", advice="Wait for it.")
REFUSED_ONE = Examined(name="eager_<b>", faults=[FAULT])
PASSED = Examined(name="mine", faults=[])


def board() -> Arena:
    arms = {"mine": around(0.8), "queue": around(0.9), "wait": around(0.9)[::-1]}
    return Arena([PASSED, REFUSED_ONE], records(arms))


def test_it_names_faults_and_places_and_escapes_what_learners_named() -> None:
    arena = board()
    text, page, data = arena.text(), arena.html(), json.loads(json.dumps(arena.to_dict()))

    assert repr(arena) == text
    assert re.search(r"eager_<b> +polls-hot +It asks <again> & again\. Wait for it\.", text)
    assert re.search("mine +passed", text)
    assert "mine has rank 3 by efficiency, 1= by CPU/request, 1= by memory" in text
    shown = ("eager_&lt;b&gt;", "It asks &lt;again&gt;", "mine *", "<img alt=")
    assert all(words in page for words in shown)
    assert "<again>" not in page
    assert [one["passed"] for one in data["examined"]] == [True, False]
    assert data["examined"][1]["faults"][0]["code"] == "polls-hot"
    assert [one["name"] for one in data["board"]] == ["queue", "wait", "mine"]
    assert len(data["records"]) == 15


def test_its_chart_is_the_board_or_that_of_a_study() -> None:
    arena = board()
    chart = arena.plot()
    (ax,) = chart.axes
    cells = [text.get_text() for text in ax.texts]

    assert [text.get_text() for text in ax.get_yticklabels()] == [
        *("queue", "wait", "mine *", "eager_<b>")
    ]
    assert [cells[0], cells[4], cells[8]] == ["90 (1=)", "90 (1=)", "80 (3)"]
    assert cells[-1].endswith("polls-hot")
    shades = [sum(bar.get_facecolor()[:3]) for bar in ax.patches]
    assert shades[0] == shades[4] < shades[8]  # the better, the deeper
    few = of_mine(records({"mine": [0.1], "queue": [0.9]})).plot().axes[0]
    assert (len(few.patches), few.texts[0].get_text()) == (0, "90 (-)")
    assert "mine 80 %; queue 90 %; wait 90 %" in arena.plot("efficiency").alt


def test_without_anybody_on_the_board_there_is_none_to_draw() -> None:
    arena = Arena([REFUSED_ONE])

    assert (arena.passed, arena.faults) == ([], {"eager_<b>": [FAULT]})
    assert "Nobody is on the board" in arena.text()
    assert arena.to_dict()["records"] == []
    with pytest.raises(BadInput, match="no records to draw"):
        arena.plot()


# --- in fresh processes


def trial_of(strategy: Any) -> Trial:
    return TRIAL.replace(strategy=strategy)


@pytest.mark.slow
@pytest.mark.parametrize("code", [*list(BROKEN)[:8], "blocks-the-loop"])
async def test_each_fault_is_found_from_another_process(code: str) -> None:
    function = next(iter(BROKEN[code].values()))

    assert judge("x", await run_exam(trial_of(function))).codes == [code]


LOCK_IN_A_CELL = checks("arena.toml", "lock")


async def exits(fetch: Any, items: Any, limit: int) -> None:
    raise SystemExit(3)


async def imports(fetch: Any, items: Any, limit: int) -> None:
    import nowhere_to_be_found  # noqa: F401


@pytest.mark.parametrize(
    ("function", "code", "seen"),
    [(exits, "ends-its-process", "SystemExit: 3"), (imports, "raises", "ModuleNotFoundError")],
)
async def test_what_kills_its_process_is_a_fault_and_no_crash(
    function: Any, code: str, seen: str
) -> None:
    (fault,) = judge("x", await run_exam(trial_of(function))).faults

    assert fault.code == code
    assert seen in fault.seen


async def test_a_lock_and_a_clock_of_a_cell_are_no_fault() -> None:
    assert judge("one", await run_exam(trial_of(in_a_cell(LOCK_IN_A_CELL)))).faults == []


async def loops(fetch: Any, items: Any, limit: int) -> None:
    while True:
        pass


@pytest.mark.parametrize(
    ("function", "bound", "seconds", "code"),
    [(loops, "MAX_SILENCE_S", 2.0, "never-ends"), (by_the_wall, "MAX_EXAM_S", 4.0, "too-slow")],
)
async def test_who_never_gives_the_loop_back_or_is_slow_is_ended(
    function: Any, bound: str, seconds: float, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"labkit.launch.experiment.{bound}", seconds)

    assert judge("x", await run_exam(trial_of(function))).codes == [code]


async def test_cancelled_it_leaves_no_process() -> None:
    with noted_children() as children:
        task = asyncio.create_task(run_exam(trial_of(loops)))
        while "labkit.measured.exam.examiner" not in children:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await cancel(task)

    assert len(children) == 1
    assert all(child.status is not None for child in children.values())


class Recorder(Reporter):
    """Records the arms and the lines that it is given."""

    def __init__(self) -> None:
        self.arms: list[Any] = []
        self.lines: list[str] = []
        self.passed = self.lines.append  # type: ignore[method-assign]

    def started(self, step: Step) -> None:
        self.arms.append(dict(step.axes))


@pytest.mark.slow
async def test_who_passes_is_ranked_and_who_does_not_is_told_why(tmp_path: Any) -> None:
    store, reporter = lab.Store(tmp_path), Recorder()
    arena = await lab.arena(
        SOUND["workers_on_an_iterator"],
        BROKEN["loses-items"]["without_the_first"],
        among=["queue"],
        trial=TRIAL,
        repeats=1,
        store=store,
        reporter=reporter,
    )

    assert arena.passed == ["workers_on_an_iterator"]
    assert {one.name for one in arena.board} == {"workers_on_an_iterator", "queue"}
    # What a busy machine disturbed has no value, and says why.
    calm = {one.axes["strategy"] for one in arena.records if one.verdict == "valid"}
    for one in arena.board:
        assert all(rank.value or (rank.why and one.name not in calm) for rank in one.ranks)
    # On a busy machine a run is made again, and both its records are stored.
    assert len(arena.records) == 2
    assert {one.id for one in arena.records} <= {one.id for one in store.records()}
    names = ["workers_on_an_iterator", "without_the_first"]
    verdicts = ["passed", "loses-items"]
    assert reporter.lines == [f"examined {n}: {v}" for n, v in zip(names, verdicts, strict=True)]
    assert reporter.arms[:2] == [{"examined": name} for name in names]
    assert {arm["strategy"] for arm in reporter.arms[2:]} == {"workers_on_an_iterator", "queue"}
