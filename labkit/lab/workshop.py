"""Whether this laptop is ready for a workshop: some ten lines, offline, in about ten seconds.

Nothing is taken for granted: a kernel is started and runs a cell, and a trial of two seconds runs.
Both are bounded in time and leave nothing behind, no record either. The caller passes what the
notebooks need, from their metadata.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from labkit import paths
from labkit.errors import LabError
from labkit.lab import doctor
from labkit.launch import launcher, process
from labkit.record.record import Record
from labkit.spec.trial import Trial

# The trial: two seconds of a server's delays, which no client can make shorter.
REQUESTS, LIMIT, DELAY_S = 2_000, 100, 0.1
# Of each of its requests, on the machine on which the notebooks' minutes were taken.
USUAL_CPU_US = 150.0
# A machine that takes longer than so many times does the notebooks at scale smoke.
MAX_SLOWNESS = 2.0
MIN_EFFICIENCY = 0.7
KERNEL_S = 60.0
LOW_DISK, MIN_DISK = 1 << 30, 100 << 20
# JupyterLab's server and a browser's tab, beside the largest notebook.
BESIDE_MB = 700

_MODULE = (sys.executable, "-P", "-m")
LAB = (*_MODULE, "jupyterlab", "--version")
KERNEL = (*_MODULE, "jupyter_client.runapp", "--RunApp.kernel_timeout=30", "cell.py")
CELL = "import sys, labkit\nprint('runs', sys.prefix)"
_WORKSHOP_SCALE = "scale workshop"


# What a program printed or why it failed, whether it failed, and its seconds.
Output = tuple[str, bool, float]


class Tried(NamedTuple):
    """What was run: the trial's record, or why it failed, and two programs."""

    record: Record | LabError
    lab: Output
    kernel: Output


class Readiness(doctor.Examination):
    """The checks of a laptop. `minutes` is what the notebooks take here at scale workshop.

    It is the computing of all but those that are `uncounted`.
    """

    kind = "workshop"
    minutes = 0.0
    uncounted: Sequence[str] = ()

    @property
    def ready(self) -> str:
        """Return the scale that this machine is ready for: workshop, smoke or no."""
        if self.with_status("bad"):
            return "no"
        doubts = {one.spoils for one in self.with_status("warn")}
        return "smoke" if _WORKSHOP_SCALE in doubts else "workshop"

    def conclusion(self) -> str:
        """Return in one sentence whether it is ready, and what to do where it is not."""
        if bad := self.with_status("bad"):
            return f"Not ready: {'; '.join(f'{one.advice} ({one.name})' for one in bad)}."
        lost = [one.spoils for one in self.checks if one.spoils not in ("", _WORKSHOP_SCALE)]
        scale = " for smoke" if self.ready == "smoke" else ""
        but = f", but not for {' and '.join(lost)}" if lost else ""
        takes = f"scale workshop will take about {self.minutes:,.0f} minutes of computing in all"
        besides = f", besides {' and '.join(self.uncounted)} (see its opening)"
        return f"Ready{scale}{but}; {takes}{besides if self.uncounted else ''}."

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        found = {"checks": self.checks, "conclusion": self.conclusion()}
        return found | {"ready": self.ready, "workshop_minutes": round(self.minutes)}


# The metadata of a notebook: what `cli.notebooks.NotebookInfo` has.
Notebook = Any


async def examine(notebooks: Sequence[Notebook]) -> Readiness:
    """Check everything that a workshop on these notebooks needs of this machine."""
    machine = await asyncio.to_thread(doctor.read)
    loop = "asyncio" if "uvloop" in machine.missing else "uvloop"
    trial = Trial(requests=REQUESTS, limit=LIMIT, delay=str(DELAY_S), loop=loop)
    record: Record | LabError
    try:
        record = await launcher.run(trial, keep=lambda record: None)
    except LabError as error:
        record = error
    return judge(notebooks, machine, Tried(record, await output(LAB), await output(KERNEL)))


