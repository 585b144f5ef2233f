"""Tables of cases, which are data; and machines as the doctor reads them, without reading any."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from labkit.lab.doctor import Machine
from labkit.record.record import Interference

# A machine without a fault.
GOOD = Machine(
    environment={
        "cpu": "A processor", "cores": 2, "cores_usable": 2, "governor": "performance",
        "turbo": "off", "load_average_1min": 0.0, "throttled_periods": 0, "quota_cores": None,
        "python": "3.12.1", "versions": {"labkit": "0.1", "aiohttp": "3.14.0", "uvloop": None},
    },
    watched=Interference(throttled_periods=0, stolen_s=0.0, stolen_percent=0.0),
    trial_cores=(0, 1), shares_core=False, free_memory=8 << 30, swap=0, free_disk=50 << 30,
    descriptors=20_000, ports=28_231, backlog=4_096, loopback_error="",
    clock=SimpleNamespace(implementation="a clock", monotonic=True, resolution=1e-9),
    clock_source="tsc", missing=frozenset(), jupyterlab="4.6", widgets="8.1", has_front_end=True,
)  # fmt: skip
KINDS: dict[str, Callable[[Any], Any]] = {
    "watched": lambda fields: Interference(**fields),
    "clock": lambda fields: SimpleNamespace(**fields),
    "missing": frozenset,
    "trial_cores": tuple,
}
DATA = Path(__file__).parent / "data"


def checks(name: str, table: str = "") -> Any:
    """Return the rows of a table of cases, as of checks: name, changes, status, what is found.

    Without a table they are all of a file of JSON; with one, that table of a file of TOML, in which
    "<none>" stands for None.
    """
    text = (DATA / name).read_text("utf-8")
    return _known(tomllib.loads(text)[table]) if table else json.loads(text)


def _known(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _known(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_known(one) for one in value]
    return None if value == "<none>" else value


def raws(name: str, table: str) -> list[Any]:
    """Return the rows of such a table with their texts as bytes, of one character each."""

    def raw(value: Any) -> Any:
        return value.encode("latin-1") if isinstance(value, str) else value

    rows = checks(name, table)
    return [[raw(one) for one in row] if isinstance(row, list) else raw(row) for row in rows]


def machine(**changes: Any) -> Machine:
    """Return the good machine with changes; a name of its environment changes that.

    Structures and sets may be given as JSON has them.
    """
    changes = {name: KINDS.get(name, lambda same: same)(changes[name]) for name in changes}
    env = {name: changes.pop(name) for name in GOOD.environment if name in changes}
    return msgspec.structs.replace(GOOD, environment=GOOD.environment | env, **changes)
