"""`labkit profile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labkit.cli.commands import options
from labkit.cli.commands.job import Job, all_failed
from labkit.cli.commands.options import Json, example, takes_trial
from labkit.errors import BadInput
from labkit.spec.trial import Trial

if TYPE_CHECKING:
    from labkit.report.profile import Profile


@example("labkit profile --strategy as_completed --requests 5000 --limit 500")
@takes_trial
def profile(
    trial: Trial,
    *,
    clock: Annotated[str, typer.Option(metavar="NAME", help="wall or cpu.")] = "wall",
    slow: Annotated[
        float, typer.Option(metavar="S", help="Name callbacks that hold the loop so long.")
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
) -> Job:
    """Run one trial under a profiler: where its time goes. Nothing of it counts as measured."""
    from labkit.lab import facade
    from labkit.report import profile as profiling

    options.check_json(json)
    options.check_chart(chart)
    profiling.check_view(sort, rows)
    _check_out(out)

    def save(found: Profile) -> None:
        if out is not None:
            out.mkdir(exist_ok=True)
            found.save(out / "profile.pstat")
            found.save(out / "profile.callgrind")
            found.plot().save(out / "profile.svg")
        if chart is not None:
            found.plot().save(chart)

    return Job(
        start=lambda reporter: facade.profile(trial, clock=clock, slow_s=slow, reporter=reporter),
        save=save,
        text=lambda found: found.text(sort, rows),
        failed=lambda found: all_failed([found.record] if found.record else []),
        json=json,
        kept="a profile that is cut short is not kept",
    )


def _check_out(out: Path | None) -> None:
    if out is not None and (out.is_file() or not out.absolute().parent.is_dir()):
        raise BadInput(
            f"--out is {str(out)!r}: it must be a folder, or a new one in one that exists"
        )
