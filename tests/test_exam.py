"""The examination: each fault is named, by its own name alone, and no sound strategy is accused."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import cloudpickle
import pytest
from entrants import BROKEN, SOUND, in_a_cell

from labkit.measured import strategies
from labkit.measured.exam.accelerated_loop import Loop, Turns, accelerated_clocks
from labkit.measured.exam.calls import Calls, Items
from labkit.measured.exam.examiner import examine
from labkit.measured.exam.run import reports_failures
from labkit.measured.strategies import Tally
from labkit.record.exam import ExamResult
from labkit.report.exam_faults import Examined, judge

FAULTS = (
    "over-limit",
    "loses-items",
    "repeats-items",
    "swallows-failures",
    "stops-at-first-failure",
    "unbounded-tasks",
    "leaves-tasks-behind",
    "polls-hot",
)
SECONDS = {"never-ends", "blocks-the-loop", "a_second_before_each_task"}
VARIANTS = [
    pytest.param(code, name, marks=pytest.mark.slow if {code, name} & SECONDS else ())
    for code, variants in BROKEN.items()
    for name in variants
]
# What a strategy leaves undone is what is examined, and the interpreter says so as well.
pytestmark = pytest.mark.filterwarnings(
    "ignore:coroutine .* was never awaited:RuntimeWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


def exam(load: Callable[[], Any], *, guarded: bool = True) -> Examined:
    """Examine as the examiner's process would, in this one and without a server; judge it."""
    results = list(examine(load, guarded=guarded))
    return judge("mine", ExamResult(scenarios=results))


@cache
def examined(function: Callable[..., Any]) -> Examined:
    guarded = hasattr(function, "__labkit_guard__")
    return exam(lambda: getattr(function, "__wrapped__", function), guarded=guarded)


def test_each_fault_is_tested_in_several_forms() -> None:
    assert set(FAULTS) <= set(BROKEN)
    assert all(len(BROKEN[code]) >= 3 for code in FAULTS)
    assert len(SOUND) >= 10


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_strategy_passes(name: str) -> None:
    assert examined(SOUND[name]).faults == []


@pytest.mark.parametrize(("code", "name"), VARIANTS)
def test_a_broken_strategy_has_its_fault_and_no_other(code: str, name: str) -> None:
    assert examined(BROKEN[code][name]).codes == [code]


CONTROLS = {
    "sequential": [],
    "gather": ["over-limit"],
    "semaphore": ["unbounded-tasks"],
    "as_completed": ["polls-hot"],
    "task_pool": [],
    "chunked": [],
    "wait": [],
    "task_group": [],
    "queue": [],
    "worker_pool": [],
    "priority": [],
}


@pytest.mark.parametrize("name", CONTROLS)
def test_of_the_labs_own_those_with_a_known_fault_have_it(name: str) -> None:
    assert examined(strategies.load(name)).codes == CONTROLS[name]


def test_what_is_no_fault_is_a_remark() -> None:
    (read_ahead,) = examined(SOUND["queue_filled_up_front"]).remarks
    (kept,) = examined(SOUND["every_task_kept"]).remarks

    assert "6,000 items before the first" in read_ahead
    assert "every task to the end" in kept
    assert examined(SOUND["workers_on_an_iterator"]).remarks == []


def test_to_poll_now_and_then_is_a_remark() -> None:
    async def looks_often(fetch, items, limit):  # type: ignore[no-untyped-def]
        running: set[asyncio.Task[Any]] = set()
        for item in items:
            while len(running) >= limit:
                await asyncio.sleep(0.001)
                running = {task for task in running if not task.done()}
            running.add(asyncio.create_task(fetch(item)))
        return await asyncio.gather(*running, return_exceptions=True)

    found = exam(lambda: looks_often)

    assert found.codes == []
    assert "times a second" in found.remarks[0]


def test_two_faults_are_both_named() -> None:
    async def twice(fetch, items, limit):  # type: ignore[no-untyped-def]
        slots = asyncio.Semaphore(limit + 2)

        async def one(item):  # type: ignore[no-untyped-def]
            async with slots:
                await fetch(item)

        await asyncio.gather(*(one(item) for item in items[:-1]))

    found = exam(lambda: twice)

    assert found.codes == ["over-limit", "loses-items", "unbounded-tasks"]


