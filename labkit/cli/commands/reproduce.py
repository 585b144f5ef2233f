"""`labkit reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labkit.cli.commands import options
from labkit.cli.commands.job import Job
from labkit.cli.commands.options import Json, Repeats, example

if TYPE_CHECKING:
    from labkit.report.reproduction import Reproduction


@example("labkit reproduce garcia-2018 --scale smoke --out results")
def reproduce(
    name: Annotated[str, typer.Argument(help="The benchmark; 'list' names them all.")],
    scale: Annotated[
        str | None,
        typer.Option(metavar="SCALE", help="smoke, workshop or paper. [LABKIT_SCALE, or smoke]"),
    ] = None,
    repeats: Repeats = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the report and charts go.")
    ] = None,
    save_reference: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Store as a reference result, too.")
    ] = None,
    json: Json = None,
) -> Job | None:
    """Run a published benchmark again: published beside measured, with verdicts and a report."""
    from labkit.cli import terminal
    from labkit.lab import facade
    from labkit.report import reference
    from labkit.studies import published

    if name == "list":
        terminal.benchmarks([published.named(one) for one in published.names()])
        return None
    options.check_json(json)

    def save(found: Reproduction) -> str:
        report = found.write(out or Path("results") / f"{name}-{found.scale}")
        if save_reference is not None:
            reference.save(found, save_reference)
        return f"The report is {report}"

    return Job(
        start=lambda reporter: facade.reproduce(
            name, scale=scale, repeats=repeats, reporter=reporter
        ),
        save=save,
        json=json,
    )
