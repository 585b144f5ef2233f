"""Exercises: solved they pass, unsolved they fail, and no message gives the answer away.

Learners' functions run in virtual time; a real second passes only where a function hangs.
"""

import ast
import asyncio
import gc
import inspect
import json
import re
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from decimal import Decimal
from fractions import Fraction
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import make_exercises as making
import nbformat
import numpy as np
import pytest
from factories import make_record
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import checks
from nbstripout import strip_output

import labkit as lab
import wrong_answers
from answers import grading, sandbox, schedules
from answers.register import Wrong
from labkit.notebook.exercises import register

NAMES = register().names()
RUN = lab.Run(make_record(settings={"requests": 300, "limit": 7}, server=None))
WRONG = [
    *wrong_answers.every(),
    *(
        (exercise, make_record(settings=settings, **changes), says)
        for exercise, settings, changes, says in checks("exercises.toml", "wrong_runs")
    ),
    ("ex-02-3", RUN, "does not count connections"),
]
NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
SOURCES = [
    path
    for path in sorted(NOTEBOOKS.glob("*.ipynb"))
    if making.solutions(making.loaded(path.read_text(encoding="utf-8")))
]
MADE = sorted((NOTEBOOKS / "exercises").glob("*.ipynb"))
LEDGER = next(path for path in SOURCES if path.name.endswith("_the_ledger.ipynb"))
FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

for_each_notebook = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
for_each_made = pytest.mark.parametrize("path", MADE, ids=lambda path: path.stem)


def cells(path: Path) -> list[Any]:
    return list(nbformat.read(path, as_version=4).cells)


def is_solution(cell: Any) -> bool:
    return making.TAG in cell.metadata.get("tags", [])


def solutions(path: Path) -> list[str]:
    return [cell.source for cell in cells(path) if is_solution(cell)]


def setup(path: Path) -> str:
    return next(str(cell.source) for cell in cells(path) if cell.id == making.SETUP)


def run_cells(*sources: str) -> list[Any]:
    """Return the last value of each cell, run one after another as a kernel does."""
    names: dict[str, Any] = {"__name__": "__main__"}

    async def value(source: str) -> Any:
        tree = compile(source, "a cell", "exec", FLAGS | ast.PyCF_ONLY_AST)
        last = tree.body.pop()
        assert isinstance(last, ast.Expr)
        expression = compile(ast.Expression(last.value), "a cell", "eval", FLAGS)
        for code in (compile(tree, "a cell", "exec", FLAGS), expression):
            found = eval(code, names)  # noqa: S307  # the notebooks are our own
            found = await found if inspect.iscoroutine(found) else found
        return found

    with asyncio.Runner() as runner, redirect_stdout(StringIO()):
        return [runner.run(value(source)) for source in sources]


# The notebooks


@for_each_notebook
def test_notebook_has_two_to_four_exercises_with_two_hints_each(path: Path) -> None:
    """Of a folded cell JupyterLab shows the first line: `# Solution`, or what is given."""
    solved = solutions(path)
    ids = [making.checked_in(source)[0] for source in solved]
    (number,) = re.findall(r"\*\*Exercises:\*\* (\w+), about \d+ minutes", cells(path)[0].source)

    assert ids == [f"ex-{path.name[:2]}-{n}" for n in range(1, len(ids) + 1)]
    assert number == {2: "two", 3: "three", 4: "four"}[len(ids)]
    for source in solved:
        before, mark, _ = source.rpartition(f"{making.MARK}\n")
        assert mark, source
        assert not before or before.endswith("\n")
    for task, solution in pairwise(cells(path)):
        if is_solution(solution):
            number = making.checked_in(solution.source)[0][-1]
            assert task.source.startswith(f"### Exercise {number}: ")
            assert re.findall(r"<summary>(.+?)</summary>", task.source) == ["Hint 1", "Hint 2"]
            assert task.source.count("</details>") == 2


def test_each_check_belongs_to_one_solution() -> None:
    solved = [making.checked_in(source)[0] for path in SOURCES for source in solutions(path)]

    assert solved == NAMES


def stored(path: Path) -> dict[str, dict[str, str]]:
    """Return what is stored below each solution, by its exercise."""
    return {
        making.checked_in(cell.source)[0]: output.data
        for cell in cells(path)
        if is_solution(cell)
        for output in cell.outputs
    }


@for_each_notebook
def test_solutions_pass_with_nothing_but_what_the_exercises_import(path: Path) -> None:
    pure = [source for source in solutions(path) if "await lab." not in source]

    for checked in run_cells(setup(path), *pure)[1:]:
        assert checked, checked
        assert stored(path).get(checked.exercise) in (None, checked._repr_mimebundle_())


