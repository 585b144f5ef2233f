"""The command and the environment with which JupyterLab is started on a folder.

Settings that hold for this start alone lie in `jupyter_config`, a folder of Jupyter's own kind:
Markdown opens rendered, and the question about news is switched off. The user's are not touched.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from labkit.errors import NotInstalled

CONFIG = Path(__file__).resolve().parent / "jupyter_config"
_NO_UPDATES = "jupyterlab.NeverCheckForUpdate"
_LAYOUTS = ".jupyterlab"
"""Where a workspace keeps which tabs were open: tabs of another folder would not be found in it."""


class Opening(NamedTuple):
    """What starts JupyterLab: to be given to `os.execve` as it is."""

    words: list[str]
    environment: dict[str, str]


def check_jupyterlab() -> None:
    """Raise `NotInstalled` where JupyterLab is not installed."""
    if find_spec("jupyterlab") is None:
        raise NotInstalled("labkit lab", "jupyterlab", "lab")


def opening(
    folder: Path, environment: Mapping[str, str], *, page: str, browser: bool, port: int
) -> Opening:
    """JupyterLab on `folder`, opened at its file `page`."""
    words = [sys.executable, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1", f"--port={port}"]
    # Nothing is asked of the network: neither news, nor a newer JupyterLab, nor extensions.
    words += ["--LabApp.news_url=None", f"--LabApp.check_for_updates_class={_NO_UPDATES}"]
    words += ["--LabApp.extension_manager=readonly"]
    words += [f"--ServerApp.root_dir={folder}", f"--LabApp.default_url=/lab/tree/{page}"]
    words += [f"--LabApp.workspaces_dir={folder / _LAYOUTS}"]
    words += [] if browser else ["--no-browser"]
    # Root may not start Jupyter unless it says so; in a container it is the usual user.
    words += ["--allow-root"] if os.geteuid() == 0 else []
    return Opening(words, configured(environment))


def configured(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with the settings of `jupyter_config` before those that it names itself."""
    others = environment.get("JUPYTER_CONFIG_PATH", "")
    paths = [str(CONFIG), *filter(None, others.split(os.pathsep))]
    return {**environment, "JUPYTER_CONFIG_PATH": os.pathsep.join(paths)}
