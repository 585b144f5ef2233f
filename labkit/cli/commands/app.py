"""The one parser of these commands: a typer application that hands each job to a front."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import typer

from labkit.cli.commands import claims, ladder, profile, reproduce, results, sweep, trials
from labkit.cli.commands.job import Job

Command = Callable[..., Any]
Perform = Callable[[Job], Any]

# In the order in which help lists them.
COMMANDS: Mapping[str, Command] = {
    "run": trials.run,
    "compare": trials.compare,
    "sweep": sweep.sweep,
    "reproduce": reproduce.reproduce,
    "profile": profile.profile,
    "ladder": ladder.ladder,
}
GROUPS: Mapping[str, tuple[str, Mapping[str, Command]]] = {
    "claims": (
        "What others claim, and what became of it.",
        {"list": claims.list_claims, "check": claims.check},
    ),
    "results": (
        "The records that were kept.",
        {"list": results.list_records, "show": results.show, "export": results.export},
    ),
}


def application(
    name: str,
    perform: Perform,
    *,
    says: str,
    before: Mapping[str, Command] | None = None,
    after: Mapping[str, Command] | None = None,
) -> typer.Typer:
    """The commands as those of `name`; `before` and `after` are listed around them.

    `perform` gets the job of a command, and answers for it; a command that only lists has no job.
    """
    app = _typer(name, says)
    shared = {word: _performed(command, perform) for word, command in COMMANDS.items()}
    _add(app, name, {**(before or {}), **shared, **(after or {})})
    for word, (about, commands) in GROUPS.items():
        group = _typer(word, about)
        _add(group, name, {one: _performed(each, perform) for one, each in commands.items()})
        app.add_typer(group, name=word)
    return app


def _typer(name: str, says: str) -> typer.Typer:
    return typer.Typer(
        name=name,
        help=says,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )


def _add(app: typer.Typer, name: str, commands: Mapping[str, Command]) -> None:
    for word, command in commands.items():
        # An example is written for the terminal.
        example = vars(command)["epilog"].replace("labkit ", f"{name} ", 1)
        app.command(word, epilog=example)(command)


def _performed(command: Command, perform: Perform) -> Command:
    @wraps(command)
    def done(**given: Any) -> Any:
        job = command(**given)
        return None if job is None else perform(job)

    return done
