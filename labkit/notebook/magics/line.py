"""`%lab`: the commands of the terminal on a line of a cell; its value is the object.

The words go to the parser of the command line, the job that it makes is awaited. What is wrong is
said in one sentence, without the machinery's traceback, and nothing ends the kernel.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Coroutine, Iterator
from functools import cache
from typing import Any

from labkit.errors import BadInput, LabError
from labkit.notebook.magics.awaiting import awaited

_TO_COMMENT = re.compile(r"""(?:[^'"\\#]|\\.|'[^']*'|"(?:\\.|[^"\\])*"|(?<=\S)\#)*""")


def load(shell: Any) -> None:
    """Give `shell` the magic; a second time changes nothing."""
    if hasattr(shell, "lab_line"):
        return
    found = _Line(shell)
    shell.lab_line = found.awaited
    shell.input_transformers_post.append(found.transformed)
    shell.register_magic_function(lab, "line", "lab")


def lab(line: str) -> None:
    """%lab run|compare|sweep|reproduce|profile|ladder|claims|results [OPTIONS].

    The commands of `labkit` in a terminal, with the same options; the value is the object.

    run = %lab run --strategy task_pool --requests 2000 --limit 200 --delay 0.01
    study = %lab compare --axis strategy=semaphore,task_pool --requests 500 --repeats 3

    `%lab --help` lists the commands, `%lab run --help` the options of one. Tab completes both, and
    names. A function of your own is a strategy by its name once `@lab.strategy` decorates it.
    It is awaited, which a cell under `%%time` or `%%capture` cannot be.
    """
    # Reached only where the call could not be awaited.
    with _plainly():
        if parsed(line) is not None:
            raise BadInput(
                "%lab cannot wait for its trials in a function or class that is not async, nor "
                "with %autoawait off: write 'async def', or use it outside of functions"
            )


def parsed(line: str) -> Any:
    """The job that the words ask for; None where they asked for a list or for help, now printed.

    Raises `BadInput`.
    """
    from labkit.cli.commands.job import Job

    root, wrong = _parser()
    given = words(line)
    path, in_group = _command(root, given)
    asked = [*given, "--help"] if in_group else given
    try:
        found = root.main(asked, prog_name="%lab", standalone_mode=False)
    except wrong as error:
        raise BadInput(_said(error, path)) from None
    return found if isinstance(found, Job) else None


def words(line: str) -> list[str]:
    """The words as a shell would part them, without a comment or a last semicolon."""
    match = _TO_COMMENT.match(line)
    assert match is not None
    rest = line[match.end() :]
    kept = match.group() if rest.startswith("#") else line
    try:
        return shlex.split(kept.rstrip().removesuffix(";"))
    except ValueError as error:
        raise BadInput(f"%lab: {line!r} does not parse ({error})") from None


@cache
def _parser() -> tuple[Any, type[Exception]]:
    """The command line's parser, and the error with which it refuses words."""
    import typer
    from typer.main import get_command

    from labkit.cli.commands.app import application

    says = "The commands of 'labkit' on a line of a cell; the value is the object."
    app = application("%lab", lambda job: job, says=says)
    # The base of what typer hands on, which it does not hand on itself.
    return get_command(app), typer.BadParameter.__bases__[0]


def parser() -> Any:
    """The tree of commands and options, for completions."""
    return _parser()[0]


def _command(root: Any, given: list[str]) -> tuple[str, bool]:
    """The command that the words name, and whether they end there, in a group of commands."""
    path, node = ["%lab"], root
    for word in given:
        found = getattr(node, "commands", {}).get(word)
        if found is None:
            return " ".join(path), False
        path, node = [*path, word], found
    return " ".join(path), hasattr(node, "commands")


def _said(error: Any, path: str) -> str:
    """The parser's refusal as one sentence."""
    what = error.format_message().rstrip(".")
    others = "" if path != "%lab" else ", 'labkit --help' in a terminal what a cell has not"
    return f"{path}: {what} ('{path} --help' lists what there is{others})"


class _Line:
    """The magic in one shell."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell

    def transformed(self, lines: list[str]) -> list[str]:
        """The lines of a cell with `%lab` awaited, where the shell awaits at all."""
        return awaited(lines) if self._shell.autoawait else lines

    def awaited(self, line: str) -> Coroutine[Any, Any, Any]:
        """What the cell awaits: `line` with its `{name}` and `$name` replaced, and then done."""
        return _value(self._shell.var_expand(line, depth=1))


async def _value(line: str) -> Any:
    from labkit.cli.commands import options

    with _plainly():
        job = parsed(line)
        if job is None:
            return None
        outcome = await job.start(None)
        note = job.save(outcome)
        if note is not None:
            print(note)
        options.write_json(job.json, job.data(outcome))
        return outcome


@contextlib.contextmanager
def _plainly() -> Iterator[None]:
    """Errors that the lab raises on purpose are shown as the sentence that they are."""
    try:
        yield
    except LabError as error:
        sentence = f"{type(error).__name__}: {error}"
        error._render_traceback_ = lambda: [sentence]  # type: ignore[attr-defined] # IPython asks
        raise
