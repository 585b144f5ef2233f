"""`labkit sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labkit import fields
from labkit.cli import options
from labkit.cli.options import Json, Repeats, example, takes_trial, wait
from labkit.errors import BadInput
from labkit.spec import Trial


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
) -> None:
    """Run one trial at several limits, interleaved, and find the smallest that is enough."""
    from labkit import lab, terminal

    options.check_json(json)
    options.check_chart(chart)
    if trial.limit != Trial().limit:
        raise BadInput(f"--limit is {trial.limit:,} in a sweep: name the limits with --limits")
    work = lab.sweep(
        trial,
        None if limits is None else _limits(trial, limits),
        repeats=5 if repeats is None else repeats,
        reporter=terminal.reporter(),
    )
    found = wait(work)
    if chart is not None and found.knee is not None:
        found.plot().save(chart)
    terminal.show(found, quiet=json == "-")
    options.write_json(json, found.to_dict())
    options.exit_1_where_all_failed(found.records)


def _limits(trial: Trial, text: str) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise BadInput(f"--limits is {text!r}: write N,N,N, as in 1,10,100")
    return [fields.from_text("limit", word, trial.type_of("limit")) for word in words]
