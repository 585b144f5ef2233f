"""`labkit claims`: the ledger of what others claim."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labkit.cli import options
from labkit.cli.options import Json, Repeats, example, wait


@example("labkit claims list")
def list_claims(json: Json = None) -> None:
    """List every claim: where it is made, and whether it can be measured yet."""
    from labkit import ledger, terminal

    options.check_json(json)
    listed = ledger.listed(ledger.load())
    if json != "-":
        terminal.claims(listed)
    options.write_json(json, {"claims": listed})


@example("labkit claims check session-reuse dns-cache --scale smoke --chart forest.svg")
def check(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Which claims. [all]")
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(metavar="SCALE", help="smoke, workshop or paper. [LABKIT_SCALE, or smoke]"),
    ] = None,
    repeats: Repeats = None,
    chart: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the forest plot (.svg or .png).")
    ] = None,
    json: Json = None,
) -> None:
    """Check claims by experiment: holds, refuted or inconclusive, with the measured effect."""
    from labkit import lab, terminal

    options.check_json(json)
    options.check_chart(chart)
    work = lab.check_claims(ids, scale=scale, repeats=repeats, reporter=terminal.reporter())
    ledger = wait(work)
    if chart is not None:
        ledger.plot().save(chart)
    terminal.show(ledger, quiet=json == "-")
    options.write_json(json, ledger.to_dict())
    if ledger.readings and all(one.why for one in ledger.readings):
        raise SystemExit(1)
