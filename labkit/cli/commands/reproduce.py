"""`labkit reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labkit.cli import options, terminal
from labkit.cli.options import Json, OwnRepeats, example

if TYPE_CHECKING:
    from labkit.report.study import FileStudy


@example("labkit reproduce garcia-2018 --scale smoke --out results")
def reproduce(
    name: Annotated[str, typer.Argument(help="The benchmark; 'list' names them all.")],
    scale: Annotated[
        str | None,
        typer.Option(metavar="SCALE", help="smoke, workshop or paper. [LABKIT_SCALE, or smoke]"),
    ] = None,
    repeats: OwnRepeats = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the report and charts go.")
    ] = None,
    save_reference: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Store as a reference result, too.")
    ] = None,
    json: Json = None,
) -> None:
    """Run a published benchmark again: published beside measured, with verdicts and a report."""
    from labkit.lab import facade
    from labkit.report import stored, tables
    from labkit.studies import study_file

    if name == "list":
        rows = [[one.id, one.title] for one in study_file.benchmarks()]
        says = "'labkit reproduce NAME --scale smoke' runs one again."
        table = tables.Table(headers=["benchmark", "what it is"], rows=rows, says=says, left=2)
        terminal.say(table.text())
        return
    options.check_json(json)

    def save(found: FileStudy) -> str:
        report = found.write(out or Path("results") / f"{name}-{found.scale}")
        if save_reference is not None:
            stored.save_reference(found, save_reference)
        return f"The report is {report}"

    terminal.perform(
        lambda reporter: facade.reproduce(name, scale=scale, repeats=repeats, reporter=reporter),
        save=save,
        json=json,
    )
