"""`labkit results`: the records that were kept."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from labkit.cli.commands import options
from labkit.cli.commands.job import Job
from labkit.cli.commands.options import Chart, Json, Shown, example


@example("labkit results list --last 20")
def list_records(
    last: Annotated[int, typer.Option(metavar="N", min=1, help="How many, the newest last.")] = 20,
    json: Json = None,
) -> None:
    """List the records that were kept, oldest first."""
    from labkit.cli import terminal
    from labkit.record.store import Store

    options.check_json(json)
    store = Store()
    found = list(store.scan())
    if json != "-":
        terminal.records(found[-last:], of=len(found), folder=store.folder)
    options.write_json(json, {"records": terminal.listed(found)})


@example("labkit results show 20261120T101500-3f9a2c")
def show(
    record_id: Annotated[str, typer.Argument(metavar="ID", help="The id, or how it starts.")],
    chart: Chart = None,
    metric: Shown = "timeline",
    json: Json = None,
) -> Job:
    """Show one record whole."""
    from labkit.record.store import Store
    from labkit.report.study import Run

    options.check_json(json)
    options.check_chart(chart, metric, of_one=True)

    async def found(reporter: object) -> Run:
        return Run(Store().get(record_id))

    return Job(
        start=found,
        save=options.saving(chart, metric),
        failed=lambda run: False,
        data=lambda run: run.record.to_dict(),
        json=json,
    )


@example("labkit results export --csv records.csv")
def export(
    csv: Annotated[str | None, typer.Option(metavar="FILE", help="As CSV, a row a record.")] = None,
    json: Json = None,
) -> None:
    """Write all records out: one table as CSV, or the whole records as JSON."""
    from labkit.lab import facade
    from labkit.record.store import Store

    options.check_json(csv)
    options.check_json(json)
    if csv is None and json is None:
        csv = "-"
    if csv is not None:
        facade.results().to_csv(sys.stdout if csv == "-" else csv, index=False)
    if json is not None:
        options.write_json(json, {"records": [record.to_dict() for record in Store().records()]})
