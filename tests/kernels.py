"""A real kernel, as JupyterLab starts one, in which tests run cells."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

from labkit.cli.servers import JUPYTER_CONFIG

PATIENCE_S = 60
# What one cell published, by the kind of message.
Output = dict[str, list[Any]]


class Kernel:
    """A kernel that is running; see `kernel`."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager, self.client = manager, client

    def run(self, code: str, seen: Callable[[str], None] = lambda text: None) -> Output:
        """Run a cell to its end; `seen` is called with each text of the live output."""
        asked, output = self.client.execute(code), Output()
        while True:
            message = self.client.get_iopub_msg(timeout=PATIENCE_S)
            kind, content = message["msg_type"], message["content"]
            if message["parent_header"].get("msg_id") != asked:
                continue
            if kind == "status" and content["execution_state"] == "idle":
                return output
            output.setdefault(kind, []).append(content)
            if kind.endswith("display_data"):
                seen(content["data"]["text/plain"])

    def value(self, code: str) -> str:
        """Run a cell that must not fail; return its value as text."""
        output = self.run(code)
        assert "error" not in output, output["error"]
        return str(output["execute_result"][0]["data"]["text/plain"])

    def children(self) -> list[psutil.Process]:
        """Return the processes that the kernel has started."""
        found: list[psutil.Process] = psutil.Process(self.manager.provisioner.pid).children()
        return found


@contextlib.contextmanager
def kernel(folder: Path | None = None, **settings: str) -> Iterator[Kernel]:
    """Start the kernel of `labkit lab`, with these variables in its environment, gone at the end.

    `folder` is its current folder.
    """
    manager = KernelManager(kernel_name="python3")
    spec = json.loads((JUPYTER_CONFIG / "kernels/python3/kernel.json").read_text())
    manager.kernel_spec.argv = [sys.executable, *spec["argv"][1:]]
    absent = {"LABKIT_LIVE", "PYTEST_CURRENT_TEST"}
    env = {name: value for name, value in os.environ.items() if name not in absent}
    manager.start_kernel(env=env | settings, cwd=None if folder is None else str(folder))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE_S)
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
