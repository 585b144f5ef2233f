"""What is shown while trials run: often enough, never in the way, and gone at the end."""

import asyncio
import io
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock
from unittest.mock import call as called

import pytest
from clocks import Clock
from counted import cancel
from factories import make_record
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.core.events import EventManager, available_events

from labkit.cli import terminal
from labkit.lab import progress, runner
from labkit.lab.live import Bundle, LiveOutput, Notebook
from labkit.lab.progress import Reporter, SafeReporter
from labkit.launch.launcher import Progress
from labkit.record.record import Counts
from labkit.report.study import Run
from labkit.spec.plan import Step
from labkit.spec.trial import Trial

TRIAL = Trial(requests=1_000, limit=10)


def reported(t_s: float, done: int = 100, trial: Trial = TRIAL) -> Progress:
    counts = Counts(planned=1_000, sent=done + 10, not_sent=0, ok=done, failed={}, cancelled=0)
    return Progress(trial=trial, t_s=t_s, in_flight=10, counts=counts)


def step(**axes: Any) -> Step:
    return Step(work=TRIAL, axes=axes, repeat=0, order=0)


class Shown(LiveOutput):
    """The output of a cell, as it was shown time after time."""

    def __init__(self) -> None:
        self.bundles: list[Bundle] = []
        self._shell = SimpleNamespace(events=EventManager(None, available_events))
        self._closing = False

    def show(self, bundle: Bundle) -> None:
        self.bundles.append(bundle)

    @property
    def last(self) -> str:
        return self.bundles[-1]["text/plain"]

    @property
    def at_end(self) -> list[Any]:
        return self._shell.events.callbacks["post_run_cell"]


def running(trials: int = 1, **axes: Any) -> tuple[Notebook, Shown, Clock]:
    """A reporter whose first trial has started."""
    shown, clock = Shown(), Clock()
    reporter = Notebook(shown, clock)
    reporter.begin(trials)
    reporter.started(step(**axes))
    return reporter, shown, clock


@settings(max_examples=25)
@given(st.lists(st.floats(0.08, 0.12), min_size=50, max_size=120))
def test_at_ten_readings_a_second_more_than_five_are_drawn(gaps_s: list[float]) -> None:
    reporter, shown, clock = running()
    before = len(shown.bundles)
    for gap_s in gaps_s:
        clock.now += gap_s
        reporter.update(reported(clock()))

    drawn = len(shown.bundles) - before
    assert 5 * sum(gaps_s) - 1 <= drawn <= 8 * sum(gaps_s) + 1
    # A burst is drawn once.
    clock.now += 1
    for number in range(1, 100):
        reporter.update(reported(number / 1_000))
    assert len(shown.bundles) == before + drawn + 1


def test_the_card_says_which_trial_how_far_and_how_long() -> None:
    reporter, shown, clock = running(4, strategy="queue", loop="<i>")
    clock.now = 2
    reporter.update(reported(1.0, done=500))

    assert shown.last == (
        "trial 1 of 4, queue on <i>: 500 of 1,000 ok, 10 in flight; about 14 s left"
    )
    html = shown.bundles[-1]["text/html"]
    assert ("<progress" in html, "<svg" in html, "<i>" in html) == (True, True, False)


def test_the_time_left_falls_and_a_little_later_end_does_not_raise_it() -> None:
    reporter, shown, clock = running()
    left = []
    # Of 1,000: a hundred a second, then a little slower, then much slower.
    for now, done in ((2, 200), (3, 290), (4, 380), (5, 420), (6, 425)):
        clock.now = now
        reporter.update(reported(now, done=done))
        left.append(int(shown.last.partition("; about ")[2].partition(" ")[0]))

    assert left == [8, 7, 6, 5, 8]
    # No client is done before the floor: 1,000 delays of a second, ten at a time.
    clock.now = 7
    reporter.update(reported(7, done=450, trial=TRIAL.replace(delay="1")))
    assert "about 93 s left" in shown.last


