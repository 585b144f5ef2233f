"""Coded experiments, and exams of strategies: each in a fresh process, and none of them a trial."""

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from labkit.errors import TrialFailed
from labkit.launch import assembly, cores, environment, preflight, process, servers
from labkit.record import guards, stalls
from labkit.record.exam import ExamRequest, ExamResult, ScenarioResult
from labkit.record.record import Counts, Measurement, Note, Record
from labkit.spec.plan import Coded
from labkit.spec.targets import HttpServer
from labkit.spec.trial import Trial

DEADLINE_S = 120.0
# Seconds of an exam, and without a line of it: a scenario ends well before, if the loop runs.
MAX_EXAM_S, MAX_SILENCE_S = 90.0, 30.0


async def run(coded: Coded, position: assembly.StudyPosition) -> Record:
    """Return the record of one run. One without figures has a note with the reason."""
    started_at, known = datetime.now(UTC), dict[str, Any]()
    try:
        known["figures"], seen, notes = await measured(coded.name, coded.settings, coded.server)
        notes += guards.of_machine(seen)
        for name in ("wall_s", "client", "server", "interference", "stalls"):
            known[name] = getattr(seen, name)
    except TrialFailed as error:
        notes = [Note(code="program-failed", message=str(error))]
    return assembly.of_run(
        position,
        started_at,
        notes,
        trial={"experiment": coded.name, "settings": coded.settings, "server": coded.server},
        counts=Counts(planned=0, sent=0, ok=0),
        environment=environment.now(),
        **known,
    )


async def measured(
    name: str, settings: Mapping[str, Any], server: Mapping[str, Any] | None
) -> tuple[dict[str, float], Measurement, list[Note]]:
    """Return the figures of one run of the experiment `name`; its processes are gone at the end.

    With them come what kept its processes from running, and notes on other runs of the lab that had
    a core of them. `server` are the settings of a synthetic server to start for it, None for none.
    Raises `TrialFailed` where it gives no figures within `DEADLINE_S`.
    """
    async with contextlib.AsyncExitStack() as stack:
        own_cores = stack.enter_context(cores.reserved())
        before, served, counted = own_cores.state(), None, None
        trusted = servers.trusting() if server and server.get("tls") else {}
        # It imports what it needs while the server starts.
        child = process.start("labkit.measured.experiments", name, asked=trusted)
        stack.push_async_callback(child.stop)
        job: dict[str, Any] = {"settings": dict(settings), "core": own_cores.client}
        if server is not None:
            started = servers.serving(HttpServer(**{"core": own_cores.server, **server}))
            served = await stack.enter_async_context(started)
            job |= {"url": served.url, "pid": served.pid}
        child.send(job)
        late = f"the experiment {name} took over {DEADLINE_S:.0f} s"
        line = await child.first_line(DEADLINE_S, late, f"the experiment {name} died")
        if served is not None:
            counted = await asyncio.to_thread(servers.asked, served.url, "/-/stats")
        notes = own_cores.notes(before)
    if "figures" not in line:
        raise TrialFailed(f"the experiment {name} failed: {line.get('failed')}")
    seen = msgspec.convert(line["measurement"], Measurement, str_keys=True)
    of_server = stalls.within("server", (counted or {}).get("standstills", ()), line["ns"])
    seen = msgspec.structs.replace(seen, stalls=[*seen.stalls, *of_server])
    return line["figures"], seen, notes


async def run_exam(trial: Trial) -> ExamResult:
    """Examine the trial's strategy; its process is gone at the end.

    Raises `TrialFailed` where the examiner itself could not be started.
    """
    function, pickled = trial.function, preflight.pickled(trial)
    with cores.reserved() as own_cores:
        guarded = function is None or preflight.unguarded(function) is not function
        path, core = preflight.path_of(pickled), own_cores.client
        request = ExamRequest(
            name=trial.strategy, function=pickled, guarded=guarded, path=path, core=core
        )
        scenarios: list[ScenarioResult] = []
        lost = await _examine(request, scenarios)
    return ExamResult(scenarios=scenarios, lost=lost)


async def _examine(request: ExamRequest, scenarios: list[ScenarioResult]) -> str:
    """Add the result of each scenario; return why there are no more, or nothing."""
    child = process.start("labkit.measured.exam.examiner", job=request)
    try:
        async with asyncio.timeout(MAX_EXAM_S) as whole:
            while True:
                async with asyncio.timeout(MAX_SILENCE_S):
                    line = await child.line()
                if line is None:
                    break
                if "lost" in line:
                    return str(line["lost"])
                scenarios.append(msgspec.convert(line["result"], ScenarioResult))
        await asyncio.wait([child.ended], timeout=process.GRACE_S)
        return f"ended: {child.failure('it died')}"
    except TimeoutError:
        return "too-slow" if whole.expired() else "never-ends"
    finally:
        await child.stop()
