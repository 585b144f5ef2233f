"""The command line: translates words into calls of `lab`, and shows the results.

Results go to standard output, progress and errors to standard error.
Exit status: 0, 1 for a run that failed, 2 for bad input, 130 on Ctrl-C.

A command is imported, and its options are made, when it is asked for: `--help` needs neither.
"""

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from labkit import paths
from labkit.cli import terminal
from labkit.errors import Interrupted, LabError

__all__ = ["main"]

_TABLES = paths.table("options.toml")
# By name, in the order in which help lists them.
COMMANDS: Mapping[str, Any] = _TABLES["command"]


class Command(click.Command):
    """A command of `data/options.toml`, where it stands as `whole`; `runs` is its function."""

    whole: str
    runs: str

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return its options and arguments, and --help."""
        if not self.params:
            from labkit.cli import options  # takes a while

            self.params = options.parameters(self.whole)
        return super().get_params(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words behind it; refuse an option given twice: the last alone would count."""
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        from labkit.spec import validation

        single = [one.opts[0] for one in given if not getattr(one, "multiple", False)]
        validation.check_once("options", single)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Do what it is there for, or the rest of the study that --resume names."""
        from labkit.cli import options

        asked = options.asked(self.whole, ctx.params)
        resumes = getattr(asked, "resume", None) is not None
        module, _, function = ("trials.resumed" if resumes else self.runs).partition(".")
        return getattr(import_module(f"{__name__}.{module}"), function)(asked)


class Commands(click.Group):
    """Commands in the order of their table."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names."""
        return [*self.commands]


def _application() -> click.Group:
    groups = {name: Commands(name, help=says) for name, says in _TABLES["about"].items()}
    for name, row in COMMANDS.items():
        group, word = f"labkit {name}".split()[-2:]
        command = Command(word, help=row["help"], epilog=f"Example: {row['example']}")
        command.whole, command.runs = name, row["runs"]
        groups[group].add_command(command)
    whole = groups.pop("labkit")
    for one in groups.values():
        whole.add_command(one)
    return whole


app = _application()


def main() -> None:
    """Run the `labkit` command."""
    terminal.prepare()
    try:
        status = app(prog_name="labkit", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(status)
    except click.UsageError as error:
        fault = error.format_message().rstrip(".")
        if fault.startswith("Usage:"):  # no word at all: the help
            terminal.note(fault)
        else:
            said = fault.replace("(Did", "Did").replace("?)", "?").split(". ")
            fault = "; ".join(f"{one[0].lower()}{one[1:]}" for one in said)
            command = error.ctx.command_path if error.ctx else "labkit"
            terminal.error(f"{fault}; see '{command} --help'")
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
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
