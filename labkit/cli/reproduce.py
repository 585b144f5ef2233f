"""`labkit reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labkit.cli import options
from labkit.cli.options import Json, Repeats, example, wait


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
) -> None:
    """Run a published benchmark again: published beside measured, with verdicts and a report."""
    from labkit import lab, published, references, terminal

    if name == "list":
        terminal.benchmarks([published.named(one) for one in published.names()])
        return
    options.check_json(json)
    work = lab.reproduce(name, scale=scale, repeats=repeats, reporter=terminal.reporter())
    reproduction = wait(work)
    report = reproduction.write(out or Path("results") / f"{name}-{reproduction.scale}")
    terminal.show(reproduction, quiet=json == "-")
    terminal.note(f"The report is {report}")
    if save_reference is not None:
        references.save(reproduction, save_reference)
    options.write_json(json, reproduction.to_dict())
    options.exit_1_where_all_failed(reproduction.records)
