"""`labkit doctor`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from labkit.cli import notebooks, options, terminal
from labkit.cli.options import Json, example

if TYPE_CHECKING:
    from labkit.lab.doctor import Check
    from labkit.record.codes import Code


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
    """Say whether this machine can measure.

    Says what to do where it cannot.

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
    from labkit.record.codes import CODES

    if json != "-":
        show_codes(CODES.values())
    terminal.write_json(json, {"guards": list(CODES.values())})


def show_codes(codes: Iterable[Code]) -> None:
    """Print each code that a record may have: its verdict, when it is given, what to do."""
    for one in codes:
        verdict = terminal.coloured(one.verdict, 9)
        terminal.say(f"{verdict}  {one.code:<17}  {one.when}\n{'':<28}  -> {one.do}")


def show_checks(checks: Sequence[Check], conclusion: str) -> None:
    """Print what was found, aligned, and what to do."""
    width = max(len(check.name) for check in checks)
    for check in checks:
        terminal.say(f"{terminal.coloured(check.status, 4)}  {check.name:<{width}}  {check.found}")
        if check.advice:
            terminal.say(f"{'':<6}{'':<{width}}  -> {check.advice}")
    terminal.say(f"\n{conclusion}")


def _audit(comparisons: int, json: str | None) -> None:
    from labkit.cli.reporters import reporter
    from labkit.lab import facade

    found = terminal.wait(facade.audit(comparisons, reporter=reporter()))
    if json != "-":
        terminal.say(found.text())
    terminal.write_json(json, found.to_dict())


def _workshop(json: str | None) -> None:
    from labkit import paths
    from labkit.lab.doctor import workshop

    needs = workshop.Needs(*notebooks.needs(notebooks.read_all(paths.notebooks())))
    found = terminal.wait(workshop.examine(needs), stored="nothing of it is stored")
    if json != "-":
        show_checks(found.checks, found.conclusion())
    terminal.write_json(
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
    from labkit.lab import doctor as checks

    found = checks.examine()
    said, bad = checks.conclusion(found), any(check.status == "bad" for check in found)
    if json != "-":
        show_checks(found, said)
    terminal.write_json(json, {"checks": found, "conclusion": said, "can_measure": not bad})
    if bad:
        raise SystemExit(1)
