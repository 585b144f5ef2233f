"""In a real kernel: a cell shows its work while it waits, then one result; it can be stopped."""

import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from kernels import Kernel, Output, kernel
from machines import checks
from servers import hostile

from labkit.spec import plan
from labkit.spec.trial import Trial

pytestmark = pytest.mark.slow
# What is measured on a quiet machine is far less; this must hold on any.
GONE_WITHIN_S = 5.0


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("notebooks")
    (folder / "lesson.py").write_text("MINUTES = 5")
    imported = hostile(folder)
    with kernel(folder, LABKIT_STORE=str(tmp_path_factory.mktemp("runs"))) as found:
        assert found.value("import labkit as lab, lesson; lesson.MINUTES") == "5"
        yield found
    assert not imported.exists(), imported.read_text()


def bundles(output: Output) -> list[dict[str, Any]]:
    """Return the live output as shown at first, and as it was updated; the last is what is left."""
    shown = output["display_data"] + output.get("update_display_data", [])
    return [content["data"] for content in shown]


def test_a_run_is_shown_live_and_leaves_its_result_alone(lab: Kernel) -> None:
    output = lab.run("await lab.run(lab.Trial(requests=300, limit=10, delay='0.02'))")

    assert any("<svg" in one["text/html"] for one in bundles(output))
    assert any(" of 300 ok" in one["text/plain"] for one in bundles(output))
    assert bundles(output)[-1]["text/html"] == ""
    [result] = output["execute_result"]
    assert "worker_pool" in result["data"]["text/plain"]
    assert "<table" in result["data"]["text/html"]
    assert "error" not in output


def test_a_cell_that_shows_no_result_leaves_one_line(lab: Kernel) -> None:
    output = lab.run("run = await lab.run(lab.Trial(requests=50, limit=10))")

    assert "execute_result" not in output
    assert bundles(output)[-1]["text/plain"].startswith("worker_pool: 50 of 50 ok, ")


FAILING = checks("displays.toml", "errors")


def test_an_error_in_a_cell_is_its_sentence_alone(lab: Kernel) -> None:
    for code, shown in FAILING:
        assert lab.run(code)["error"][0]["traceback"] == shown


COMPLETED = checks("displays.toml", "completed")


def test_tab_completes_public_names_settings_and_kinds(lab: Kernel) -> None:
    lab.run(f"%load_ext labkit\n{COMPLETED}")

    assert lab.value("completed('lab.') == set(lab.__all__)") == "True"
    names = "completed('lab.Trial(req') == {'requests=', 'requests_from='}"
    assert lab.value(names) == "True"
    assert lab.value("completed('trial.replace(transp')") == "{'transport='}"
    assert lab.value("completed('run.plot(\"timel')") == "{'timeline'}"
    assert lab.value('completed("run.plot(kind=\'waterf")') == "{'waterfall'}"


BLOCKS = checks("displays.toml", "blocks")


def stopped(lab: Kernel, code: str, when: str = "1 in flight") -> str:
    """Interrupt a cell once it shows this, and see its processes end; return its error."""
    children: list[psutil.Process] = []
    deadline = [0.0]

    def stop(text: str) -> None:
        if "1 in flight" in text and when in text and not children:
            children[:] = lab.children()
            deadline[0] = time.monotonic() + GONE_WITHIN_S
            lab.manager.interrupt_kernel()

    output = lab.run(code, stop)
    psutil.wait_procs(children, timeout=max(deadline[0] - time.monotonic(), 0))
    assert len(children) == 2
    assert not any(child.is_running() for child in children)
    assert bundles(output)[-1]["text/html"] == ""
    [error] = output["error"]
    [sentence] = error["traceback"]
    return str(sentence)


@pytest.mark.parametrize("strategy", ["'worker_pool'", "blocks"])
def test_stop_ends_both_processes_and_names_the_record(lab: Kernel, strategy: str) -> None:
    lab.run(BLOCKS)
    trial = f"lab.Trial(requests=30, limit=1, delay='60', strategy={strategy})"
    sentence = stopped(lab, f"await lab.run({trial})")

    assert sentence.startswith("interrupted after 0 of 30 requests: the record is stored")
    again = sentence.partition("; ")[2].removesuffix(" gives it")
    assert "interrupted" in lab.value(again)


def test_stop_keeps_the_trials_that_were_finished(lab: Kernel) -> None:
    arms = plan.arms(Trial(), {"delay": ["0", "60"]})
    orders = {seed: plan.interleave(arms, repeats=1, seed=seed) for seed in range(99)}
    seed = next(seed for seed, steps in orders.items() if steps[0].axes["delay"] == "0")
    varied = f"delay=['0', '60'], repeats=1, seed={seed}"
    sentence = stopped(
        lab, f"await lab.compare(lab.Trial(requests=20, limit=1), {varied})", "delay 60"
    )

    assert sentence.startswith("interrupted: 1 of 2 trials was finished and stored; lab.load(")
    again = sentence.partition("; ")[2].partition(" gives them")[0]
    assert lab.value(f"len({{one.order for one in {again}.records}})") == "2"
