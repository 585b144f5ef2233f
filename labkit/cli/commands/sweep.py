"""`labkit sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labkit.cli.commands import options
from labkit.cli.commands.job import Job
from labkit.cli.commands.options import Json, Repeats, example, takes_trial
from labkit.errors import BadInput
from labkit.spec import validation
from labkit.spec.trial import Trial

if TYPE_CHECKING:
    from labkit.report.sweep import Sweep


@example(
    "labkit sweep --strategy worker_pool --delay 0.01 --requests 5000 "
    "--limits 1,2,5,10,20,50,100,200 --repeats 5 --chart knee.svg"
)
@takes_trial
def sweep(
    trial: Trial,
    *,
    limits: Annotated[
        str | None,
        typer.Option(metavar="N,N,...", help="The limits. [1, 2, 4, ... up to --requests]"),
    ] = None,
    repeats: Repeats = None,
    chart: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the knee (.svg or .png).")
    ] = None,
    json: Json = None,
) -> Job:
    """Run one trial at several limits, interleaved, and find the smallest that is enough."""
    from labkit.lab import facade

    options.check_json(json)
    options.check_chart(chart)
    if trial.limit != Trial().limit:
        raise BadInput(f"--limit is {trial.limit:,} in a sweep: name the limits with --limits")
    listed = None if limits is None else _limits(trial, limits)
    times = 5 if repeats is None else repeats

    def save(found: Sweep) -> None:
        if chart is not None and found.knee is not None:
            found.plot().save(chart)

    return Job(
        start=lambda reporter: facade.sweep(trial, listed, repeats=times, reporter=reporter),
        save=save,
        json=json,
    )


def _limits(trial: Trial, text: str) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise BadInput(f"--limits is {text!r}: write N,N,N, as in 1,10,100")
    return [validation.from_text("limit", word, trial.type_of("limit")) for word in words]
