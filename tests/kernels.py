"""A real kernel, as JupyterLab starts one, in which tests run cells."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

Said = dict[str, list[Any]]


class Kernel:
    """One that is running; see `kernel`."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self._manager, self._client = manager, client

    def run(self, code: str) -> Said:
        """Run a cell; what it said, by the kind of message."""
        return self._said(self._client.execute(code))

    def _said(self, asked: str) -> Said:
        said = Said()
        while True:
            message = self._client.get_iopub_msg(timeout=60)
            kind, content = message["msg_type"], message["content"]
            if message["parent_header"].get("msg_id") != asked:
                continue
            if kind == "status" and content["execution_state"] == "idle":
                return said
            said.setdefault(kind, []).append(content)

    def value(self, code: str) -> str:
        """Run a cell that must not fail; its value as text."""
        said = self.run(code)
        assert "error" not in said, said["error"]
        return str(said["execute_result"][0]["data"]["text/plain"])


@contextlib.contextmanager
def kernel() -> Iterator[Kernel]:
    """A kernel, gone at the end."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
