"""`lab.panel()` in a real kernel, whose messages of widgets may come in threads of their own."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kernels import Kernel, kernel
from machines import checks

PANEL = checks("panel.toml", "cell")
CLICK = {"method": "custom", "content": {"event": "click"}}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with kernel(LABKIT_STORE=str(tmp_path_factory.mktemp("store"))) as found:
        yield found


@pytest.fixture
def cells(started: Kernel) -> Kernel:
    assert "error" not in started.run(PANEL)
    return started


def asked(cells: Kernel, kind: str, **content: Any) -> dict[str, Any]:
    """Return what the kernel answers on its control channel."""
    client = cells.client
    client.control_channel.send(client.session.msg(kind, content))
    answer = dict(client.get_control_msg(timeout=30)["content"])
    assert answer["status"] == "ok"
    return answer


@contextlib.contextmanager
def subshell(cells: Kernel) -> Iterator[str]:
    """Start a thread of the kernel that takes messages, gone at the end."""
    name = asked(cells, "create_subshell_request")["subshell_id"]
    yield name
    asked(cells, "delete_subshell_request", subshell_id=name)


def send(cells: Kernel, name: str, kind: str, **content: Any) -> None:
    """Send a message to a subshell."""
    message = cells.client.session.msg(kind, content)
    message["header"]["subshell_id"] = name
    cells.client.shell_channel.send(message)


def click(cells: Kernel, name: str, button: str) -> None:
    """Click a button as a front end does, by a message to a subshell."""
    identity = cells.value(f"bench.{button}_button.model_id").strip("'")
    send(cells, name, "comm_msg", comm_id=identity, data=CLICK)


def execute(cells: Kernel, name: str, code: str) -> None:
    """Run code in the thread of a subshell."""
    send(cells, name, "execute_request", code=code, silent=True, store_history=False)


def until(cells: Kernel, code: str) -> None:
    """Wait for code to be true, in cells of their own."""
    for _ in range(600):
        if cells.value(code) == "True":
            return
        time.sleep(0.02)
    raise AssertionError(f"never true: {code}")


def test_clicks_that_come_in_a_subshell_run_in_the_main_thread(cells: Kernel) -> None:
    with subshell(cells) as name:
        click(cells, name, "run")
        until(cells, "len(bench.records) == 1 and not bench.is_running")
        execute(cells, name, "bench.run_button.click()")
        until(cells, "len(bench.records) == 2 and not bench.is_running")
        execute(cells, name, "found = len((await bench.run()).records)")
        until(cells, "globals().get('found') == 3")
    assert cells.value("set(threads), len(threads)") == "({'MainThread'}, 3)"


def test_a_run_goes_on_when_its_subshell_ends_and_is_stopped_from_another(cells: Kernel) -> None:
    cells.run("bench.form.fields['delay'].value = '60'")
    with subshell(cells) as first:
        execute(cells, first, "bench.run_button.click()")
        until(cells, "'estimating' in bench.live.value")
    assert cells.value("bench.is_running, bench.stop_button.disabled") == "(True, False)"
    with subshell(cells) as second:
        click(cells, second, "stop")
        until(cells, "not bench.is_running")
    assert "interrupted" in cells.value("bench.live.value")
    assert cells.value("bench.run_button.disabled") == "False"


OWN = checks("panel.toml", "own")


def test_a_function_of_a_cell_that_was_run_again_is_what_runs(cells: Kernel) -> None:
    whole = OWN.format(count=20)
    cells.run(whole)
    cells.run("bench = lab.panel(lab.Trial(requests=20, limit=10, strategy=own))")
    for cell in (whole, f"\n\n{whole}", OWN.format(count=7), whole):
        cells.run(cell)
        cells.run("await bench.run()")
    counts = "[(record.axes['strategy'], record.counts.ok) for record in bench.study.records]"
    same, later = [("own", 20)], [("own, version 2", 7)]
    assert cells.value(counts) == str([*same, *same, *later, *same])
    cells.run("def own(): ...")
    [error] = cells.run("await bench.run()")["error"]
    assert "not a coroutine function" in error["evalue"]
    assert cells.value("list(bench.form.wrong)") == "['strategy']"
