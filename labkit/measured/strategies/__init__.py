"""The strategies, one file each, and the registry that finds them by name.

A strategy is `async def name(fetch, items, limit)`: it applies `fetch` to every item, at most
`limit` at a time (except `gather`, which knows no limit), and returns nothing. It decides *when*
calls start; what a call is belongs to the transports, what is measured to the worker. Options are
keyword-only and have defaults. Cancelled, a strategy cancels every task that it has started and
waits for it.

The decorator `strategy` adds what a person wants: an exception in one item is counted and stops
nothing. Without it (`__wrapped__`) a strategy relies on a `fetch` that never raises: what a raising
one does to the other items is then not defined.

`lab.strategies.worker_pool` gives the decorated function and imports no other strategy, so a
measured process holds the one that it measures.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from labkit.errors import BadInput
from labkit.measured.strategies._guard import Fetch, Strategy, Tally, strategy
from labkit.spec.validation import unknown

if TYPE_CHECKING:
    from labkit.measured.strategies.aiometer import aiometer as aiometer
    from labkit.measured.strategies.aiostream import aiostream as aiostream
    from labkit.measured.strategies.anyio import anyio as anyio
    from labkit.measured.strategies.as_completed import as_completed as as_completed
    from labkit.measured.strategies.chunked import chunked as chunked
    from labkit.measured.strategies.gather import gather as gather
    from labkit.measured.strategies.priority import priority as priority
    from labkit.measured.strategies.pypeln import pypeln as pypeln
    from labkit.measured.strategies.queue import queue as queue
    from labkit.measured.strategies.semaphore import semaphore as semaphore
    from labkit.measured.strategies.sequential import sequential as sequential
    from labkit.measured.strategies.task_group import task_group as task_group
    from labkit.measured.strategies.task_pool import task_pool as task_pool
    from labkit.measured.strategies.wait import wait as wait
    from labkit.measured.strategies.worker_pool import worker_pool as worker_pool

__all__ = ["NAMES", "Fetch", "Strategy", "Tally", "load", "strategy"]

NAMES: tuple[str, ...] = (
    "sequential",
    "gather",
    "semaphore",
    "as_completed",
    "task_pool",
    "pypeln",
    "chunked",
    "wait",
    "task_group",
    "queue",
    "worker_pool",
    "priority",
    "aiometer",
    "aiostream",
    "anyio",
)

# What to install for a package that is not there; any other belongs to the extra `peers`.
_INSTALL = {"pypeln": "pypeln", "stopit": "pypeln", "pkg_resources": "'setuptools<81'"}


def load(name: str) -> Strategy:
    """The strategy called `name`; only its own module is imported.

    `BadInput` names the nearest strategy for an unknown name, and what to install for a package
    that is missing.
    """
    if name not in NAMES:
        raise unknown("strategy", name, NAMES)
    try:
        module = import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        install = _INSTALL.get(package, "'labkit[peers]'")
        raise BadInput(
            f"strategy is {name!r}, which needs the package {package!r}: pip install {install}"
        ) from error
    found: Strategy = getattr(module, name)
    return found


class _Package(ModuleType):
    """This package, where the name of a strategy is always the function.

    The import system sets each submodule as an attribute of its package, and here the two share
    their name.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name in NAMES and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Strategy:
        if name in NAMES:
            return load(name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *NAMES})


sys.modules[__name__].__class__ = _Package
