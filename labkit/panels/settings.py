"""What a panel is about to run, as values: one trial, or the arms of a comparison. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labkit import fields, plan
from labkit.errors import BadInput
from labkit.spec import Function, Trial

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
        fields.check("repeats", self.repeats, fields.Repeats)
        plan.interleave(self.arms, repeats=self.repeats)

    @property
    def axes(self) -> dict[str, list[Any]]:
        """What varies, as `lab.compare` takes it; nothing where it is one trial, run once."""
        chosen: dict[str, list[Any]] = {
            "strategy": list(self.strategies),
            "loop": list(self.loops),
        }
        varied = {name: values for name, values in chosen.items() if len(values) > 1}
        return varied or ({"strategy": chosen["strategy"]} if self.repeats > 1 else {})

    @property
    def trial(self) -> Trial:
        """What the arms have in common."""
        same: dict[str, Any] = {}
        if "strategy" not in self.axes and not self._keeps_strategy:
            same["strategy"] = self.strategies[0]
        elif "strategy" in self.axes:
            same["strategy"] = "worker_pool"
        same["loop"] = "asyncio" if "loop" in self.axes else self.loops[0]
        return self.base.replace(**same)

    @property
    def _keeps_strategy(self) -> bool:
        """Whether the one strategy is the base's own, whose options are then kept."""
        return bool(self.base.get("strategy") == self.strategies[0])

    @property
    def arms(self) -> list[tuple[Mapping[str, Any], Trial]]:
        """Each arm's name and trial, as `lab.compare` makes them of trial and axes."""
        return [(axes, trial) for axes, trial in plan.arms(self.trial, self.axes)]
