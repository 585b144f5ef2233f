"""The arena from end to end: strategies are checked, examined, and ranked among the lab's own."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from labkit.errors import BadInput
from labkit.lab import progress
from labkit.lab.progress import Reporter
from labkit.lab.runner import run_all
from labkit.launch import pickling, preflight
from labkit.launch.exam import run_exam
from labkit.record.record import Record
from labkit.record.store import Store
from labkit.report.arena import Arena
from labkit.report.exam_faults import Examined, judge
from labkit.spec import plan, validation
from labkit.spec.plan import Step
from labkit.spec.trial import Trial

AMONG = ("worker_pool", "task_pool", "task_group", "queue")
"""The strategies of the lab to rank with: those without a fault."""
LIMIT, DELAY = 50, "uniform(0.005,0.03)"
"""Delays of unlike length, so that to wait for the slowest of a round shows; and a client that has
time to spare, so that efficiency is the strategy's."""
REQUESTS = {"smoke": 1_000, "workshop": 5_000, "paper": 20_000}
MAX_RETRY_SHARE = 0.25
"""How many runs may be made again, as a share of all."""


def default_trial(scale: str) -> Trial:
    """Return the trial that strategies are ranked by if none is given. Raises `BadInput`."""
    if scale not in REQUESTS:
        raise validation.unknown("scale", scale, REQUESTS)
    return Trial(requests=REQUESTS[scale], limit=LIMIT, delay=DELAY, transport="wire")


async def arena(
    strategies: Sequence[Callable[..., Any] | str],
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
    entrants, known = _checked(trial, strategies, AMONG if among is None else among)

    def steps(trials: Sequence[Trial]) -> list[Step]:
        arms = [({"strategy": each.strategy}, each) for each in trials]
        return plan.interleave(arms, repeats=repeats, seed=seed)

    # So many trials, if all pass: refused now rather than once they have been examined.
    steps([*entrants, *known])
    show = reporter or progress.default()
    examined = await _examine_all(entrants, show)
    passed = [one for one, found in zip(entrants, examined, strict=True) if found.passed]
    if not passed:
        return Arena(examined)
    return Arena(examined, await _run_steps(steps([*passed, *known]), store, show))


def _checked(
    base: Trial, strategies: Sequence[Callable[..., Any] | str], among: Sequence[str]
) -> tuple[list[Trial], list[Trial]]:
    """Return a trial for each of the strategies, and for each other of `among`."""
    if not strategies:
        raise BadInput(
            "strategies is empty: give the arena at least one function, as in lab.arena(mine)"
        )
    if isinstance(among, str) or not isinstance(among, Sequence):
        raise BadInput(
            f"among is {among!r}: it must be a list of strategies of the lab, such as ['queue']"
        )
    entrants = [_trial(base, strategy) for strategy in strategies]
    known = [_trial(base, name) for name in among]
    # One of the lab's that is examined is not ranked twice.
    known = [one for one in known if one not in entrants]
    names = [one.strategy for one in (*entrants, *known)]
    for name in names:
        if names.count(name) > 1:
            raise BadInput(
                f"strategies and among have {names.count(name)} called {name!r}: the board could "
                "not tell them apart; rename your own, or leave that one out of among"
            )
    return entrants, known


def _trial(base: Trial, strategy: Callable[..., Any] | str) -> Trial:
    """Return the trial of a strategy that can be called, started and sent to another process."""
    if inspect.iscoroutine(strategy):
        strategy.close()
        raise BadInput(
            f"strategy is {strategy.__name__!r}, called already: give the function itself, "
            f"without brackets, as in lab.arena({strategy.__name__})"
        )
    trial = base.replace(strategy=strategy)
    if trial.function is not None:
        signature, name = inspect.signature(trial.function), trial.strategy
        try:
            signature.bind(None, None, 1)
        except TypeError as error:
            raise BadInput(
                f"strategy is {name!r}, which takes {signature}: it is called with fetch, items "
                f"and limit ({error}); write 'async def {name}(fetch, items, limit)'"
            ) from None
    preflight.check(trial)
    pickling.pickled(trial)
    return trial


async def _examine_all(entrants: Sequence[Trial], show: Reporter) -> list[Examined]:
    examined: list[Examined] = []
    stopped = "interrupted: nobody was ranked, and exams are not stored"
    show.begin(len(entrants))
    try:
        with progress.report_cancellation(show, lambda: stopped):
            for order, trial in enumerate(entrants):
                axes = {"examined": trial.strategy}
                show.started(Step(trial=trial, axes=axes, repeat=0, order=order))
                found = judge(trial.strategy, await run_exam(trial))
                examined.append(found)
                verdict = "passed" if found.passed else ", ".join(found.codes)
                show.passed(f"examined {trial.strategy}: {verdict}")
    finally:
        show.end()
    return examined


async def _run_steps(steps: Sequence[Step], store: Store | None, show: Reporter) -> list[Record]:
    """Run all steps; a run that lost its core is made again, once, and only a few of them.

    Its figures are not the strategy's, whatever they are: to replace it favours nobody.
    """
    records = await run_all(steps, store=store, reporter=show, experiment="arena")
    lost = [
        index
        for index, record in enumerate(records)
        if any(note.code == "core-lost" for note in record.warnings)
    ]
    lost = lost[: math.ceil(MAX_RETRY_SHARE * len(steps))]
    if lost:
        again = [steps[index] for index in lost]
        replaced = await run_all(again, store=store, reporter=show, experiment="arena")
        for index, record in zip(lost, replaced, strict=True):
            # In the block of the one that it replaces.
            records[index] = msgspec.structs.replace(record, study=records[index].study)
    return records
