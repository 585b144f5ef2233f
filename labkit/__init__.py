"""A performance lab for asyncio and aiohttp that lives in Jupyter.

This module only hands names on, and imports each when it is first used: `import labkit` is light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labkit.errors import BadInput, LabError, RecordDamaged, RecordNotFound, TrialFailed
    from labkit.lab.facade import (
        arena,
        check_claims,
        compare,
        default_scale,
        kept,
        ladder,
        load,
        profile,
        reference,
        reproduce,
        results,
        run,
        serving,
        sweep,
    )
    from labkit.measured import patterns, strategies
    from labkit.measured.strategies import Tally, strategy
    from labkit.notebook.exercises.checking import Checked, check
    from labkit.notebook.panel import panel
    from labkit.profiler.slow_callbacks import SlowCallbacks
    from labkit.profiler.timers import Timers, timer
    from labkit.record.record import Record
    from labkit.record.store import Store
    from labkit.report.arena import Arena
    from labkit.report.ladder import Ladder
    from labkit.report.ledger import Ledger
    from labkit.report.profile import Profile
    from labkit.report.reproduction import Reproduction
    from labkit.report.study import Run, Study
    from labkit.report.sweep import Sweep
    from labkit.spec.parts import (
        AiohttpTransport,
        HttpTarget,
        StreamsTransport,
        UrlTarget,
        WireTransport,
        Workload,
    )
    from labkit.spec.trial import Trial

_HOME = {
    "labkit.report.arena": ("Arena",),
    "labkit.report.ladder": ("Ladder",),
    "labkit.errors": ("BadInput", "LabError", "RecordDamaged", "RecordNotFound", "TrialFailed"),
    "labkit.notebook.exercises.checking": ("Checked", "check"),
    "labkit.lab.facade": (
        "arena",
        "check_claims",
        "compare",
        "default_scale",
        "kept",
        "ladder",
        "load",
        "profile",
        "reference",
        "reproduce",
        "results",
        "run",
        "serving",
        "sweep",
    ),
    "labkit.report.ledger": ("Ledger",),
    "labkit.report.study": ("Run", "Study"),
    "labkit.notebook.panel": ("panel",),
    "labkit.spec.parts": (
        "AiohttpTransport",
        "HttpTarget",
        "StreamsTransport",
        "UrlTarget",
        "WireTransport",
        "Workload",
    ),
    "labkit.profiler.slow_callbacks": ("SlowCallbacks",),
    "labkit.profiler.timers": ("Timers", "timer"),
    "labkit.report.profile": ("Profile",),
    "labkit.record.record": ("Record",),
    "labkit.report.reproduction": ("Reproduction",),
    "labkit.spec.trial": ("Trial",),
    "labkit.record.store": ("Store",),
    "labkit.measured.strategies": ("Tally", "strategy"),
    "labkit.report.sweep": ("Sweep",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

_MODULES = ("patterns", "strategies")

__version__ = "0.1.0"
__all__ = [
    "AiohttpTransport",
    "Arena",
    "BadInput",
    "Checked",
    "HttpTarget",
    "LabError",
    "Ladder",
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
    "load",
    "panel",
    "patterns",
    "profile",
    "reference",
    "reproduce",
    "results",
    "run",
    "serving",
    "strategies",
    "strategy",
    "sweep",
    "timer",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'labkit' has no attribute {name!r}")
    if name in _MODULES:
        return import_module(f"labkit.measured.{name}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def load_ipython_extension(shell: Any) -> None:
    """Give the shell the magic `%%labprof`; `%load_ext labkit` calls this."""
    from labkit.notebook import magics

    magics.load(shell)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
