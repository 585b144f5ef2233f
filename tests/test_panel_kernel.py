"""`lab.panel()` in a real kernel, whose messages of widgets may come in threads of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kernels import Kernel, kernel

PANEL = """\
import threading
import labkit as lab
from labkit.lab import facade as inner

if "through" not in globals():
    through = inner.run

async def run(*args, **kwargs):
    threads.append(threading.current_thread().name)
    return await through(*args, **kwargs)

inner.run, threads = run, []
bench = lab.panel(lab.Trial(requests=20, limit=10))
"""


class Clicked:
    """A kernel with a panel, and what a front end sends to it."""

    def __init__(self, cells: Kernel) -> None:
        self.cells, self.client = cells, cells._client

    def asked(self, kind: str, **content: Any) -> dict[str, Any]:
        """What the kernel answers on its control channel."""
        self.client.control_channel.send(self.client.session.msg(kind, content))
        return dict(self.client.get_control_msg(timeout=30)["content"])

    def send(self, kind: str, content: dict[str, Any], subshell: str) -> None:
        """Send it to a subshell."""
        message = self.client.session.msg(kind, content)
        message["header"]["subshell_id"] = subshell
        self.client.shell_channel.send(message)

    def click(self, button: str, subshell: str) -> None:
        """Click, as a front end says it."""
        identity = self.cells.value(f"bench.{button}_button.model_id").strip("'")
        data = {"method": "custom", "content": {"event": "click"}}
        self.send("comm_msg", {"comm_id": identity, "data": data}, subshell)

    def execute(self, code: str, subshell: str) -> None:
        """Run code in the thread of a subshell."""
        content = {"code": code, "silent": True, "store_history": False}
        self.send("execute_request", content, subshell)

    def until(self, code: str) -> None:
        """Wait for it to be true, in cells of their own."""
        _until(lambda: self.cells.value(code) == "True", code)


def _until(true: Callable[[], bool], what: str) -> None:
    for _ in range(600):
        if true():
            return
        time.sleep(0.02)
    raise AssertionError(f"never true: {what}")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clicked]:
    with kernel() as cells:
        store: Path = tmp_path_factory.mktemp("store")
        cells.run(f"import os; os.environ['LABKIT_STORE'] = {str(store)!r}")
        yield Clicked(cells)


@pytest.fixture
def clicked(made: Clicked) -> Clicked:
    assert "error" not in made.cells.run(PANEL)
    return made


def test_clicks_that_come_in_a_subshell_run_in_the_main_thread(clicked: Clicked) -> None:
    subshell = clicked.asked("create_subshell_request")["subshell_id"]
    for done in (1, 2):
        clicked.click("run", subshell)
        clicked.until(f"len(bench.records) == {done} and not bench.is_running")
    clicked.execute("bench.run_button.click()", subshell)
    clicked.until("len(bench.records) == 3 and not bench.is_running")
    assert clicked.asked("delete_subshell_request", subshell_id=subshell)["status"] == "ok"
    assert clicked.cells.value("set(threads), len(threads)") == "({'MainThread'}, 3)"


def test_a_run_goes_on_when_its_subshell_ends_and_is_stopped_from_another(
    clicked: Clicked,
) -> None:
    clicked.cells.run("bench.form.fields['delay'].value = '60'")
    first = clicked.asked("create_subshell_request")["subshell_id"]
    clicked.execute("bench.run_button.click()", first)
    clicked.until("'estimating' in bench.live.value")
    clicked.asked("delete_subshell_request", subshell_id=first)
    assert clicked.cells.value("bench.is_running, bench.stop_button.disabled") == ("(True, False)")

    second = clicked.asked("create_subshell_request")["subshell_id"]
    clicked.click("stop", second)
    clicked.until("not bench.is_running")
    assert "interrupted" in clicked.cells.value("bench.live.value")
    assert clicked.cells.value("bench.run_button.disabled") == "False"
    clicked.asked("delete_subshell_request", subshell_id=second)


def test_awaited_in_a_subshell_it_runs_in_the_main_thread_too(clicked: Clicked) -> None:
    subshell = clicked.asked("create_subshell_request")["subshell_id"]
    clicked.execute("found = len((await bench.run()).records)", subshell)
    clicked.until("globals().get('found') == 1")
    assert clicked.cells.value("threads") == "['MainThread']"
    clicked.asked("delete_subshell_request", subshell_id=subshell)


OWN = """
async def own(fetch, items, limit):
    for item in list(items)[:{count}]:
        await fetch(item)
"""


def test_a_function_of_a_cell_that_was_run_again_is_what_runs(clicked: Clicked) -> None:
    clicked.cells.run(OWN.format(count=20))
    clicked.cells.run("bench = lab.panel(lab.Trial(requests=20, limit=10, strategy=own))")
    clicked.cells.run("await bench.run()")
    clicked.cells.run(OWN.format(count=7))
    clicked.cells.run("await bench.run()")
    counts = "[(record.axes['strategy'], record.counts.ok) for record in bench.study.records]"
    assert clicked.cells.value(counts) == "[('own', 20), ('own, version 2', 7)]"
