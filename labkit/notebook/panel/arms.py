"""Which arm a trial belongs to, and what tells the arms of a panel apart. Pure.

What is run with one press may differ from what is run with the next in any field of the panel: all
of them name an arm, and those that differ are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from labkit.record.record import Record
from labkit.report.study import Study
from labkit.spec.registry import STRATEGIES

NAMES = ("target", "transport", "strategy", "loop", "requests", "limit", "delay")
_KINDS = NAMES[:4]
Described = Mapping[str, Any]
Measured = Sequence[tuple[Described, Record]]
"""Records, each with what names its arm."""


def strategy(name: str, *, own: bool, version: int = 1) -> str:
    """The strategy as arms and tick boxes name it: told from the lab's own of the same name."""
    whose = " (yours)" if own and name in STRATEGIES else ""
    return f"{name}{whose}" if version == 1 else f"{name}{whose}, version {version}"


def described(trial: Mapping[str, Any], version: int = 1) -> dict[str, Any]:
    """What names the arm of a trial, which is given as plain data.

    `version`: how many codes a function of the user's own has had.
    """
    target, workload = trial["target"], trial["workload"]
    return {
        "target": target.get("url") or target["kind"],
        "transport": trial["transport"]["kind"],
        "strategy": strategy(trial["strategy"], own=trial["own_strategy"], version=version),
        "loop": trial["loop"],
        "requests": workload["requests"],
        "limit": workload["limit"],
        "delay": str(target.get("delay", target.get("query_s", ""))),
    }


def differing(arms: Iterable[Described]) -> list[str]:
    """The names that tell the arms apart; the strategy always."""
    listed = list(arms)
    return [
        name for name in NAMES if name == "strategy" or len({str(arm[name]) for arm in listed}) > 1
    ]


def label(arm: Described, names: Sequence[str]) -> str:
    """The arm in a few words: kinds alone, other values with their names."""
    return ", ".join(str(arm[name]) if name in _KINDS else f"{name} {arm[name]}" for name in names)


def study_of(measured: Measured) -> Study:
    """The records as one study, each arm named by what differs among them."""
    named = [msgspec.structs.replace(record, axes=dict(arm)) for arm, record in measured]
    return Study(named, differing(arm for arm, _ in measured))
