"""`labkit reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labkit.commands import options
from labkit.commands.job import Job
from labkit.commands.options import Json, Repeats, example

if TYPE_CHECKING:
    from labkit.reproduction import Reproduction


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
    from labkit import lab, published, references, terminal

    if name == "list":
        terminal.benchmarks([published.named(one) for one in published.names()])
        return None
    options.check_json(json)

    def save(found: Reproduction) -> str:
        report = found.write(out or Path("results") / f"{name}-{found.scale}")
        if save_reference is not None:
            references.save(found, save_reference)
        return f"The report is {report}"

    return Job(
        start=lambda reporter: lab.reproduce(name, scale=scale, repeats=repeats, reporter=reporter),
        save=save,
        json=json,
    )
