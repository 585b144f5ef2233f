"""Whether a laptop is ready for a workshop: each check on good and bad laptops, and the command."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from factories import make_record
from machines import GOOD, checks, machine
from programs import labkit

from labkit.cli import doctor as commands
from labkit.cli import options
from labkit.errors import TrialFailed
from labkit.lab import workshop
from labkit.lab.workshop import Readiness, Tried
from labkit.launch import launcher, process
from labkit.record.record import Record

NEEDS = [SimpleNamespace(**one) for one in checks("doctor_workshop.toml", "notebooks")]
NAMES = checks("doctor_workshop.toml", "names")
UNCOUNTED = SimpleNamespace(**vars(NEEDS[0]) | {"name": "33_the_ledger", "workshop_minutes": None})
LAB, KERNEL = ("4.6.6", False, 0.9), (f"runs {sys.prefix}", False, 1.26)
TAKES = "scale workshop will take about 60 minutes of computing in all"
DIED = {"tried": {"record": TrialFailed("it died")}}


def command(**given: Any) -> None:
    commands.doctor(options.asked("doctor", given))


def measured(ok: int = 2_000, cpu_us: float | None = 100.0, efficiency: float = 0.95) -> Record:
    dotted = {"counts.ok": ok, "client.cpu_us_per_request": cpu_us}
    return make_record(settings={"loop": "uvloop"}, wall_s=2.1, efficiency=efficiency, **dotted)


def judged(needs: Any = NEEDS, **changes: Any) -> Readiness:
    """Return what is decided of the good machine with changes, also of what was tried there."""
    record = measured(**changes.pop("measured", {}))
    ran = Tried(record=record, lab=LAB, kernel=KERNEL)._replace(**changes.pop("tried", {}))
    return workshop.judge(needs, machine(**changes), ran)


@pytest.mark.parametrize(
    ("name", "changes", "status", "shown", "conclusion"),
    [*checks("doctor_workshop.json"), ("trial", DIED, "bad", "failed: it died", "Not ready: ")],
)
def test_each_check(name: str, changes: Any, status: str, shown: str, conclusion: str) -> None:
    readiness = judged(**changes)

    assert [one.name for one in readiness.checks] == NAMES
    assert [one.name for one in readiness.checks if one.status != "ok"] in ([], [name])
    check = readiness.checks[NAMES.index(name)]
    assert check.status == status
    assert check.found.startswith(shown)
    assert bool(check.advice) == bool(check.spoils) == (status != "ok")
    assert readiness.conclusion().startswith(conclusion)


@pytest.mark.parametrize(
    ("cores", "cpu_us", "minutes", "ready"), checks("doctor_workshop.toml", "slow")
)
def test_a_slow_one_is_ready_for_smoke(cores: int, cpu_us: Any, minutes: int, ready: str) -> None:
    readiness = judged(measured={"cpu_us": cpu_us or None}, cores_usable=cores)

    assert readiness.minutes == pytest.approx(minutes)
    assert readiness.ready == ready
    assert ("for smoke" in readiness.conclusion()) == (ready == "smoke")
    assert f"about {minutes} minutes of computing in all." in readiness.conclusion()


def test_notebooks_that_give_no_minutes_are_named() -> None:
    readiness = judged([*NEEDS, UNCOUNTED])

    assert readiness.conclusion() == f"Ready; {TAKES}, besides 33_the_ledger (see its opening)."


BROKEN = {"out": "", "status": 1, "errors": "Traceback\nNo module named 'labkit'\n"}


@pytest.mark.parametrize(("ended", "output"), checks("doctor_workshop.toml", "ends"))
async def test_how_a_program_ends(monkeypatch: pytest.MonkeyPatch, ended: Any, output: Any) -> None:
    ending(monkeypatch, ended)

    assert await workshop.output(["python"]) == tuple(output)


def ending(monkeypatch: pytest.MonkeyPatch, ended: dict[str, Any] | None) -> None:
    """Let every program end like this, or not in time."""
    one = {"status": 0, "out": "", "errors": ""} | (ended or {})
    program = mock.Mock(status=one["status"], wall_s=1.2)
    late = TrialFailed("python did not end within 60 s")
    outcome = late if ended is None else lambda *_, **__: (program, one["out"], one["errors"])
    monkeypatch.setattr(process, "run", mock.AsyncMock(side_effect=outcome))


def test_the_command_reads_what_the_notebooks_need_and_fails_where_one_cannot_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = mock.AsyncMock(return_value=measured())
    monkeypatch.setattr(launcher, "run", run)
    monkeypatch.setattr("labkit.lab.doctor.read", lambda: GOOD)
    ending(monkeypatch, {"out": f"runs {sys.prefix}\n"})
    command(workshop=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(NAMES) + 2
    assert lines[-1].startswith("Ready; scale workshop will take about ")
    assert "besides 33_the_ledger" in lines[-1]

    ending(monkeypatch, BROKEN)
    without = machine(missing=frozenset({"uvloop"}))
    monkeypatch.setattr("labkit.lab.doctor.read", lambda: without)
    with pytest.raises(SystemExit, match="1"):
        command(workshop=True, json="-")
    written = json.loads(capsys.readouterr().out)
    assert written["ready"] == "no"
    assert [one["name"] for one in written["checks"]] == NAMES
    assert written["workshop_minutes"] >= 30
    assert [call.args[0].loop for call in run.await_args_list] == ["uvloop", "asyncio"]


@pytest.mark.slow
def test_kernel_and_trial_really_run(tmp_path: Path) -> None:
    done = labkit("doctor", "--workshop", "--json", "-", cwd=tmp_path)
    checks = {one["name"]: one for one in json.loads(done.stdout)["checks"]}

    assert checks["kernel"]["found"].startswith("started and ran a cell in ")
    assert checks["trial"]["found"].startswith("2,000 of 2,000 answers in ")
    assert checks["ipywidgets"]["status"] == "ok"
    assert list(tmp_path.iterdir()) == []
