"""`%%labprof`: a notebook's cell under the profiler, awaits and all. Thin; IPython is not imported.

A cell magic cannot await: IPython calls it and goes on. So the line `%%labprof` is replaced, before
the cell is compiled, by a call that starts the profiler; the rest stays the cell that it is, with
its awaits, its line numbers and the value of its last line. What IPython does after every cell,
also after one that failed, ends the profiler and shows what it found.

The kernel's loop runs the kernel's own tasks while the cell waits. A context variable, which tasks
inherit from the cell that starts them, tells them apart.
"""

from __future__ import annotations

import argparse
import contextvars
import itertools
import re
import shlex
import sys
from typing import Any, NoReturn

from labkit.errors import BadInput
from labkit.profiler.callgraph import CallGraph
from labkit.profiler.profiler import Profiler
from labkit.profiler.result import Ask, Profiled
from labkit.report import profile as profiling

_LINE = re.compile(r"\s*%%labprof\b[ \t]*(?P<options>.*?)\s*")
_START = "get_ipython().labprof_start({options!r})\n"
_KERNEL = re.compile(r"/(IPython|ipykernel|traitlets|jupyter_client|zmq|tornado)/")
_OWNER = contextvars.ContextVar("labkit_cell", default=0)
_NUMBERS = itertools.count(1)


def load(shell: Any) -> None:
    """Give `shell` the magic; a second time changes nothing."""
    if not hasattr(shell, "labprof_start"):
        shell.labprof_start = _Cells(shell).start
        shell.input_transformers_cleanup.append(replaced)
        shell.register_magic_function(labprof, "cell", "labprof")


def replaced(lines: list[str]) -> list[str]:
    """The lines of a cell; those of one that begins with the magic begin with its call instead."""
    match = _LINE.fullmatch(lines[0]) if lines else None
    return lines if match is None else [_START.format(options=match["options"]), *lines[1:]]


def labprof(line: str, cell: str) -> NoReturn:
    """%%labprof [--clock wall|cpu] [--sort self|total|calls|mean] [--rows N] [--into NAME].

    Runs the cell under the profiler and shows where its time went, awaits included. `--into` keeps
    the profile under that name.
    """
    raise BadInput("%%labprof is not the first line of its cell: put it there, before any comment")


class _Parser(argparse.ArgumentParser):
    """Says what is wrong as the rest of the lab does, instead of ending the kernel."""

    def error(self, message: str) -> NoReturn:
        raise BadInput(f"%%labprof: {message}; {self.format_usage().strip()}")


def parser() -> argparse.ArgumentParser:
    """The options, named as those of `labkit profile`."""
    found = _Parser(prog="%%labprof", add_help=False, allow_abbrev=False)
    found.add_argument("--clock", default="wall")
    found.add_argument("--sort", default="self")
    found.add_argument("--rows", type=int, default=profiling.ROWS)
    found.add_argument("--into", metavar="NAME")
    return found


def words(options: str) -> list[str]:
    """The options as a shell would part them. Raises `BadInput` where a quote is not closed."""
    try:
        return shlex.split(options)
    except ValueError as error:
        raise BadInput(f"%%labprof: {options!r} does not parse ({error})") from None


class _Cells:
    """The cell that is profiled in one shell, if one is."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._profiler: Profiler | None = None
        self._asked, self._file = argparse.Namespace(), ""

    def start(self, options: str) -> None:
        """From here on, until the cell ends. Raises `BadInput`, and then nothing is profiled."""
        asked = parser().parse_args(words(options))
        clock = Ask.by(asked.clock).clock
        profiling.check_view(asked.sort, asked.rows)
        if asked.into is not None and not asked.into.isidentifier():
            raise BadInput(f"--into is {asked.into!r}: it must be the name of a variable")
        self._file = sys._getframe(1).f_code.co_filename
        number = next(_NUMBERS)
        profiler = Profiler(clock, tag_of=_OWNER.get, only=number)
        _OWNER.set(number)
        profiler.start()
        self._profiler, self._asked = profiler, asked
        self._shell.events.register("post_execute", self._end)

    def _end(self) -> None:
        self._shell.events.unregister("post_execute", self._end)
        assert self._profiler is not None
        self._profiler.stop()
        graph = of_cell(self._profiler.seen(), self._file)
        found = Profiled(graph=graph, wall_s=self._profiler.wall_s)
        _show(
            self._shell, profiling.Profile(found, title="where the cell's time went"), self._asked
        )
        self._profiler = None


def of_cell(graph: CallGraph, file: str) -> CallGraph:
    """What the cell in `file` called, and the tasks that it started; nothing of the kernel's."""
    kernel = {place for place, one in enumerate(graph.functions) if _KERNEL.search(one.file)}
    cell = {place for place, one in enumerate(graph.functions) if one.file == file}
    tasks = {place for place, _ in graph.roots() if graph.functions[place].coroutine} - kernel
    return graph.within(cell | tasks, kernel)


def _show(shell: Any, profile: profiling.Profile, asked: argparse.Namespace) -> None:
    """One bundle: a frame of HTML, and the same as text."""
    if asked.into is not None:
        shell.user_ns[asked.into] = profile
    data = {
        "text/html": profiling.iframe(profile, asked.sort, asked.rows),
        "text/plain": profile.text_table(asked.sort, asked.rows).text(),
    }
    shell.display_pub.publish(data=data, metadata={})
