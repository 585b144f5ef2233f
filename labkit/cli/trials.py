"""`labkit run`, `compare`, `sweep` and `profile`: the commands that take a trial."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import Any

import labkit as lab
from labkit import paths
from labkit.cli import options, terminal
from labkit.cli.options import Wanted
from labkit.errors import BadInput
from labkit.record import codes
from labkit.spec import validation
from labkit.spec.trial import Trial

# As many as an interval needs.
REPEATS = 5


@options.takes_trial
@options.takes_wanted
def run(
    wanted: Wanted,
    trial: Trial,
    *,
    repeats: int | None = None,
    chart: Path | None = None,
    metric: str = "timeline",
    json: str | None = None,
) -> None:
    """Run one trial and store its record.

    With --save or --baseline it runs five times, or as often as --repeats says: one run shows no
    difference. Runs in which the host ran other guests are then made again at the end, at most as
    many as there are.
    """
    usual = REPEATS if wanted.baseline else 1
    times = usual if repeats is None else repeats
    of_one = times == 1 and not (wanted.baseline and wanted.baseline.of)
    metric = metric if of_one or metric != "timeline" else "time"
    start: partial[Any] = partial(lab.run, trial)
    if not of_one:
        start = partial(lab.compare, trial, repeats=times, baseline=wanted.baseline)
    save = options.chart_writer(chart, metric, of_one=of_one, traced=_traces(trial))
    terminal.perform(start, wanted=wanted, save=save, json=json)


@options.takes_trial
@options.takes_wanted
def compare(
    wanted: Wanted,
    trial: Trial,
    *,
    axis: list[str],
    repeats: int = REPEATS,
    chart: Path | None = None,
    metric: str = "time",
    json: str | None = None,
) -> None:
    """Run every combination of the axes' values.

    The runs are interleaved in seeded random order, several repeats each.
    """
    traced = _traces(trial) or any(one.partition("=")[0].endswith("trace") for one in axis)
    save = options.chart_writer(chart, metric, traced=traced)
    axes = options.axes(trial, axis)
    start = partial(lab.compare, trial, axes, repeats=repeats, baseline=wanted.baseline)
    terminal.perform(start, wanted=wanted, save=save, json=json)


@options.takes_trial
@options.takes_wanted
def sweep(
    wanted: Wanted,
    trial: Trial,
    *,
    limits: str | None = None,
    rates: str | None = None,
    repeats: int = REPEATS,
    chart: Path | None = None,
    json: str | None = None,
) -> None:
    """Find the smallest limit that is enough, or with --rates the highest rate that is sustained.

    Runs one trial at several limits or rates, interleaved. `--rates auto` chooses each rate by what
    the one before showed.
    """
    write_chart = options.chart_writer(chart)
    if trial.limit != Trial().limit and rates is None:
        raise BadInput(f"--limit is {trial.limit:,} in a sweep: name the limits with --limits")

    def listed(name: str, text: str | None) -> Any:
        if text is None or text == "auto":
            return text
        words = [word.strip() for word in text.split(",")]
        if not all(words):
            raise BadInput(f"--{name}s is {text!r}: write N,N,N, as in 1,10,100")
        return [validation.from_text(name, word, trial.type_of(name)) for word in words]

    asked = {"limit": listed("limit", limits), "rates": listed("rate", rates)}

    def save(found: Any) -> None:
        if getattr(found, "knee", found) is not None:
            write_chart(found)

    start = partial(lab.sweep, trial, **asked, repeats=repeats, baseline=wanted.baseline)
    terminal.perform(start, wanted=wanted, save=save, json=json)


def time(
    words: list[str],
    *,
    delay: str | None = None,
    port: int | None = None,
    requests: int | None = None,
    limit: int | None = None,
    repeats: int | None = None,
    out: Path | None = None,
    json: str | None = None,
) -> None:
    """Measure any program from outside: memory, time and CPU, as /usr/bin/time does.

    With --delay the synthetic server answers meanwhile. Two programs are compared with
    '-- FIRST --against -- SECOND'.
    """
    n = words.index("--against") if "--against" in words else len(words)
    first, other = words[:n], [word for word in words[n + 1 :] if word != "--"]
    if n < len(words) and not other:
        raise BadInput("--against has no program behind it: write '-- FIRST --against -- SECOND'")
    given = {"delay": delay, "port": port, "requests": requests, "limit": limit}
    asked: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    write_chart, found = options.chart_writer(out), list[lab.Timed]()
    start = partial(lab.time, shlex.join(first), against=shlex.join(other), repeats=repeats)
    terminal.perform(partial(start, **asked), save=found.append, json=json)
    write_chart(found[0])
    terminal.note(paths.sentence("drawn" if out else "not-drawn", where=out))
    if any(map(codes.failed, found[0].records)):
        raise SystemExit(1)


@options.takes_trial
def profile(
    trial: Trial,
    *,
    clock: str = "wall",
    slow: float = 0.05,
    sort: str = "self",
    rows: int = 15,
    out: Path | None = None,
    chart: Path | None = None,
    json: str | None = None,
) -> None:
    """Show where the time of a trial goes.

    Runs it under a profiler; nothing of that counts as measured.
    """
    from labkit.report import profile as profiling

    write_chart = options.chart_writer(chart)
    profiling.check_view(sort, rows)
    if out is not None:
        options.check_folder("--out", out)

    def save(found: lab.Profile) -> None:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            found.save(out / "profile.pstat")
            found.save(out / "profile.callgrind")
            found.plot().save(out / "profile.svg")
        write_chart(found)

    terminal.perform(
        partial(lab.profile, trial, clock=clock, slow_s=slow),
        save=save,
        text=lambda found: found.text(sort, rows),
        json=json,
        stored="a profile that is cut short is not stored",
    )


def _traces(trial: Trial) -> bool:
    return bool(getattr(trial.transport, "trace", False))
