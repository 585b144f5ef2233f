"""One coded experiment, measured once in a fresh process, with a server of its own or none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from labkit.errors import TrialFailed
from labkit.launch import assembly, environment, launcher
from labkit.launch.assembly import Place
from labkit.launch.process import GRACE_S, Child, failed, surely_ended
from labkit.record.record import Note, Record
from labkit.spec.plan import Coded
from labkit.spec.targets import HttpServer

DEADLINE_S = 120.0


async def run(coded: Coded, place: Place) -> Record:
    """Return the record of one run. One that gives no figures has a note that says why."""
    started, note, figures = datetime.now(UTC), None, {}
    try:
        figures = await measured(coded.name, coded.settings, coded.server)
    except TrialFailed as error:
        note = Note(code="program-failed", message=str(error))
    trial = {"experiment": coded.name, "settings": coded.settings, "server": coded.server}
    return assembly.record_of_others(
        place, trial, started, figures=figures, notes=[note] if note else []
    )


async def measured(
    name: str, settings: Mapping[str, Any], server: Mapping[str, Any] | None
) -> dict[str, float]:
    """The figures of one run of the experiment `name`; its processes are gone at the end.

    `server` are the settings of a synthetic server to start for it, None for none. Raises
    `TrialFailed` where it gives none within `DEADLINE_S`.
    """
    cores = environment.core_each()
    async with contextlib.AsyncExitStack() as stack:
        url = None
        if server is not None:
            started = launcher.serving(HttpServer(**{"core": cores[1], **server}))
            url = (await stack.enter_async_context(started)).url
        job = {"settings": dict(settings), "url": url, "core": cores[0]}
        return await _answer(name, job)


async def _answer(name: str, job: dict[str, Any]) -> dict[str, float]:
    child = Child("labkit.measured.experiments", name)
    try:
        async with asyncio.timeout(DEADLINE_S):
            await child.write_line(job)
            line = await child.read_line()
        if line is None:
            await child.exited(GRACE_S)
            raise failed(child, f"the experiment {name} died")
    except TimeoutError:
        raise failed(child, f"the experiment {name} took over {DEADLINE_S:.0f} s") from None
    finally:
        await surely_ended(child)
    if "figures" not in line:
        raise TrialFailed(f"the experiment {name} failed: {line.get('failed')}")
    figures: dict[str, float] = line["figures"]
    return figures
