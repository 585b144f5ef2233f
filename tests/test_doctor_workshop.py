"""Whether a laptop is ready for a workshop, with each thing that is looked at made good and bad."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import psutil
import pytest

from labkit.cli import doctor as command
from labkit.errors import TrialFailed
from labkit.lab.doctor import Check, Status, workshop
from labkit.lab.doctor.workshop import Needs
from labkit.launch import environment, launcher, preflight, program
from labkit.launch.program import Ended

NEEDS = Needs(peak_mb=300, workshop_mb=450, minutes=60, databases=["08", "09"])
NAMES = [
    "Python", "cores", "memory", "disk", "JupyterLab", "kernel", "ipywidgets", "trial",
    "open files (hard limit)", "databases", "clock",
]  # fmt: skip


def ended(out: str = f"runs {sys.prefix}\n", status: int = 0, errors: str = "") -> Ended:
    took: dict[str, Any] = {"cpu_s": 0.1, "wall_s": 1.2, "peak_rss_bytes": 1 << 20}
    return Ended(status=status, out=out, errors=errors, others_percent=None, **took)


@pytest.fixture(autouse=True)
def _ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop of two cores on which kernel and trial work, without starting either."""
    monkeypatch.setattr(environment, "usable_cores", lambda: [0, 1])
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=8e9))
    disk = SimpleNamespace(free=50e9)
    monkeypatch.setattr(workshop.shutil, "disk_usage", lambda path: disk)
    monkeypatch.setattr(preflight, "descriptors", lambda: 20_000)
    started(monkeypatch)
    answering(monkeypatch, launcher, measured())


def answering(monkeypatch: pytest.MonkeyPatch, module: Any, answer: Any) -> None:
    """Let `module.run` give this answer, or raise it."""

    async def run(*words: Any, **options: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(module, "run", run)


def started(monkeypatch: pytest.MonkeyPatch, *, lab: Any = None, kernel: Any = None) -> None:
    """Let JupyterLab and the kernel end like this, or raise it."""

    async def run(words: Sequence[str], **options: Any) -> Any:
        good = (lab or ended("4.6.6\n")) if "jupyterlab" in words else (kernel or ended())
        if isinstance(good, Exception):
            raise good
        return good

    monkeypatch.setattr(program, "run", run)


def measured(ok: int = 2_000, cpu_us: float = 100.0, efficiency: float = 0.95) -> Any:
    return SimpleNamespace(
        counts=SimpleNamespace(ok=ok), efficiency=efficiency, wall_s=2.1,
        client=SimpleNamespace(cpu_us_per_request=cpu_us),
    )  # fmt: skip


async def found(name: str) -> Check:
    [one] = [one for one in (await workshop.examine(NEEDS)).checks if one.name == name]
    return one


async def test_each_thing_is_looked_at_once_and_a_good_laptop_is_ready() -> None:
    readiness = await workshop.examine(NEEDS)

    assert [one.name for one in readiness.checks] == NAMES
    for one in readiness.checks:
        assert one.status in get_args(Status)
        assert bool(one.advice) == bool(one.spoils) == (one.status != "ok")
    assert readiness.ready == "workshop"
    assert readiness.conclusion() == (
        "Ready; scale workshop will take about 60 minutes of computing in all."
    )


async def test_notebooks_that_give_no_minutes_are_named() -> None:
    readiness = await workshop.examine(NEEDS._replace(uncounted=["12_the_ledger"]))

    assert readiness.conclusion() == (
        "Ready; scale workshop will take about 60 minutes of computing in all, "
        "besides 12_the_ledger (see its opening)."
    )


@pytest.mark.parametrize(
    ("cores", "cpu_us", "minutes", "ready"),
    [
        ([0, 1], 150.0, 60, "workshop"),
        ([0, 1], 50.0, 60, "workshop"),
        ([0, 1], 225.0, 90, "workshop"),
        ([0, 1], 450.0, 180, "smoke"),
        ([0], 150.0, 120, "smoke"),
    ],
)
async def test_a_slow_laptop_or_one_core_is_ready_for_smoke(
    monkeypatch: pytest.MonkeyPatch, cores: list[int], cpu_us: float, minutes: int, ready: str
) -> None:
    monkeypatch.setattr(environment, "usable_cores", lambda: cores)
    answering(monkeypatch, launcher, measured(cpu_us=cpu_us))

    readiness = await workshop.examine(NEEDS)

    assert readiness.minutes == pytest.approx(minutes)
    assert readiness.ready == ready
    if ready == "smoke":
        assert readiness.conclusion() == (
            "Ready for smoke; "
            f"scale workshop will take about {minutes} minutes of computing in all."
        )


@pytest.mark.parametrize(
    ("available", "status"), [(8e9, "ok"), (1.2e9, "ok"), (1.0e9, "warn"), (0.2e9, "bad")]
)
async def test_memory(monkeypatch: pytest.MonkeyPatch, available: float, status: Status) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=available))

    one = await found("memory")

    assert one.status == status
    assert "the largest notebook takes 300 MB (450 at scale workshop)" in one.found


