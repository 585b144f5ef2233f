"""The scenarios of an exam, and the process that runs them for one strategy.

`python -m labkit.measured.exam.examiner` reads an `ExamRequest` (a line of JSON) and writes a line
for each scenario as it ends; the last line says `lost`: nothing, or why there are no more. When
standard input ends, because the parent is gone, so does the process.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any, NamedTuple

import msgspec

from labkit.errors import LabError
from labkit.measured import lifeline, strategies
from labkit.measured.exam.accelerated_loop import Loop, Turns, accelerated_clocks
from labkit.measured.exam.calls import Calls, Fetch, Items
from labkit.measured.exam.run import TICK_S, Run, Strategy, error_text, observe_backlog
from labkit.measured.strategies import Tally
from labkit.measured.strategies._guard import tallied
from labkit.record.exam import AT_SERVER, ExamRequest, ExamResult, ScenarioResult
from labkit.spec.parts import WireTransport

LIMIT = 8
FAILING = frozenset({3, 4, 9, 12, 20, 25, 26, 31, 38, 44, 50, 51, 57})


class Scenario(NamedTuple):
    """One run of the strategy; `watched` is whether it is also watched while it waits."""

    name: str
    planned: int
    limit: int = LIMIT
    failing: frozenset[int] = frozenset()
    answered: bool = True
    watched: bool = False


# The first decide whether the others make sense. Where the limit is kept busy the number of items
# is no multiple of it: what works in rounds must not lose the last one.
SCENARIOS = (
    Scenario("few", 3),
    Scenario("one", 12, limit=1),
    Scenario("many", 61),
    Scenario("more", 181),
    Scenario("failing", 60, failing=FAILING),
    # All items are in flight; then many more wait, and twice as many.
    Scenario("end", 5, answered=False, watched=True),
    Scenario("small", 3_000, answered=False, watched=True),
    Scenario("large", 6_000, answered=False),
    # The synthetic server answers, and counts.
    Scenario(AT_SERVER, 61),
)
UNANSWERED_S = 0.3
MAX_SERVER_S = 10.0
"""A strategy that hangs was ended before, and a slow one is not waited for."""
MAX_STANDSTILL_S, MAX_STANDSTILL_ONCE_S = 0.5, 10.0
"""Once the loop stood still for so long the exam ends: the larger scenarios would take minutes. The
first is of all scenarios but the worst."""
MAX_SILENCE_S = 25.0
"""A scenario ends by itself well before, unless the loop never gets to run again."""


def examine(
    strategy: Strategy,
    *,
    guarded: bool = False,
    url: str | None = None,
    unanswered_s: float = UNANSWERED_S,
    load: Callable[[], Strategy] | None = None,
    report: Callable[[ScenarioResult], None] = lambda result: None,
) -> ExamResult:
    """Run the strategy in all scenarios; with the synthetic server where there is one at `url`.

    `guarded`: under the lab's decorator where calls fail, as its user would call it; elsewhere
    without, as in a trial. `report` receives each result as its scenario ends. Each scenario has an
    event loop of its own and `load`s the strategy anew, if it can: a lock of its module belongs to
    the loop in which it was used.
    """
    results: list[ScenarioResult] = []
    for scenario in SCENARIOS:
        if scenario.name == AT_SERVER and url is None:
            continue
        results.append(_result(scenario, load or (lambda: strategy), guarded, url, unanswered_s))
        report(results[-1])
        standstill_s = sorted(each.standstill_s for each in results)
        # A single one may be an import within the function, which happens once.
        if sum(standstill_s[:-1]) > MAX_STANDSTILL_S or standstill_s[-1] > MAX_STANDSTILL_ONCE_S:
            break
        if results[-1].end != "returned" and not scenario.failing:
            break
    return ExamResult(scenarios=results)


def _result(
    scenario: Scenario,
    load: Callable[[], Strategy],
    guarded: bool,
    url: str | None,
    unanswered_s: float,
) -> ScenarioResult:
    """Run a scenario in a loop of its own, accelerated where nothing but the strategy waits."""
    at_server = scenario.name == AT_SERVER
    turns = Turns(accelerated=not at_server)

    async def run() -> ScenarioResult:
        # Not before: the clocks that it takes from `time` as it is loaded are the patched ones.
        strategy: Any = load()

        async def with_guard(fetch: Any, items: Any, limit: int) -> Tally:
            return await tallied(strategy, fetch, items, limit, {})

        chosen = with_guard if guarded and scenario.failing else strategy
        if url is None or not at_server:
            return await _watched(scenario, chosen, None, unanswered_s, turns)
        # Here: the other scenarios need no transport.
        from labkit.measured.transports import open_transport

        async with open_transport(WireTransport(), url) as fetch:
            return await _watched(scenario, chosen, fetch, unanswered_s, turns)

    clocks = contextlib.nullcontext() if at_server else accelerated_clocks(turns)
    with clocks, asyncio.Runner(loop_factory=lambda: Loop(turns)) as runner:
        # The exam judges what the strategy's caller can know, not what a lost task raised.
        runner.get_loop().set_exception_handler(lambda loop, context: None)
        return runner.run(run())


async def _watched(
    scenario: Scenario,
    strategy: Strategy,
    fetch: Fetch | None,
    unanswered_s: float,
    turns: Turns,
) -> ScenarioResult:
    calls = Calls(failing=scenario.failing, fetch=fetch)
    if scenario.answered:
        run = Run(strategy, calls, range(scenario.planned), scenario.limit, turns)
        if fetch is None:
            await run.finish()
        else:
            await run.finish(tick_s=TICK_S, max_s=MAX_SERVER_S)
        return run.result(scenario.name)
    # Its end is not waited for: thousands of items may take a strategy long, with reason.
    calls.gate = asyncio.Event()
    run = Run(strategy, calls, Items(range(scenario.planned)), scenario.limit, turns)
    backlog = await observe_backlog(run, unanswered_s if scenario.watched else 0.0)
    calls.gate.set()
    await run.cancel()
    return run.result(scenario.name, backlog)


class _Parent:
    """Writes the results to standard output; a watchdog in a thread ends the process."""

    def __init__(self) -> None:
        self._fd = os.dup(1)
        # What the strategy prints goes to standard error.
        os.dup2(2, 1)
        self._written_s = monotonic()

    def write(self, **content: Any) -> None:
        """Write a line: the result of a scenario, or `lost`, which is the last."""
        self._written_s = monotonic()
        data = msgspec.json.encode(content) + b"\n"
        while data:
            data = data[os.write(self._fd, data) :]

    def watch(self) -> None:
        """Write `never-ends` and end the process once no scenario ended for `MAX_SILENCE_S`."""

        def watchdog() -> None:
            while (left_s := self._written_s + MAX_SILENCE_S - monotonic()) > 0:
                sleep(left_s)
            self.write(lost="never-ends")
            os._exit(1)

        threading.Thread(target=watchdog, daemon=True).start()


def main() -> int:
    """Examine one strategy; return 2 for one that cannot be loaded here."""
    request = msgspec.json.decode(lifeline.first_line(), type=ExamRequest)
    parent = _Parent()
    lifeline.end_with_parent()
    sys.path.extend(entry for entry in request.path if entry not in sys.path)
    if request.core is not None:
        os.sched_setaffinity(0, {request.core})

    def load() -> Strategy:
        if request.function is None:
            return strategies.load(request.name).__wrapped__
        own: Strategy = pickle.loads(base64.b64decode(request.function))  # noqa: S301  # the parent's pipe
        return own

    try:
        strategy = load()
    except Exception as error:  # noqa: BLE001  # loading runs whatever its modules hold
        parent.write(lost=f"not-loaded: {error_text(error)}")
        return LabError.exit_code
    parent.watch()
    try:
        examine(
            strategy,
            guarded=request.guarded,
            url=request.url,
            load=load,
            report=lambda result: parent.write(result=result),
        )
    except BaseException as error:  # noqa: BLE001  # a strategy may raise SystemExit
        traceback.print_exc()
        parent.write(lost=f"ended: {error_text(error)}")
        os._exit(1)
    parent.write(lost="")
    sys.stderr.flush()
    # Threads of the strategy's own would keep the process for ever.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
