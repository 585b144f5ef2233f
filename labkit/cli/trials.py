"""`labkit run` and `labkit compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labkit import arguments
from labkit.cli import options
from labkit.cli.options import Chart, Json, Repeats, Shown, example, takes_trial, wait
from labkit.spec import Trial


@example(
    "labkit run --strategy task_pool --requests 20000 --limit 1000 "
    "--delay 'randint(0,3)*0.1' --loop uvloop --json -"
)
@takes_trial
def run(
    trial: Trial, *, chart: Chart = None, metric: Shown = "timeline", json: Json = None
) -> None:
    """Run one trial and keep its record."""
    from labkit import lab, terminal

    options.check_json(json)
    options.check_chart(chart, metric, of_one=True, traced=_traces(trial))
    outcome = wait(lab.run(trial, reporter=terminal.reporter()))
    if chart is not None:
        outcome.plot(metric).save(chart)
    terminal.show(outcome, quiet=json == "-")
    options.write_json(json, outcome.to_dict())
    options.exit_1_where_all_failed(outcome.records)


@example(
    "labkit compare --axis strategy=semaphore,task_pool,worker_pool "
    "--axis loop=asyncio,uvloop --requests 5000 --limit 500 --repeats 5"
)
@takes_trial
def compare(
    trial: Trial,
    *,
    axis: Annotated[
        list[str], typer.Option(metavar="NAME=V1,V2", help="A setting to vary; may be repeated.")
    ],
    repeats: Repeats = None,
    chart: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw --metric (.svg or .png).")
    ] = None,
    metric: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What --chart draws: time, memory, cpu, latency, phases, a metric.",
        ),
    ] = "time",
    json: Json = None,
) -> None:
    """Run every combination of the axes' values, interleaved, several repeats each."""
    from labkit import lab, terminal

    options.check_json(json)
    traced = _traces(trial) or any(one.partition("=")[0].endswith("trace") for one in axis)
    options.check_chart(chart, metric, traced=traced)
    work = lab.compare(
        trial,
        arguments.axes(trial, axis),
        repeats=5 if repeats is None else repeats,
        reporter=terminal.reporter(),
    )
    study = wait(work)
    if chart is not None:
        study.plot(metric).save(chart)
    terminal.show(study, quiet=json == "-")
    options.write_json(json, study.to_dict())
    options.exit_1_where_all_failed(study.records)


def _traces(trial: Trial) -> bool:
    return bool(getattr(trial.transport, "trace", False))