@pytest.mark.parametrize(("free", "status"), [(5e9, "ok"), (0.5e9, "warn"), (1e7, "bad")])
async def test_disk(monkeypatch: pytest.MonkeyPatch, free: float, status: Status) -> None:
    monkeypatch.setattr(workshop.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))

    assert (await found("disk")).status == status


BROKEN = ended(out="", status=1, errors="Traceback\nNo module named 'labkit'\n")


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (BROKEN, "does not start: No module named 'labkit'"),
        (ended(out="", status=-9), "does not start: status -9"),
        (ended(out=""), "ran no cell"),
        (ended(out="runs /usr\n"), "belongs to another Python, in /usr"),
        (TrialFailed("python did not end within 60 s"), "python did not end within 60 s"),
    ],
)
async def test_kernel_that_does_not_work(
    monkeypatch: pytest.MonkeyPatch, answer: Any, shown: str
) -> None:
    started(monkeypatch, kernel=answer)

    one = await found("kernel")
    readiness = await workshop.examine(NEEDS)

    assert (one.status, one.found) == ("bad", shown)
    assert readiness.ready == "no"
    assert readiness.conclusion() == (
        "Not ready: install it into this Python: python -m ipykernel install --sys-prefix (kernel)."
    )


@pytest.mark.parametrize("answer", [BROKEN, TrialFailed("python cannot be run")])
async def test_jupyterlab_that_does_not_start(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    started(monkeypatch, lab=answer)

    readiness = await workshop.examine(NEEDS)

    assert (await found("JupyterLab")).status == "bad"
    assert readiness.conclusion() == (
        "Not ready: install it with: pip install 'labkit[lab]' (JupyterLab)."
    )


async def test_widgets_without_their_front_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(workshop.site, "getuserbase", lambda: str(tmp_path))
    started(monkeypatch, kernel=ended(out=f"runs {tmp_path}\n"))

    one = await found("ipywidgets")
    readiness = await workshop.examine(NEEDS)

    assert (one.status, one.spoils) == ("warn", "lab.panel()")
    assert "front end missing" in one.found
    assert readiness.conclusion().startswith("Ready, but not for lab.panel(); ")


@pytest.mark.parametrize(
    ("answer", "status", "shown", "ready"),
    [
        (measured(efficiency=0.5), "warn", "efficiency 50%", "smoke"),
        (measured(ok=1_999), "bad", "1,999 of 2,000 answers", "no"),
        (TrialFailed("the server died"), "bad", "failed: the server died", "no"),
    ],
)
async def test_trial(
    monkeypatch: pytest.MonkeyPatch, answer: Any, status: Status, shown: str, ready: str
) -> None:
    answering(monkeypatch, launcher, answer)

    one, readiness = await found("trial"), await workshop.examine(NEEDS)

    assert one.status == status
    assert shown in one.found
    assert readiness.ready == ready


async def test_a_loop_that_is_missing_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workshop, "find_spec", lambda name: None)

    readiness = await workshop.examine(NEEDS)

    assert "on asyncio" in (await found("trial")).found
    [databases] = [one for one in readiness.checks if one.name == "databases"]
    assert "asyncpg" in databases.found
    assert readiness.conclusion().startswith("Ready, but not for notebooks 08 and 09; ")


async def test_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "version", lambda name: None)
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))

    readiness = await workshop.examine(NEEDS)

    bad = [one.name for one in readiness.checks if one.status == "bad"]
    assert bad == ["Python"]
    assert "install Python 3.11, 3.12 or 3.13 (Python)" in readiness.conclusion()


# The command.


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str]]]:
    def command_run(**options: Any) -> tuple[int, str]:
        status = 0
        try:
            command.doctor(workshop=True, **options)
        except SystemExit as end:
            status = int(end.code or 0)
        return status, capsys.readouterr().out

    return command_run


def test_command_says_it_in_a_dozen_lines(run: Callable[..., tuple[int, str]]) -> None:
    status, out = run()
    lines = out.splitlines()

    assert status == 0
    assert len(lines) == len(NAMES) + 2
    assert lines[-1].startswith("Ready; scale workshop will take about ")
    assert "besides 12_the_ledger" in lines[-1]


def test_command_fails_where_the_laptop_is_not_ready(
    run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    started(monkeypatch, kernel=BROKEN)

    status, out = run(json="-")
    told = json.loads(out)

    assert status == 1
    assert told["ready"] == "no"
    assert [one["name"] for one in told["checks"]] == NAMES
    assert told["workshop_minutes"] >= 30


@pytest.mark.slow
def test_kernel_and_trial_really_run(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "labkit", "doctor", "--workshop", "--json", "-"],
        capture_output=True, text=True, timeout=110, check=False, cwd=tmp_path,
    )  # fmt: skip
    checks = {one["name"]: one for one in json.loads(done.stdout)["checks"]}

    assert checks["kernel"]["found"].startswith("started and ran a cell in ")
    assert checks["trial"]["found"].startswith("2,000 of 2,000 answers in ")
    assert checks["ipywidgets"]["status"] == "ok"
    assert list(tmp_path.iterdir()) == []
