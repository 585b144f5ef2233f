"""Whether the notebooks run on this laptop: what the doctor examines, and some checks more.

It works offline. Nothing is taken for granted: a kernel is started and runs a cell, and a trial of
two seconds runs. Both are bounded in time and leave nothing behind, no record either. The caller
passes what the notebooks need, from their metadata.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from labkit import paths
from labkit.errors import LabError
from labkit.lab import doctor
from labkit.launch import launcher, process
from labkit.record.record import Record
from labkit.spec.trial import Trial

# The trial: two seconds of a server's delays, which no client can make shorter.
REQUESTS, LIMIT, DELAY_S = 2_000, 100, 0.1
MIN_EFFICIENCY = 0.7
KERNEL_S = 60.0
# What the doctor examines that the notebooks need, too.
SHARED = ("cores", "open files (hard limit)", "loopback (127.0.0.1)", "clock", "versions")
LOW_DISK, MIN_DISK = 1 << 30, 100 << 20
# JupyterLab's server and a browser's tab, beside the largest notebook.
BESIDE_MB = 700

_KERNEL = ("jupyter_client.runapp", "--RunApp.kernel_timeout=30", "cell.py")
_CELL = "import sys, labkit\nprint('runs', sys.prefix)"

# The metadata of a notebook: what `cli.notebooks.NotebookInfo` has.
Notebook = Any


async def examine(notebooks: Sequence[Notebook]) -> doctor.Examination:
    """Check what these notebooks need of this machine."""
    machine = await asyncio.to_thread(doctor.read)
    loop = "asyncio" if "uvloop" in machine.missing else "uvloop"
    trial = Trial(requests=REQUESTS, limit=LIMIT, delay=str(DELAY_S), loop=loop)
    ran: Record | LabError
    try:
        ran = await launcher.run(trial, keep=lambda record: None)
    except LabError as error:
        ran = error
    return judge(notebooks, machine, ran, await kernel_fault())


async def kernel_fault() -> str:
    """Return why no kernel of this Python runs a cell; nothing where one does."""
    with paths.temporary_folder("doctor") as (folder, _):
        (folder / "cell.py").write_text(_CELL, encoding="utf-8")
        words = [sys.executable, "-P", "-m", *_KERNEL]
        try:
            run = process.run(words, core=None, folder=folder, within_s=KERNEL_S)
            ended, out, errors = await run
        except LabError as error:
            return str(error)
    if ended.status != 0:
        last = (errors.strip().splitlines() or [f"status {ended.status}"])[-1]
        return f"does not start: {last[:100]}"
    found, ran, prefix = out.strip().partition("runs ")
    if found or not ran:
        return "ran no cell"
    return "" if prefix == sys.prefix else f"belongs to another Python, in {prefix}"


def judge(
    notebooks: Sequence[Notebook], machine: doctor.Machine, ran: Record | LabError, fault: str
) -> doctor.Examination:
    """Decide whether these notebooks run there; `fault` is that of the kernel. Pure."""
    found = doctor.examine(machine)
    found.can, found.cannot = "Ready", "Not ready"
    found.checks = [one for one in found.checks if one.name in SHARED]
    smoke_mb = max((one.peak_mb for one in notebooks), default=0)
    largest_mb = max((one.workshop_mb for one in notebooks), default=0)
    free_mb, disk = machine.free_memory / 1e6, machine.free_disk
    memory = f"{free_mb:,.0f} MB available, the largest takes {smoke_mb} MB "
    memory += f"({largest_mb} at scale workshop)"
    is_low = free_mb < largest_mb + BESIDE_MB
    found.add("memory for notebooks", memory, is_low, free_mb < smoke_mb)
    found.add("disk", f"{disk / 1e9:,.1f} GB free here", disk < LOW_DISK, disk < MIN_DISK)
    found.add("JupyterLab", machine.jupyterlab or "missing", bad=not machine.jupyterlab)
    found.add("kernel", fault or "started and ran a cell", bad=bool(fault))
    front_end = "front end installed" if machine.has_front_end else "front end missing"
    is_shown = machine.widgets is not None and machine.has_front_end
    found.add("ipywidgets", f"{machine.widgets or 'missing'}, {front_end}", not is_shown)
    missing = [name for name in doctor.DRIVERS if name in machine.missing]
    numbers = " and ".join(one.name.partition("_")[0] for one in notebooks if one.databases)
    databases = f"{', '.join(missing)} missing" if missing else "installed"
    found.add("databases", f"{databases}, for notebooks {numbers}", bool(missing))
    ok, efficiency, trial = 0, 0.0, f"failed: {ran}"
    if isinstance(ran, Record):
        ok, efficiency = ran.counts.ok, ran.efficiency or 0.0
        trial = f"{ok:,} of {REQUESTS:,} answers in {ran.wall_s or 0:.1f} s"
        trial += f" on {ran.trial['loop']}, efficiency {efficiency:.0%}"
    found.add("trial", trial, efficiency < MIN_EFFICIENCY, ok < REQUESTS)
    return found
