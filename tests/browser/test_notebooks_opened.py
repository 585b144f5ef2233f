"""What `labkit lab` opens: its index, notebooks run as a whole, an exercise, the stop button."""

import re

import pytest
from labs import GONE_WITHIN_S, NOTEBOOKS, Lab, Notebook, made, stored, until
from pages import BAD, Bench

# Some 20 s alone; the time is for a machine that has other things to do.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
START = "00_start_here.ipynb"


def test_the_index_is_rendered_and_its_links_open_notebooks(bench: Bench, lab: Lab) -> None:
    page = bench.page
    page.goto(f"{lab.url}?token={lab.token}")
    index = page.locator(".jp-MarkdownViewer")
    for path in sorted(NOTEBOOKS.glob("**/*.ipynb")):
        name = path.relative_to(NOTEBOOKS).as_posix()
        index.locator(f"a[href*='/files/{name}']").wait_for()
    # Nothing asks whether to fetch news, or says that something is newer.
    assert page.locator(".Toastify__toast").count() == 0
    bench.picture("index-light")

    index.locator("a[href*='/files/00_start_here.ipynb']").click()
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    bench.idle()
    bench.theme("dark")
    bench.picture("start")
    bench.theme("light")


# Run > Run All Cells: each verdict appears, and nothing but what the notebook means to show.


def checked(notebook: Notebook, kind: str) -> list[Notebook]:
    """Return the outputs of a kind of the cells whose output is compared, in their order."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    golden = [cell for cell in cells if "nbval-check-output" in cell.metadata.get("tags", [])]
    return [one for cell in golden for one in cell.outputs if one.output_type == kind]


@pytest.mark.parametrize("name", ["00_start_here", "30_profiling", "19_your_turn"])
def test_every_verdict_appears(name: str, bench: Bench, lab: Lab) -> None:
    expected = stored(f"{name}.ipynb")
    printed = [one.text.strip() for one in checked(expected, "stream")]
    results = [one.data["text/plain"] for one in checked(expected, "execute_result")]
    assert printed
    lab.put(f"{name}.ipynb", stored(f"{name}.ipynb"))
    bench.open(f"{name}.ipynb")
    assert bench.outputs("stdout") == []

    bench.run_all(seconds=200)
    bench.pictures(name)

    shown = [text.strip() for text in bench.outputs("stdout")]
    assert [text for text in shown if text.startswith("PASS ")] == printed
    ticked = [text.split() for text in bench.marked()]
    solved = [text.removeprefix("PASS ").split(":")[0] for text in results]
    assert [words[1] for words in ticked if words[0] == "✔"] == solved
    assert bench.outputs("stderr") == []


# An exercise: unsolved as it comes, answered wrongly by typing, then rightly.

# Where the exercises of that notebook are among its code cells, after the one that imports.
FLOOR, OWN = 1, 3


def solution(check: str) -> str:
    """Return how the notebook itself solves the exercise."""
    cells = [one for one in stored(START).cells if "solution" in one.metadata.get("tags", [])]
    (found,) = [str(one.source) for one in cells if check in one.source]
    return found


def test_an_exercise_is_solved_by_typing(bench: Bench, lab: Lab) -> None:
    lab.put(f"exercises/{START}", stored(f"exercises/{START}"))
    bench.open(f"exercises/{START}")
    bench.run_all()
    for place, name in enumerate(("ex-00-1", "ex-00-2", "ex-00-3"), start=FLOOR):
        assert bench.shown(place).startswith(f"✘ {name} ")
    assert "Not answered yet" in bench.shown(FLOOR)

    bench.type(FLOOR, 'answer = 6\nlab.check("ex-00-1", answer)')
    sentence = bench.ran(FLOOR)
    assert sentence.startswith("✘ ex-00-1 ")
    assert "Not answered" not in sentence

    bench.type(FLOOR, solution("ex-00-1"))
    assert bench.ran(FLOOR).startswith("✔ ex-00-1 ")
    bench.type(OWN, solution("ex-00-3"))
    assert bench.ran(OWN).startswith("✔ ex-00-3 ")
    assert bench.outputs("stderr") == []
    bench.pictures("exercise")


# The stop button, while a comparison runs: what was finished is stored.

STUDY = """\
import labkit as lab

trial = lab.Trial(requests=100, limit=10, delay="0.03")
study = await lab.compare(trial, strategy=["worker_pool", "semaphore"], repeats=200)"""
KEPT = "len(lab.load().records)"


def test_what_was_finished_is_kept_and_nothing_runs_on(bench: Bench, lab: Lab) -> None:
    lab.put("stop.ipynb", made(STUDY, KEPT))
    bench.open("stop.ipynb")
    bench.run(0)
    bench.cell(0).get_by_text(re.compile(r"\b3 of 400\b")).first.wait_for()
    bench.pictures("running")
    until(lab.measured, "no trial has begun")

    bench.page.locator(
        ".jp-NotebookPanel-toolbar [data-command='notebook:interrupt-kernel']"
    ).click()
    bench.idle()
    until(lambda: not lab.measured(), "a process of the trial is still there", GONE_WITHIN_S)

    (sentence,) = bench.outputs("stderr")
    found = re.search(r"interrupted: (\d+) of 400 trials were finished and stored", sentence)
    assert found, sentence
    assert "Traceback" not in sentence
    # The trial that was interrupted is stored too, as what it is.
    assert int(bench.ran(1)) - int(found[1]) in (0, 1)
    bench.pictures("stopped")


# What every other test here rests on: that a page in which something goes wrong is noticed.


def test_errors_and_requests_to_elsewhere_are_noticed(bench: Bench) -> None:
    page = bench.page
    page.evaluate("console.error('logged')")
    page.evaluate("setTimeout(() => { throw new Error('thrown'); })")
    refused = page.evaluate("fetch('http://elsewhere.invalid/').catch(error => `${error}`)")

    def noticed() -> bool:
        page.evaluate("1")  # events arrive during a call
        return all(word in str(bench.wrong) for word in ("logged", "thrown", "elsewhere.invalid"))

    until(noticed, "not all of it was noticed")
    assert "Failed to fetch" in refused
    bench.wrong.clear()


def test_errors_in_the_log_are_noticed() -> None:
    info, warning = "[I 2026-11-21 17:11:51.032 ServerApp] Adapting", "[W 1 ServerApp] not trusted"
    assert not BAD.search(f"{info}\n{warning}\n")
    for line in (
        "[E 1 ServerApp] Uncaught exception GET /lab",
        "Traceback (most recent call last):",
    ):
        assert BAD.search(f"{info}\n{line}\n{warning}")