def test_what_the_sentence_says_is_what_was_seen() -> None:
    says = {fault.code: fault.says for fault in examined(BROKEN["over-limit"]["off_by_one"]).faults}
    assert "With a limit of 8 the exam counted 9 calls in flight at once." in says["over-limit"]

    (fault,) = examined(BROKEN["repeats-items"]["the_last_once_more"]).faults
    assert "4 calls for 3 items" in fault.seen
    assert "item 2 2 times" in fault.seen

    (fault,) = examined(BROKEN["leaves-tasks-behind"]["workers_that_never_end"]).faults
    assert "still running: 8." in fault.seen


def test_each_scenario_gives_its_result_as_it_ends() -> None:
    strategy = strategies.load("sequential").__wrapped__
    names = [result.name for result in examine(lambda: strategy)]

    assert names == ["few", "one", "many", "more", "failing", "end", "small", "large"]


# --- clocks, and what is left of one scenario for the next


async def by_the_wall(fetch: Any, items: Any, limit: int) -> None:
    """Paced by a clock that is not accelerated."""
    due = datetime.now(UTC)
    for item in items:
        while datetime.now(UTC) < due:  # noqa: ASYNC110  # as learners write it
            await asyncio.sleep(0.01)
        due += timedelta(seconds=0.05)
        await fetch(item)


def test_whose_time_is_up_is_not_said_to_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.measured.exam.run.MAX_SCENARIO_S", 0.5)
    found = exam(lambda: by_the_wall)

    assert found.codes == ["too-slow"]
    assert "still running when the time of an exam was over" in found.faults[0].seen


def test_who_is_busy_without_an_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.measured.exam.run.MAX_FRUITLESS_S", 0.2)

    async def waits_for_what_never_comes(fetch: Any, items: Any, limit: int) -> None:
        while True:  # noqa: ASYNC110  # what is ended
            await asyncio.sleep(0.01)

    found = exam(lambda: waits_for_what_never_comes)

    assert found.codes == ["never-ends"]
    assert "3 were not fetched after 0 calls" in found.faults[0].seen


def test_the_clocks_are_ahead_with_the_loop_and_only_meanwhile() -> None:
    names = ("monotonic", "perf_counter", "time", "monotonic_ns", "perf_counter_ns", "time_ns")
    real = {name: getattr(time, name) for name in names}
    turns = Turns(accelerated=True)

    async def waits() -> float:
        start = asyncio.get_running_loop().time()
        await asyncio.sleep(3_600)
        return asyncio.get_running_loop().time() - start

    with accelerated_clocks(turns):
        before = {name: getattr(time, name)() for name in names}
        with asyncio.Runner(loop_factory=lambda: Loop(turns)) as runner:
            waited_s = runner.run(waits())
        passed = {name: getattr(time, name)() - before[name] for name in names}

    assert 3_600 <= waited_s < 3_700
    assert all(3_600 <= passed[name] < 3_700 for name in names[:3])
    assert all(3_600e9 <= passed[name] < 3_700e9 for name in names[3:])
    assert {name: getattr(time, name) for name in names} == real


LOCK_IN_A_CELL = """
import asyncio
LOCK = asyncio.Lock()

async def one(fetch, items, limit):
    source = iter(items)
    async def work():
        for item in source:
            async with LOCK:
                await fetch(item)
    await asyncio.gather(*(work() for _ in range(limit)))
"""


def test_a_lock_of_a_cell_is_new_in_each_scenario() -> None:
    sent = cloudpickle.dumps(in_a_cell(LOCK_IN_A_CELL))
    kept = pickle.loads(sent)  # noqa: S301  # pickled above

    assert exam(lambda: pickle.loads(sent)).codes == []  # noqa: S301  # pickled above
    assert exam(lambda: kept).codes == ["raises"]


# --- whether failures are reported

FAILING = {1, 4, 5}


@dataclass
class Report:
    """As a learner may write it, with more than a few figures."""

    planned: int = 10
    limit: int = 2
    ok: int = 7
    failed: int = 3
    began_s: float = 1.5
    ended_s: float = 2.5
    first_item: int = 0
    last_item: int = 9
    note: str = ""


