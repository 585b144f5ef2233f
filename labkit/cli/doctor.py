"""`labkit doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from labkit.cli.commands import options
from labkit.cli.commands.options import Json, example
from labkit.cli.performing import wait


@example("labkit doctor --json -")
def doctor(
    guards: Annotated[
        bool, typer.Option("--guards", help="List what records are warned about, and why.")
    ] = False,
    audit: Annotated[
        bool, typer.Option("--audit", help="Measure the lab's own error, in some five minutes.")
    ] = False,
    workshop: Annotated[
        bool, typer.Option("--workshop", help="Say whether this laptop is ready for a workshop.")
    ] = False,
    comparisons: Annotated[
        int, typer.Option(metavar="N", help="Of --audit: how often a trial meets itself.")
    ] = 20,
    json: Json = None,
) -> None:
    """Say whether this machine can measure, and what to do where it cannot.

    The exit status is 1 where something that is found bad has to be mended first.
    """
    options.check_json(json)
    if guards:
        _list_guards(json)
    elif audit:
        _audit(comparisons, json)
    elif workshop:
        _workshop(json)
    else:
        _examine(json)


def _list_guards(json: str | None) -> None:
    from labkit.cli import terminal
    from labkit.record.codes import CODES

    if json != "-":
        terminal.codes(CODES.values())
    options.write_json(json, {"guards": list(CODES.values())})


def _audit(comparisons: int, json: str | None) -> None:
    from labkit.cli import terminal
    from labkit.lab import facade

    found = wait(facade.audit(comparisons, reporter=terminal.reporter()))
    if json != "-":
        terminal.say(found.text())
    options.write_json(json, found.to_dict())


def _workshop(json: str | None) -> None:
    from labkit import paths
    from labkit.cli import terminal, workspace
    from labkit.lab.doctor import workshop

    needs = workshop.Needs(*workspace.needs(workspace.read_all(paths.notebooks())))
    found = wait(workshop.examine(needs), kept="nothing is kept of it")
    if json != "-":
        terminal.findings(found.checks, found.conclusion())
    options.write_json(
        json,
        {
            "checks": found.checks,
            "conclusion": found.conclusion(),
            "ready": found.ready,
            "workshop_minutes": round(found.minutes),
        },
    )
    if found.ready == "no":
        raise SystemExit(1)


def _examine(json: str | None) -> None:
    from labkit.cli import terminal
    from labkit.lab import doctor as checks

    found = checks.examine()
    said, bad = checks.conclusion(found), any(check.status == "bad" for check in found)
    if json != "-":
        terminal.findings(found, said)
    options.write_json(json, {"checks": found, "conclusion": said, "can_measure": not bad})
    if bad:
        raise SystemExit(1)
