"""What an arm may run, and axes to vary -> a seeded, interleaved list of runs. Pure.

Repeats are blocks: every arm runs once, in random order, before any runs again, so that a machine
that drifts (heat, other work) drifts under all arms alike.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from labkit.errors import BadInput
from labkit.spec import validation
from labkit.spec.parts import Workload
from labkit.spec.targets import UrlTarget
from labkit.spec.trial import Trial
from labkit.spec.validation import Part

MAX_TRIALS = 10_000


class Coded(msgspec.Struct, frozen=True, kw_only=True):
    """A coded experiment: its name, its settings, and those of a server for it (None: none)."""

    name: str
    settings: dict[str, Any] = {}
    server: dict[str, Any] | None = None


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A load generator that others wrote: its name, what it is asked for, and for how long."""

    name: str
    workload: Trial
    seconds: float


Work = Trial | Coded | Program
"""What an arm runs."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One run of an arm: what is run, the settings that name the arm, its place in the order."""

    work: Work
    axes: Mapping[str, Any]
    repeat: int
    order: int

    @property
    def trial(self) -> Trial:
        """The trial; of a program, what it is asked for. A coded experiment has none."""
        assert not isinstance(self.work, Coded)
        return self.work.workload if isinstance(self.work, Program) else self.work


def arms(base: Trial, axes: Mapping[str, Sequence[Any]]) -> list[tuple[dict[str, Any], Trial]]:
    """Every combination of the axes' values, with the settings that name it."""
    for name, values in axes.items():
        if isinstance(values, (str, bytes)) or not isinstance(values, Sequence) or not values:
            raise BadInput(
                f"axis {name!r} is {values!r}: it must be a list of at least one value, "
                "as in strategy=['semaphore', 'task_pool']"
            )
    count = math.prod(map(len, axes.values()))
    if count > MAX_TRIALS:
        raise BadInput(
            f"the axes have {count:,} combinations: at most {MAX_TRIALS:,} trials are run; "
            "vary fewer values"
        )
    combinations = itertools.product(*axes.values())
    return [_arm(base, dict(zip(axes, values, strict=True))) for values in combinations]


def _arm(base: Trial, settings: dict[str, Any]) -> tuple[dict[str, Any], Trial]:
    trial = base.replace(**settings)
    return {name: label(trial, name) for name in settings}, trial


def label(trial: Trial, name: str) -> Any:
    """The value of a setting as plain data: what names an arm in tables and records."""
    if name == "strategy":
        return trial.strategy
    value = trial.get(name)
    return _part_label(value) if isinstance(value, Part) else value


def _part_label(part: Part) -> str:
    """A part in a few words: its URL, or its kind and the settings that are not the usual."""
    if isinstance(part, UrlTarget):
        return part.url
    usual = msgspec.to_builtins(type(part)())
    settings = msgspec.to_builtins(part)
    changed = [f"{name}={value}" for name, value in settings.items() if value != usual[name]]
    return " ".join([settings.get("kind", "workload"), *changed])


def interleave(
    listed: Sequence[tuple[Mapping[str, Any], Work]], *, repeats: int, seed: int = 0
) -> list[Step]:
    """Each arm `repeats` times: block by block, each block in a random order drawn from `seed`."""
    return interleave_groups([listed], repeats=repeats, seed=seed)


def interleave_groups(
    groups: Sequence[Sequence[tuple[Mapping[str, Any], Work]]], *, repeats: int, seed: int = 0
) -> list[Step]:
    """Group after group, each interleaved: what is compared runs near each other in time."""
    validation.check("repeats", repeats, validation.Repeats)
    validation.check("seed", seed, validation.types_of(Workload)["seed"])
    listed = [arm for group in groups for arm in group]
    if len(listed) * repeats > MAX_TRIALS:
        raise BadInput(
            f"the experiment has {len(listed):,} arms of {repeats:,} repeats: at most "
            f"{MAX_TRIALS:,} trials are run; vary fewer values"
        )
    _refuse_twins([axes for axes, _ in listed])
    chance = random.Random(seed)
    steps: list[Step] = []
    for group in groups:
        for repeat in range(repeats):
            for axes, work in chance.sample(group, len(group)):
                steps.append(Step(work=work, axes=axes, repeat=repeat, order=len(steps)))
    return steps


def _refuse_twins(axes: Sequence[Mapping[str, Any]]) -> None:
    seen: list[Mapping[str, Any]] = []
    for one in axes:
        if one in seen:
            raise BadInput(f"axes hold the same arm twice ({dict(one)}): name each value once")
        seen.append(one)
