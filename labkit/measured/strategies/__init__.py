"""The strategies, one file each, and `load`, which finds them by name.

A strategy is `async def name(fetch, items, limit)`: it applies `fetch` to every item, at most
`limit` at a time (except `gather`, which knows no limit), and returns nothing. It decides *when*
calls start; what a call is belongs to the transports, what is measured to the worker. Options are
keyword-only and have defaults. Cancelled, a strategy cancels every task that it has started and
waits for it.

The decorator `strategy` adds what a person wants: an exception in one item is counted and stops
nothing. Without it (`__wrapped__`) a strategy relies on a `fetch` that never raises: what a raising
one does to the other items is then not defined.

`lab.strategies.worker_pool` gives the decorated function and imports no other strategy, so a
measured process contains only the one that it measures.
"""

from importlib import import_module

from labkit.measured.strategies._guard import Fetch, Strategy, Tally, strategy
from labkit.spec.registry import STRATEGIES
from labkit.spec.validation import refusal, unknown

__all__ = ["NAMES", "Fetch", "Strategy", "Tally", "load", "strategy"]

NAMES: tuple[str, ...] = tuple(STRATEGIES)

# What to install for a missing package; any other belongs to the extra `peers`.
_INSTALL = {"pypeln": "pypeln", "stopit": "pypeln"}


def load(name: str) -> Strategy:
    """Return the strategy called `name`; only its own module is imported.

    `BadInput` names the nearest strategy for an unknown name, and what to install for a missing
    package.
    """
    if name not in NAMES:
        raise unknown("strategy", name, NAMES)
    try:
        # The file of `gather` is `_gather.py`: Python sets each imported submodule as an attribute
        # of its package, so a file `gather.py` would put a module where the function belongs.
        module = import_module(f"{__name__}._{name}")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        install = _INSTALL.get(package, "'labkit[peers]'")
        raise refusal("package", name=name, package=package, install=install) from error
    found: Strategy = getattr(module, name)
    return found


def __getattr__(name: str) -> Strategy:
    if name in NAMES:
        return load(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *NAMES})
