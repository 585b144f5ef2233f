"""The arena from end to end: each is examined, and who passes is ranked among the lab's own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from labkit.lab import progress
from labkit.lab.progress import Reporter
from labkit.lab.runner import run_all
from labkit.launch.entrants import Strategy, checked
from labkit.launch.exam import examined
from labkit.record.record import Record
from labkit.record.store import Store
from labkit.report.arena import Arena, Examined, judged
from labkit.spec import plan, validation
from labkit.spec.plan import Step
from labkit.spec.trial import Trial

AMONG = ("worker_pool", "task_pool", "task_group", "queue")
"""Whom strategies are ranked among: the lab's own without a fault."""
LIMIT, DELAY = 50, "uniform(0.005,0.03)"
"""Delays of unlike length, so that to wait for the slowest of a round shows; and a client that has
time to spare, so that efficiency is the strategy's."""
_INTERRUPTED = "interrupted: nobody was ranked, and examinations are kept nowhere"
AGAIN_SHARE = 0.25
"""How many runs may be made again, as a share of all."""
REQUESTS = {"smoke": 1_000, "workshop": 5_000, "paper": 20_000}


def default_trial(scale: str) -> Trial:
    """The trial that strategies are ranked by, where none is given. Raises `BadInput`."""
    if scale not in REQUESTS:
        raise validation.unknown("scale", scale, REQUESTS)
    return Trial(requests=REQUESTS[scale], limit=LIMIT, delay=DELAY, transport="wire")


async def arena(
    strategies: Sequence[Strategy],
    *,
    among: Sequence[str] | None = None,
    trial: Trial,
    repeats: int,
    seed: int,
    store: Store | None,
    reporter: Reporter | None,
) -> Arena:
    """Examine the strategies one after another, and rank those that pass beside `among`.

    Raises `BadInput` before anything is started.
    """
    trials = checked(trial, strategies, AMONG if among is None else among)
    entrants, known = trials[: len(strategies)], trials[len(strategies) :]
    # So many trials, if all pass: refused now rather than once they have been examined.
    _steps(trials, repeats, seed)
    found = await _examined(entrants, reporter or progress.default())
    passed = [one for one, seen in zip(entrants, found, strict=True) if seen.passed]
    if not passed:
        return Arena(found)
    steps = _steps([*passed, *known], repeats, seed)
    return Arena(found, await _records(steps, store, reporter or progress.default()))


def _steps(trials: Sequence[Trial], repeats: int, seed: int) -> list[Step]:
    arms = [({"strategy": one.strategy}, one) for one in trials]
    return plan.interleave(arms, repeats=repeats, seed=seed)


async def _records(steps: Sequence[Step], store: Store | None, show: Reporter) -> list[Record]:
    """Those of all steps; a run whose core others had is made again, once, a few of them at most.

    Its figures are not the strategy's, whatever they are: to replace it favours nobody.
    """
    records = await run_all(steps, store=store, reporter=show, experiment="arena")
    lost = [at for at, record in enumerate(records) if _lost(record)]
    again = lost[: math.ceil(AGAIN_SHARE * len(steps))]
    if again:
        listed = [steps[at] for at in again]
        found = await run_all(listed, store=store, reporter=show, experiment="arena")
        for at, record in zip(again, found, strict=True):
            # In the block of the one that it replaces.
            records[at] = msgspec.structs.replace(record, study=records[at].study)
    return records


def _lost(record: Record) -> bool:
    return any(note.code == "core-lost" for note in record.warnings)


async def _examined(entrants: Sequence[Trial], show: Reporter) -> list[Examined]:
    found: list[Examined] = []
    show.begin(len(entrants))
    try:
        with progress.report_cancellation(show, lambda: _INTERRUPTED):
            for order, one in enumerate(entrants):
                axes = {"examined": one.strategy}
                show.started(Step(trial=one, axes=axes, repeat=0, order=order))
                found.append(judged(one.strategy, await examined(one)))
                said = "passed" if found[-1].passed else ", ".join(found[-1].codes)
                show.passed(f"examined {one.strategy}: {said}")
    finally:
        show.end()
    return found
