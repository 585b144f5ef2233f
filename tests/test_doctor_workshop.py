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
from labkit.launch import launcher, process
from labkit.record.record import Record

NEEDS = [SimpleNamespace(**one) for one in checks("doctor_workshop.toml", "notebooks")]
NAMES = checks("doctor_workshop.toml", "names")
DIED = {"ran": TrialFailed("it died")}


def command(**given: Any) -> None:
    commands.doctor(options.asked("doctor", given))


def measured(ok: int = 2_000, efficiency: float = 0.95) -> Record:
    settings = {"loop": "uvloop"}
    return make_record(settings=settings, wall_s=2.1, efficiency=efficiency, **{"counts.ok": ok})


@pytest.mark.parametrize(
    ("name", "changes", "status", "shown"),
    [*checks("doctor_workshop.toml", "judged"), ("trial", DIED, "bad", "failed: it died")],
)
def test_each_check(name: str, changes: Any, status: str, shown: str) -> None:
    of_machine = dict(changes)
    ran, fault = of_machine.pop("ran", None), of_machine.pop("fault", "")
    ran = ran or measured(**of_machine.pop("measured", {}))
    found = workshop.judge(NEEDS, machine(**of_machine), ran, fault)

    names = [one.name for one in found.checks]
    assert names == [*workshop.SHARED, *NAMES]
    assert [one.name for one in found.checks if one.status != "ok"] in ([], [name])
    check = found.checks[names.index(name)]
    assert (check.status, check.found) == (status, shown)
    assert bool(check.advice) == bool(check.spoils) == (status != "ok")


@pytest.mark.parametrize(("ended", "fault"), checks("doctor_workshop.toml", "ends"))
async def test_how_a_kernel_ends(monkeypatch: pytest.MonkeyPatch, ended: Any, fault: str) -> None:
    ending(monkeypatch, ended)

    assert await workshop.kernel_fault() == fault


def ending(monkeypatch: pytest.MonkeyPatch, ended: dict[str, Any] | None) -> None:
    """Let every program end like this, or not in time."""
    one = {"status": 0, "out": "", "errors": ""} | (ended or {})
    out = one["out"].format(here=sys.prefix)
    late = TrialFailed("python did not end within 60 s")
    program = mock.Mock(status=one["status"])
    outcome = late if ended is None else lambda *_, **__: (program, out, one["errors"])
    monkeypatch.setattr(process, "run", mock.AsyncMock(side_effect=outcome))


def test_the_command_fails_where_no_notebook_can_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = mock.AsyncMock(return_value=measured())
    monkeypatch.setattr(launcher, "run", run)
    monkeypatch.setattr("labkit.lab.doctor.read", lambda: GOOD)
    ending(monkeypatch, {"out": "runs {here}\n"})
    command(workshop=True)
    assert capsys.readouterr().out.splitlines()[-1] == "Ready."

    ending(monkeypatch, {"status": 1})
    monkeypatch.setattr("labkit.lab.doctor.read", lambda: machine(missing=frozenset({"uvloop"})))
    with pytest.raises(SystemExit, match="1"):
        command(workshop=True, json="-")
    written = json.loads(capsys.readouterr().out)
    assert not written["can_measure"]
    assert written["conclusion"].startswith("Not ready before this is mended: ")
    assert "all notebooks (kernel)" in written["conclusion"]
    assert [call.args[0].loop for call in run.await_args_list] == ["uvloop", "asyncio"]


@pytest.mark.slow
def test_kernel_and_trial_really_run(tmp_path: Path) -> None:
    done = labkit("doctor", "--workshop", "--json", "-", cwd=tmp_path)
    checks = {one["name"]: one for one in json.loads(done.stdout)["checks"]}

    assert checks["kernel"]["found"] == "started and ran a cell"
    assert checks["trial"]["found"].startswith("2,000 of 2,000 answers in ")
    assert checks["ipywidgets"]["status"] == "ok"
    assert list(tmp_path.iterdir()) == []
