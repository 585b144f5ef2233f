"""`labkit ladder`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labkit.cli import options, terminal
from labkit.cli.options import Json, example


@example("labkit ladder --short --chart ladder.svg")
def ladder(
    short: Annotated[
        bool, typer.Option("--short", help="Under a minute, in shorter runs.")
    ] = False,
    rungs: Annotated[
        str | None,
        typer.Option(metavar="ID,ID", help="Which rungs; 'list' names them all. [all]"),
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(metavar="N", help="Repeats of each rung. [5; short: 3]")
    ] = None,
    chart: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the ladder (.svg or .png).")
    ] = None,
    json: Json = None,
) -> None:
    """Climb from a new session for each request to pipelining, and on to the tools of others."""
    from labkit.lab import facade
    from labkit.report import tables
    from labkit.studies import study_file

    if rungs == "list":
        rows = [[arm.id, arm.why] for arm in study_file.load("ladder").arms]
        says = "'labkit ladder --rungs ID,ID' climbs some, 'labkit ladder' all that are installed."
        table = tables.Table(headers=["rung", "what it changes"], rows=rows, says=says, left=2)
        terminal.say(table.text())
        return
    options.check_json(json)
    options.check_chart(chart)
    chosen = None if rungs is None else [one.strip() for one in rungs.split(",") if one.strip()]
    terminal.perform(
        lambda reporter: facade.ladder(chosen, short=short, repeats=repeats, reporter=reporter),
        save=terminal.saving(chart),
        json=json,
    )
