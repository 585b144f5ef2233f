"""What the doctor says about a machine, with each thing that it looks at made good and bad."""

from __future__ import annotations

import json
import os
import time
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import aiohttp
import psutil
import pytest

from labkit import doctor, environment, preflight
from labkit.doctor import Check, Status


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
        "cgroup throttling", "open files (hard limit)", "clock", "versions",
    }  # fmt: skip
    assert len({check.name for check in checks}) == len(checks)
    for check in checks:
        assert check.status in get_args(Status)
        assert bool(check.advice) == (check.status != "ok")
        assert check.found


@pytest.mark.parametrize(
    ("cores", "status"), [([0, 1], "ok"), ([0], "warn"), (list(range(64)), "ok")]
)
def test_cores(monkeypatch: pytest.MonkeyPatch, cores: list[int], status: Status) -> None:
    machine(monkeypatch, cpu="A processor")
    monkeypatch.setattr(environment, "usable_cores", lambda: cores)

    assert found("cores").found == f"{len(cores)} usable, A processor"
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
        monkeypatch.setattr(doctor, name, tmp_path / name)
    if file:
        (tmp_path / file).write_text(text)

    assert (found("turbo").status, found("turbo").found) == (status, shown)


@pytest.mark.parametrize(("load", "status"), [(0.0, "ok"), (0.5, "ok"), (0.51, "warn")])
def test_load(monkeypatch: pytest.MonkeyPatch, load: float, status: Status) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 9.0, 9.0))

    assert found("load (1 min)").status == status


@pytest.mark.parametrize(("steal", "status"), [(0.0, "ok"), (1.0, "ok"), (1.01, "warn")])
def test_steal(monkeypatch: pytest.MonkeyPatch, steal: float, status: Status) -> None:
    times = namedtuple("Times", "user steal")(100.0 - steal, steal)
    monkeypatch.setattr(psutil, "cpu_times", lambda: times)

    assert found("stolen by other guests").status == status
    assert found("stolen by other guests").found.startswith(f"{steal:.2f} %")


def test_steal_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    times = namedtuple("Times", "user idle")(1.0, 9.0)
    monkeypatch.setattr(psutil, "cpu_times", lambda: times)

    assert found("stolen by other guests").status == "ok"


@pytest.mark.parametrize(
    ("text", "status", "shown"),
    [
        ("usage_usec 5\nnr_periods 9\nnr_throttled 0\n", "ok", "0 periods"),
        ("usage_usec 5\nnr_throttled 1200\n", "warn", "1,200 periods"),
        ("usage_usec 5\n", "ok", "0 periods"),
        ("what is this\n", "ok", "0 periods"),
        (None, "ok", "0 periods"),
    ],
)
def test_throttling(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None, status: Status, shown: str
) -> None:
    monkeypatch.setattr(doctor, "THROTTLED", tmp_path / "cpu.stat")
    if text is not None:
        (tmp_path / "cpu.stat").write_text(text)

    assert (found("cgroup throttling").status, found("cgroup throttling").found) == (status, shown)


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
