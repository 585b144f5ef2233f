"""`labkit doctor`."""

from __future__ import annotations

from labkit.cli import options
from labkit.cli.options import Json, example


@example("labkit doctor --json -")
def doctor(json: Json = None) -> None:
    """Say whether this machine can measure, and what to do where it cannot."""
    from labkit import doctor as checks
    from labkit import terminal

    options.check_json(json)
    found = checks.examine()
    if json != "-":
        terminal.findings(found)
    options.write_json(json, {"checks": found})
