"""What the doctor finds of a machine, also for a workshop; and what it reads."""

import json
import socket
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args
from unittest import mock

import aiohttp
import pytest
from factories import make_record
from machines import GOOD, checks, machine
from programs import labkit

from labkit.cli import doctor as commands
from labkit.cli import options
from labkit.errors import TrialFailed
from labkit.lab import doctor, workshop
from labkit.lab.doctor import Machine, MachineCheck, Status
from labkit.launch import environment, launcher, process
from labkit.record.codes import CODES
from labkit.record.record import Record


def command(**given: Any) -> None:
    commands.doctor(options.asked("doctor", given))


def found(name: str, of: Machine) -> MachineCheck | None:
    return next((one for one in doctor.examine(of).checks if one.name == name), None)


@pytest.mark.parametrize(("name", "changes", "status", "shown"), checks("doctor.json"))
def test_each_check(name: str, changes: dict[str, Any], status: str | None, shown: str) -> None:
    check = found(name, machine(**changes))

    assert (check and check.status) == status
    if check:
        assert check.found.startswith(shown)
        assert check.found == shown or shown.endswith(", ")
        assert bool(check.advice) == bool(check.spoils) == (check.status != "ok")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let nobody wait for what the kernel might count meanwhile."""
    monkeypatch.setattr("labkit.lab.doctor.WATCHED_S", 0.0)
    return monkeypatch


def test_this_machine_is_read_and_each_thing_is_checked_once(quick: pytest.MonkeyPatch) -> None:
    here = doctor.examine(doctor.read())

    names = [check.name for check in here.checks]
    assert len(set(names)) == len(names)
    assert set(names) <= {check.name for check in doctor.examine(GOOD).checks}
    assert all(check.status in get_args(Status) and check.found for check in here.checks)
    answering = found("loopback (127.0.0.1)", doctor.read())
    assert answering == MachineCheck(name="loopback (127.0.0.1)", found="answers", status="ok")

    refused = OSError(99, "Cannot assign requested address")
    quick.setattr(socket, "create_connection", mock.Mock(side_effect=refused))
    assert doctor.read().loopback_error == "Cannot assign requested address"


FILES = {"ip_local_port_range": "32768\t60999", "somaxconn": "4096", "current_clocksource": "tsc"}


@pytest.mark.parametrize(("files", "read"), [(FILES, (28_231, 4_096, "tsc")), ({}, (None,) * 3)])
def test_what_the_system_writes_into_files(
    quick: pytest.MonkeyPatch, files: dict[str, str], read: Any
) -> None:
    quick.setattr("labkit.record.interference.text", lambda path: files.get(Path(path).name, ""))
    here = doctor.read()
    assert (here.ports, here.backlog, here.clock_source) == read


CALM = "times and rates from one run to another (CPU governor, turbo); peak memory (swap in use)"
BAD = "anything, as no trial can run (loopback (127.0.0.1))"
SLOW = {"governor": "powersave"}


@pytest.mark.parametrize(("changes", "sentence"), checks("doctor.toml", "conclusions"))
def test_the_command_shows_checks_advice_and_a_conclusion_and_fails_only_where_one_is_bad(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, changes: dict[str, Any], sentence: str
) -> None:
    monkeypatch.setattr(doctor, "read", lambda: machine(**changes))
    for where in (None, "-"):
        with pytest.raises(SystemExit) if "cannot" in sentence else nullcontext() as ended:
            command(json=where)
        assert ended is None or ended.value.code == 1
    text, _, written = capsys.readouterr().out.partition("\n{")
    lines, data = text.splitlines(), json.loads("{" + written)

    assert lines[0] == "ok    cores                    2 usable, A processor"
    assert lines[1] == "ok    cores of a trial         0 and 1"
    advised = "governor" in changes
    assert ("warn  CPU governor             powersave" in lines) == advised
    arrow = f"{'':31}-> the clock follows the load: set it to 'performance'"
    assert (arrow in lines) == advised
    assert lines[-1] == data["conclusion"] == f"This machine {sentence}"
    assert data["can_measure"] == ("cannot" not in sentence)
    assert len(data["checks"]) == len(doctor.examine(GOOD).checks)


def test_the_command_lists_every_code(capsys: pytest.CaptureFixture[str]) -> None:
    command(guards=True)
    text = capsys.readouterr().out
    command(guards=True, json="-")

    assert [one["code"] for one in json.loads(capsys.readouterr().out)["guards"]] == list(CODES)
    for code in CODES.values():
        assert code.code in text
        assert f"-> {code.do}" in text


# The environment of a record, which the doctor reads.


def test_turbo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "BOOST", tmp_path / "boost")
    monkeypatch.setattr(environment, "NO_TURBO", tmp_path / "no_turbo")
    assert environment.turbo() is None
    for name, text, state in checks("doctor.toml", "turbo"):
        (tmp_path / name).write_text(text)
        assert environment.turbo() == state


@pytest.mark.parametrize(("siblings", "usable", "chosen", "shared"), checks("doctor_cores.json"))
def test_client_and_server_get_cores_that_are_no_threads_of_one(
    quick: pytest.MonkeyPatch, tmp_path: Path, siblings: Any, usable: Any, chosen: Any, shared: bool
) -> None:
    for core, text in siblings.items():
        (tmp_path / f"{core}").write_text(f"{text}\n")
    quick.setattr(environment, "SIBLINGS", tmp_path / "{}")
    quick.setattr(environment, "usable_cores", lambda: usable)

    here = doctor.read()

    assert here.trial_cores == environment.core_each() == tuple(chosen)
    assert here.shares_core == shared


def test_an_environment_has_versions_and_no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "5ecret")
    environment.machine.cache_clear()

    now = environment.now()

    assert "5ecret" not in json.dumps(now)
    assert now["cores"] >= now["cores_usable"] >= 1
    assert environment.version("no such package") is None
    assert environment.version("aiohttp") == aiohttp.__version__


@pytest.mark.parametrize("text", ["model name\t: A processor\n", "flags: x\n", ""])
def test_the_name_of_the_processor(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("labkit.record.interference.text", lambda _: text)

    named = environment.machine.__wrapped__()["cpu"]

    assert (named == "A processor") == ("model" in text)
    assert named


# Whether a laptop is ready for a workshop: each check on good and bad laptops, and the command

NEEDS = [SimpleNamespace(**one) for one in checks("doctor_workshop.toml", "notebooks")]
NAMES = checks("doctor_workshop.toml", "names")
DIED = {"ran": TrialFailed("it died")}


def measured(ok: int = 2_000, efficiency: float = 0.95) -> Record:
    settings = {"loop": "uvloop"}
    return make_record(settings=settings, wall_s=2.1, efficiency=efficiency, **{"counts.ok": ok})


@pytest.mark.parametrize(
    ("name", "changes", "status", "shown"),
    [*checks("doctor_workshop.toml", "judged"), ("trial", DIED, "bad", "failed: it died")],
)
def test_each_check_of_a_workshop(name: str, changes: Any, status: str, shown: str) -> None:
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
