"""Experiments in code, for claims about code: what no trial with axes can show.

Each is a coroutine function `NAME(url, **settings)` that returns the figures which the registry of
the spec names; a module has those of one subject. `url` is that of a synthetic server of the
experiment's own, None where its claim asks for none. Each measurement is made in a process of its
own, `python -m labkit.measured.experiments NAME`. Nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import import_module

from labkit.spec import validation
from labkit.spec.registry import EXPERIMENTS

Figures = dict[str, float]
Measure = Callable[..., Awaitable[Figures]]

_MODULES = {
    "bodies": ("body_cap", "compression", "reading"),
    "caches": ("cache_memory", "weak_cache"),
    "connections": ("default_limit", "gathered", "idle_gaps", "resolver"),
    "costs": ("clocks", "overhead", "polling"),
    "queues": ("chunk_results", "held_lock", "priority"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def load(name: str) -> Measure:
    """Return the coroutine function of the experiment called `name`. Raises `BadInput`."""
    if name not in EXPERIMENTS:
        raise validation.unknown("experiment", name, EXPERIMENTS)
    measure: Measure = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    return measure
