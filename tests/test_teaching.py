"""The plans for teachers add up, and name notebooks, sections and verdicts that are there."""

import json
import re
from typing import Any

import pytest

from labkit import paths
from labkit.cli import app

NOTEBOOKS = paths.notebooks()
TEXT = (NOTEBOOKS / "TEACHING.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (\d+):(\d\d) \| (\d+) \| (.+?) \| (.*?) ?\|$", re.MULTILINE)
LINK = re.compile(r"\[(\d\d_\w+)\]\((\w+)\.ipynb\)")
ASPECTS = ("Goal", "Run", "Expect", "What goes wrong", "Ask", "Weak laptop")


def section(title: str, level: int = 2) -> str:
    """Return the text below a heading, up to the next of its level or above."""
    hashes = "#" * level
    found = re.search(rf"^{hashes} {title}.*?\n(.*?)(?=^#{{1,{level}}} |\Z)", TEXT, re.S | re.M)
    assert found is not None, title
    return found[1]


def plan(title: str) -> list[tuple[int, int, str, str]]:
    """Return the rows of a plan: its first minute, minutes, part and notebook."""
    rows = ROW.findall(section(title))
    return [(60 * int(h) + int(m), int(takes), part, at) for h, m, takes, part, at in rows]


def notebook(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
    return read


def headings(name: str) -> set[str]:
    sources = ("".join(cell["source"]) for cell in notebook(name)["cells"])
    return {title for source in sources for title in re.findall(r"^## (.+)$", source, re.M)}


def verdicts(name: str) -> set[str]:
    return {
        "".join(output.get("text", "")).strip()
        for cell in notebook(name)["cells"]
        for output in cell.get("outputs", [])
    }


def parts() -> dict[str, str]:
    """Return the text of each part by its name."""
    titles = re.findall(r"^### (.+)$", section("The parts"), re.MULTILINE)
    return {title: section(re.escape(title), 3) for title in titles}


def taught() -> list[tuple[str, str]]:
    """Return each part of a plan that has a notebook, and that notebook."""
    rows = plan("Half a day") + plan("A full day")
    pairs = {
        (re.findall(r"\[(.+?)\]", part)[0], LINK.findall(at)[0][0])
        for _, _, part, at in rows
        if LINK.search(at) and "](" in part
    }
    return sorted(pairs)


@pytest.mark.parametrize("title", ["Half a day", "A full day"])
def test_plan_adds_up_has_breaks_and_its_parts_are_described(title: str) -> None:
    declared = re.findall(rf"^## {title}: (\d+) minutes$", TEXT, re.MULTILINE)
    rows = plan(title)

    assert len(rows) >= 8
    at = since_break = 0
    for begins, takes, part, _ in rows:
        assert begins == at, part
        at += takes
        since_break = 0 if part.startswith(("Break", "Lunch")) else since_break + takes
        assert since_break <= 120, part
        for name, anchor in re.findall(r"\[(.+?)\]\(#(.+?)\)", part):
            assert anchor == name.lower().replace(" ", "-")
            assert name in parts()
    assert [str(at)] == declared


def test_each_part_says_all_that_a_teacher_asks() -> None:
    assert len(parts()) >= 11
    for name, text in parts().items():
        told = re.findall(r"^\*\*(.+?)\.\*\*", text, re.MULTILINE)
        assert [one.replace("What learners get wrong, and why", ASPECTS[3]) for one in told] == [
            *ASPECTS
        ], name


def test_all_notebooks_are_in_a_plan_or_can_be_taken_instead_and_no_others() -> None:
    named = set(LINK.findall(TEXT))

    assert all(shown == target for shown, target in named)
    assert {target for _, target in named} == {path.stem for path in NOTEBOOKS.glob("*.ipynb")}


@pytest.mark.parametrize(("part", "name"), taught())
def test_sections_and_verdicts_are_those_of_the_notebook(part: str, name: str) -> None:
    text = " ".join(parts()[part].split())
    named = set(re.findall(r"§ \*(.+?)\*", text))
    quoted = set(re.findall(r"`(PASS .+?)`", text))

    assert named <= headings(name)
    assert quoted <= verdicts(name)
    assert named


def test_the_other_notebooks_have_the_sections_that_are_named() -> None:
    rows = [line for line in section("If you take another").splitlines() if LINK.search(line)]

    assert len(rows) >= 9
    for row in rows:
        name = LINK.findall(row)[0][0]
        assert set(re.findall(r"§ \*(.+?)\*", row)) <= headings(name)


def test_the_commands_that_are_named_exist() -> None:
    named = set(re.findall(r"labkit ([a-z]+)", " ".join(re.findall(r"`(labkit .+?)`", TEXT))))

    assert {"lab", "doctor"} <= named <= {*app.commands}


def test_each_question_of_a_quiz_has_an_answer_that_is_folded() -> None:
    quizzes = re.split(r"^\*\*(\d\d)\.\*\*", section("A quiz for each notebook"), flags=re.M)[1:]
    numbers = [path.name[:2] for path in NOTEBOOKS.glob("*.ipynb")]

    assert sorted(numbers) == quizzes[::2]
    for number, quiz in zip(quizzes[::2], quizzes[1::2], strict=True):
        asked, _, folded = quiz.partition("<details><summary>Answer")
        questions, answers = (re.findall(r"^\d\. ", part, re.M) for part in (asked, folded))
        assert len(questions) == len(answers) == (3 if number >= "10" else 0), number
        assert folded.rstrip().endswith("</details>")
