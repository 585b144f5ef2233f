"""Run > Run All Cells: each verdict appears, and nothing but what the notebook means to show."""

from __future__ import annotations

import pytest
from labs import Lab, Notebook, stored
from pages import Bench

# Some 20 s alone; the time is for a machine that has other things to do.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def checked(notebook: Notebook) -> list[Notebook]:
    """What the cells whose output is compared show, in their order."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    golden = [cell for cell in cells if "nbval-check-output" in cell.metadata.get("tags", [])]
    return [output for cell in golden for output in cell.outputs]


def printed(notebook: Notebook) -> list[str]:
    return [one.text.strip() for one in checked(notebook) if one.output_type == "stream"]


def solved(notebook: Notebook) -> list[str]:
    """The names of the exercises whose solutions the notebook checks."""
    results = [one for one in checked(notebook) if one.output_type == "execute_result"]
    return [one.data["text/plain"].removeprefix("PASS ").split(":")[0] for one in results]


@pytest.mark.parametrize("name", ["00_start_here", "10_profiling", "13_your_turn"])
def test_every_verdict_appears(name: str, bench: Bench, lab: Lab) -> None:
    expected = stored(f"{name}.ipynb")
    assert printed(expected)
    lab.put(f"{name}.ipynb", stored(f"{name}.ipynb"))
    bench.open(f"{name}.ipynb")
    assert bench.outputs("stdout") == []

    bench.run_all(seconds=200)
    bench.pictures(name)

    shown = [text.strip() for text in bench.outputs("stdout")]
    assert [text for text in shown if text.startswith("PASS ")] == printed(expected)
    ticked = [text.split() for text in bench.marked()]
    assert [words[1] for words in ticked if words[0] == "✔"] == solved(expected)
    assert bench.outputs("stderr") == []
