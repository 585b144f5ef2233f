"""JupyterLab as `labkit lab` starts it, over a folder that is thrown away, until it has ended.

Nothing of the user's Jupyter is read or written: settings, data and the list of running servers
have folders of their own. The log is a file: a test asks it whether anything went wrong behind the
page.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar
from urllib.request import Request, urlopen

import nbformat
import psutil

T = TypeVar("T")
Notebook = Any

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
PATIENCE_S = 30.0
GONE_WITHIN_S = 10.0
POLL_S = 0.05
OWN_FOLDERS = {
    "IPYTHONDIR": "ipython",
    "JUPYTERLAB_SETTINGS_DIR": "settings",
    "JUPYTER_CONFIG_DIR": "config",
    "JUPYTER_DATA_DIR": "data",
    "JUPYTER_RUNTIME_DIR": "runtime",
    "LABKIT_STORE": "store",
}
# All cells are in the page, seen or not, so that a test reads what every one of them shows.
ABSENT = {"LABKIT_LIVE", "PYTEST_CURRENT_TEST"}
TRACKER = {"windowingMode": "none", "scrollPastEnd": False}


def until(found: Callable[[], T], what: str, seconds: float = PATIENCE_S) -> T:
    """The first value that is true, asked for again and again; a failure once the time is over."""
    deadline = monotonic() + seconds
    while not (value := found()):
        assert monotonic() < deadline, f"after {seconds:g} s: {what}"
        sleep(POLL_S)
    return value


@dataclass(kw_only=True)
class Lab:
    """A JupyterLab that answers."""

    process: subprocess.Popen[bytes]
    folder: Path
    url: str
    token: str

    @property
    def workspace(self) -> Path:
        """What the page shows as the root of all files."""
        return self.folder / "workspace"

    def log(self) -> str:
        """What the server and its kernels have written so far."""
        return (self.folder / "jupyter.log").read_text(encoding="utf-8", errors="replace")

    def set(self, plugin: str, values: dict[str, Any]) -> None:
        """Write the user's settings of a plugin of JupyterLab, for the next page that opens."""
        path = self.folder / "settings" / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")

    def put(self, path: str, notebook: Notebook) -> None:
        """Put a notebook into the workspace as if no cell of it had ever run."""
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        place = self.workspace / path
        place.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, place)

    def forget_tabs(self) -> None:
        """The next page that opens brings back none that were open in another."""
        shutil.rmtree(self.workspace / ".jupyterlab", ignore_errors=True)

    def ask(self, path: str, method: str = "GET") -> Any:
        """Return the answer of the server's API."""
        allowed = {"Authorization": f"token {self.token}"}
        own = f"{self.url}api/{path}"
        request = Request(own, headers=allowed, method=method)  # noqa: S310  # the lab's own URL
        with urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310  # an error raises
            return json.loads(answer.read() or "null")

    def started(self) -> list[psutil.Process]:
        """All processes that it has started: kernels, and what these have started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def measured(self) -> list[psutil.Process]:
        """The processes that kernels have started: clients and servers of trials."""
        kernels = psutil.Process(self.process.pid).children()
        return [one for kernel in kernels for one in kernel.children(recursive=True)]

    def end_kernels(self) -> None:
        """End every kernel, which closing a tab does not, and wait for all that they started."""
        for session in self.ask("sessions"):
            self.ask(f"sessions/{session['id']}", "DELETE")
        until(lambda: not self.started(), "a process of a kernel that was shut down is still there")


def stored(path: str) -> Notebook:
    """A notebook as it is in the repository."""
    return nbformat.read(NOTEBOOKS / path, as_version=4)


def made(*sources: str) -> Notebook:
    """Return a notebook of these code cells, for the kernel of the others."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    return nbformat.v4.new_notebook(cells=cells, metadata=stored("00_start_here.ipynb").metadata)


def free_port() -> int:
    """A port of the loopback that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def environment(folder: Path) -> dict[str, str]:
    """Folders of its own, the smallest scale, and the live displays that a test does without."""
    others = {name: os.environ[name] for name in os.environ.keys() - ABSENT}
    own = {name: str(folder / value) for name, value in OWN_FOLDERS.items()}
    return {**others, **own, "LABKIT_SCALE": "smoke"}


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Lab]:
    """`labkit lab` until the block ends; then it is gone, with all that it has started."""
    words = ["lab", "workspace", "--no-browser", "--port", str(free_port())]
    with (folder / "jupyter.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "labkit", *words],
            cwd=folder,
            env=environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield answering(process, folder)
    finally:
        end(process)


def answering(process: subprocess.Popen[bytes], folder: Path) -> Lab:
    """Return the server once it is known where it listens, and with which token."""
    known = folder / "runtime" / f"jpserver-{process.pid}.json"

    def is_known() -> bool:  # the file is there before it is written
        written = known.exists() and known.read_text(encoding="utf-8").rstrip().endswith("}")
        return written or process.poll() is not None

    until(is_known, "JupyterLab did not start")
    assert process.poll() is None, (folder / "jupyter.log").read_text(encoding="utf-8")
    info = json.loads(known.read_text(encoding="utf-8"))
    lab = Lab(process=process, folder=folder, url=info["url"], token=info["token"])
    lab.set("notebook-extension/tracker", TRACKER)
    return lab


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, as a closed terminal does; what is still there after a while is killed."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE_S / 3)
    _, left = psutil.wait_procs(family, timeout=PATIENCE_S / 6)
    for one in [*left, process]:
        one.kill()
    process.wait()
    assert not left, f"still there after JupyterLab had ended: {left}"
