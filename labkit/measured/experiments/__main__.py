"""`python -m labkit.measured.experiments NAME`: read a line of JSON, write one with its figures.

The line that comes in contains `settings`, the `url` of a server and the `core` to run on. When
standard input ends, because the parent is gone, so does the process.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import msgspec

from labkit.errors import BadInput, LabError
from labkit.measured import experiments, lifeline


class ExperimentJob(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment to run, as the parent asks for it."""

    settings: dict[str, Any] = {}
    url: str | None = None
    core: int | None = None


def main(arguments: list[str]) -> int:
    """Measure once and print the figures; return 2 for what cannot be measured."""
    job = msgspec.json.decode(lifeline.read_job(), type=ExperimentJob)
    out = lifeline.take_stdout()
    lifeline.end_with_parent()
    if job.core is not None:
        os.sched_setaffinity(0, {job.core})

    async def measure() -> experiments.Figures:
        if len(arguments) != 1:
            raise BadInput("usage: python -m labkit.measured.experiments NAME")
        try:
            return await experiments.load(arguments[0])(job.url, **job.settings)
        except TypeError as error:
            raise BadInput(f"the experiment {arguments[0]} cannot be run so: {error}") from None

    try:
        figures = asyncio.run(measure())
    except LabError as error:
        os.write(out, msgspec.json.encode({"failed": str(error)}) + b"\n")
        return error.exit_code
    os.write(out, msgspec.json.encode({"figures": figures}) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
