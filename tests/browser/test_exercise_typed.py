"""An exercise: unsolved as it comes, answered wrongly by typing, then rightly."""

from __future__ import annotations

import pytest
from labs import Lab, stored
from pages import Bench

pytestmark = pytest.mark.browser
NAME = "00_start_here.ipynb"
FLOOR, OWN = 1, 3
"""Where the exercises of that notebook are among its code cells, after the one that imports."""


def solution(check: str) -> str:
    """How the notebook itself solves it."""
    (found,) = [
        cell.source
        for cell in stored(NAME).cells
        if "solution" in cell.metadata.get("tags", []) and check in cell.source
    ]
    return str(found)


def test_an_exercise_is_solved_by_typing(bench: Bench, lab: Lab) -> None:
    lab.put(f"exercises/{NAME}", stored(f"exercises/{NAME}"))
    bench.open(f"exercises/{NAME}")
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