@pytest.mark.parametrize("result", [None, Run(make_record())], ids=["none", "a run"])
def test_one_line_is_left_where_the_cell_shows_no_result(result: Any) -> None:
    reporter, shown, _ = running()
    record = make_record()
    reporter.finished(record)
    reporter.end()
    shown._shell.events.trigger("post_run_cell", SimpleNamespace(result=result))

    assert shown.last == (record.says if result is None else "")
    assert not shown.at_end


def test_many_trials_end_in_one_line_with_their_verdicts() -> None:
    reporter, shown, clock = running()
    for _ in range(2):
        reporter.begin(2)
        for verdict in ("valid", "invalid"):
            reporter.started(step())
            reporter.finished(make_record(verdict=verdict))
        clock.now += 1
        reporter.end()

    assert shown.last == "4 trials in 2.0 s, 2 valid, 2 invalid"
    assert len(shown.at_end) == 1


def test_a_reporter_that_fails_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    broken = Reporter()
    broken.update = Mock(side_effect=ValueError("no display"))
    reporter = SafeReporter(broken)
    for _ in range(3):
        reporter.begin(1)
        reporter.update(reported(0.1))
        reporter.passed("a line")
        reporter.end()

    assert capsys.readouterr().err.count("ValueError: no display") == 1
    # Where nobody looks nothing is shown.
    assert type(progress.default()) is Reporter


@pytest.mark.parametrize("screen", [True, False])
def test_a_terminal_has_one_line_and_a_log_one_a_trial(screen: bool, monkeypatch: Any) -> None:
    out, record = io.StringIO(), make_record()
    out.isatty = lambda: screen
    monkeypatch.setattr("sys.stderr", out)
    monkeypatch.setenv("COLUMNS", "70")
    shown = terminal.reporter()
    shown.begin(2)
    for strategy in ("queue", "semaphore"):
        shown.started(step(strategy=strategy))
        shown.update(reported(1.0, done=500))
        shown.finished(record)
    shown.end()

    drawn = out.getvalue().split("\r\x1b[K")
    if screen:
        assert drawn[2].startswith("1/2 ████████░░░░░░░░ queue: 500 of 1,000 ok, 10 in")
        assert max(len(line) for line in drawn if "\n" not in line) == 69
        assert f"[2/2] {record.says}\n" in drawn
        assert drawn[-1] == ""
    else:
        first, second = out.getvalue().splitlines()
        assert first.startswith(f"[1/2] {record.says}; about ")
        assert second == f"[2/2] {record.says}"


def test_of_a_long_command_both_ends_are_shown() -> None:
    command = "python -m uvicorn app:app --port {port} --no-access-log --loop uvloop"
    says = make_record(axes={"target.command": command}).says
    assert says.startswith("python -m uvicorn app:ap…")
    assert "access-log --loop uvloop: 100,000 of" in says


# What is said of work that is interrupted


async def test_an_interrupt_is_a_sentence_and_still_cancels() -> None:
    reporter, reached = Mock(spec=Reporter), asyncio.Event()

    async def work() -> None:
        disturbed_and_again = [make_record(), make_record()]
        stored = partial(runner.stored_so_far, disturbed_and_again, 3, "20261120-study")
        with progress.reporting(reporter, 3, stored):
            reached.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(work())
    await reached.wait()
    caught = await cancel(task)

    stored = "1 of 3 trials was finished and stored; lab.load('20261120-study') gives them"
    sentence = f"interrupted: {stored}"
    assert reporter.mock_calls == [called.begin(3), called.interrupted(sentence), called.end()]
    assert str(caught) == sentence
    assert caught._render_traceback_() == [sentence]  # type: ignore[attr-defined]
    assert task.cancelled()


async def test_a_timeout_around_work_is_still_a_timeout() -> None:
    async def work() -> None:
        async with asyncio.timeout(0):
            with progress.reporting(Reporter(), 1, str):
                await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await work()


def test_of_one_trial_its_requests_are_reported() -> None:
    counts = Counts(planned=1_000, sent=40, not_sent=960, ok=30, failed={}, cancelled=10)

    one, none = [make_record(counts=counts)], "no trial was finished, so nothing is stored"

    started = "interrupted after 30 of 1,000 requests: the record is stored"
    assert runner.stored_so_far(one, 1, None).startswith(started)
    assert runner.stored_so_far([], 1, None) == f"interrupted: {none}"
