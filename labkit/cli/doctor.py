"""`labkit doctor` and `labkit env`: this machine, and the environments that are built on it."""

from typing import Any

from labkit import paths
from labkit.cli import options, terminal
from labkit.errors import BadInput
from labkit.spec.trial import Trial


def doctor(asked: options.Asked) -> None:
    """Say whether this machine can measure.

    Says what to do where it cannot.

    The exit status is 1 where something that is found bad has to be mended first.
    """
    lines, failed = [], False
    data: Any
    if asked.guards:
        from labkit.record.codes import CODES

        data = {"guards": list(CODES.values())}
        for code in CODES.values():
            lines.append(f"{code.verdict:<9}  {code.code:<17}  {code.when}")
            lines.append(f"{'':<28}  -> {code.do}")
    elif asked.audit:
        from labkit.lab import facade

        error = terminal.wait(facade.audit(asked.comparisons, reporter=terminal.reporter()))
        lines, data = [error.text()], error.to_dict()
    else:
        from labkit.cli import notebooks
        from labkit.lab import doctor as machines
        from labkit.lab import workshop as workshops

        if asked.workshop:
            examine = workshops.examine(notebooks.read_all(paths.notebooks()))
            examination = terminal.wait(examine, stored="nothing of it is stored")
        else:
            examination = machines.examine(machines.read())
        width = max(len(check.name) for check in examination.checks)
        for check in examination.checks:
            lines.append(f"{check.status:<4}  {check.name:<{width}}  {check.found}")
            lines += [f"{'':<6}{'':<{width}}  -> {check.advice}"] if check.advice else []
        lines += ["", examination.conclusion()]
        data, failed = examination.to_dict(), bool(examination.with_status("bad"))
    terminal.show("\n".join(lines), asked.json, data)
    if failed:
        raise SystemExit(1)


def list_environments(asked: options.Asked) -> None:
    """List the environments that are built, the one used last at the end."""
    from labkit.launch import pythons  # takes a while
    from labkit.report.html import Table

    found, where = pythons.listed(), paths.environments()
    shown = [one | {"bytes": f"{one['bytes'] / 1e6:.0f} MB"} for one in found]
    headers = ["key", "python", "packages", "for", "used", "size"]
    table = Table(headers=headers, rows=[[*map(str, one.values())] for one in shown], left=5)
    text = f"{table.text()}\n\nin {where}" if found else f"No environment in {where} yet."
    terminal.show(text, asked.json, {"folder": str(where), "environments": found})


def build(asked: options.Asked) -> None:
    """Build an environment: a Python, and packages for it.

    A trial with the same --python and --packages takes it from the cache then, also offline.
    """
    from labkit.launch import pythons  # takes a while

    trial = Trial(python=asked.python, packages=asked.packages or [])
    there = pythons.with_client(trial) if asked.client else pythons.bare(trial)
    terminal.wait(there.build(terminal.note))
    data = {"key": there.key, "folder": str(there.folder), **there.known}
    terminal.show(f"{there.key}  {there}  {there.folder}", asked.json, data)


def remove(asked: options.Asked) -> None:
    """Remove environments, each by its key."""
    from labkit.launch import pythons  # takes a while

    if not (asked.keys or asked.all):
        raise BadInput("KEY is missing: name an environment, or give --all")
    for key in [one["key"] for one in pythons.listed()] if asked.all else asked.keys:
        pythons.remove(key)
        terminal.say(f"removed {key}")
