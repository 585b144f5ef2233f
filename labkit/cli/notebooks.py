"""`labkit lab`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from labkit.cli.commands.options import example

_Workspace = Annotated[
    Path | None,
    typer.Argument(
        metavar="WORKSPACE",
        help="Your folder: made if it is not there. [./labkit-workspace, or the current folder "
        "where that is a workspace]",
        show_default=False,
    ),
]


@example("labkit lab ~/labkit-workspace")
def open_lab(
    workspace: _Workspace = None,
    restore: Annotated[
        bool, typer.Option("--restore", help="Bring back the notebooks that you deleted.")
    ] = False,
    copy_only: Annotated[
        bool, typer.Option("--copy-only", help="Copy the notebooks and open nothing.")
    ] = False,
    edit: Annotated[
        bool,
        typer.Option("--edit", help="Open the notebooks of the checkout instead, to edit them."),
    ] = False,
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
    port: Annotated[int, typer.Option(metavar="N", help="The port of JupyterLab.")] = 8888,
) -> None:
    """Copy the notebooks into a folder of your own, and open JupyterLab on their index.

    What you changed there is never written over: a newer version is put beside it. What you measure
    is kept there too, in data/runs.
    """
    from labkit.cli import terminal
    from labkit.cli import workspace as workspaces

    if not copy_only:
        workspaces.check_jupyterlab()
    if edit:
        folder, page = workspaces.sources(workspace), "00_start_here.ipynb"
    else:
        done = workspaces.prepare(workspace or workspaces.usual(), restore=restore)
        folder, page = done.folder, workspaces.INDEX
        terminal.say(done.text())
    if not copy_only:
        start = workspaces.opening(folder, os.environ, page=page, browser=browser, port=port)
        sys.stdout.flush()
        os.execve(sys.executable, *start)  # noqa: S606  # our own interpreter
