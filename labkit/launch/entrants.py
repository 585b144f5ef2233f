"""Who is to be examined: checked, and told apart by name, before anything is started."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from labkit.errors import BadInput
from labkit.launch import pickling, preflight
from labkit.record.exam import Paper
from labkit.spec.trial import Trial

Strategy = Callable[..., Any] | str


def checked(base: Trial, strategies: Sequence[Strategy], among: Sequence[str]) -> list[Trial]:
    """A trial for each of the strategies, and then for each of `among`. Raises `BadInput`."""
    if not strategies:
        raise BadInput(
            "strategies is empty: give the arena at least one function, as in lab.arena(mine)"
        )
    if isinstance(among, str) or not isinstance(among, Sequence):
        raise BadInput(
            f"among is {among!r}: it must be a list of strategies of the lab, such as ['queue']"
        )
    entrants = [_trial(base, one) for one in strategies]
    known = [_trial(base, name) for name in among]
    _refuse_twins([one.strategy for one in entrants])
    _refuse_shadows(entrants, known)
    named = {one.strategy for one in entrants}
    return [*entrants, *(one for one in known if one.strategy not in named)]


def _trial(base: Trial, strategy: Strategy) -> Trial:
    if inspect.iscoroutine(strategy):
        strategy.close()
        raise BadInput(
            f"strategy is {strategy.__name__!r}, called already: give the function itself, "
            f"without brackets, as in lab.arena({strategy.__name__})"
        )
    trial = base.replace(strategy=strategy)
    if trial.function is not None:
        _check_signature(trial.strategy, trial.function)
    preflight.check(trial)
    pickling.pickled(trial)
    return trial


def _check_signature(name: str, function: Callable[..., Any]) -> None:
    """Raise `BadInput` unless it can be called as a strategy is."""
    signature = inspect.signature(function)
    try:
        signature.bind(None, None, 1)
    except TypeError as error:
        raise BadInput(
            f"strategy is {name!r}, which takes {signature}: it is called with fetch, items and "
            f"limit ({error}); write 'async def {name}(fetch, items, limit)'"
        ) from None


def _refuse_twins(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise BadInput(
                f"strategies hold {names.count(name)} functions called {name!r}: the board could "
                "not tell them apart; give each a name of its own"
            )


def _refuse_shadows(entrants: Sequence[Trial], known: Sequence[Trial]) -> None:
    built_in = {one.strategy for one in known if not one.own_strategy}
    for one in entrants:
        if one.own_strategy and one.strategy in built_in:
            raise BadInput(
                f"strategy is {one.strategy!r}, a function of your own with the name of one of the "
                "lab's that it is compared with: rename it, or leave that one out of among"
            )


def paper(trial: Trial, *, path: list[str]) -> Paper:
    """What the examiner's process is told of a strategy."""
    function = trial.function
    return Paper(
        name=trial.strategy,
        function=pickling.pickled(trial),
        guarded=function is None or pickling.unguarded(function) is not function,
        path=path,
    )
