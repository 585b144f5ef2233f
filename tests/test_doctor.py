"""What the doctor says about a machine, with each thing that it looks at made good and bad."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import aiohttp
import psutil
import pytest

from labkit.cli import doctor as command
from labkit.lab.doctor import Check, Status
from labkit.lab.doctor import machine as doctor
from labkit.launch import environment, preflight
from labkit.record import interference
from labkit.record.codes import CODES
from labkit.record.interference import Reading


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for what the kernel might count meanwhile."""
    monkeypatch.setattr(doctor, "WATCHED_S", 0.0)


def found(name: str) -> Check:
    [check] = [check for check in doctor.examine() if check.name == name]
    return check


def machine(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    real = environment.machine()
    monkeypatch.setattr(environment, "machine", lambda: {**real, **changes})


def test_everything_is_looked_at_once_and_advice_is_given_where_needed() -> None:
    checks = doctor.examine()

    assert {check.name for check in checks} >= {
        "cores", "CPU governor", "turbo", "load (1 min)", "stolen by other guests",
        "cgroup throttling", "memory available", "swap in use", "open files (hard limit)",
        "loopback (127.0.0.1)", "clock", "versions",
    }  # fmt: skip
    assert len({check.name for check in checks}) == len(checks)
    for check in checks:
        assert check.status in get_args(Status)
        assert bool(check.advice) == bool(check.spoils) == (check.status != "ok")
        assert check.found


@pytest.mark.parametrize(
    ("cores", "status"), [([0, 1], "ok"), ([0], "warn"), (list(range(64)), "ok")]
)
def test_cores(monkeypatch: pytest.MonkeyPatch, cores: list[int], status: Status) -> None:
    machine(monkeypatch, cpu="A processor")
    monkeypatch.setattr(environment, "usable_cores", lambda: cores)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)

    share = {2: "2", 1: "1 of 2", 64: "64"}[len(cores)]
    assert found("cores").found == f"{share} usable, A processor"
    assert found("cores").status == status


def test_cores_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "usable_cores", list)
    monkeypatch.setattr(os, "cpu_count", lambda: None)

    assert found("cores").status == "warn"


@pytest.mark.parametrize(
    ("governor", "status", "shown"),
    [
        ("performance", "ok", "performance"),
        ("powersave", "warn", "powersave"),
        ("schedutil", "warn", "schedutil"),
        (None, "ok", "not told by this system"),
    ],
)
def test_governor(
    monkeypatch: pytest.MonkeyPatch, governor: str | None, status: Status, shown: str
) -> None:
    machine(monkeypatch, governor=governor)

    assert (found("CPU governor").status, found("CPU governor").found) == (status, shown)


@pytest.mark.parametrize(
    ("file", "text", "status", "shown"),
    [
        ("BOOST", "1\n", "warn", "on"),
        ("BOOST", "0\n", "ok", "off"),
        ("BOOST", "?\n", "ok", "unknown"),
        ("NO_TURBO", "0\n", "warn", "on"),
        ("NO_TURBO", "1\n", "ok", "off"),
        (None, "", "ok", "not told by this system"),
    ],
)
def test_turbo(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    file: str | None,
    text: str,
    status: Status,
    shown: str,
) -> None:
    for name in ("BOOST", "NO_TURBO"):
        monkeypatch.setattr(environment, name, tmp_path / name)
    if file:
        (tmp_path / file).write_text(text)

    assert (found("turbo").status, found("turbo").found) == (status, shown)


@pytest.mark.parametrize(("load", "status"), [(0.0, "ok"), (0.5, "ok"), (0.51, "warn")])
def test_load(monkeypatch: pytest.MonkeyPatch, load: float, status: Status) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 9.0, 9.0))

    assert found("load (1 min)").status == status


def counters(monkeypatch: pytest.MonkeyPatch, *readings: Reading) -> None:
    """Let the kernel count this, reading by reading."""
    left = iter(readings)
    monkeypatch.setattr(interference, "read", lambda cores: next(left))


@pytest.mark.parametrize(
    ("stolen_s", "status", "shown"),
    [
        (0.0, "ok", "0.0 % of the last second"),
        (0.02, "ok", "1.0 % of the last second"),
        (0.03, "warn", "1.5 % of the last second"),
    ],
)
def test_steal_is_that_of_the_last_second(
    monkeypatch: pytest.MonkeyPatch, stolen_s: float, status: Status, shown: str
) -> None:
    counters(monkeypatch, Reading(0, 0, 90.0, 100.0, 0), Reading(0, 0, 90.0 + stolen_s, 102.0, 0))

    check = found("stolen by other guests")

    assert (check.status, check.found) == (status, shown)


