"""The sittings of an examination, in their order. The first decide whether the others make sense.

| sitting | what it is for |
|---|---|
| `few`, `one` | fewer items than the limit; a limit of one |
| `many`, `more` | more items, that fill no round number |
| `failing` | some calls raise |
| `end` | no call is answered, and all items are in flight |
| `small`, `large` | no call is answered, and many more items wait; twice as many |
| `server` | the synthetic server counts |
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from labkit.measured.exam import patched_time
from labkit.measured.exam.accelerated_loop import Loop, Turns
from labkit.measured.exam.calls import Calls, Items
from labkit.measured.exam.runner import TICK_S, Run, Strategy, hold
from labkit.measured.strategies import Tally
from labkit.measured.strategies._guard import tallied
from labkit.record.exam import AT_SERVER, Evidence, Sitting
from labkit.spec.parts import WireTransport

LIMIT = 8
MANY, MORE = 61, 181
"""Neither is a multiple of the limit: what works in rounds must not lose the last one."""
FAILING = frozenset({3, 4, 9, 12, 20, 25, 26, 31, 38, 44, 50, 51, 57})
HELD = (3_000, 6_000)
PATIENCE_S = 10.0
"""At the server: what hangs was ended before, and who is slow on purpose is not waited for."""
HELD_S, BRIEFLY_S = 0.3, 0.0
MOST_STILL_S, MOST_AT_ONCE_S = 0.5, 10.0
"""Once the loop stood still for so long there is no more: the larger ones would take minutes. The
first is of all sittings but the worst."""

Saw = Callable[[Sitting], None]


def examine(
    strategy: Strategy,
    *,
    guarded: bool = False,
    url: str | None = None,
    held_s: float = HELD_S,
    anew: Callable[[], Strategy] | None = None,
    saw: Saw = lambda sitting: None,
) -> Evidence:
    """Run the strategy in all sittings, those at the server where there is one at `url`.

    `guarded`: under the lab's decorator where calls fail, as it would be called; elsewhere without,
    as in a trial. `saw` is told each sitting as it ends. It runs event loops of its own, and takes
    the strategy `anew` for each, if it can: a lock of its module knows the loop it was used in.
    """
    seen: list[Sitting] = []
    fresh = anew or (lambda: strategy)
    careful = (lambda: _careful(fresh())) if guarded else fresh
    for sitting in _sittings(fresh, careful, url, held_s):
        seen.append(sitting)
        saw(sitting)
        if not _goes_on(seen):
            break
    return Evidence(sittings=seen)


def _careful(strategy: Any) -> Strategy:
    async def guarded(fetch: Any, items: Any, limit: int) -> Tally:
        return await tallied(strategy, fetch, items, limit, {})

    return guarded


def _goes_on(seen: Sequence[Sitting]) -> bool:
    """Whether there is anything more to be learnt from a strategy of which this was seen."""
    still_s = sorted(one.still_s for one in seen)
    # One alone may be an import within the function, which happens once.
    if sum(still_s[:-1]) > MOST_STILL_S or still_s[-1] > MOST_AT_ONCE_S:
        return False
    return seen[-1].end == "returned" or bool(seen[-1].failing)


def _sittings(
    fresh: Callable[[], Strategy], careful: Callable[[], Strategy], url: str | None, held_s: float
) -> Iterable[Sitting]:
    yield _sat(lambda turns: _plain("few", fresh(), 3, LIMIT, turns))
    yield _sat(lambda turns: _plain("one", fresh(), 12, 1, turns))
    yield _sat(lambda turns: _plain("many", fresh(), MANY, LIMIT, turns))
    yield _sat(lambda turns: _plain("more", fresh(), MORE, LIMIT, turns))
    yield _sat(lambda turns: _failing(careful(), turns))
    yield _sat(lambda turns: _held("end", fresh(), 5, held_s, turns))
    yield _sat(lambda turns: _held("small", fresh(), HELD[0], held_s, turns))
    yield _sat(lambda turns: _held("large", fresh(), HELD[1], BRIEFLY_S, turns))
    if url is not None:
        yield _sat(lambda turns: _at_server(fresh(), url, turns), hurried=False)


def _sat(sitting: Callable[[Turns], Awaitable[Sitting]], *, hurried: bool = True) -> Sitting:
    """One sitting, in a loop of its own; `hurried` where nothing is waited for but the strategy."""
    turns = Turns(hurried=hurried)

    async def sat() -> Sitting:
        return await sitting(turns)

    ahead = patched_time.hurried(turns) if hurried else contextlib.nullcontext()
    with ahead, asyncio.Runner(loop_factory=lambda: Loop(turns)) as runner:
        # What a task raised that nobody waited for is judged by what the strategy's caller is told.
        runner.get_loop().set_exception_handler(lambda loop, context: None)
        return runner.run(sat())


async def _plain(name: str, strategy: Strategy, items: int, limit: int, turns: Turns) -> Sitting:
    run = Run(strategy, Calls(), range(items), limit, turns)
    await run.finish()
    return run.seen(name)


async def _failing(strategy: Strategy, turns: Turns) -> Sitting:
    run = Run(strategy, Calls(failing=FAILING), range(MANY - 1), LIMIT, turns)
    await run.finish()
    return run.seen("failing")


async def _held(name: str, strategy: Strategy, items: int, held_s: float, turns: Turns) -> Sitting:
    """It is not waited for at the end: thousands of items may take a strategy long, with reason."""
    calls = Calls()
    calls.gate = asyncio.Event()
    run = Run(strategy, calls, Items(range(items)), LIMIT, turns)
    held = await hold(run, held_s)
    calls.gate.set()
    await run.cancel()
    return run.seen(name, held)


async def _at_server(strategy: Strategy, url: str, turns: Turns) -> Sitting:
    """Calls that really go to the server; what it counted, the one who started it asks it."""
    from labkit.measured.transports import (
        open_transport,  # here: the other sittings need no transport
    )

    async with open_transport(WireTransport(), url) as fetch:
        run = Run(strategy, Calls(fetch=fetch), range(MANY), LIMIT, turns)
        await run.finish(tick_s=TICK_S, longest_s=PATIENCE_S)
        return run.seen(AT_SERVER)
