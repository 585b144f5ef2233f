"""`labkit serve` and `labkit lab`: commands that end as another process, a server's.

JupyterLab asks the network for nothing. Settings for this start alone lie in `jupyter_config`, a
folder of Jupyter's own kind: Markdown opens rendered, and the question about news is switched off.
Its kernel is the usual one, but looks for modules in the current folder last: none of them is taken
for one of Python's or of a package. The user's own settings are not touched.
"""

import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import msgspec

from labkit import paths
from labkit.cli import terminal
from labkit.cli.options import TABLES, Asked
from labkit.errors import NotInstalled
from labkit.spec.targets import HttpServer


def serve(asked: Asked) -> None:
    """Run the synthetic HTTP server until Ctrl-C."""
    more = {"announce_json": asked.json, "allow_remote": asked.allow_remote, "tls": asked.tls}
    server = HttpServer(**asked.server, **more)
    # The server replaces this process: it carries nothing of this one and gets its signals.
    module, job = "labkit.measured.targets.http", msgspec.json.encode(server).decode()
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, job])  # noqa: S606  # our own


JUPYTER_CONFIG = Path(__file__).resolve().parent / "jupyter_config"


def open_lab(asked: Asked) -> None:
    """Open JupyterLab on the notebooks.

    Copies them into a folder of your own, and opens their index.

    What you changed there is never written over: rename it to get a newer version. What you measure
    is stored there too, in data/runs.
    """
    if not asked.copy_only and find_spec("jupyterlab") is None:
        raise NotInstalled("labkit lab", "jupyterlab", "lab")
    from labkit.cli import notebooks  # takes a while

    # That which the current folder is in, else one to be made below that folder.
    done = notebooks.prepare(asked.workspace or paths.workspace() or Path("labkit-workspace"))
    terminal.say(done.text())
    if not asked.copy_only:
        how = {"page": notebooks.INDEX, "browser": asked.browser, "port": asked.port}
        start = jupyter_start(done.folder, os.environ, **how)
        sys.stdout.flush()
        os.execve(sys.executable, *start)  # noqa: S606  # our own interpreter


def jupyter_start(
    folder: Path, environment: Mapping[str, str], *, page: str, browser: bool, port: int
) -> tuple[list[str], dict[str, str]]:
    """Return words and environment that start JupyterLab on `folder`, opened at its file `page`.

    The environment has the settings of `JUPYTER_CONFIG` before those that it names itself.
    """
    where = {"port": port, "folder": folder, "page": page}
    words = [sys.executable, "-P", "-m", "jupyterlab"]
    words += [one.format(**where) for one in TABLES["jupyter"]["words"]]
    words += [] if browser else ["--no-browser"]
    # Root may not start Jupyter unless it says so; in a container it is the usual user.
    words += ["--allow-root"] if os.geteuid() == 0 else []
    names = ("JUPYTER_CONFIG_PATH", "JUPYTER_PATH")
    before = {name: filter(None, [str(JUPYTER_CONFIG), environment.get(name)]) for name in names}
    joined = {name: os.pathsep.join(paths) for name, paths in before.items()}
    return words, {**environment, **joined}
