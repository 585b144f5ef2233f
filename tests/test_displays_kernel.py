"""In a real kernel: a cell shows its work while it waits, then one result; it can be stopped."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from labkit.spec import plan
from labkit.spec.trial import Trial

client = pytest.importorskip("jupyter_client.manager")

pytestmark = pytest.mark.slow
PATIENCE_S = 60
GONE_WITHIN_S = 5.0
"""What is measured on a quiet machine is far less; this must hold on any."""


@dataclass
class Output:
    """What one cell published."""

    bundles: list[dict[str, str]] = field(default_factory=list)
    """As shown at first, and as it was updated; the last is what is left."""
    results: list[dict[str, str]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)


class Kernel:
    """A kernel as JupyterLab starts one."""

    def __init__(self, store: Path) -> None:
        self.manager = client.KernelManager(kernel_name="python3")
        self.manager.kernel_spec.argv[0] = sys.executable
        env = {**os.environ, "LABKIT_STORE": str(store)}
        for name in ("LABKIT_LIVE", "PYTEST_CURRENT_TEST"):
            env.pop(name, None)
        self.manager.start_kernel(env=env)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE_S)
        self.run("import labkit as lab")

    def run(self, code: str, seen: Callable[[str], None] = lambda text: None) -> Output:
        """Run a cell to its end; `seen` is told each text of the live output."""
        asked, found = self.client.execute(code), Output()
        while True:
            message = self.client.get_iopub_msg(timeout=PATIENCE_S)
            if message["parent_header"].get("msg_id") != asked:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind in ("display_data", "update_display_data"):
                found.bundles.append(content["data"])
                seen(content["data"]["text/plain"])
            elif kind == "execute_result":
                found.results.append(content["data"])
            elif kind == "error":
                found.errors.append(content)
            elif kind == "status" and content["execution_state"] == "idle":
                return found

    def children(self) -> list[psutil.Process]:
        """The processes that the kernel has started."""
        found: list[psutil.Process] = psutil.Process(self.manager.provisioner.pid).children()
        return found

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    made = Kernel(tmp_path_factory.mktemp("runs"))
    yield made
    made.close()


def test_a_run_is_shown_live_and_leaves_its_result_alone(kernel: Kernel) -> None:
    found = kernel.run("await lab.run(lab.Trial(requests=300, limit=10, delay='0.02'))")

    assert any("<svg" in one["text/html"] for one in found.bundles)
    assert any(" of 300 ok" in one["text/plain"] for one in found.bundles)
    assert found.bundles[-1]["text/html"] == ""
    [result] = found.results
    assert "worker_pool" in result["text/plain"]
    assert "<table" in result["text/html"]
    assert not found.errors


def test_a_cell_that_keeps_its_result_leaves_one_line(kernel: Kernel) -> None:
    found = kernel.run("run = await lab.run(lab.Trial(requests=50, limit=10))")

    assert not found.results
    assert found.bundles[-1]["text/plain"].startswith("worker_pool: 50 of 50 ok, ")


BLOCKS = """
async def blocks(fetch, items, limit):
    import asyncio

    task = asyncio.ensure_future(fetch(0))
    await asyncio.sleep(2)  # long enough for progress to be told on any machine
    while True:
        pass
"""


@pytest.mark.parametrize("strategy", ["'worker_pool'", "blocks"])
def test_stop_ends_both_processes_and_says_what_is_kept(kernel: Kernel, strategy: str) -> None:
    kernel.run(BLOCKS)
    stopped: list[tuple[float, list[psutil.Process]]] = []

    def stop(text: str) -> None:
        if "1 in flight" in text and not stopped:
            stopped.append((time.monotonic(), kernel.children()))
            kernel.manager.interrupt_kernel()

    found = kernel.run(
        f"await lab.run(lab.Trial(requests=30, limit=1, delay='60', strategy={strategy}))", stop
    )
    [(at, children)] = stopped
    psutil.wait_procs(children, timeout=max(at + GONE_WITHIN_S - time.monotonic(), 0))

    assert len(children) == 2
    assert not any(child.is_running() for child in children)
    [error] = found.errors
    [said] = error["traceback"]
    assert said.startswith("interrupted after 0 of 30 requests: the record is stored")
    kept = kernel.run(said.partition("; ")[2].removesuffix(" gives it"))
    assert "interrupted" in kept.results[0]["text/plain"]


def test_stop_keeps_the_trials_that_were_finished(kernel: Kernel) -> None:
    stopped: list[str] = []

    def stop(text: str) -> None:
        if "delay=60" in text and "1 in flight" in text and not stopped:
            stopped.append(text)
            kernel.manager.interrupt_kernel()

    arms = plan.arms(Trial(), {"delay": ["0", "60"]})
    orders = {seed: plan.interleave(arms, repeats=1, seed=seed) for seed in range(99)}
    seed = next(seed for seed, steps in orders.items() if steps[0].axes["delay"] == "0")
    base = "lab.Trial(requests=20, limit=1)"
    found = kernel.run(
        f"await lab.compare({base}, delay=['0', '60'], repeats=1, seed={seed})", stop
    )

    [said] = found.errors[0]["traceback"]
    assert said.startswith("interrupted: 1 of 2 trials was finished and stored; lab.load(")
    again = said.partition("; ")[2].removesuffix(" gives them")
    kept = kernel.run(f"len({{one.order for one in {again}.records}})")
    assert kept.results[0]["text/plain"] == "2"
    assert found.bundles[-1]["text/html"] == ""
