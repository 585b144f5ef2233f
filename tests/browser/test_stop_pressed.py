"""The stop button of the notebook, while a comparison runs: what was finished is stored."""

from __future__ import annotations

import re

import nbformat
import pytest
from labs import Lab, stored, until
from pages import Bench

pytestmark = pytest.mark.browser
GONE_WITHIN_S = 10.0
STUDY = """\
import labkit as lab

trial = lab.Trial(requests=100, limit=10, delay="0.03")
study = await lab.compare(trial, strategy=["worker_pool", "semaphore"], repeats=200)"""
KEPT = "len(lab.load().records)"


def test_what_was_finished_is_kept_and_nothing_runs_on(bench: Bench, lab: Lab) -> None:
    cells = [nbformat.v4.new_code_cell(source) for source in (STUDY, KEPT)]
    metadata = stored("00_start_here.ipynb").metadata
    lab.put("stop.ipynb", nbformat.v4.new_notebook(cells=cells, metadata=metadata))
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
