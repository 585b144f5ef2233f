"""The command line: translates words into calls of `lab`, and shows what comes of them.

Results go to standard output, progress and errors to standard error.
Exit status: 0, 1 for a run that failed, 2 for bad input, 130 on Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import typer

from labkit.cli import doctor, results, servers, studies, terminal, trials
from labkit.errors import LabError

__all__ = ["main"]

Commands = Mapping[str, Callable[..., Any]]

# In the order in which help lists them.
COMMANDS: Commands = {
    "serve": servers.serve,
    "run": trials.run,
    "compare": trials.compare,
    "sweep": trials.sweep,
    "reproduce": studies.reproduce,
    "profile": trials.profile,
    "ladder": studies.ladder,
    "doctor": doctor.doctor,
    "lab": servers.open_lab,
}
GROUPS: Mapping[str, tuple[str, Commands]] = {
    "claims": (
        "What others claim, and what became of it.",
        {"list": studies.list_claims, "check": studies.check},
    ),
    "results": (
        "The records that are stored.",
        {"list": results.list_records, "show": results.show, "export": results.export},
    ),
}


def _application(name: str, about: str, commands: Commands, **options: Any) -> typer.Typer:
    app = typer.Typer(
        name=name, help=about, no_args_is_help=True, rich_markup_mode=None,
        pretty_exceptions_enable=False, **options,
    )  # fmt: skip
    for word, command in commands.items():
        app.command(word, epilog=vars(command)["epilog"])(command)
    return app


app = _application(
    "labkit",
    "A performance lab for asyncio and aiohttp: run trials honestly, compare them, "
    "reproduce published benchmarks, check what others claim.",
    COMMANDS,
)
for _group, (_about, _commands) in GROUPS.items():
    app.add_typer(_application(_group, _about, _commands), name=_group)


def main() -> None:
    """Run the `labkit` command."""
    try:
        app()
    except LabError as error:
        terminal.error(str(error))
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output left (as `head` does): nothing more to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
