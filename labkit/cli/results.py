"""`labkit results`: the records that are stored."""

from __future__ import annotations

import math
import shlex
from typing import Any

import labkit as lab
from labkit import paths
from labkit.cli import options, terminal
from labkit.record.record import Verdict
from labkit.spec import validation

# Fields of a record in the JSON of the list, beside its strategy.
LISTED: list[str] = paths.table("tables.toml")["listed"]


def list_records(asked: options.Asked) -> None:
    """List the records, newest first: all, or those that are as asked.

    A file in the store that holds no readable record is left out, and named on standard error.
    """
    from labkit.lab.written_plan import find
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
    plans = {*store.plans.ids()} & {*(one.study or "" for one in shown), *store.plans.ids()[-1:]}
    ran = {one: store.scan(index.select("name", study=one)) for one in sorted(plans)}
    found = [find(store, one).unfinished([*readable(ran[one])]) for one in ran]
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