REPORTS = {
    "the exceptions": [None, ValueError(), None],
    "a group": {"errors": ExceptionGroup("some", [ValueError()])},
    "how many failed": 3,
    "how many came": (7, "of ten"),
    "a pair of counts": (7, 3),
    "counts by name": {"ok": 7, "failed": 3},
    "a tally": Tally(ok=7, failed=3, kinds={}, first_error=None),
    "which failed": [5, 1, 4],
    "why, for each that failed": {1: "no", 4: "no", 5: "no"},
    "pairs": [(1, "no"), (4, "no"), (5, "no")],
    "the words of each": [None, "item 1 failed", None],
    "true and false": [item not in FAILING for item in range(10)],
    "a word for each": [(item, "bad" if item in FAILING else "ok") for item in range(10)],
    "a word by item": {item: "bad" if item in FAILING else "ok" for item in range(10)},
    "which came": {0, 2, 3, 6, 7, 8, 9},
    "counts among other figures": {"planned": 10, "ok": 7, "failed": 3, "limit": 2, "seconds": 0.5},
    "counts beside the results": {"results": [None] * 10, "counts": {"ok": 7, "failed": 3}},
    "a report of nine fields": Report(),
    "a class for each that failed": [ValueError, OSError, ValueError],
    "a name for each that failed": ["ValueError", "OSError", "ValueError"],
    "a number in a text": "errors: 3",
    "a number in a text among others": (10, "planned 10, came 7."),
    "how many of each kind": Counter({"ValueError": 1, "came": 7}),
    "how many of each class": {ValueError: 3},
}
SILENT = {
    "nothing": None,
    "a list of nothing": [None] * 10,
    "all items": list(range(10)),
    "another number": 10,
    "a word": "done",
    "a word for all": ["ok"] * 10,
    "all items, in pairs": [(item, None) for item in range(10)],
    "whether it is done": True,
    "all items, in rounds of few": [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]],
    "a text for each item": [f"item {item}" for item in range(10)],
    "a text of all items": " ".join(map(str, range(10))),
    "another number in a text": "10 items in 3.5 s, 1,003 ms, at 7x",
    "other texts": ["begun", "done"],
    "a figure for each item": {item: item for item in range(10)},
}


@pytest.mark.parametrize("how", REPORTS)
def test_a_result_that_reports_failures(how: str) -> None:
    assert reports_failures(REPORTS[how], 3, 10)


@pytest.mark.parametrize("how", SILENT)
def test_a_result_that_does_not(how: str) -> None:
    assert not reports_failures(SILENT[how], 3, 10)


async def test_a_task_reports_by_its_exception() -> None:
    async def fails() -> None:
        raise ValueError

    async def succeeds() -> None:
        pass

    tasks = [asyncio.create_task(fails()), asyncio.create_task(succeeds())]
    await asyncio.wait(tasks)

    assert reports_failures(tasks, 3, 10)
    assert not reports_failures(tasks[1:], 3, 10)


# --- what it is examined on


def test_items_are_used_as_a_range_is() -> None:
    items = Items(range(10))

    assert len(items) == 10
    assert (items.start, items.stop, items.step) == (0, 10, 1)
    assert items.read == 0
    assert items[3] == 3
    assert list(items[2:4]) == [2, 3]
    assert list(items) == list(range(10))
    assert items.read == 1 + 2 + 10


async def test_calls_count_what_is_made_begun_and_ended() -> None:
    calls = Calls(failing={1})
    first, second = calls.fetch(0), calls.fetch(1)
    assert (calls.made, calls.begun, calls.open) == (2, 0, 2)

    found = await asyncio.gather(first, second, return_exceptions=True)

    assert [type(one).__name__ for one in found] == ["NoneType", "ItemFailed"]
    assert (calls.begun, calls.ended, calls.open, calls.in_flight) == (2, 2, 0, 0)
    assert calls.max_in_flight == 2
    assert calls.fetched == {0: 1, 1: 1}


def test_accelerated_time_runs_ahead_only_while_nothing_happens() -> None:
    turns = Turns(accelerated=True)

    async def waits() -> float:
        start = asyncio.get_running_loop().time()
        await asyncio.sleep(3_600)
        return asyncio.get_running_loop().time() - start

    async def counts() -> int:
        before = turns.ahead_s
        for _ in range(1_000):
            await asyncio.sleep(0)
        return int(turns.ahead_s - before)

    with asyncio.Runner(loop_factory=lambda: Loop(turns)) as runner:
        assert runner.run(counts()) == 0
        assert runner.run(waits()) >= 3_600
        assert turns.ahead_s >= 3_599


def test_turns_tell_sleeping_from_computing() -> None:
    turns = Turns()

    async def sleeps() -> float | None:
        turns.restart()
        await asyncio.sleep(0)
        time.sleep(0.05)  # noqa: ASYNC251  # what is looked for
        await asyncio.sleep(0)
        return turns.blocked_s()

    with asyncio.Runner(loop_factory=lambda: Loop(turns)) as runner:
        found = runner.run(sleeps())

    assert found is None or found >= 0.04
    assert turns.count > 1
