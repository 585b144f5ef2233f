"""What a panel is about to run, as values: one trial, or the arms of a comparison. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labkit.errors import BadInput
from labkit.spec import plan, validation
from labkit.spec.registry import STRATEGIES
from labkit.spec.trial import Function, Trial

Strategy = str | Function


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Strategies and loops to try, over what else `base` says, `repeats` times each.

    Valid once it exists. Raises `BadInput`.
    """

    base: Trial
    strategies: Sequence[Strategy]
    loops: Sequence[str]
    repeats: int = 1

    def __post_init__(self) -> None:
        for name, chosen in (("strategy", self.strategies), ("loop", self.loops)):
            if not chosen:
                raise BadInput(f"{name} is left empty: choose at least one")
        validation.check("repeats", self.repeats, validation.Repeats)
        self._refuse_twins()
        self._refuse_lost_options()
        plan.interleave(self.arms, repeats=self.repeats)

    def _refuse_twins(self) -> None:
        names = [Trial(strategy=one).strategy for one in self.strategies]
        for name in names:
            if names.count(name) > 1:
                raise BadInput(
                    f"strategy is {name!r} twice: a comparison tells its arms apart by their "
                    "names; choose one of them, or give yours another name"
                )

    def _refuse_lost_options(self) -> None:
        """A strategy that is one of several has the usual options, as in any comparison."""
        if self._keeps_options and len(self.strategies) > 1:
            name = self.base.strategy
            options = ", ".join(f"{key}={value}" for key, value in self.base.options.items())
            raise BadInput(
                f"strategy is {name!r} with {options}, and others: in a comparison of strategies "
                f"each has its usual options; choose {name!r} alone, or leave its options as usual"
            )

    @property
    def axes(self) -> dict[str, list[Any]]:
        """What varies, as `lab.compare` takes it; nothing where it is one trial, run once."""
        chosen: dict[str, list[Any]] = {
            "strategy": list(self.strategies),
            "loop": list(self.loops),
        }
        varied = {name: values for name, values in chosen.items() if len(values) > 1}
        if varied or self.repeats == 1:
            return varied
        # As a value of an axis a strategy has its usual options: the other axis names the arm.
        name = "loop" if self._keeps_options else "strategy"
        return {name: chosen[name]}

    @property
    def trial(self) -> Trial:
        """What the arms have in common."""
        same: dict[str, Any] = {}
        if "strategy" in self.axes:
            same["strategy"] = "worker_pool"
        elif not self._keeps_strategy:
            same["strategy"] = self.strategies[0]
        same["loop"] = "asyncio" if "loop" in self.axes else self.loops[0]
        return self.base.replace(**same)

    @property
    def _keeps_strategy(self) -> bool:
        """Whether the base's own strategy is among the chosen."""
        return self.base.get("strategy") in self.strategies

    @property
    def _keeps_options(self) -> bool:
        """Whether it is, and has other options than usual."""
        usual = {} if self.base.own_strategy else STRATEGIES[self.base.strategy]
        return self._keeps_strategy and dict(self.base.options) != dict(usual)

    @property
    def arms(self) -> list[tuple[Mapping[str, Any], Trial]]:
        """Each arm's name and trial, as `lab.compare` makes them of trial and axes."""
        return [(axes, trial) for axes, trial in plan.arms(self.trial, self.axes)]
