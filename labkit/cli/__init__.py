"""The command line: translates words into calls of `lab`, and results into lines worth reading.

What a notebook has as well is in `labkit.cli.commands`; here is a module for each other command.
Results go to standard output, progress and errors to standard error.
Exit status: 0, 1 for a run that failed, 2 for bad input, 130 on Ctrl-C.
"""

from __future__ import annotations

import os
import sys

from labkit.cli import doctor, lab, performing, serve, terminal
from labkit.cli.commands.app import application
from labkit.errors import LabError

__all__ = ["main"]

app = application(
    "labkit",
    performing.perform,
    says="A performance lab for asyncio and aiohttp: run trials honestly, compare them, "
    "reproduce published benchmarks, check what others claim.",
    before={"serve": serve.serve},
    after={"doctor": doctor.doctor, "lab": lab.open_lab},
)


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