def test_steal_and_throttling_where_the_system_does_not_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(interference, "read", lambda cores: Reading(None, None, None, None, None))

    by_name = {check.name: check for check in doctor.examine()}

    assert by_name["stolen by other guests"].found == "not told by this system"
    assert by_name["stolen by other guests"].status == "ok"
    assert by_name["cgroup throttling"].status == "ok"


@pytest.mark.parametrize(
    ("before", "after", "quota", "status", "shown"),
    [
        (0, 0, None, "ok", "0 periods so far, no quota"),
        (0, 0, 2.0, "ok", "0 periods so far, quota of 2 cores"),
        (0, 0, 1.5, "warn", "0 periods so far, quota of 1.5 cores"),
        (1_200, 1_200, 4.0, "warn", "1,200 periods so far, quota of 4 cores"),
        (1_200, 1_201, 4.0, "bad", "1,201 periods so far, quota of 4 cores"),
    ],
)
def test_throttling(
    monkeypatch: pytest.MonkeyPatch,
    before: int,
    after: int,
    quota: float | None,
    status: Status,
    shown: str,
) -> None:
    counters(monkeypatch, Reading(before, 0, 0, 1, 0), Reading(after, 0, 0, 3, 0))
    monkeypatch.setattr(interference, "quota_cores", lambda: quota)

    check = found("cgroup throttling")

    assert (check.status, check.found) == (status, shown)


@pytest.mark.parametrize(
    ("siblings", "usable", "chosen", "status"),
    [
        ({0: "0", 1: "1"}, [0, 1], (0, 1), "ok"),
        ({0: "0-1", 1: "0-1"}, [0, 1], (0, 1), "warn"),
        ({0: "0-1", 1: "0-1"}, [0, 1, 2], (0, 2), "ok"),
        ({0: "0,4"}, [0, 1, 4], (0, 1), "ok"),
        ({3: "3,7"}, [3, 7, 8], (3, 8), "ok"),
        ({}, [5, 6], (5, 6), "ok"),
    ],
)
def test_client_and_server_get_cores_that_are_no_threads_of_one(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    siblings: dict[int, str],
    usable: list[int],
    chosen: tuple[int, int],
    status: Status,
) -> None:
    for core, text in siblings.items():
        (tmp_path / f"{core}").write_text(f"{text}\n")
    monkeypatch.setattr(environment, "SIBLINGS", tmp_path / "{}")
    monkeypatch.setattr(environment, "usable_cores", lambda: usable)

    assert environment.core_each() == chosen
    assert found("cores of a trial").status == status


def test_one_core_is_nobodys_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "usable_cores", lambda: [3])

    assert environment.core_each() == (None, None)
    assert "cores of a trial" not in {check.name for check in doctor.examine()}


@pytest.mark.parametrize(
    ("available", "status"),
    [(1 << 30, "ok"), ((1 << 30) - 1, "warn"), (1 << 28, "warn"), ((1 << 28) - 1, "bad")],
)
def test_memory(monkeypatch: pytest.MonkeyPatch, available: int, status: Status) -> None:
    real = psutil.virtual_memory()
    seen = SimpleNamespace(available=available, total=real.total)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: seen)

    assert found("memory available").status == status


@pytest.mark.parametrize(("used", "status"), [(0, "ok"), (100 << 20, "ok"), (101 << 20, "warn")])
def test_swap(monkeypatch: pytest.MonkeyPatch, used: int, status: Status) -> None:
    monkeypatch.setattr(psutil, "swap_memory", lambda: SimpleNamespace(used=used))

    assert found("swap in use").status == status


def test_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("loopback (127.0.0.1)").status == "ok"

    def refused(*_: Any, **__: Any) -> None:
        raise OSError(99, "Cannot assign requested address")

    monkeypatch.setattr(socket, "create_connection", refused)

    check = found("loopback (127.0.0.1)")
    assert (check.status, check.found) == ("bad", "Cannot assign requested address")


@pytest.mark.parametrize(
    ("source", "status"), [("tsc", "ok"), ("kvm-clock", "ok"), ("hpet", "warn"), (None, "ok")]
)
def test_the_source_of_the_clock(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str | None, status: Status
) -> None:
    monkeypatch.setattr(doctor, "CLOCK_SOURCE", tmp_path / "source")
    if source:
        (tmp_path / "source").write_text(f"{source}\n")

    assert found("clock").status == status
    assert found("clock").found.endswith(source or "ns")


def check(name: str, status: Status, spoils: str) -> Check:
    return Check(name=name, found="x", status=status, advice="do", spoils=spoils)


