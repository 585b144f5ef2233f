"""What the command line does with a job: waits for it, shows its outcome, exits with its status."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from labkit.cli.commands import options
from labkit.cli.commands.job import KEPT, Job
from labkit.errors import Interrupted

T = TypeVar("T")


def perform(job: Job) -> None:
    """Wait for the outcome, write what was asked for, show the rest.

    Ends with status 1 where no trial did what it was to do.
    """
    from labkit.cli import terminal

    outcome = wait(job.start(terminal.reporter()), kept=job.kept)
    note = job.save(outcome)
    if job.json != "-":
        terminal.say(job.text(outcome))
    if note is not None:
        terminal.note(note)
    options.write_json(job.json, job.data(outcome))
    if job.failed(outcome):
        raise SystemExit(1)


def wait(work: Coroutine[Any, Any, T], *, kept: str = KEPT) -> T:
    """The result of `work`; Ctrl-C ends it, and `kept` says what there is then."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {kept}") from None