async def output(words: Sequence[str]) -> Output:
    """Run a program that is to end well; a failure is an output too."""
    with paths.temporary_folder("doctor") as (folder, _):
        (folder / "cell.py").write_text(CELL, encoding="utf-8")
        try:
            run = process.run(words, core=None, folder=folder, within_s=KERNEL_S)
            ended, out, errors = await run
        except LabError as error:
            return str(error), True, 0.0
    if ended.status == 0:
        return out.strip(), False, ended.wall_s
    last = (errors.strip().splitlines() or [f"status {ended.status}"])[-1]
    return f"does not start: {last[:100]}", True, ended.wall_s


def judge(notebooks: Sequence[Notebook], machine: doctor.Machine, tried: Tried) -> Readiness:
    """Decide what the machine is ready for. Pure."""
    peak_mb = max((one.peak_mb for one in notebooks), default=0)
    workshop_mb = max((one.workshop_mb for one in notebooks), default=0)
    usable, free_mb, disk = machine.usable_cores, machine.free_memory / 1e6, machine.free_disk
    used_us, ok, efficiency, trial = None, 0, 0.0, f"failed: {tried.record}"
    if isinstance(tried.record, Record):
        record = tried.record
        ok, efficiency = record.counts.ok, record.efficiency or 0.0
        used_us = record.client.cpu_us_per_request if record.client else None
        trial = f"{ok:,} of {REQUESTS:,} answers in {record.wall_s or 0:.1f} s"
        trial += f" on {record.trial['loop']}, efficiency {efficiency:.0%}"
    # How many times as long the notebooks take as on the machine that their minutes are of. On a
    # single core client and server take turns.
    slower = max((used_us or USUAL_CPU_US) / USUAL_CPU_US, 1.0) * (2 if usable < 2 else 1)
    speed = "as fast as the reference" if slower < 1.2 else f"{slower:.1f} times the time"
    python = machine.environment["python"]
    labkit = f"labkit {machine.environment['versions']['labkit'] or 'not installed'}"
    is_supported = (3, 11) <= tuple(map(int, python.split(".")[:2])) < (3, 15)
    memory = f"{free_mb:,.0f} MB available, the largest notebook takes {peak_mb} MB "
    memory += f"({workshop_mb} at scale workshop)"
    is_low = free_mb < workshop_mb + BESIDE_MB
    kernel, failed, kernel_s = tried.kernel
    if not failed:
        prefix = kernel.removeprefix("runs ")
        failed = prefix != sys.prefix
        astray = "ran no cell" if prefix == kernel else f"belongs to another Python, in {prefix}"
        kernel = astray if failed else f"started and ran a cell in {kernel_s:.1f} s"
    front_end = "front end installed" if machine.has_front_end else "front end missing"
    numbers = " and ".join(one.name.partition("_")[0] for one in notebooks if one.databases)
    missing = [name for name in doctor.DRIVERS if name in machine.missing]
    databases = f"{', '.join(missing)} missing" if missing else "installed"
    shared = {one.name: one for one in doctor.examine(machine).checks}
    found = Readiness()
    found.minutes = slower * sum(one.workshop_minutes or 0 for one in notebooks)
    found.uncounted = [one.name for one in notebooks if one.workshop_minutes is None]
    found.add("Python", f"{python}, {labkit}", bad=not is_supported)
    found.add("cores", f"{usable} usable, {speed}", usable < 2 or slower > MAX_SLOWNESS)
    found.add("memory", memory, is_low, free_mb < peak_mb)
    found.add("disk", f"{disk / 1e9:,.1f} GB free here", disk < LOW_DISK, disk < MIN_DISK)
    found.add("JupyterLab", tried.lab[0], bad=tried.lab[1])
    found.add("kernel", kernel, bad=failed)
    is_shown = machine.widgets is not None and machine.has_front_end
    found.add("ipywidgets", f"{machine.widgets or 'missing'}, {front_end}", not is_shown)
    found.add("trial", trial, efficiency < MIN_EFFICIENCY, ok < REQUESTS)
    found.checks.append(shared["open files (hard limit)"])
    found.add("databases", f"{databases}, for notebooks {numbers}", bool(missing))
    found.checks.append(shared["clock"])
    return found
