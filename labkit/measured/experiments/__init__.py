"""Experiments in code, for claims about code: what no trial with axes can show.

Each is a coroutine function `NAME(url, **settings)` that returns the figures which the registry of
the spec names; a module has those of one subject. `url` is that of a synthetic server of the
experiment's own, None where its claim asks for none. Each measurement is made in a process of its
own, `python -m labkit.measured.experiments NAME`. Nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from typing import TypeVar

from labkit.spec import validation
from labkit.spec.registry import EXPERIMENT_MODULES

Figures = dict[str, float]
Measure = Callable[..., Awaitable[Figures]]
Choice = TypeVar("Choice")


def load(name: str) -> Measure:
    """Return the coroutine function of the experiment called `name`. Raises `BadInput`."""
    module = import_module(f"{__name__}.{choose('experiment', name, EXPERIMENT_MODULES)}")
    measure: Measure = getattr(module, name)
    return measure


def choose(setting: str, name: str, choices: Mapping[str, Choice]) -> Choice:
    """Return the choice of that name. Raises `BadInput`, which lists those there are."""
    if name not in choices:
        raise validation.unknown(setting, name, choices)
    return choices[name]
