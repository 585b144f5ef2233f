"""The examination: each fault is named, by its own name alone, and no sound strategy is accused."""

import asyncio
import pickle
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from typing import Any

import cloudpickle
import numpy as np
import pytest
from machines import checks

from labkit.measured import strategies
from labkit.measured.exam.accelerated_loop import Loop, Turns, accelerated_clocks
from labkit.measured.exam.examiner import examine
from labkit.measured.exam.run import Calls, described
from labkit.record.exam import ExamResult
from labkit.report.arena import Examined, judge
from wrong_answers.strategies import BROKEN, SOUND, by_the_wall, in_a_cell

FAULTS = {"over-limit", "loses-items", "repeats-items", "swallows-failures", "unbounded-tasks"}
FAULTS |= {"stops-at-first-failure", "leaves-tasks-behind", "polls-hot"}
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
    """Examine as the examiner's process would, in this one; judge it."""
    return judge("mine", ExamResult(scenarios=list(examine(load, guarded=guarded))))


@cache
def examined(function: Callable[..., Any]) -> Examined:
    guarded = hasattr(function, "__labkit_guard__")
    return exam(lambda: getattr(function, "__wrapped__", function), guarded=guarded)


def test_each_fault_is_tested_in_several_forms() -> None:
    assert all(len(BROKEN[code]) >= 3 for code in FAULTS)
    assert len(SOUND) >= 10


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_strategy_passes(name: str) -> None:
    assert examined(SOUND[name]).faults == []


@pytest.mark.filterwarnings("ignore:coroutine 'Calls._call' was never awaited")
@pytest.mark.parametrize(("code", "name"), VARIANTS)
def test_a_broken_strategy_has_its_fault_and_no_other(code: str, name: str) -> None:
    assert examined(BROKEN[code][name]).codes == [code]


FAULTY = {"gather": "over-limit", "semaphore": "unbounded-tasks", "as_completed": "polls-hot"}
FAULTLESS = ["sequential", "task_pool", "chunked", "wait"]
FAULTLESS += ["task_group", "queue", "worker_pool", "priority"]


@pytest.mark.parametrize("name", [*FAULTY, *FAULTLESS])
def test_of_the_labs_own_those_with_a_known_fault_have_it(name: str) -> None:
    assert examined(strategies.load(name)).codes == ([FAULTY[name]] if name in FAULTY else [])


def test_to_poll_now_and_then_is_no_fault() -> None:
    async def looks_often(fetch, items, limit):  # type: ignore[no-untyped-def]
        running: set[asyncio.Task[Any]] = set()
        for item in items:
            while len(running) >= limit:
                await asyncio.sleep(0.001)
                running = {task for task in running if not task.done()}
            running.add(asyncio.create_task(fetch(item)))
        return await asyncio.gather(*running, return_exceptions=True)

    assert exam(lambda: looks_often).codes == []


def test_two_faults_are_both_named() -> None:
    async def twice(fetch, items, limit):  # type: ignore[no-untyped-def]
        slots = asyncio.Semaphore(limit + 2)

        async def one(item):  # type: ignore[no-untyped-def]
            async with slots:
                await fetch(item)

        await asyncio.gather(*(one(item) for item in items[:-1]))

    assert exam(lambda: twice).codes == ["over-limit", "loses-items", "unbounded-tasks"]


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
    turns = Turns()

    async def waits() -> float:
        for _ in range(1_000):
            await asyncio.sleep(0)
        assert turns.ahead_s < 1
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


LOCK_IN_A_CELL = checks("arena.toml", "worker_lock")


def test_a_lock_of_a_cell_is_new_in_each_scenario() -> None:
    sent = cloudpickle.dumps(in_a_cell(LOCK_IN_A_CELL))
    kept = pickle.loads(sent)  # noqa: S301  # pickled above

    assert exam(lambda: pickle.loads(sent)).codes == []  # noqa: S301  # pickled above
    assert exam(lambda: kept).codes == ["raises"]


# --- whether failures are reported

FAILED = frozenset({1, 4, 5})


@dataclass
class Report:
    """As a learner may write it, with more than one figure."""

    failed: int
    began_s: float = 1.5
    note: str = ""


@dataclass(slots=True)
class Slotted:
    errors: list[BaseException]


def task_of(error: BaseException | None) -> asyncio.Future[None]:
    future: asyncio.Future[None] = asyncio.Future(loop=asyncio.new_event_loop())
    future.get_loop().close()
    future.set_exception(error) if error else future.set_result(None)
    future.exception()
    return future


def counts(failed: Collection[int]) -> dict[str, int]:
    return {"planned": 10, "ok": 10 - len(failed), "failed": len(failed), "limit": 1}


REPORTS: dict[str, Callable[[Collection[int]], Any]] = {
    "the exceptions": lambda failed: [ValueError() if item in failed else None for item in ITEMS],
    "a group": lambda failed: {"errors": ExceptionGroup("some", [OSError()]) if failed else None},
    "how many failed": len,
    "how many came, as a float": lambda failed: 10.0 - len(failed),
    "how many came, by numpy": lambda failed: np.int64(10 - len(failed)),
    "counts beside the results": lambda failed: ([None] * 10, {"came": 10 - len(failed)}),
    "counts among others": lambda failed: {"results": [None] * 10, "report": counts(failed)},
    "which failed": list,
    "which came": lambda failed: set(ITEMS) - set(failed),
    "why, for each that failed": lambda failed: dict.fromkeys(failed, "no"),
    "the words of each": lambda failed: ["no" if item in failed else None for item in ITEMS],
    "true and false": lambda failed: deque(item not in failed for item in ITEMS),
    "a report of its own": lambda failed: Report(failed=len(failed)),
    "a report with slots": lambda failed: Slotted([ValueError() for _ in failed]),
    "a class for each that failed": lambda failed: [ValueError for _ in failed],
    "a number in a text": lambda failed: f"errors: {len(failed)}",
    "tasks": lambda failed: [task_of(ValueError() if item in failed else None) for item in ITEMS],
}
ITEMS = range(10)
SILENT: dict[str, tuple[Any, Any]] = {
    "nothing": (None, None),
    "all items, as they ended": ([2, 0, 1], [0, 1, 2]),
    "a time": (0.5, 0.25),
    "a text with a time": ("10 items in 1,003.5 s", "10 items in 3.25 s"),
    "one object and another": (object(), object()),
    "functions": ([lambda: 1], [lambda: 2]),
    "times of its own": (Report(failed=0, began_s=1.5), Report(failed=0, began_s=2.5)),
}


@pytest.mark.parametrize("make", REPORTS.values(), ids=REPORTS)
def test_a_result_that_reports_failures(make: Callable[[Collection[int]], Any]) -> None:
    assert described(make(FAILED)) != described(make(()))
    assert described(make(FAILED)) == described(make(FAILED))


@pytest.mark.parametrize(("failed", "usual"), SILENT.values(), ids=SILENT)
def test_a_result_that_does_not(failed: Any, usual: Any) -> None:
    assert described(failed) == described(usual)


# --- what it is examined on


async def test_calls_count_what_is_made_begun_and_ended() -> None:
    calls = Calls(failing={1})
    first, second = calls.fetch(0), calls.fetch(1)
    assert (calls.made, calls.in_flight, calls.ended) == (2, 0, 0)

    found = await asyncio.gather(first, second, return_exceptions=True)

    assert [type(one).__name__ for one in found] == ["NoneType", "ItemFailed"]
    assert (calls.made, calls.in_flight, calls.ended) == (2, 0, 2)
    assert (calls.max_in_flight, calls.fetched) == (2, {0: 1, 1: 1})


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
