"""The arena from end to end: each is examined, and who passes is ranked among the lab's own."""

from __future__ import annotations

from collections.abc import Sequence

from labkit import fields, plan, progress
from labkit.arenas import Arena, Examined, judged
from labkit.examining.entrants import Strategy, checked
from labkit.examining.sitting import examined
from labkit.progress import Reporter
from labkit.running import run_all
from labkit.spec import Trial
from labkit.store import Store

AMONG = ("worker_pool", "task_pool", "task_group", "queue")
"""Whom strategies are ranked among: the lab's own without a fault."""
LIMIT, DELAY = 50, "uniform(0.005,0.03)"
"""Delays of unlike length, so that to wait for the slowest of a round shows; and a client that has
time to spare, so that efficiency is the strategy's."""
REQUESTS = {"smoke": 1_000, "workshop": 5_000, "paper": 20_000}


def default_trial(scale: str) -> Trial:
    """The trial that strategies are ranked by, where none is given. Raises `BadInput`."""
    if scale not in REQUESTS:
        raise fields.unknown("scale", scale, REQUESTS)
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
    plan.interleave([({"strategy": one.strategy}, one) for one in trials], repeats=repeats)
    found = await _examined(entrants, reporter or progress.default())
    passed = [one for one, seen in zip(entrants, found, strict=True) if seen.passed]
    if not passed:
        return Arena(found)
    arms = [({"strategy": one.strategy}, one) for one in [*passed, *known]]
    steps = plan.interleave(arms, repeats=repeats, seed=seed)
    records = await run_all(steps, store=store, reporter=reporter, experiment="arena")
    return Arena(found, records)


async def _examined(entrants: Sequence[Trial], show: Reporter) -> list[Examined]:
    found: list[Examined] = []
    show.begin(len(entrants))
    try:
        for one in entrants:
            found.append(judged(one.strategy, await examined(one)))
            said = "passed" if found[-1].passed else ", ".join(found[-1].codes)
            show.passed(f"examined {one.strategy}: {said}")
    finally:
        show.end()
    return found
