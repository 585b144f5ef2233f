"""Plan the runs of an experiment: arms from axes, and their seeded, interleaved order. Pure.

Repeats are blocks: every arm runs once, in random order, before any runs again, so that a machine
that drifts (heat, other work) drifts under all arms alike.
"""

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from labkit.errors import BadInput
from labkit.spec import parts, validation
from labkit.spec.addresses import check_remote
from labkit.spec.requests import HIDDEN
from labkit.spec.targets import Command, UrlTarget
from labkit.spec.transports import ClientTransport
from labkit.spec.trial import Trial

MAX_TRIALS = 10_000


class Coded(msgspec.Struct, frozen=True, kw_only=True):
    """A coded experiment: its name, its settings, and those of a server for it (None: none)."""

    name: str
    settings: dict[str, Any] = {}
    server: dict[str, Any] | None = None


# What an arm runs.
Work = Trial | Coded


@dataclass(frozen=True, kw_only=True)
class Step:
    """One run of an arm: what is run, the settings that name the arm, its place in the order.

    `arm` is the arm's place among all arms, as they were named.
    """

    work: Work
    axes: Mapping[str, Any]
    repeat: int
    order: int
    arm: int = 0

    @property
    def trial(self) -> Trial:
        """Return the trial; a coded experiment has none."""
        assert not isinstance(self.work, Coded)
        return self.work


def checked(trial: Any) -> Trial:
    """Return the trial; raise `BadInput`, with what to write, for anything else."""
    if isinstance(trial, Trial):
        return trial
    setting = "requests=1_000"
    if isinstance(trial, str):
        setting = f"{'target' if ':' in trial else 'strategy'}={trial!r}"
    elif callable(trial) and not isinstance(trial, type):
        setting = f"strategy={getattr(trial, '__name__', 'mine')}"
    raise BadInput(f"trial is {trial!r}: it must be a Trial; write lab.Trial({setting})")


def arms(base: Trial, axes: Mapping[str, Sequence[Any]]) -> list[tuple[dict[str, Any], Trial]]:
    """Return every combination of the axes' values, with the settings that name it.

    Arms whose credentials differ are numbered where these are hidden: no label shows one.
    """
    for name, values in axes.items():
        if isinstance(values, (str, bytes)) or not isinstance(values, Sequence) or not values:
            raise validation.refusal("axis", name=name, values=values)
    count = math.prod(map(len, axes.values()))
    if count > MAX_TRIALS:
        raise validation.refusal("combinations", count=count, most=MAX_TRIALS)
    combinations = itertools.product(*axes.values())
    trials = [base.replace(**dict(zip(axes, values, strict=True))) for values in combinations]
    found = [({name: label(trial, name) for name in axes}, trial) for trial in trials]
    given = dict.fromkeys(pair for trial in trials for pair in trial.secrets.items())
    for settings, trial in found:
        for header, value in trial.secrets.items():
            values = [one for name, one in given if name == header]
            number = f" ({values.index(value) + 1})" if len(values) > 1 else ""
            shown, numbered = (f'"{header}": "{HIDDEN}{end}"' for end in ("", number))
            texts = {name: one for name, one in settings.items() if isinstance(one, str)}
            settings |= {name: text.replace(shown, numbered) for name, text in texts.items()}
    return found


def label(trial: Trial, name: str) -> Any:
    """Return the value of a setting as plain data: it names an arm in tables and records.

    A part is named by its URL, or by its kind and the settings that are not its defaults.
    """
    if name in ("strategy", "program"):
        return (trial.program if name == "program" else None) or trial.strategy
    if name == "transport" and isinstance(trial.transport, ClientTransport):
        return trial.transport.name
    value = trial.get(name)
    if not isinstance(value, validation.Part):
        return value
    if isinstance(value, UrlTarget | Command):
        return value.url if isinstance(value, UrlTarget) else value.command
    changed = [f"{leaf}={one}" for leaf, one in parts.changed(value).items()]
    return " ".join([value.kind, *changed])


def interleave(
    *groups: Sequence[tuple[Mapping[str, Any], Work]], repeats: int, seed: int = 0
) -> list[Step]:
    """Plan group after group of arms: what is compared runs close in time.

    Each arm of a group runs `repeats` times, in blocks of all its arms, each block in a random
    order drawn from `seed`.
    """
    validation.check("repeats", repeats, validation.Repeats)
    validation.check("seed", seed, validation.types_of(parts.Workload)["seed"])
    listed = [arm for group in groups for arm in group]
    if len(listed) * repeats > MAX_TRIALS:
        raise validation.refusal("arms", arms=len(listed), repeats=repeats, most=MAX_TRIALS)
    remote = [work for _, work in listed if isinstance(work, Trial) and work.is_remote]
    if remote:
        check_remote(
            requests=repeats * sum(one.requests for one in remote),
            limit=max(min(one.slots, one.requests) for one in remote),
            trials=repeats * len(remote),
        )
    seen: list[Mapping[str, Any]] = []
    for axes, _ in listed:
        if axes in seen:
            raise validation.refusal("same-arm", axes=dict(axes))
        seen.append(axes)
    chance = random.Random(seed)
    steps: list[Step] = []
    for group in groups:
        for repeat in range(repeats):
            for axes, work in chance.sample(group, len(group)):
                arm = seen.index(axes)
                steps.append(Step(work=work, axes=axes, repeat=repeat, order=len(steps), arm=arm))
    return steps
