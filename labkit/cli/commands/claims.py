"""`labkit claims`: what others claim, and the experiment behind each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from labkit.cli import options, terminal
from labkit.cli.options import Json, OwnRepeats, example


@example("labkit claims list")
def list_claims(json: Json = None) -> None:
    """List every claim: where it is made, and whether it can be measured yet."""
    from labkit.report import tables
    from labkit.studies import study_file

    options.check_json(json)
    file = study_file.load("claims")
    listed: list[dict[str, Any]] = [
        {
            "id": claim.id,
            "source": file.source_text(file.sources_of(claim)),
            "says": claim.says,
            "status": "not testable here" if claim.needs else "not checked",
            "needs": claim.needs,
            "checks": [check.says or claim.says for check in claim.checks],
        }
        for claim in file.claims
    ]
    if json != "-":
        rows = [
            [
                *(one["id"], one["status"]),
                f"{one['says']} (needs {one['needs']})" if one["needs"] else one["says"],
                one["source"],
            ]
            for one in listed
        ]
        headers = ["claim", "status", "what is claimed", "source"]
        says = "'labkit claims check ID ...' checks some, 'labkit claims check' all of them."
        terminal.say(tables.Table(headers=headers, rows=rows, says=says, left=4).text())
    terminal.write_json(json, {"claims": listed})


@example("labkit claims check session-reuse dns-cache --scale smoke --chart forest.svg")
def check(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Which claims. [all]")
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(metavar="SCALE", help="smoke, workshop or paper. [LABKIT_SCALE, or smoke]"),
    ] = None,
    repeats: OwnRepeats = None,
    chart: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the forest plot (.svg or .png).")
    ] = None,
    json: Json = None,
) -> None:
    """Check claims by experiment: holds, refuted or inconclusive, with the measured effect."""
    from labkit.lab import facade

    options.check_json(json)
    options.check_chart(chart)
    terminal.perform(
        lambda reporter: facade.check_claims(ids, scale=scale, repeats=repeats, reporter=reporter),
        save=terminal.saving(chart),
        json=json,
    )
