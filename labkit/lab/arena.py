"""The arena from end to end: strategies are checked, examined, and ranked among the lab's own."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Unpack

from labkit.lab import progress
from labkit.lab.awaiting import awaited
from labkit.lab.facade import default_scale
from labkit.lab.runner import Where, run_all
from labkit.launch import preflight
from labkit.launch.experiment import run_exam
from labkit.report.arena import Arena, Examined, judge
from labkit.spec import plan, validation
from labkit.spec.trial import Trial

# The strategies of the lab to rank with: those without a fault.
AMONG = ("worker_pool", "task_pool", "task_group", "queue")
# Delays of unlike length, so that to wait for the slowest of a round shows; and a client that has
# time to spare, so that efficiency is the strategy's.
LIMIT, DELAY = 50, "uniform(0.005,0.03)"
REQUESTS = {"smoke": 1_000, "workshop": 5_000, "paper": 20_000}


@awaited
async def arena(
    *strategies: Callable[..., Any] | str,
    among: Sequence[str] | None = None,
    trial: Trial | None = None,
    scale: str | None = None,
    repeats: int = 5,
    seed: int = 0,
    **where: Unpack[Where],
) -> Arena:
    """Examine strategies, functions or names, and rank those without a fault among the lab's own.

    Examined is whether each item is fetched once, never more than `limit` at a time (as the server
    saw it), whether failing items are survived and reported, memory stays bounded, no task is left
    behind and waiting costs no CPU. `among` are the strategies of the lab to rank with, `trial`
    replaces the one to rank by, whose size `scale` sets. Raises `BadInput` before anything is
    started.
    """
    base = plan.checked(trial or default_trial(scale or default_scale()))
    if not strategies:
        raise validation.refusal("no-entrant")
    among = AMONG if among is None else among
    validation.check_once("among", among)
    entrants = [_trial(base, strategy) for strategy in strategies]
    # One of the lab's that is examined is not ranked twice.
    known = [one for name in among if (one := _trial(base, name)) not in entrants]

    def steps(trials: Sequence[Trial]) -> list[plan.Step]:
        arms = [({"strategy": each.strategy}, each) for each in trials]
        return plan.interleave(arms, repeats=repeats, seed=seed)

    # All of them, if all pass: too many, or two of one name, are refused before any is examined.
    steps([*entrants, *known])
    where["reporter"] = show = where.get("reporter") or progress.default()
    examined = list[Examined]()
    stopped = "interrupted: nothing was ranked, and exams are not stored"
    with progress.reporting(show, len(entrants), lambda: stopped):
        for order, one in enumerate(entrants):
            axes = {"examined": one.strategy}
            show.started(plan.Step(work=one, axes=axes, repeat=0, order=order))
            found = judge(one.strategy, await run_exam(one))
            examined.append(found)
            verdict = "passed" if found.passed else ", ".join(found.codes)
            show.passed(f"examined {one.strategy}: {verdict}")
    passed = [one for one, found in zip(entrants, examined, strict=True) if found.passed]
    if not passed:
        return Arena(examined)
    return Arena(examined, await run_all(steps([*passed, *known]), **where, experiment="arena"))


def default_trial(scale: str) -> Trial:
    """Return the trial that strategies are ranked by if none is given. Raises `BadInput`."""
    validation.check_known("scale", scale, REQUESTS)
    return Trial(requests=REQUESTS[scale], limit=LIMIT, delay=DELAY, transport="wire")


def _trial(base: Trial, strategy: Callable[..., Any] | str) -> Trial:
    """Return the trial of a strategy that can be called, started and sent to another process."""
    if inspect.iscoroutine(strategy):
        strategy.close()
        raise validation.refusal("called", name=strategy.__name__)
    return preflight.prepare(base.replace(strategy=strategy)).trial
