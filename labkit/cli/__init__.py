"""The command line: translates words into calls of `lab`, and shows the results.

Results go to standard output, progress and errors to standard error.
Exit status: 0, 1 for a run that failed, 2 for bad input, 130 on Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand

from labkit.cli import options, terminal, trials
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


# typer raises it for an option that does not exist and the like, and hands on no name for it.
UsageError: Any = typer.BadParameter.__base__

# By name, in the order in which help lists them.
COMMANDS: Mapping[str, Any] = options.TABLES["command"]


def _application() -> typer.Typer:
    how: Any = {"no_args_is_help": True, "rich_markup_mode": None}
    how["pretty_exceptions_enable"] = False
    about = options.TABLES["about"].items()
    groups = {group: typer.Typer(name=group, help=says, **how) for group, says in about}
    for name, row in COMMANDS.items():
        module, _, function = row["runs"].partition(".")
        command = getattr(import_module(f"{__name__}.{module}"), function)
        group, word = f"labkit {name}".split()[-2:]
        add = groups[group].command(word, cls=Command, epilog=f"Example: {row['example']}")
        add(options.described(command, name, trials.resumed))
    whole = groups.pop("labkit")
    for group, application in groups.items():
        whole.add_typer(application, name=group)
    return whole


app = _application()


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