@pytest.mark.parametrize(
    ("checks", "sentence"),
    [
        ([], "This machine can measure."),
        ([Check(name="a", found="x", status="ok")], "This machine can measure."),
        (
            [check("a", "warn", "times"), check("b", "warn", "CPU"), check("c", "warn", "times")],
            "This machine can measure, but do not trust times (a, c); CPU (b).",
        ),
        (
            [check("a", "warn", "times"), check("b", "bad", "anything")],
            "This machine cannot measure before this is mended: anything (b).",
        ),
    ],
)
def test_the_conclusion_says_what_cannot_be_trusted(checks: list[Check], sentence: str) -> None:
    assert doctor.conclusion(checks) == sentence


@pytest.mark.parametrize(("status", "bad"), [("ok", False), ("warn", False), ("bad", True)])
def test_the_command_fails_only_where_something_is_bad(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: Status, bad: bool
) -> None:
    found = [check("a", status, "times")]
    monkeypatch.setattr("labkit.lab.doctor.examine", lambda: found)

    try:
        command.doctor(json="-")
        failed = False
    except SystemExit as ended:
        failed = ended.code == 1

    assert failed == bad
    written = json.loads(capsys.readouterr().out)
    assert written["can_measure"] != bad
    assert written["conclusion"] == doctor.conclusion(found)


def test_the_command_lists_every_code(capsys: pytest.CaptureFixture[str]) -> None:
    command.doctor(guards=True)
    text = capsys.readouterr().out
    command.doctor(guards=True, json="-")
    written = json.loads(capsys.readouterr().out)

    assert [one["code"] for one in written["guards"]] == list(CODES)
    for code in CODES.values():
        assert code.code in text
        assert f"-> {code.do}" in text


@pytest.mark.parametrize(
    ("limit", "status", "shown"),
    [(256, "bad", "256"), (1_063, "bad", "1,063"), (1_064, "ok", "1,064"), (-1, "ok", "no limit")],
)
def test_open_files(
    monkeypatch: pytest.MonkeyPatch, limit: int, status: Status, shown: str
) -> None:
    monkeypatch.setattr(preflight, "descriptors", lambda: limit)

    check = found("open files (hard limit)")

    assert (check.status, check.found) == (status, shown)


@pytest.mark.parametrize(
    ("name", "file", "text", "status"),
    [
        ("ephemeral ports", "PORTS", "32768\t60999\n", "ok"),
        ("ephemeral ports", "PORTS", "50000 60999\n", "warn"),
        ("listen backlog", "BACKLOG", "4096\n", "ok"),
        ("listen backlog", "BACKLOG", "1024\n", "ok"),
        ("listen backlog", "BACKLOG", "128\n", "warn"),
    ],
)
def test_limits_of_the_network(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    file: str,
    text: str,
    status: Status,
) -> None:
    (tmp_path / file).write_text(text)
    monkeypatch.setattr(doctor, file, tmp_path / file)

    assert found(name).status == status


@pytest.mark.parametrize(
    ("name", "file"), [("ephemeral ports", "PORTS"), ("listen backlog", "BACKLOG")]
)
def test_what_the_system_does_not_tell_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, file: str
) -> None:
    monkeypatch.setattr(doctor, file, tmp_path / "nowhere")

    assert name not in {check.name for check in doctor.examine()}


@pytest.mark.parametrize(
    ("monotonic", "resolution", "status"),
    [(True, 1e-9, "ok"), (True, 1e-6, "ok"), (True, 1e-3, "bad"), (False, 1e-9, "bad")],
)
def test_clock(
    monkeypatch: pytest.MonkeyPatch, monotonic: bool, resolution: float, status: Status
) -> None:
    info = SimpleNamespace(implementation="a clock", monotonic=monotonic, resolution=resolution)
    monkeypatch.setattr(time, "get_clock_info", lambda _: info)

    assert found("clock").status == status


def test_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("versions").status == "ok"

    machine(monkeypatch, versions={"aiohttp": "3.14.0", "uvloop": None})
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name == "uvloop" else name)

    check = found("versions")
    assert (check.status, check.advice) == ("bad", "install uvloop")
    assert check.found.endswith("aiohttp 3.14.0, uvloop missing")


def test_the_environment_of_a_record_holds_no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "5ecret")
    environment.machine.cache_clear()

    now = environment.now()

    assert "5ecret" not in json.dumps(now)
    assert now["cores"] >= now["cores_usable"] >= 1


def test_the_version_of_what_is_not_installed_is_none() -> None:
    assert environment.version("no such package") is None
    assert environment.version("aiohttp") == aiohttp.__version__


@pytest.mark.parametrize("text", ["model name\t: A processor\n", "flags: x\n", None])
def test_the_name_of_the_processor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None
) -> None:
    monkeypatch.setattr(environment, "_text", lambda _: text)

    named = environment._cpu_model()

    assert (named == "A processor") == (text is not None and "model" in text)
    assert named
