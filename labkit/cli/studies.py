"""`labkit reproduce`, `claims` and `ladder`: the commands that run a study file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import labkit as lab
from labkit.cli import options, terminal

if TYPE_CHECKING:
    from labkit.report.file_study import FileStudy


def reproduce(asked: options.Asked) -> None:
    """Run a published benchmark again.

    Writes a report, into a folder in results without --out: published figures beside measured
    ones, and a verdict for each claim.
    """
    from labkit.report import stored
    from labkit.spec import validation
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