MEASURED = [
    pytest.param(path, source, id=making.checked_in(source)[0])
    for path in SOURCES
    for source in solutions(path)
    if "await lab." in source
]


@pytest.mark.slow
@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(("path", "source"), MEASURED)
def test_solutions_that_measure_pass_too(path: Path, source: str) -> None:
    _, checked = run_cells(setup(path), source)

    assert checked, checked
    assert stored(path).get(checked.exercise) in (None, checked._repr_mimebundle_())


@pytest.mark.parametrize("answer", ["text", "HEAD + text"])
def test_a_claim_may_come_with_its_head_or_without(answer: str) -> None:
    source = solutions(LEDGER)[-1]

    checked = run_cells(setup(LEDGER), source.replace(", text)", f", {answer})"))[-1]

    assert checked, checked


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_the_claim_of_an_answer_is_run_as_the_check_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = solutions(LEDGER)[-1]
    (command,) = re.findall("`(await .+?)`", run_cells(setup(LEDGER), source)[-1].says)
    written = "with open('mine.toml', 'w') as file:\n    file.write(HEAD + text)\n"

    claims = run_cells(setup(LEDGER), source, written + command)[-1]

    assert [one.verdict for one in claims.verdicts] == ["holds"]


# What is made of them


def test_exercises_are_those_that_the_notebooks_make() -> None:
    """`make exercises` makes them again."""
    assert {path.name: path.read_text(encoding="utf-8") for path in MADE} == making.generated(
        NOTEBOOKS
    )


@for_each_made
def test_notebook_of_exercises_is_stripped_and_has_no_solution(path: Path) -> None:
    notebook, text = nbformat.read(path, as_version=4), path.read_text(encoding="utf-8")

    nbformat.validate(notebook)
    again = nbformat.read(path, as_version=4)
    assert strip_output(again, keep_output=False, keep_count=True, keep_id=True) == notebook
    assert nbformat.writes(notebook) + "\n" == text
    links = re.findall(r"\]\(([^)]+)\)", "\n".join(cell.source for cell in notebook.cells))
    assert links
    assert all((path.parent / link).is_file() for link in links)
    assert making.MARK not in text
    assert text.count(making.DOTS) >= len(solutions(NOTEBOOKS / path.name))


@for_each_made
def test_each_unsolved_exercise_fails_its_own_check(path: Path) -> None:
    code = [cell.source for cell in cells(path) if cell.cell_type == "code"]

    found = run_cells(*code)[1:]

    assert [one.exercise for one in found] == [making.checked_in(one)[0] for one in code[1:]]
    assert not any(found)
    assert all(re.search(r"Not answered yet|still to be written", one.says) for one in found)


@pytest.mark.parametrize(("solution", "stub"), checks("exercises.toml", "stubs"))
def test_a_stub_keeps_what_is_given_and_nothing_of_the_solution(solution: str, stub: str) -> None:
    assert making.stub(solution) == stub


@pytest.mark.parametrize(("solution", "says"), checks("exercises.toml", "refused"))
def test_a_solution_that_makes_no_exercise_is_refused(solution: str, says: str) -> None:
    with pytest.raises(lab.BadInput, match=says):
        making.stub(solution)


# What is said


@pytest.mark.parametrize(
    ("exercise", "answer", "says"),
    [
        pytest.param(*wrong, id=f"{number} {wrong[0]} {wrong[2]}")
        for number, wrong in enumerate(WRONG)
    ],
)
def test_a_wrong_answer_is_told_what_is_wrong(exercise: str, answer: Any, says: str) -> None:
    checked = lab.check(exercise, answer)

    assert not checked
    assert says.casefold() in checked.says.casefold()
    assert re.fullmatch(r"[A-Z\d`].*[.?!]", checked.says)


def test_each_exercise_is_tried_with_wrong_answers() -> None:
    assert {exercise for exercise, _, _ in WRONG} == {*NAMES}


@for_each_notebook
def test_what_is_said_of_a_wrong_answer_does_not_hold_the_right_one(path: Path) -> None:
    numbers = {name: it for name, it in right_answers(path) if isinstance(it, int | float)}
    others = [None, True, 1e9, 1e3, 1e-3, -1, 0, 1, 2, 50, 99.5, "", "1", [], {}, ...]
    for exercise, right in numbers.items():
        wrong = [answer for name, answer, _ in WRONG if name == exercise]
        near = [factor * right for factor in (0.5, 0.97, 1.03, 2, 10, 100, 1_000, -1)]
        for answer in (*wrong, *others, *near):
            checked = lab.check(exercise, answer)
            said = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", checked.says)]
            assert checked or str(answer) in checked.says or right not in said, checked


