"""Break what each verdict of the notebooks checks, and see its cell fail: `make breaks`.

The cells of a notebook run once, in their order, as in a kernel. Before a verdict's cell the
process is forked for each break of `data/breaks.toml`: the fork runs the break and then the cell,
and nothing has to be undone. Red is an assertion of the cell itself; another error says that the
break is wrong. Then the cell runs unbroken, and must be green. Each assertion of a cell must be the
first to fail after some break. Notebooks that are named as arguments are the only ones that run.
"""

import ast
import asyncio
import contextlib
import io
import multiprocessing
import os
import sys
import tomllib
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import nbformat
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from labkit.report.study import Outcome

FOLDER = Path(__file__).parent.parent / "notebooks"
BREAKS = tomllib.loads((Path(__file__).parent / "data/breaks.toml").read_text())
FORK = multiprocessing.get_context("fork")


def put(thing: Any, **fields: Any) -> None:
    """Set fields of a record or of a part of it, which is frozen."""
    for name, value in fields.items():
        msgspec.structs.force_setattr(thing, name, value)


def apart(work: Callable[[], Any]) -> Any:
    """Return what `work` returns in a fork of this process."""
    ours, theirs = FORK.Pipe(duplex=False)
    process = FORK.Process(target=lambda: theirs.send(work()))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    finally:
        process.join()


def started() -> InteractiveShell:
    """Start a shell that has the names which breaks use."""
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    shell.user_ns |= {"put": put, "Fake": SimpleNamespace}
    return shell


def run(shell: InteractiveShell, source: str, loop: asyncio.AbstractEventLoop) -> Any:
    """Run a cell inside a running loop, as a kernel does; return its error, None for none."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        cell = shell.transform_cell(source)
        running = shell.run_cell_async(source, store_history=False, transformed_cell=cell)
        result = loop.run_until_complete(running)
        shell.events.trigger("post_execute")
    return result.error_before_exec or result.error_in_exec


def broken(shell: InteractiveShell, by: str, verdict: str) -> int | str:
    """Return the line of the assertion that fails after a break, 0 for none; or another error."""
    loop = asyncio.new_event_loop()
    if error := run(shell, by, loop):
        return f"the break itself: {error!r}"
    for one in shell.user_ns.values():
        # A result computes its frames once: they are of the records as they were.
        for name in ("_frame", "_summary") if isinstance(one, Outcome) else ():
            one.__dict__.pop(name, None)
    if not (error := run(shell, verdict, loop)):
        return 0
    at = traceback.extract_tb(error.__traceback__)[-1]
    own = isinstance(error, AssertionError) and at.filename.startswith("<ipython-input")
    return at.lineno or 0 if own else repr(error)


def of_notebook(name: str) -> list[bool]:
    """Print a line for each break, each cell that fails unbroken, each assertion never reached."""
    shell, loop, good = started(), asyncio.new_event_loop(), []

    def say(is_good: bool, word: str, what: str) -> None:
        good.append(is_good)
        print(f"{word:6} {name[:2]} {what}", flush=True)

    for cell in nbformat.read(FOLDER / f"{name}.ipynb", 4).cells:
        if cell.cell_type != "code" or "solution" in cell.metadata.get("tags", []):
            continue
        lines = set()
        for what, by in BREAKS[name].get(cell.id, {}).items():
            lines.add(found := apart(lambda by=by, cell=cell: broken(shell, by, cell.source)))
            red = bool(found) and not isinstance(found, str)
            say(red, "red" if red else "GREEN", f"{cell.id}: {what}{'' if red else f' ({found})'}")
        if error := run(shell, cell.source, loop):
            say(False, "RED", f"{cell.id}, unbroken: {error!r}")
        for node in ast.walk(ast.parse(cell.source if lines else "")):
            if isinstance(node, ast.Assert) and not lines & {
                *range(node.lineno, node.end_lineno + 1)
            }:
                say(False, "NEVER", f"{cell.id}: {ast.unparse(node)}")
    return good


if __name__ == "__main__":
    os.chdir(FOLDER)
    sys.path.insert(0, str(FOLDER))
    good = [
        one for name in sys.argv[1:] or BREAKS for one in apart(lambda name=name: of_notebook(name))
    ]
    print(f"{sum(good)} breaks are red; {good.count(False)} lines are not as they should be")
    sys.exit(not all(good))
