"""`labkit profile`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labkit.cli import options
from labkit.cli.options import Json, example, takes_trial, wait
from labkit.errors import BadInput
from labkit.spec import Trial


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
) -> None:
    """Run one trial under a profiler: where its time goes. Nothing of it counts as measured."""
    from labkit import lab, profiling, terminal

    options.check_json(json)
    options.check_chart(chart)
    profiling.check_view(sort, rows)
    _check_out(out)
    work = lab.profile(trial, clock=clock, slow_s=slow, reporter=terminal.reporter())
    found = wait(work, kept="a profile that is cut short is not kept")
    if out is not None:
        out.mkdir(exist_ok=True)
        found.save(out / "profile.pstat")
        found.save(out / "profile.callgrind")
        found.plot().save(out / "profile.svg")
    if chart is not None:
        found.plot().save(chart)
    if json != "-":
        terminal.say(found.text(sort, rows))
    options.write_json(json, found.to_dict())
    options.exit_1_where_all_failed([found.record] if found.record else [])


def _check_out(out: Path | None) -> None:
    if out is not None and (out.is_file() or not out.absolute().parent.is_dir()):
        raise BadInput(
            f"--out is {str(out)!r}: it must be a folder, or a new one in one that exists"
        )
