"""`labkit results`: the records that are stored."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from labkit.cli import options, terminal
from labkit.cli.options import Chart, Json, Metric, example
from labkit.escaping import cell

LISTED = ("id", "started_at", "experiment", "study", "axes", "wall_s", "efficiency", "verdict")
"""Fields of a record in the JSON of the list, beside its strategy."""


@example("labkit results list --last 20")
def list_records(
    last: Annotated[int, typer.Option(metavar="N", min=1, help="How many, the newest last.")] = 20,
    json: Json = None,
) -> None:
    """List the records, oldest first.

    A file in the store that holds no readable record is left out, and named on standard error.
    """
    from labkit.record.record import Record
    from labkit.record.store import Damaged, Store, readable
    from labkit.report import tables

    options.check_file("--json", json)
    store = Store()
    found = list(store.scan())
    records = list(readable(found))
    shown = records[-last:]
    ids = {one.id for one in shown}
    text = f"No record in {store.folder} yet; 'labkit run' makes one."
    if records:
        counted = f"{len(shown)} of {len(records)} records in {store.folder}"
        text = f"{tables.of_records(shown).text()}\n\n{counted}; 'labkit results show ID'"
    listed: list[dict[str, Any]] = [
        {name: getattr(one, name) for name in LISTED} | {"strategy": one.ran}
        if isinstance(one, Record)
        else {"id": one.id, "damaged": one.why}
        for one in found
        if isinstance(one, Damaged) or one.id in ids
    ]
    if json != "-":
        terminal.say(text)
    terminal.write_json(json, {"records": listed})


@example("labkit results show 20261120T101500-3f9a2c")
def show(
    record_id: Annotated[str, typer.Argument(metavar="ID", help="The id, or how it starts.")],
    chart: Chart = None,
    metric: Metric = "timeline",
    json: Json = None,
) -> None:
    """Show one record whole."""
    from labkit.record.store import Store
    from labkit.report.study import Run

    options.check_file("--json", json)
    write_chart = options.chart_writer(chart, metric, of_one=True)
    run = Run(Store().get(record_id))
    write_chart(run)
    if json != "-":
        terminal.say(run.text())
    terminal.write_json(json, run.record.to_dict())


@example("labkit results export --csv records.csv")
def export(
    csv: Annotated[str | None, typer.Option(metavar="FILE", help="As CSV, a row a record.")] = None,
    json: Json = None,
) -> None:
    """Write all records as CSV or JSON.

    CSV is one table with a row a record; JSON has the whole records. A file in the store that holds
    no readable record is left out, and named on standard error.
    """
    from labkit import stats
    from labkit.record.store import Store

    options.check_file("--csv", csv)
    options.check_file("--json", json)
    if csv is None and json is None:
        csv = "-"
    records = list(Store().records())
    if csv is not None:
        table = stats.frame(records).rename(columns=cell).map(cell)
        with terminal.no_end_of_reader():
            table.to_csv(sys.stdout if csv == "-" else csv, index=False)
            sys.stdout.flush()
    terminal.write_json(json, {"records": [record.to_dict() for record in records]})
