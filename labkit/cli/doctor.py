"""`labkit doctor`."""

from __future__ import annotations

from typing import Any

from labkit import paths
from labkit.cli import options, terminal
from labkit.escaping import visible


def doctor(
    *,
    guards: bool = False,
    audit: bool = False,
    workshop: bool = False,
    comparisons: int = 50,
    json: str | None = None,
) -> None:
    """Say whether this machine can measure.

    Says what to do where it cannot.

    The exit status is 1 where something that is found bad has to be mended first.
    """
    options.check_file("--json", json)
    lines, failed = [], False
    data: Any
    if guards:
        from labkit.record.codes import CODES

        data = {"guards": list(CODES.values())}
        for code in CODES.values():
            verdict = terminal.coloured(code.verdict, 9)
            lines += [f"{verdict}  {code.code:<17}  {code.when}", f"{'':<28}  -> {code.do}"]
    elif audit:
        from labkit.lab import facade

        error = terminal.wait(facade.audit(comparisons, reporter=terminal.reporter()))
        lines, data = [error.text()], error.to_dict()
    else:
        from labkit.cli import notebooks
        from labkit.lab import doctor as machines
        from labkit.lab import workshop as workshops

        examination: machines.Examination
        if workshop:
            needs = workshops.Needs.of(notebooks.read_all(paths.notebooks()))
            examination = terminal.wait(workshops.examine(needs), stored="nothing of it is stored")
        else:
            examination = machines.examine(machines.read())
        width = max(len(check.name) for check in examination.checks)
        for check in examination.checks:
            status = terminal.coloured(check.status, 4)
            lines.append(f"{status}  {check.name:<{width}}  {visible(check.found)}")
            lines += [f"{'':<6}{'':<{width}}  -> {check.advice}"] if check.advice else []
        lines += ["", examination.conclusion()]
        data, failed = examination.to_dict(), bool(examination.with_status("bad"))
    if json != "-":
        terminal.say("\n".join(lines), with_colours=True)
    terminal.write_json(json, data)
    if failed:
        raise SystemExit(1)
