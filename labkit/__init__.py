"""A performance lab for asyncio and aiohttp that lives in Jupyter.

This module only hands names on, and imports each when it is first used: `import labkit` is light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labkit.arenas import Arena
    from labkit.climb import Climb
    from labkit.errors import BadInput, LabError, RecordDamaged, RecordNotFound, TrialFailed
    from labkit.exercises import Checked, check
    from labkit.lab import (
        arena,
        check_claims,
        compare,
        default_scale,
        kept,
        ladder,
        profile,
        reference,
        reproduce,
        results,
        run,
        serving,
        sweep,
    )
    from labkit.ledgers import Ledger
    from labkit.outcomes import Run, Study
    from labkit.panels import panel
    from labkit.parts import (
        AiohttpTransport,
        HttpTarget,
        StreamsTransport,
        UrlTarget,
        WireTransport,
        Workload,
    )
    from labkit.probes.slow_callbacks import SlowCallbacks
    from labkit.probes.timers import Timers, timer
    from labkit.profiling import Profile
    from labkit.record import Record
    from labkit.reproduction import Reproduction
    from labkit.spec import Trial
    from labkit.store import Store
    from labkit.strategies import Tally, strategy
    from labkit.sweeps import Sweep

_HOME = {
    "labkit.arenas": ("Arena",),
    "labkit.climb": ("Climb",),
    "labkit.errors": ("BadInput", "LabError", "RecordDamaged", "RecordNotFound", "TrialFailed"),
    "labkit.exercises": ("Checked", "check"),
    "labkit.lab": (
        "arena",
        "check_claims",
        "compare",
        "default_scale",
        "kept",
        "ladder",
        "profile",
        "reference",
        "reproduce",
        "results",
        "run",
        "serving",
        "sweep",
    ),
    "labkit.ledgers": ("Ledger",),
    "labkit.outcomes": ("Run", "Study"),
    "labkit.panels": ("panel",),
    "labkit.parts": (
        "AiohttpTransport",
        "HttpTarget",
        "StreamsTransport",
        "UrlTarget",
        "WireTransport",
        "Workload",
    ),
    "labkit.probes.slow_callbacks": ("SlowCallbacks",),
    "labkit.probes.timers": ("Timers", "timer"),
    "labkit.profiling": ("Profile",),
    "labkit.record": ("Record",),
    "labkit.reproduction": ("Reproduction",),
    "labkit.spec": ("Trial",),
    "labkit.store": ("Store",),
    "labkit.strategies": ("Tally", "strategy"),
    "labkit.sweeps": ("Sweep",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__version__ = "0.1.0"
__all__ = [
    "AiohttpTransport",
    "Arena",
    "BadInput",
    "Checked",
    "Climb",
    "HttpTarget",
    "LabError",
    "Ledger",
    "Profile",
    "Record",
    "RecordDamaged",
    "RecordNotFound",
    "Reproduction",
    "Run",
    "SlowCallbacks",
    "Store",
    "StreamsTransport",
    "Study",
    "Sweep",
    "Tally",
    "Timers",
    "Trial",
    "TrialFailed",
    "UrlTarget",
    "WireTransport",
    "Workload",
    "arena",
    "check",
    "check_claims",
    "compare",
    "default_scale",
    "kept",
    "ladder",
    "panel",
    "profile",
    "reference",
    "reproduce",
    "results",
    "run",
    "serving",
    "strategy",
    "sweep",
    "timer",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'labkit' has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def load_ipython_extension(shell: Any) -> None:
    """What `%load_ext labkit` calls: gives the shell the magics `%lab` and `%%labprof`."""
    from labkit import magics

    magics.load(shell)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
