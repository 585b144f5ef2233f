"""`labkit run`, `compare`, `sweep` and `profile`: the commands that take a trial."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labkit.cli import options, terminal
from labkit.cli.options import Chart, Json, Metric, OwnRepeats, Repeats, Wanted, example
from labkit.errors import BadInput
from labkit.spec import validation
from labkit.spec.trial import Trial

if TYPE_CHECKING:
    from labkit.lab.progress import Reporter
    from labkit.report.profile import Profile
    from labkit.report.study import Outcome, Sweep

# As many as an interval needs.
REPEATS = 5


@example(
    "labkit run --strategy task_pool --requests 20000 --limit 1000 "
    "--delay 'randint(0,3)*0.1' --loop uvloop --json -"
)
@options.takes_trial
@options.takes_wanted
def run(
    wanted: Wanted,
    trial: Trial,
    *,
    repeats: OwnRepeats = None,
    chart: Chart = None,
    metric: Metric = "timeline",
    json: Json = None,
) -> None:
    """Run one trial and store its record.

    With --save or --baseline it runs five times, or as often as --repeats says: one run shows no
    difference.
    """
    from labkit.lab import facade

    usual = REPEATS if wanted.save or wanted.baseline else 1
    times = usual if repeats is None else repeats
    of_one = times == 1 and not wanted.baseline
    metric = metric if of_one or metric != "timeline" else "time"

    def start(reporter: Reporter) -> Coroutine[Any, Any, Outcome]:
        if of_one:
            return facade.run(trial, reporter=reporter)
        return facade.compare(trial, repeats=times, baseline=wanted.baseline, reporter=reporter)

    save = options.chart_writer(chart, metric, of_one=of_one, traced=_traces(trial))
    terminal.perform(start, wanted=wanted, save=save, json=json)


@example(
    "labkit compare --axis strategy=semaphore,task_pool,worker_pool "
    "--axis loop=asyncio,uvloop --requests 5000 --limit 500 --repeats 5"
)
@options.takes_trial
@options.takes_wanted
def compare(
    wanted: Wanted,
    trial: Trial,
    *,
    axis: Annotated[
        list[str], typer.Option(metavar="NAME=V1,V2", help="A setting to vary; may be repeated.")
    ],
    repeats: Repeats = REPEATS,
    chart: Chart = None,
    metric: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="What --chart draws: time, memory, cpu, latency, phases, a metric."
        ),
    ] = "time",
    json: Json = None,
) -> None:
    """Run every combination of the axes' values.

    The runs are interleaved in seeded random order, several repeats each.
    """
    from labkit.lab import facade

    traced = _traces(trial) or any(one.partition("=")[0].endswith("trace") for one in axis)
    save = options.chart_writer(chart, metric, traced=traced)
    axes = options.axes(trial, axis)
    terminal.perform(
        lambda reporter: facade.compare(
            trial, axes, repeats=repeats, baseline=wanted.baseline, reporter=reporter
        ),
        wanted=wanted,
        save=save,
        json=json,
    )


@example(
    "labkit sweep --strategy worker_pool --delay 0.01 --requests 5000 "
    "--limits 1,2,5,10,20,50,100,200 --repeats 5 --chart knee.svg"
)
@options.takes_trial
@options.takes_wanted
def sweep(
    wanted: Wanted,
    trial: Trial,
    *,
    limits: Annotated[
        str | None,
        typer.Option(metavar="N,N,...", help="The limits. [1, 2, 4, ... up to --requests]"),
    ] = None,
    repeats: Repeats = REPEATS,
    chart: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the knee (.svg or .png).")
    ] = None,
    json: Json = None,
) -> None:
    """Find the smallest limit that is enough.

    Runs one trial at several limits, interleaved.
    """
    from labkit.lab import facade

    write_chart = options.chart_writer(chart)
    if trial.limit != Trial().limit:
        raise BadInput(f"--limit is {trial.limit:,} in a sweep: name the limits with --limits")
    listed = None
    if limits is not None:
        words = [word.strip() for word in limits.split(",")]
        if not all(words):
            raise BadInput(f"--limits is {limits!r}: write N,N,N, as in 1,10,100")
        kind = trial.type_of("limit")
        listed = [validation.from_text("limit", word, kind) for word in words]

    def save(found: Sweep) -> None:
        if found.knee is not None:
            write_chart(found)

    terminal.perform(
        lambda reporter: facade.sweep(
            trial, listed, repeats=repeats, baseline=wanted.baseline, reporter=reporter
        ),
        wanted=wanted,
        save=save,
        json=json,
    )


@example("labkit profile --strategy as_completed --requests 5000 --limit 500")
@options.takes_trial
def profile(
    trial: Trial,
    *,
    clock: Annotated[str, typer.Option(metavar="NAME", help="wall or cpu.")] = "wall",
    slow: Annotated[
        float, typer.Option(metavar="SECONDS", help="Name callbacks that block the loop so long.")
    ] = 0.05,
    sort: Annotated[str, typer.Option(metavar="NAME", help="self, total, calls, mean.")] = "self",
    rows: Annotated[int, typer.Option(metavar="N", help="How many functions to show.")] = 15,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write profile.pstat, .callgrind and .svg there."),
    ] = None,
    chart: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the flame chart (.svg or .png).")
    ] = None,
    json: Json = None,
) -> None:
    """Show where the time of a trial goes.

    Runs it under a profiler; nothing of that counts as measured.
    """
    from labkit.lab import facade
    from labkit.report import profile as profiling

    write_chart = options.chart_writer(chart)
    profiling.check_view(sort, rows)
    if out is not None:
        options.check_folder("--out", out)

    def save(found: Profile) -> None:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            found.save(out / "profile.pstat")
            found.save(out / "profile.callgrind")
            found.plot().save(out / "profile.svg")
        write_chart(found)

    terminal.perform(
        lambda reporter: facade.profile(trial, clock=clock, slow_s=slow, reporter=reporter),
        save=save,
        text=lambda found: found.text(sort, rows),
        failed=lambda found: terminal.all_failed([found.record] if found.record else []),
        json=json,
        stored="a profile that is cut short is not stored",
    )


def _traces(trial: Trial) -> bool:
    return bool(getattr(trial.transport, "trace", False))
