"""What `%load_ext labkit` adds to a shell: `%%labprof`, which profiles a cell that may await.

A cell magic cannot await: IPython calls it and goes on. So the line `%%labprof` is replaced, before
the cell is compiled, by a call that starts the profiler. The rest of the cell stays as it is, with
its awaits, its line numbers and the value of its last line. IPython's event `post_execute`, which
also comes after a cell that failed, stops the profiler and shows the profile.

The kernel's loop runs the kernel's own tasks while the cell waits. A context variable, which tasks
inherit from the cell that starts them, tells them apart. IPython is not imported: the shell that
is given is asked, by its public names.
"""

import argparse
import contextvars
import itertools
import re
import shlex
import sys
from typing import Any, NoReturn

from labkit.errors import BadInput
from labkit.lab import live
from labkit.profiler.callgraph import CallGraph, ProfileOptions, ProfileResult
from labkit.profiler.profiler import Profiler
from labkit.report import profile as profiling

_LINE = re.compile(r"\s*%%labprof\b[ \t]*(?P<options>.*?)\s*")
_START = "get_ipython().labprof_start({options!r})\n"
_KERNEL = re.compile(r"/(IPython|ipykernel|traitlets|jupyter_client|zmq|tornado)/")
_OWNER = contextvars.ContextVar("labkit_cell", default=0)
_NUMBERS = itertools.count(1)


def load(shell: Any) -> None:
    """Register the magic in `shell`, and the completion; a second call changes nothing."""
    live.register(shell)
    if not hasattr(shell, "labprof_start"):
        shell.labprof_start = _Cells(shell).start
        shell.input_transformers_cleanup.append(replaced)
        shell.register_magic_function(labprof, "cell", "labprof")


def replaced(lines: list[str]) -> list[str]:
    """Return a cell's lines; where the first is the magic, a call that starts the profiler."""
    match = _LINE.fullmatch(lines[0]) if lines else None
    return lines if match is None else [_START.format(options=match["options"]), *lines[1:]]


def labprof(line: str, cell: str) -> NoReturn:
    """%%labprof [--clock wall|cpu] [--sort self|total|calls|mean] [--rows N] [--into NAME].

    Runs the cell under the profiler and shows where its time went, awaits included. `--into` keeps
    the profile under that name.
    """
    raise BadInput("%%labprof is not the first line of its cell: put it there, before any comment")


class _Parser(argparse.ArgumentParser):
    """A parser that raises `BadInput` instead of ending the kernel."""

    def error(self, message: str) -> NoReturn:
        raise BadInput(f"%%labprof: {message}; {self.format_usage().strip()}")


def parsed(options: str) -> argparse.Namespace:
    """Parse the options of a cell, named as those of `labkit profile`. Raises `BadInput`."""
    parser = _Parser(prog="%%labprof", add_help=False, allow_abbrev=False)
    vars(parser)["color"] = False  # from Python 3.14 on a message would be in colours
    parser.add_argument("--clock", default="wall")
    parser.add_argument("--sort", default="self")
    parser.add_argument("--rows", type=int, default=profiling.ROWS)
    parser.add_argument("--into", metavar="NAME")
    try:
        words = shlex.split(options)
    except ValueError as error:
        raise BadInput(f"%%labprof: {options!r} does not parse ({error})") from None
    found = parser.parse_args(words)
    found.clock = ProfileOptions(clock=found.clock).clock
    profiling.check_view(found.sort, found.rows)
    if found.into is not None and not found.into.isidentifier():
        raise BadInput(f"--into is {found.into!r}: it must be the name of a variable")
    return found


class _Cells:
    """Profiles one cell at a time in one shell."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._profiler: Profiler | None = None
        self._options, self._file = argparse.Namespace(), ""

    def start(self, options: str) -> None:
        """Profile from here until the cell ends. Raises `BadInput`, and profiles nothing then."""
        self._options = parsed(options)
        self._file = sys._getframe(1).f_code.co_filename
        number = next(_NUMBERS)
        profiler = Profiler(self._options.clock, tag_of=_OWNER.get, only=number)
        _OWNER.set(number)
        profiler.start()
        self._profiler = profiler
        self._shell.events.register("post_execute", self._end)

    def _end(self) -> None:
        """Stop the profiler and display the profile as HTML and as text, in one bundle."""
        self._shell.events.unregister("post_execute", self._end)
        assert self._profiler is not None
        self._profiler.stop()
        graph = of_cell(self._profiler.graph(), self._file)
        found = ProfileResult(graph=graph, wall_s=self._profiler.wall_s)
        self._profiler = None
        profile = profiling.Profile(found, title="where the cell's time went")
        sort, rows, into = self._options.sort, self._options.rows, self._options.into
        if into is not None:
            self._shell.user_ns[into] = profile
        data = {"text/html": profile.html(sort, rows), "text/plain": profile.text(sort, rows)}
        self._shell.display_pub.publish(data=data, metadata={})


def of_cell(graph: CallGraph, file: str) -> CallGraph:
    """Return what the cell in `file` called, and its tasks; nothing of the kernel's own."""
    kernel = {place for place, one in enumerate(graph.functions) if _KERNEL.search(one.file)}
    cell = {place for place, one in enumerate(graph.functions) if one.file == file}
    tasks = {place for place, _ in graph.roots() if graph.functions[place].coroutine} - kernel
    return graph.within(cell | tasks, kernel)