def right_answers(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the answers of those exercises whose answer is a value."""
    for source in solutions(path):
        exercise, names = making.checked_in(source)
        if names == ["answer"] and "await lab." not in source:
            yield exercise, run_cells(setup(path), f"{source}\nanswer")[-1]


class Hostile:
    """Raises whatever it is asked."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return object.__getattribute__(self, name)
        raise RuntimeError(name)

    def _raise(self, *_: Any) -> Any:
        raise RuntimeError

    __eq__ = __hash__ = __len__ = __iter__ = __repr__ = __float__ = __call__ = _raise


async def awaits_wrongly(*_: Any) -> Any:
    raise SystemExit


OBJECTS = [Hostile, awaits_wrongly, len, lab, lab.Trial(), np.float64("nan"), np.arange(3)]
OBJECTS += [10**400, ..., range(3), object(), ["a", ["b"]]]
ANSWERS = st.one_of(
    *map(st.from_type, (type(None), bool, int, float, complex, Decimal, Fraction, str, bytes)),
    st.lists(st.one_of(st.floats(), st.text(), st.none())),
    st.dictionaries(st.text(), st.floats()),
    st.frozensets(st.text()),
    st.sampled_from(OBJECTS),
)


@settings(max_examples=300, deadline=None)
@given(exercise=st.sampled_from(NAMES), answer=ANSWERS)
def test_no_answer_makes_a_check_raise(exercise: str, answer: Any) -> None:
    checked = lab.check(exercise, answer)

    assert isinstance(checked, lab.Checked)
    assert "\n" not in repr(checked)


def test_no_coroutine_is_left_unawaited_and_an_answer_that_raises_is_only_wrong() -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for exercise in NAMES:
            assert not lab.check(exercise, awaits_wrongly), exercise
            assert not lab.check(exercise, Hostile()), exercise
        gc.collect()  # once: it takes longer than all the answers

    assert not [one for one in warned if "never awaited" in str(one.message)]


async def test_a_call_that_was_not_awaited_is_told_so() -> None:
    checked = lab.check("ex-00-1", lab.run(lab.Trial()))

    assert checked.says == "This is a coroutine that has not run: put `await` before the call."


@pytest.mark.parametrize(
    ("name", "says"),
    [("ex-00-11", "did you mean 'ex-00-1'?"), ("nothing", "one of ex-00-1"), (3, "one of ex-00-1")],
)
def test_an_unknown_exercise_is_refused_with_the_nearest(name: Any, says: str) -> None:
    with pytest.raises(lab.BadInput, match=re.escape(says)):
        lab.check(name, 1)


def test_a_verdict_shows_itself_as_text_and_escaped_html() -> None:
    checked = lab.Checked(exercise="ex-00-1", right=False, says="no <b>")
    shown = checked._repr_mimebundle_()

    assert shown["text/plain"] == repr(checked) == "FAIL ex-00-1: no <b>"
    assert "no &lt;b&gt;" in shown["text/html"]
    assert repr(lab.Checked(exercise="ex-00-1", right=True, says="Yes.")) == "PASS ex-00-1: Yes."


# Reading answers


@pytest.mark.parametrize("given", [7, 7.0, Decimal(7), Fraction(7), np.int64(7), np.float32(7)])
def test_a_number_may_be_of_any_type_that_is_one(given: Any) -> None:
    assert grading.number(given, "seconds") == 7
    assert grading.whole(given, "requests") == 7


@pytest.mark.parametrize(("value", "says"), checks("exercises.toml", "off"))
def test_a_number_that_is_off_is_told_how(value: float, says: str) -> None:
    with pytest.raises(Wrong, match=says):
        grading.near(value, 2, unit="seconds")


# Running a learner's function


def wrong_of(function: Any) -> str:
    with pytest.raises(Wrong) as wrong:
        sandbox.call(function)
    return str(wrong.value)


async def fails() -> None:
    await asyncio.sleep(0)
    {}["nothing"]


async def waits_for_ever() -> None:
    await asyncio.Event().wait()


async def waits_for_ever_beside_a_thread() -> None:
    await asyncio.to_thread(sum, [])
    await asyncio.Event().wait()


async def never_gives_up() -> None:
    while True:  # noqa: ASYNC110  # the fault that is to be seen
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (fails, "The function raised KeyError in its line 3: 'nothing'."),
        (waits_for_ever, "waits for something that never happens"),
        (waits_for_ever_beside_a_thread, "waits for something that never happens"),
        (never_gives_up, "never came to an end"),
    ],
)
def test_a_faulty_function_is_told_its_fault(function: Any, says: str) -> None:
    assert says in wrong_of(function)


