"""Runs one exam: a fresh process for the strategy, and a synthetic server for it alone."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from labkit.launch import environment, launcher, pickling
from labkit.launch.process import GRACE_S, Child, failed, surely_ended
from labkit.record.exam import AT_SERVER, ExamRequest, ExamResult, ScenarioResult
from labkit.spec.targets import HttpServer
from labkit.spec.trial import Trial

MAX_EXAM_S, MAX_SILENCE_S = 90.0, 30.0
"""A scenario ends by itself well before the second, unless the loop never gets to run again."""
SERVER_DELAY_S = 0.02
"""Long enough for what is sent in one turn of the loop to be at the server together."""


async def run_exam(trial: Trial) -> ExamResult:
    """Examine the trial's strategy; its processes are gone at the end.

    Raises `TrialFailed` where the examiner itself could not be started.
    """
    client_core, server_core = environment.core_each()
    function = trial.function
    settings = HttpServer(delay=str(SERVER_DELAY_S), core=server_core)
    async with launcher.serving(settings) as served:
        request = ExamRequest(
            name=trial.strategy,
            function=pickling.pickled(trial),
            guarded=function is None or pickling.unguarded(function) is not function,
            path=[entry or str(Path.cwd()) for entry in sys.path],
            url=served.url,
            core=client_core,
        )
        result = await _run(request)
        if not any(each.name == AT_SERVER for each in result.scenarios):
            return result
        counted = await asyncio.to_thread(launcher.asked, served.url, "/-/stats")
    if counted is None:
        return result
    replace, in_flight = msgspec.structs.replace, counted["max_in_flight"]
    scenarios = [
        replace(each, at_server=in_flight) if each.name == AT_SERVER else each
        for each in result.scenarios
    ]
    return replace(result, scenarios=scenarios)


async def _run(request: ExamRequest) -> ExamResult:
    child = Child("labkit.measured.exam.examiner")
    scenarios: list[ScenarioResult] = []
    try:
        async with asyncio.timeout(MAX_EXAM_S) as whole:
            await child.write_line(request)
            while True:
                async with asyncio.timeout(MAX_SILENCE_S):
                    line = await child.read_line()
                if line is None:
                    break
                if "lost" in line:
                    return ExamResult(scenarios=scenarios, lost=line["lost"])
                scenarios.append(msgspec.convert(line["result"], ScenarioResult))
        await child.exited(GRACE_S)
        return ExamResult(scenarios=scenarios, lost=f"ended: {failed(child, 'it died')}")
    except TimeoutError:
        return ExamResult(scenarios=scenarios, lost="too-slow" if whole.expired() else "never-ends")
    finally:
        await surely_ended(child)
