"""The panel, clicked through: bad input, a run, what changes while it runs, stop, table, code."""

import re

import pytest
from labs import GONE_WITHIN_S, Lab, made, until
from pages import Bench

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
PANEL = """\
import labkit as lab

bench = lab.panel(lab.Trial(requests=200, limit=20, delay="0.02"))
bench"""
AWAKE = 'print("the kernel", "answers")'
SAME = """\
def arms(of):
    return sorted(str(record.trial) for record in of.records)

print("the code repeats it" if arms(study) == arms(bench) else (arms(study), arms(bench)))"""
WATCH = """chart => {
    window.drawn = new Set();
    new MutationObserver(() => window.drawn.add(chart.innerHTML))
        .observe(chart, {childList: true, subtree: true});
}"""


def open_panel(bench: Bench, lab: Lab) -> None:
    lab.put("panel.ipynb", made(PANEL, AWAKE, "...", SAME))
    bench.open("panel.ipynb")
    bench.run(0)
    bench.page.locator(".labkit-run:enabled").wait_for()


def says(bench: Bench, pattern: str) -> None:
    """Wait until the line above the picture says so."""
    bench.page.locator(".labkit-live").get_by_text(re.compile(pattern)).wait_for()


def rows(bench: Bench) -> list[str]:
    """The arms in the table."""
    return bench.page.locator(".labkit-table tbody tr td:first-child").all_inner_texts()


def test_bad_input_is_said_at_its_field(bench: Bench, lab: Lab) -> None:
    open_panel(bench, lab)
    page = bench.page

    page.locator(".labkit-limit input").fill("0")
    page.locator(".labkit-error-limit").get_by_text(re.compile("^limit is .*0")).wait_for()
    page.locator(".labkit-run:disabled").wait_for()
    page.locator(".labkit-delay input").fill("soon")
    page.locator(".labkit-error-delay").get_by_text("soon").wait_for()
    bench.pictures("panel-wrong")

    page.locator(".labkit-limit input").fill("20")
    page.locator(".labkit-delay input").fill("0.02")
    page.locator(".labkit-run:enabled").wait_for()
    assert page.locator(".labkit-wrong:visible").count() == 0


def test_run_watch_stop_and_take_the_code_along(bench: Bench, lab: Lab) -> None:
    open_panel(bench, lab)
    page = bench.page
    page.locator(".labkit-strategy-semaphore input").check()

    assert rows(bench) == []
    page.locator(".labkit-run").click()
    says(bench, "2 trials in ")
    assert sorted(rows(bench)) == ["semaphore", "worker_pool"]
    page.locator(".labkit-arms").get_by_label("semaphore").uncheck()
    page.locator(".labkit-live figure").get_by_text("semaphore").wait_for(state="detached")
    says(bench, "2 trials in ")
    bench.pictures("panel-table")

    code = page.locator(".labkit-code pre").inner_text()
    page.locator(".labkit-copy").click()
    page.locator(".labkit-copy").get_by_text(re.compile("^(copied|selected)")).wait_for()
    bench.pictures("panel-code")
    bench.type(2, code)
    bench.ran(2)
    assert bench.ran(3).strip() == "the code repeats it"

    # An hour for each arm: none ends before it is stopped, however busy the machine is.
    page.locator(".labkit-requests input").fill("20000")
    page.locator(".labkit-delay input").fill("4")
    page.locator(".labkit-live").evaluate(WATCH)
    page.locator(".labkit-run").click()
    says(bench, r"\d in flight")
    # The kernel is free meanwhile.
    bench.run(1)
    bench.cell(1).get_by_text("the kernel answers").wait_for()
    page.wait_for_function("() => window.drawn.size >= 10")
    bench.pictures("panel-running")
    until(lab.measured, "no trial has begun")

    page.locator(".labkit-stop").click()
    until(lambda: not lab.measured(), "a process of the trial is still there", GONE_WITHIN_S)
    says(bench, "interrupted")
    page.locator(".labkit-run:enabled").wait_for()
    assert sorted(rows(bench)) == ["semaphore", "worker_pool"]
    assert bench.outputs("stderr") == []
