"""Run > Run All Cells: each verdict appears, and nothing but what the notebook means to show."""

from __future__ import annotations

import pytest
from labs import Lab, Notebook, stored
from pages import Bench

# Some 20 s alone; the time is for a machine that has other things to do.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def verdicts(notebook: Notebook) -> list[str]:
    """What the cells that are compared print, in their order."""
    cells = [
        cell for cell in notebook.cells if "nbval-check-output" in cell.metadata.get("tags", [])
    ]
    return [output.text.strip() for cell in cells for output in cell.outputs]


@pytest.mark.parametrize("name", ["00_start_here", "10_profiling"])
def test_every_verdict_appears(name: str, bench: Bench, lab: Lab) -> None:
    expected = verdicts(stored(f"{name}.ipynb"))
    lab.put(f"{name}.ipynb", stored(f"{name}.ipynb"))
    bench.open(f"{name}.ipynb")
    assert bench.outputs("stdout") == []

    bench.run_all(seconds=200)
    bench.pictures(name)

    shown = [text.strip() for text in bench.outputs("stdout")]
    assert [text for text in shown if text.startswith("PASS ")] == expected
    assert bench.outputs("stderr") == []
