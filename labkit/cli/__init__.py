"""The command line: translates words into calls of `lab`, and results into lines worth reading.

A module for each command. Results go to standard output, progress and errors to standard error.
Exit status: 0, 1 for a run that failed, 2 for bad input, 130 on Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import typer

from labkit import terminal
from labkit.cli import (
    claims,
    doctor,
    ladder,
    notebooks,
    profile,
    reproduce,
    results,
    serve,
    sweep,
    trials,
)
from labkit.errors import LabError

__all__ = ["main"]

app = typer.Typer(
    name="labkit",
    help="A performance lab for asyncio and aiohttp: run trials honestly, compare them, "
    "reproduce published benchmarks, check what others claim.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
claims_app = typer.Typer(help="What others claim, and what became of it.", no_args_is_help=True)
results_app = typer.Typer(help="The records that were kept.", no_args_is_help=True)

# In the order in which help lists them.
_COMMANDS: dict[str, Callable[..., None]] = {
    "serve": serve.serve,
    "run": trials.run,
    "compare": trials.compare,
    "sweep": sweep.sweep,
    "reproduce": reproduce.reproduce,
    "profile": profile.profile,
    "ladder": ladder.ladder,
    "doctor": doctor.doctor,
    "lab": notebooks.open_lab,
}
_CLAIMS: dict[str, Callable[..., None]] = {
    "list": claims.list_claims,
    "check": claims.check,
}
_RESULTS: dict[str, Callable[..., None]] = {
    "list": results.list_records,
    "show": results.show,
    "export": results.export,
}

for _app, _commands in ((app, _COMMANDS), (claims_app, _CLAIMS), (results_app, _RESULTS)):
    for _name, _command in _commands.items():
        _app.command(_name, epilog=vars(_command)["epilog"])(_command)
app.add_typer(claims_app, name="claims")
app.add_typer(results_app, name="results")


def main() -> None:
    """The entry point of the `labkit` command."""
    try:
        app()
    except LabError as error:
        terminal.error(str(error))
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output left (as `head` does): nothing more to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
