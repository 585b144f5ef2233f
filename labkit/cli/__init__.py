"""The command line: translates words into calls of `lab`, and shows the results.

Results go to standard output, progress and errors to standard error.
Exit status: 0, 1 for a run that failed, 2 for bad input, 130 on Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import typer
from typer.core import TyperCommand

from labkit.cli import doctor, options, results, servers, studies, terminal, trials
from labkit.errors import Interrupted, LabError
from labkit.spec import validation

__all__ = ["main"]


class Command(TyperCommand):
    """A command that refuses an option which is given twice: the last one alone would count."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words behind the command."""
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        single = [one.opts[0] for one in given if not getattr(one, "multiple", False)]
        validation.check_once("options", single)
        return super().parse_args(ctx, args)


Commands = Mapping[str, Callable[..., Any]]
# typer raises it for an option that does not exist and the like, and hands on no name for it.
UsageError: Any = typer.BadParameter.__base__

# In the order in which help lists them.
COMMANDS: Commands = {
    "serve": servers.serve,
    "run": trials.run,
    "compare": trials.compare,
    "sweep": trials.sweep,
    "time": trials.time,
    "reproduce": studies.reproduce,
    "profile": trials.profile,
    "ladder": studies.ladder,
    "doctor": doctor.doctor,
    "lab": servers.open_lab,
}
GROUPS: Mapping[str, Commands] = {
    "claims": {"list": studies.list_claims, "check": studies.check},
    "env": {"list": doctor.list_environments, "build": doctor.build, "remove": doctor.remove},
    "results": {"list": results.list_records, "show": results.show, "export": results.export},
}


def _application(name: str, commands: Commands) -> typer.Typer:
    app = typer.Typer(
        name=name,
        help=options.TABLES["about"][name],
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    for word, command in commands.items():
        whole_name = f"{name} {word}".removeprefix("labkit ")
        epilog = f"Example: {options.TABLES['command'][whole_name]['example']}"
        whole = options.described(command, whole_name, trials.resumed)
        app.command(word, cls=Command, epilog=epilog)(whole)
    return app


app = _application("labkit", COMMANDS)
for _group, _commands in GROUPS.items():
    app.add_typer(_application(_group, _commands), name=_group)


def main() -> None:
    """Run the `labkit` command."""
    terminal.prepare()
    try:
        status = app(standalone_mode=False)
        sys.stdout.flush()
        sys.exit(status)
    except UsageError as error:
        fault = error.format_message().rstrip(".")
        if fault.startswith("Usage:"):  # no word at all: the help
            terminal.note(fault)
        else:
            command = error.ctx.command_path if error.ctx else "labkit"
            terminal.error(f"{fault[0].lower()}{fault[1:]}; see '{command} --help'")
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(Interrupted.exit_code)
    except LabError as error:
        terminal.error(str(error))
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader left, as `head` does
        terminal.discard(sys.stdout)
    except OSError as error:
        terminal.discard(sys.stdout)
        what = error.filename or "standard output"
        terminal.error(f"{what} cannot be used ({error.strerror or error}); {terminal.STORED}")
        sys.exit(1)
