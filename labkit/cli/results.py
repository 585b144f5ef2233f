"""`labkit results`: the records that are stored."""

import math
import shlex
import sys
from importlib.util import find_spec
from typing import Any

import labkit as lab
from labkit import paths
from labkit.cli import options, terminal
from labkit.errors import NotInstalled
from labkit.escaping import cell
from labkit.record.record import Verdict
from labkit.spec import validation

# Fields of a record in the JSON of the list, beside its strategy.
LISTED: list[str] = paths.table("tables.toml")["listed"]


def list_records(asked: options.Asked) -> None:
    """List the records, newest first: all, or those that are as asked.

    A file in the store that holds no readable record is left out, and named on standard error.
    """
    from labkit.lab.written_plan import unfinished
    from labkit.record.store import readable
    from labkit.report import tables

    validation.check("verdict", asked.verdict, Verdict | None)
    rules = {name: getattr(asked, name) for name in ("study", "match", "verdict", "since")}
    given: dict[str, Any] = {name: str(rule) for name, rule in rules.items() if rule is not None}
    store, last, page = lab.Store(), asked.last, asked.page
    index = store.index()
    (number,) = index.select("count(*)", **given)
    pages = max(math.ceil(number / last), 1)
    if page > pages:
        raise validation.refusal("page", page=page, pages=pages, last=last)
    names = index.select("name", last=page * last, **given)[::-1][(page - 1) * last :]
    shown = list(readable(store.scan(names)))
    words = "".join(f" --{name} {shlex.quote(rule)}" for name, rule in given.items())
    text = f"No record in {store.folder}{f' has{words}' if given else ''}; 'labkit run' makes one."
    if shown:
        more = f"; the next: labkit results list{words} --last {last} --page {page + 1}"
        text = f"{tables.of_records(shown).text()}\n\n{len(shown)} of {number:,} records in "
        text += f"{store.folder}, newest first{more * (page < pages)}; 'labkit results show ID'"
    studies = sorted({*(one.study or "" for one in shown), *store.plans.ids()[-1:]})
    ran = [[*readable(store.scan(index.select("name", study=one)))] for one in studies]
    found = [unfinished(store, *pair) for pair in zip(studies, ran, strict=True)]
    text = "\n".join([text, *(left := [*filter(None, found)])])
    listed: list[dict[str, Any]] = [
        {name: getattr(one, name) for name in LISTED} | {"strategy": one.ran} for one in shown
    ]
    listed += [{"id": one.id, "damaged": one.why} for one in index.damaged]
    about = {"of": number, "page": page, "pages": pages, "unfinished": left}
    terminal.show(text, asked.json, {"records": listed} | about)


def show(asked: options.Asked) -> None:
    """Show one record whole."""
    write_chart = options.chart_writer(asked.chart, asked.metric, of_one=True)
    run = lab.Run(lab.Store().get(asked.record_id))
    write_chart(run)
    terminal.show(run.text(), asked.json, run.record.to_dict())


def export(asked: options.Asked) -> None:
    """Write all records as CSV, Parquet or JSON."""
    from labkit.stats import frames

    csv, parquet, json = asked.csv, asked.parquet, asked.json
    for option, where in (("--csv", csv), ("--parquet", parquet)):
        options.check_file(option, where)
    if parquet is not None and find_spec("pyarrow") is None:
        raise NotInstalled(f"--parquet is {parquet!r}", "pyarrow", "parquet")
    if csv is parquet is json is None:
        csv = "-"
    records = list(lab.Store().records())
    if csv is not None:
        table = frames.export(records).rename(columns=cell).map(cell)
        with terminal.no_end_of_reader():
            table.to_csv(sys.stdout if csv == "-" else csv, index=False)
            sys.stdout.flush()
    if parquet is not None:
        whole = frames.export(records)
        # A column of Parquet has one type, and a setting may have a number or a word.
        words = whole.select_dtypes("object").map(lambda one: None if one is None else str(one))
        whole.assign(**{str(name): words[name] for name in words}).to_parquet(parquet, index=False)
    terminal.write_json(json, {"records": [record.to_dict() for record in records]})
