"""What can be chosen on this machine: the kinds that are installed, and functions of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from labkit.errors import BadInput, NotInstalled
from labkit.launch import preflight
from labkit.notebook.panel import arms, own
from labkit.notebook.panel.settings import Strategy
from labkit.spec import trial as spec
from labkit.spec.registry import STRATEGIES
from labkit.spec.targets import TARGETS
from labkit.spec.transports import SPEAK
from labkit.spec.trial import Trial

_LOOPS = ("asyncio", "uvloop")


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Targets with the transports that speak with each, strategies by their label, loops.

    `homes`: where each function of one's own is found again, which may have been written anew.
    """

    transports: Mapping[str, Sequence[str]]
    strategies: Mapping[str, Strategy]
    loops: Sequence[str]
    homes: Mapping[str, own.Namespace]

    def strategy(self, label: str) -> Strategy:
        """What the label means now."""
        chosen = self.strategies[label]
        return chosen if isinstance(chosen, str) else own.now(chosen, self.homes[label])


def here(given: Sequence[Strategy] = ()) -> Choices:
    """What is installed, the functions that a decorator registered, and those in `given`."""
    speak = {target: _spoken(target) for target in TARGETS}
    installed = [name for name in STRATEGIES if _is_installed(Trial(strategy=name))]
    functions = [*spec.OWN.values(), *(one for one in given if callable(one))]
    yours = {_label(Trial(strategy=function)): function for function in functions}
    return Choices(
        transports={target: spoken for target, spoken in speak.items() if spoken},
        strategies={**{name: name for name in installed}, **yours},
        loops=[loop for loop in _LOOPS if loop == "asyncio" or _has_uvloop()],
        homes={label: own.home_of(function) for label, function in yours.items()},
    )


def _spoken(target: str) -> list[str]:
    kind = "http://127.0.0.1" if target == "url" else target
    return [
        transport
        for transport in SPEAK[target]
        if _is_installed(Trial(target=kind, transport=transport))
    ]


def _has_uvloop() -> bool:
    return find_spec("uvloop") is not None


def check_installed(trial: Trial) -> None:
    """Raise `NotInstalled` where a package is missing; what else is wrong is said at its field."""
    try:
        preflight.check(trial)
    except NotInstalled:
        raise
    except BadInput:
        return


def _is_installed(trial: Trial) -> bool:
    try:
        check_installed(trial)
    except NotInstalled:
        return False
    return True


def _label(trial: Trial) -> str:
    return arms.strategy(trial.strategy, own=trial.own_strategy)
