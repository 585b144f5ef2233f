"""`labkit lab`."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from labkit.cli.options import example
from labkit.errors import BadInput

NO_UPDATES = "jupyterlab.NeverCheckForUpdate"


@example("labkit lab")
def open_lab(
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
    port: Annotated[int, typer.Option(metavar="N", help="The port of JupyterLab.")] = 8888,
) -> None:
    """Open JupyterLab on the lab's notebooks."""
    from importlib.util import find_spec

    from labkit import places

    if find_spec("jupyterlab") is None:
        raise BadInput("jupyterlab is not installed; install it with: pip install 'labkit[lab]'")
    folder = places.notebooks()
    words = [sys.executable, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1", f"--port={port}"]
    # Nothing is asked of the network: neither for news nor for a newer JupyterLab.
    words += ["--LabApp.news_url=None", f"--LabApp.check_for_updates_class={NO_UPDATES}"]
    words += [f"--ServerApp.root_dir={folder}", *([] if browser else ["--no-browser"])]
    if (folder / "00_start_here.ipynb").is_file():
        words += ["--LabApp.default_url=/lab/tree/00_start_here.ipynb"]
    # Root may not start Jupyter unless it says so; in a container it is the usual user.
    words += ["--allow-root"] if os.geteuid() == 0 else []
    os.execv(sys.executable, words)  # noqa: S606  # our own interpreter