async def test_the_clock_leaps_to_the_next_timer_and_stands_still_while_a_thread_works() -> None:
    async def waits() -> float:
        await asyncio.sleep(3_600)
        return asyncio.get_running_loop().time()

    async def mine() -> tuple[Any, float]:
        slow = asyncio.wait_for(asyncio.to_thread(time.sleep, 0.02), timeout=5)
        found = await asyncio.gather(asyncio.to_thread(sum, [1, 2]), slow)
        return found, asyncio.get_running_loop().time()

    assert sandbox.call(lambda: 42) == 42
    assert sandbox.call(waits) == 3_600
    assert sandbox.call(mine) == ([3, None], 0)


def test_a_file_may_be_written_to_in_a_thread() -> None:
    async def pass_on(chunks: Any, file: Any) -> int:
        total = 0
        async for chunk in chunks:
            total += await asyncio.to_thread(file.write, chunk)
        return total

    checked = lab.check("ex-15-1", pass_on)

    assert checked, checked


def test_a_lock_where_none_is_needed_is_no_fault() -> None:
    def shared(load: Any) -> Any:
        lock, pending = asyncio.Lock(), {}

        async def get(key: str) -> Any:
            async with lock:
                if key not in pending:
                    pending[key] = asyncio.ensure_future(load(key))
                    pending[key].add_done_callback(lambda _: pending.pop(key))
                task = pending[key]
            return await asyncio.shield(task)

        return get

    assert lab.check("ex-18-1", shared)


def test_what_never_ends_is_stopped_and_a_thread_that_does_not_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sandbox, "DEADLINE_S", 0.05)
    alive, let_go = [], threading.Event()

    async def spinning() -> None:
        while True:
            try:
                alive.append(time.monotonic())
            except ValueError:
                continue

    async def spins() -> None:
        await asyncio.gather(spinning(), spinning())

    async def waits_for_a_thread() -> None:
        await asyncio.to_thread(let_go.wait, 10)

    assert "never came to an end" in wrong_of(spins)
    assert alive
    alive.clear()
    assert not [thread for thread in threading.enumerate() if thread.name == "an answer"]
    assert not alive
    try:
        assert "never came to an end" in wrong_of(waits_for_a_thread)
    finally:
        let_go.set()


def test_a_function_that_refuses_to_be_cancelled_does_not_hold_the_check() -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    async def mine() -> str:
        task = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        return f"left {task.done()}"

    assert sandbox.call(mine) == "left False"


def test_a_schedule_takes_what_its_delays_say() -> None:
    async def mine(fetch: Any, items: Any, limit: int) -> None:
        for item in items:
            await fetch(item)

    done = schedules.run(mine, limit=1, delays=[1.0, 2.0, 0.5])

    assert (done.wall_s, done.max_in_flight, done.polled_turns) == (3.5, 1, 0)
    assert done.started == [0, 1, 2]


def test_a_schedule_that_polls_is_noticed_and_ends() -> None:
    async def mine(fetch: Any, items: Any, limit: int) -> None:
        tasks = [asyncio.ensure_future(fetch(item)) for item in items]
        while not all(task.done() for task in tasks):  # noqa: ASYNC110  # likewise
            await asyncio.sleep(0)

    done = schedules.run(mine, limit=9, items=3)

    assert done.polled_turns > 50
    assert done.wall_s == pytest.approx(1, rel=0.05)


def test_a_schedule_that_goes_round_in_circles_is_told_so() -> None:
    async def mine(fetch: Any, items: Any, limit: int) -> None:
        while True:
            await fetch(0)

    with pytest.raises(Wrong, match="once is enough"):
        schedules.run(mine, limit=1, items=3)


def test_an_exercise_is_written_once(tmp_path: Path) -> None:
    source = SOURCES[0]
    (tmp_path / source.name).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "exercises").mkdir()
    (tmp_path / "exercises" / "gone.ipynb").write_text("{}")

    for said in (["removed gone.ipynb", f"wrote {source.name}"], []):
        with redirect_stdout(StringIO()) as out:
            making.main(tmp_path)
        assert out.getvalue().splitlines() == said
    assert [path.name for path in (tmp_path / "exercises").iterdir()] == [source.name]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda cells: cells.pop(2), "no cell with the id 'sizes'"),
        (lambda cells: cells[0].update(source=["no title"]), "title"),
    ],
)
def test_a_notebook_that_exercises_cannot_be_made_of_is_refused(spoil: Any, says: str) -> None:
    notebook = making.loaded(SOURCES[0].read_text(encoding="utf-8"))
    spoil(notebook["cells"])

    with pytest.raises(lab.BadInput, match=says):
        making.exercises_of(json.dumps(notebook), "00_start_here")
