"""The commands that run trials: as their options say, or as a study file does."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import labkit as lab
from labkit import paths
from labkit.cli import options, terminal
from labkit.errors import BadInput
from labkit.spec import validation
from labkit.spec.trial import Trial

if TYPE_CHECKING:
    from labkit.report.file_study import FileStudy

# As many as an interval needs.
REPEATS = 5


def run(asked: options.Asked) -> None:
    """Run one trial and store its record.

    With --save or --baseline it runs five times, or as often as --repeats says: one run shows no
    difference. Runs in which the host ran other guests are then made again at the end, at most as
    many as there are.
    """
    trial, baseline = asked.trial, asked.wanted.baseline
    usual = REPEATS if baseline else 1
    times = usual if asked.repeats is None else asked.repeats
    of_one = times == 1 and not (baseline and baseline.of)
    metric = asked.metric if of_one or asked.metric != "timeline" else "time"
    how: dict[str, Any] = {} if of_one else {"repeats": times, "baseline": baseline}

    def start(**more: Any) -> Any:  # what is named here is imported then
        return getattr(lab, "run" if of_one else "compare")(trial, on=asked.on, **how, **more)

    save = options.chart_writer(asked.chart, metric, of_one=of_one, traced=_traces(trial))
    terminal.perform(start, asked, save=save)


def compare(asked: options.Asked) -> None:
    """Run every combination of the axes' values.

    The runs are interleaved in seeded random order, several repeats each.
    """
    trial = asked.trial
    traced = _traces(trial) or any(one.partition("=")[0].endswith("trace") for one in asked.axis)
    save = options.chart_writer(asked.chart, asked.metric, traced=traced)
    how = {"repeats": asked.repeats, "baseline": asked.wanted.baseline, "on": asked.on}
    start = partial(lab.compare, trial, options.axes(trial, asked.axis), **how)
    terminal.perform(start, asked, save=save)


def sweep(asked: options.Asked) -> None:
    """Find the smallest limit that is enough, or with --rates the highest rate that is sustained.

    Runs one trial at several limits or rates, interleaved. `--rates auto` chooses each rate by what
    the one before showed.
    """
    write_chart, trial = options.chart_writer(asked.chart), asked.trial
    if trial.limit != Trial().limit and asked.rates is None:
        raise BadInput(f"--limit is {trial.limit:,} in a sweep: name the limits with --limits")

    def listed(name: str, text: str | None) -> Any:
        if text is None or text == "auto":
            return text
        words = [word.strip() for word in text.split(",")]
        if not all(words):
            raise BadInput(f"--{name}s is {text!r}: write N,N,N, as in 1,10,100")
        return [validation.from_text(name, word, trial.type_of(name)) for word in words]

    how = {"limit": listed("limit", asked.limits), "rates": listed("rate", asked.rates)}
    how |= {"repeats": asked.repeats, "baseline": asked.wanted.baseline, "on": asked.on}

    def save(found: Any) -> None:
        if getattr(found, "knee", found) is not None:
            write_chart(found)

    terminal.perform(partial(lab.sweep, trial, **how), asked, save=save)


def resumed(asked: options.Asked) -> None:
    """Run the rest of the study that --resume names."""
    names = ("anyway", "allow_commands", "allow_remote")
    how = {name: getattr(asked, name) for name in names if hasattr(asked, name)}
    save = options.chart_writer(getattr(asked, "chart", None))
    terminal.perform(partial(lab.resume, asked.resume, **how), asked, save=save)


def time(asked: options.Asked) -> None:
    """Measure any program from outside: memory, time and CPU, as /usr/bin/time does.

    With --delay the synthetic server answers meanwhile. Two programs are compared with
    '-- FIRST --against -- SECOND'.
    """
    from labkit.record import codes  # takes a while

    words = asked.words
    n = words.index("--against") if "--against" in words else len(words)
    first, other = words[:n], [word for word in words[n + 1 :] if word != "--"]
    if n < len(words) and not other:
        raise BadInput("--against has no program behind it: write '-- FIRST --against -- SECOND'")
    given = {name: getattr(asked, name) for name in ("delay", "port", "requests", "limit")}
    how = {name: value for name, value in given.items() if value is not None}
    write_chart, found = options.chart_writer(asked.out), list[lab.Timed]()
    start = partial(lab.time, shlex.join(first), against=shlex.join(other), repeats=asked.repeats)
    terminal.perform(partial(start, **how), asked, save=found.append)
    write_chart(found[0])
    terminal.note(paths.sentence("drawn" if asked.out else "not-drawn", where=asked.out))
    if any(map(codes.failed, found[0].records)):
        raise SystemExit(1)


def profile(asked: options.Asked) -> None:
    """Show where the time of a trial goes, or its memory.

    Runs it under a profiler; nothing of that counts as measured.
    """
    from labkit.report import profile as profiling

    write_chart, out = options.chart_writer(asked.chart), asked.out
    profiling.check_view(asked.sort, asked.rows)
    if asked.memory and (asked.clock, asked.sort) != ("wall", "self"):
        raise BadInput("--memory goes with neither --clock nor --sort: it counts bytes, no time")
    if out is not None:
        options.check_folder("--out", out)

    def save(found: lab.Profile) -> None:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            found.save(out / f"profile{found.suffix}")
            found.plot().save(out / "profile.svg")
        write_chart(found)

    how = {"clock": asked.clock, "slow_s": asked.slow, "memory": asked.memory}
    terminal.perform(
        partial(lab.profile, asked.trial, **how),
        asked,
        save=save,
        text=lambda found: found.text(asked.sort, asked.rows),
        stored="a profile that is cut short is not stored",
    )


def _traces(trial: Trial) -> bool:
    return bool(getattr(trial.transport, "trace", False))


# Studies that a file states.


def reproduce(asked: options.Asked) -> None:
    """Run a published benchmark again.

    Writes a report, into a folder in results without --out: published figures beside measured
    ones, and a verdict for each claim.
    """
    from labkit.report import stored
    from labkit.studies import study_file

    name, repeats, reference = asked.name or "list", asked.repeats, asked.save_reference
    if name == "list":
        rows = [[one.id, one.title] for one in study_file.benchmarks()]
        says = "'labkit reproduce NAME --scale smoke' runs one again, 'all' every one of them."
        terminal.say(_listed(["benchmark", "what it is"], rows, says))
        return

    scale, runs, minutes = asked.scale or lab.default_scale(), 0, 0.0
    if name == "all" and reference is not None:
        raise validation.refusal("of-all", what="--save-reference")
    files = study_file.benchmarks() if name == "all" else [study_file.load(name)]
    called, wanted = Path(name).stem, asked.wanted
    wanted.out = wanted.out or Path("results") / f"{called}-{scale}"
    options.check_folder("--out", wanted.out)
    options.check_file("--save-reference", reference)
    of_then: Any = False if asked.programs == "none" else asked.programs
    for file in files:
        planned = file.scale(scale)
        times = planned.repeats if repeats is None else repeats
        validation.check("repeats", times, validation.Repeats)
        runs += len(file.plan(scale, 1, programs=of_then).arms) * times
        minutes += (planned.minutes or 0.0) * times / planned.repeats
    about = f", about {minutes:.2g} min" if minutes else ""
    terminal.note(f"{called} at scale {scale}: {runs} runs{about}")

    def save(found: FileStudy) -> None:
        if reference is not None and not terminal.all_failed(found.records):
            stored.save_reference(found, reference)

    how: dict[str, Any] = {"scale": scale, "repeats": repeats, "programs": of_then}
    how |= {"allow_commands": asked.allow_commands, "baseline": wanted.baseline}
    how["on"] = asked.on
    terminal.perform(partial(lab.reproduce, name, **how), asked, save=save)


def list_claims(asked: options.Asked) -> None:
    """List the claims and their sources."""
    from labkit.studies import study_file

    file = study_file.load("claims")
    listed: list[dict[str, Any]] = [
        {
            "id": claim.id,
            "source": file.source_text(file.sources_of(claim)),
            "says": claim.says,
            "status": "not testable here" if claim.checks[0].not_testable else "not checked",
            "not_testable": claim.checks[0].not_testable,
            "regimes": [check.regime for check in claim.checks if check.regime],
            "checks": [check.says or claim.says for check in claim.checks],
        }
        for claim in file.claims
    ]
    rows = []
    for one in listed:
        says = "; ".join(filter(None, [one["says"], one["not_testable"]]))
        rows.append([one["id"], one["status"], says, one["source"]])
    headers = ["claim", "status", "what is claimed", "source"]
    says = "'labkit claims check ID ...' checks some, 'labkit claims check' all of them."
    terminal.show(_listed(headers, rows, says), asked.json, {"claims": listed})


def check(asked: options.Asked) -> None:
    """Check claims by experiment.

    The verdict is holds, refuted or inconclusive, beside the measured effect and its interval.
    """
    start = partial(lab.check_claims, asked.ids, scale=asked.scale, repeats=asked.repeats)
    terminal.perform(start, asked, save=options.chart_writer(asked.chart))


def ladder(asked: options.Asked) -> None:
    """Measure what each layer of a client costs.

    Climbs from a new session for each request to pipelining, and on to other load generators.
    """
    from labkit.studies import study_file

    rungs = asked.rungs
    if rungs == "list":
        rows = [[arm.id, arm.why] for arm in study_file.load("ladder").arms]
        says = "'labkit ladder --rungs ID,ID' climbs some, 'labkit ladder' all that are installed."
        terminal.say(_listed(["rung", "what it changes"], rows, says))
        return
    chosen = None if rungs is None else [one.strip() for one in rungs.split(",") if one.strip()]
    start = partial(lab.ladder, chosen, short=asked.short, repeats=asked.repeats)
    terminal.perform(start, asked, save=options.chart_writer(asked.chart))


def _listed(headers: list[str], rows: list[list[str]], says: str) -> str:
    """Return a table of words as text."""
    from labkit.report.html import Table

    return Table(headers=headers, rows=rows, says=says, left=len(headers)).text()
