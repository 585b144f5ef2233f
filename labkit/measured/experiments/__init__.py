"""Experiments in code, for claims about code: what no trial with axes can show.

Each is a coroutine function `NAME(url, **settings)` that returns the figures which
`data/experiments.toml` names; a module has those of one subject. What the sources printed lies in
`data/experiments`, beside the studies that judge it. `url` is that of a synthetic server of the
experiment's own, None where its claim asks for none. Each measurement is made in a process of its
own, `python -m labkit.measured.experiments NAME`. Nothing is judged here.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import TypeVar

from labkit import paths
from labkit.spec import validation

Figures = dict[str, float]
Measure = Callable[..., Awaitable[Figures]]
Choice = TypeVar("Choice")


def load(name: str) -> Measure:
    """Return the coroutine function of the experiment called `name`. Raises `BadInput`."""
    # One is of a function of the user's own, for `lab_compare`, and of no study.
    known = {**paths.table("experiments.toml"), "timed": {"module": f"{__name__}.costs"}}
    measure: Measure = getattr(module(choose("experiment", name, known)["module"]), name)
    return measure


def module(name: str) -> ModuleType:
    """Return a module of experiments by its name; `data/experiments` is looked through last."""
    folder = str(paths.data("experiments"))
    if folder not in sys.path:
        sys.path.append(folder)
    return import_module(name)


def choose(setting: str, name: str, choices: Mapping[str, Choice]) -> Choice:
    """Return the choice of that name. Raises `BadInput`, which lists those there are."""
    if name not in choices:
        raise validation.unknown(setting, name, choices)
    return choices[name]
