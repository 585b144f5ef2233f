"""Experiments in code, for claims about code: what no trial with axes can show.

One file each, with one coroutine `measure(url, **settings)` that returns the figures which
`labkit.spec.experiments` names. `url` is that of
a synthetic server of the experiment's own, None where the ledger asks for none. Each measurement is
made in a process of its own, `python -m labkit.measured.experiments NAME`. Nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import import_module

from labkit.spec import validation
from labkit.spec.experiments import EXPERIMENTS

Figures = dict[str, float]
Measure = Callable[..., Awaitable[Figures]]


def load(name: str) -> Measure:
    """The coroutine function of the experiment called `name`; raises `BadInput`."""
    if name not in EXPERIMENTS:
        raise validation.unknown("experiment", name, EXPERIMENTS)
    measure: Measure = import_module(f"labkit.measured.experiments.{name}").measure
    return measure
