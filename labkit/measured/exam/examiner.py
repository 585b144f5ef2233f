"""The scenarios of an exam, and the process that runs them for one strategy.

`python -m labkit.measured.exam.examiner` reads an `ExamRequest` (a line of JSON) and writes a line
for each scenario as it ends; the last line says `lost`: nothing, or why there are no more. When
standard input ends, because the parent is gone, so does the process.
"""

import asyncio
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from labkit import paths
from labkit.errors import LabError, raised
from labkit.measured import lifeline, strategies
from labkit.measured.exam.accelerated_loop import Loop, Turns, accelerated_clocks
from labkit.measured.exam.run import Calls, ScenarioRun, Strategy, observe_backlog
from labkit.measured.strategies._guard import tallied
from labkit.record.exam import ExamRequest, ScenarioResult

LIMIT = 8


class Scenario(NamedTuple):
    """One run of the strategy; where it is not `answered` it is watched while it waits."""

    name: str
    planned: int
    limit: int = LIMIT
    failing: Sequence[int] = ()
    answered: bool = True


SCENARIOS = [Scenario(name, **row) for name, row in paths.table("scenarios.toml").items()]
# Once the loop stood still for so long the exam ends: the larger scenarios would take minutes. The
# first is of all scenarios but the worst.
MAX_STANDSTILL_S, MAX_STANDSTILL_ONCE_S = 0.5, 10.0


def examine(load: Callable[[], Strategy], *, guarded: bool = False) -> Iterator[ScenarioResult]:
    """Run the strategy in all scenarios.

    `guarded`: under the lab's decorator where calls fail, as its user would call it; elsewhere
    without, as in a trial. Each scenario has an event loop of its own and `load`s the strategy
    anew: a lock of its module belongs to the loop in which it was used.
    """
    standstill_s: list[float] = []
    usual: dict[int, str] = {}
    for scenario in SCENARIOS:
        # Only where nothing is judged by the clock, as blocking the loop is.
        turns = Turns(clock=time.monotonic if scenario.answered else time.process_time)
        with accelerated_clocks(turns), asyncio.Runner(loop_factory=partial(Loop, turns)) as runner:
            # The exam judges what the strategy's caller can know, not what a lost task raised.
            runner.get_loop().set_exception_handler(lambda loop, context: None)
            # Not before: clocks that the strategy takes from `time` as it is loaded are patched.
            strategy: Any = load()
            if guarded and scenario.failing:
                strategy = partial(tallied, strategy, options={})
            result = runner.run(_result(scenario, strategy, turns, usual))
        yield result
        standstill_s = sorted([*standstill_s, result.standstill_s])
        # A single one may be an import within the function, which happens once.
        if sum(standstill_s[:-1]) > MAX_STANDSTILL_S or standstill_s[-1] > MAX_STANDSTILL_ONCE_S:
            return
        if result.end != "returned" and not scenario.failing:
            return


async def _result(
    scenario: Scenario, strategy: Strategy, turns: Turns, usual: dict[int, str]
) -> ScenarioResult:
    """Run one scenario. `usual` describes by number of items what is returned if none fails."""
    calls, gate = Calls(failing=scenario.failing), asyncio.Event()
    calls.gate = None if scenario.answered else gate
    run = ScenarioRun(strategy, calls, scenario.planned, scenario.limit, turns)
    if not scenario.answered:
        # Its end is not waited for: thousands of items may take a strategy long, with reason.
        backlog = await observe_backlog(run)
        gate.set()
        await run.cancel()
        return run.result(scenario.name, backlog=backlog)
    await run.finish()
    usual.setdefault(scenario.planned, run.returned())
    return run.result(scenario.name, usual=usual[scenario.planned])


def main() -> int:
    """Examine one strategy; return 2 for one that cannot be loaded here."""
    request, output = lifeline.take_job(ExamRequest)
    lifeline.end_with_parent()

    def load() -> Strategy:
        if request.function is None:
            return strategies.load(request.name).__wrapped__
        own: Strategy = lifeline.load(request.function, request.path)
        return own

    try:
        load()
    except Exception as error:  # noqa: BLE001  # loading runs whatever its modules hold
        lifeline.send(output, {"lost": f"not-loaded: {raised(error)}"})
        return LabError.exit_code
    try:
        for result in examine(load, guarded=request.guarded):
            lifeline.send(output, {"result": result})
        lifeline.send(output, {"lost": ""})
    except BaseException as error:  # noqa: BLE001  # a strategy may raise SystemExit
        traceback.print_exc()
        lifeline.send(output, {"lost": f"ended: {raised(error)}"})
    sys.stderr.flush()
    # Threads of the strategy's own would keep the process for ever.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
