"""One examination: a fresh process for the strategy, and a synthetic server for it alone."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec

from labkit.launch import environment, launcher
from labkit.launch.entrants import paper
from labkit.launch.process import GRACE_S, Child, failed, surely_ended
from labkit.record.exam import AT_SERVER, Evidence, Sitting
from labkit.spec import parts
from labkit.spec.trial import Trial

DEADLINE_S = 90.0
SERVER_DELAY_S = 0.02
"""Long enough for what is sent in one turn of the loop to be at the server together."""


async def examined(trial: Trial) -> Evidence:
    """What was seen of the trial's strategy; its processes are gone at the end.

    Raises `TrialFailed` where the examiner itself could not be started.
    """
    cores = environment.core_each()
    path = [entry or str(Path.cwd()) for entry in sys.path]
    settings = parts.Server(delay=str(SERVER_DELAY_S), core=cores[1])
    async with launcher.serving(settings) as served:
        asked = msgspec.structs.replace(paper(trial, path=path), url=served.url, core=cores[0])
        evidence = await _evidence(asked)
        if not any(one.name == AT_SERVER for one in evidence.sittings):
            return evidence
        counted = await asyncio.to_thread(launcher.asked, served.url, "/-/stats")
    return evidence if counted is None else _with_server(evidence, counted["max_in_flight"])


async def _evidence(asked: Any) -> Evidence:
    child = Child("labkit.measured.exam")
    sittings: list[Sitting] = []
    try:
        async with asyncio.timeout(DEADLINE_S):
            await child.write_line(asked)
            while (line := await child.read_line()) is not None:
                if "lost" in line:
                    return Evidence(sittings=sittings, lost=line["lost"])
                sittings.append(msgspec.convert(line["sitting"], Sitting, str_keys=True))
        await child.exited(GRACE_S)
        return Evidence(sittings=sittings, lost=f"ended: {failed(child, 'it died')}")
    except TimeoutError:
        # Who came through some of it gave the loop back.
        return Evidence(sittings=sittings, lost="too-slow" if sittings else "never-ends")
    finally:
        await surely_ended(child)


def _with_server(evidence: Evidence, most: int) -> Evidence:
    replace = msgspec.structs.replace
    sittings = [
        replace(one, at_server=most) if one.name == AT_SERVER else one for one in evidence.sittings
    ]
    return replace(evidence, sittings=sittings)
