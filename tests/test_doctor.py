"""What the doctor finds of a machine: each check on good and bad machines; and what it reads."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import aiohttp
import pytest
from machines import GOOD, machine

from labkit.cli import doctor as command
from labkit.lab import doctor
from labkit.lab.doctor import Check, Machine, Status
from labkit.launch import environment
from labkit.record.codes import CODES
from labkit.record.record import Interference

UNKNOWN = "not reported by this system"


def found(name: str, of: Machine) -> Check | None:
    return next((one for one in doctor.examine(of).checks if one.name == name), None)


def stolen(percent: float, seconds: float) -> dict[str, Any]:
    return {"watched": Interference(stolen_percent=percent, stolen_s=seconds)}


def throttled(now: int, ever: int, quota: float | None) -> dict[str, Any]:
    watched = Interference(throttled_periods=now)
    return {"watched": watched, "throttled_periods": ever, "quota_cores": quota}


def clock(monotonic: bool, resolution: float) -> dict[str, Any]:
    info = {"implementation": "a clock", "monotonic": monotonic, "resolution": resolution}
    return {"clock": SimpleNamespace(**info)}


@pytest.mark.parametrize(
    ("name", "changes", "status", "shown"),
    [
        ("cores", {}, "ok", "2 usable, A processor"),
        ("cores", {"cores_usable": 1}, "warn", "1 of 2 usable, A processor"),
        ("cores", {"cores_usable": 64}, "ok", "64 usable, A processor"),
        ("cores", {"cores_usable": 0, "cores": 0}, "warn", "1 usable, A processor"),
        ("cores of a trial", {}, "ok", "0 and 1"),
        ("cores of a trial", {"shares_core": True}, "warn", "0 and 1, two threads of one core"),
        ("cores of a trial", {"trial_cores": (None, None)}, None, ""),
        ("CPU governor", {}, "ok", "performance"),
        ("CPU governor", {"governor": "powersave"}, "warn", "powersave"),
        ("CPU governor", {"governor": None}, "ok", UNKNOWN),
        ("turbo", {"turbo": "on"}, "warn", "on"),
        ("turbo", {"turbo": "unknown"}, "ok", "unknown"),
        ("turbo", {"turbo": None}, "ok", UNKNOWN),
        ("load (1 min)", {"load_average_1min": 0.5}, "ok", "0.50"),
        ("load (1 min)", {"load_average_1min": 0.51}, "warn", "0.51"),
        ("stolen by other guests", stolen(1.0, 0.02), "ok", "1.0 % of the last second"),
        ("stolen by other guests", stolen(1.5, 0.02), "ok", "1.5 % of the last second"),
        ("stolen by other guests", stolen(1.5, 0.03), "warn", "1.5 % of the last second"),
        ("stolen by other guests", {"watched": Interference()}, "ok", UNKNOWN),
        ("cgroup throttling", throttled(0, 0, None), "ok", "0 periods so far, no quota"),
        ("cgroup throttling", throttled(0, 0, 2.0), "ok", "0 periods so far, quota of 2 cores"),
        ("cgroup throttling", throttled(0, 0, 1.5), "warn", "0 periods so far, quota of 1.5 cores"),
        ("cgroup throttling", throttled(0, 1_200, 4.0), "warn", "1,200 periods so far, "),
        ("cgroup throttling", throttled(1, 1_201, 4.0), "bad", "1,201 periods so far, "),
        ("cgroup throttling", {"throttled_periods": None}, "ok", "0 periods so far, no quota"),
        ("memory available", {"free_memory": 1 << 30}, "ok", "1,074 MB"),
        ("memory available", {"free_memory": (1 << 30) - 1}, "warn", "1,074 MB"),
        ("memory available", {"free_memory": 1 << 28}, "warn", "268 MB"),
        ("memory available", {"free_memory": (1 << 28) - 1}, "bad", "268 MB"),
        ("swap in use", {"swap": 100 << 20}, "ok", "105 MB"),
        ("swap in use", {"swap": 101 << 20}, "warn", "106 MB"),
        ("open files (hard limit)", {"descriptors": 1_063}, "bad", "1,063"),
        ("open files (hard limit)", {"descriptors": 1_064}, "ok", "1,064"),
        ("open files (hard limit)", {"descriptors": -1}, "ok", "no limit"),
        ("ephemeral ports", {"ports": 20_000}, "ok", "20,000"),
        ("ephemeral ports", {"ports": 10_999}, "warn", "10,999"),
        ("ephemeral ports", {"ports": None}, None, ""),
        ("listen backlog", {"backlog": 1_024}, "ok", "1,024"),
        ("listen backlog", {"backlog": 128}, "warn", "128"),
        ("listen backlog", {"backlog": None}, None, ""),
        ("loopback (127.0.0.1)", {}, "ok", "answers"),
        ("loopback (127.0.0.1)", {"loopback_error": "refused"}, "bad", "refused"),
        ("clock", {}, "ok", "a clock, 1 ns, tsc"),
        ("clock", {"clock_source": None}, "ok", "a clock, 1 ns"),
        ("clock", {"clock_source": "hpet"}, "warn", "a clock, 1 ns, hpet"),
        ("clock", clock(True, 1e-6), "ok", "a clock, 1000 ns, tsc"),
        ("clock", clock(True, 1e-3), "bad", "a clock, 1000000 ns, tsc"),
        ("clock", clock(False, 1e-9), "bad", "a clock, 1 ns, tsc"),
        ("versions", {}, "ok", "Python 3.12.1, labkit 0.1, aiohttp 3.14.0, uvloop missing"),
        ("versions", {"missing": frozenset({"uvloop"})}, "bad", "Python 3.12.1, labkit 0.1, "),
        ("versions", {"missing": frozenset({"redis"})}, "ok", "Python 3.12.1, labkit 0.1, "),
    ],
)
def test_each_check(name: str, changes: dict[str, Any], status: str | None, shown: str) -> None:
    check = found(name, machine(**changes))

    assert (check and check.status) == status
    if check is not None:
        assert check.found.startswith(shown)
        assert check.found == shown or shown.endswith(", ")
        assert bool(check.advice) == bool(check.spoils) == (check.status != "ok")


def test_this_machine_is_read_and_each_thing_is_checked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Nobody waits for what the kernel might count meanwhile.
    monkeypatch.setattr("labkit.lab.doctor.machine.WATCHED_S", 0.0)

    here = doctor.examine(doctor.read())

    names = [check.name for check in here.checks]
    assert len(set(names)) == len(names)
    assert set(names) <= {check.name for check in doctor.examine(GOOD).checks}
    assert all(check.status in get_args(Status) and check.found for check in here.checks)
    answering = found("loopback (127.0.0.1)", doctor.read())
    assert answering == Check(name="loopback (127.0.0.1)", found="answers", status="ok")

    def refused(*_: Any, **__: Any) -> None:
        raise OSError(99, "Cannot assign requested address")

    monkeypatch.setattr(socket, "create_connection", refused)
    assert doctor.read().loopback_error == "Cannot assign requested address"


@pytest.mark.parametrize(
    ("words", "read"), [(["32768", "60999"], (28_231, 32_768, "32768")), ([], (None, None, None))]
)
def test_what_the_system_writes_into_files(
    monkeypatch: pytest.MonkeyPatch, words: list[str], read: tuple[Any, ...]
) -> None:
    monkeypatch.setattr("labkit.lab.doctor.machine.WATCHED_S", 0.0)
    monkeypatch.setattr("labkit.lab.doctor.machine.words", lambda path: words)

    here = doctor.read()

    assert (here.ports, here.backlog, here.clock_source) == read


CALM = "times and rates from one run to another (CPU governor, turbo); peak memory (swap in use)"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "This machine can measure."),
        (
            {"governor": "powersave", "swap": 1 << 30, "turbo": "on"},
            f"This machine can measure, but do not trust {CALM}.",
        ),
        (
            {"governor": "powersave", "loopback_error": "no"},
            "This machine cannot measure before this is mended: anything, as no trial can run "
            "(loopback (127.0.0.1)).",
        ),
    ],
)
def test_the_command_shows_checks_advice_and_a_conclusion_and_fails_only_where_one_is_bad(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    sentence: str,
) -> None:
    monkeypatch.setattr(doctor, "read", lambda: machine(**changes))
    statuses = []
    for where in (None, "-"):
        try:
            statuses.append(command.doctor(json=where) or 0)
        except SystemExit as ended:
            statuses.append(ended.code)
    text, _, written = capsys.readouterr().out.partition("\n{")
    lines, data = text.splitlines(), json.loads("{" + written)

    assert statuses == [int("cannot" in sentence)] * 2
    assert lines[:2] == [
        "ok    cores                    2 usable, A processor",
        "ok    cores of a trial         0 and 1",
    ]
    advised = "governor" in changes
    assert ("warn  CPU governor             powersave" in lines) == advised
    arrow = f"{'':31}-> the clock follows the load: set it to 'performance'"
    assert (arrow in lines) == advised
    assert lines[-1] == data["conclusion"] == sentence
    assert data["can_measure"] == ("cannot" not in sentence)
    assert len(data["checks"]) == len(doctor.examine(GOOD).checks)


def test_the_command_lists_every_code(capsys: pytest.CaptureFixture[str]) -> None:
    command.doctor(guards=True)
    text = capsys.readouterr().out
    command.doctor(guards=True, json="-")
    written = json.loads(capsys.readouterr().out)

    assert [one["code"] for one in written["guards"]] == list(CODES)
    for code in CODES.values():
        assert code.code in text
        assert f"-> {code.do}" in text


# The environment of a record, which the doctor reads.


def test_turbo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    boost, no_turbo = tmp_path / "boost", tmp_path / "no_turbo"
    monkeypatch.setattr(environment, "BOOST", boost)
    monkeypatch.setattr(environment, "NO_TURBO", no_turbo)
    assert environment.turbo() is None
    for path, text, state in [
        (no_turbo, "0\n", "on"),
        (no_turbo, "1\n", "off"),
        (boost, "1\n", "on"),
        (boost, "0\n", "off"),
        (boost, "?\n", "unknown"),
    ]:
        path.write_text(text)
        assert environment.turbo() == state


@pytest.mark.parametrize(
    ("siblings", "usable", "chosen", "shared"),
    [
        ({0: "0", 1: "1"}, [0, 1], (0, 1), False),
        ({0: "0-1", 1: "0-1"}, [0, 1], (0, 1), True),
        ({0: "0-1", 1: "0-1"}, [0, 1, 2], (0, 2), False),
        ({0: "0,4"}, [0, 1, 4], (0, 1), False),
        ({3: "3,7"}, [3, 7, 8], (3, 8), False),
        ({}, [5, 6], (5, 6), False),
        ({}, [3], (None, None), False),
    ],
)
def test_client_and_server_get_cores_that_are_no_threads_of_one(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    siblings: dict[int, str],
    usable: list[int],
    chosen: tuple[int | None, int | None],
    shared: bool,
) -> None:
    for core, text in siblings.items():
        (tmp_path / f"{core}").write_text(f"{text}\n")
    monkeypatch.setattr(environment, "SIBLINGS", tmp_path / "{}")
    monkeypatch.setattr(environment, "usable_cores", lambda: usable)
    monkeypatch.setattr("labkit.lab.doctor.machine.WATCHED_S", 0.0)

    here = doctor.read()

    assert here.trial_cores == environment.core_each() == chosen
    assert here.shares_core == shared


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
def test_the_name_of_the_processor(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    monkeypatch.setattr(environment, "_text", lambda _: text)

    named = environment._cpu_model()

    assert (named == "A processor") == (text is not None and "model" in text)
    assert named
