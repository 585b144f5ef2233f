"""`labkit run` and `labkit compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labkit.cli import arguments
from labkit.cli.commands import options
from labkit.cli.commands.job import Job
from labkit.cli.commands.options import Chart, Json, Repeats, Shown, example, takes_trial
from labkit.spec.trial import Trial


@example(
    "labkit run --strategy task_pool --requests 20000 --limit 1000 "
    "--delay 'randint(0,3)*0.1' --loop uvloop --json -"
)
@takes_trial
def run(trial: Trial, *, chart: Chart = None, metric: Shown = "timeline", json: Json = None) -> Job:
    """Run one trial and keep its record."""
    from labkit.lab import facade

    options.check_json(json)
    options.check_chart(chart, metric, of_one=True, traced=_traces(trial))
    return Job(
        start=lambda reporter: facade.run(trial, reporter=reporter),
        save=options.saving(chart, metric),
        json=json,
    )


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
) -> Job:
    """Run every combination of the axes' values, interleaved, several repeats each."""
    from labkit.lab import facade

    options.check_json(json)
    traced = _traces(trial) or any(one.partition("=")[0].endswith("trace") for one in axis)
    options.check_chart(chart, metric, traced=traced)
    axes, times = arguments.axes(trial, axis), 5 if repeats is None else repeats
    return Job(
        start=lambda reporter: facade.compare(trial, axes, repeats=times, reporter=reporter),
        save=options.saving(chart, metric),
        json=json,
    )


def _traces(trial: Trial) -> bool:
    return bool(getattr(trial.transport, "trace", False))
