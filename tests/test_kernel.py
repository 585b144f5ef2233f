"""What is read of the kernel's counters, in each of the forms in which systems give them."""

import os
from operator import add
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import checks

from labkit.record import interference
from labkit.record.record import Interference

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
STAT = checks("kernel.toml", "stat")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(interference, "PROC", tmp_path / "proc")
    monkeypatch.setattr(interference, "CGROUPS", tmp_path / "cgroup")
    return tmp_path


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")


def test_where_the_system_tells_nothing_nothing_is_known(root: Path) -> None:
    assert [*interference.read().values()][:5] == [None] * 5
    assert interference.quota_cores() is None


@pytest.mark.parametrize("files", checks("kernel.toml", "cgroups"))
def test_throttling_is_found_wherever_the_quota_is(root: Path, files: dict[str, str]) -> None:
    write(root, {"proc/self/cgroup": "0::/\n", "cgroup/cpu.stat": "what is this\nalone\n"})
    assert interference.throttled() == (None, None)

    write(root, files)
    assert interference.throttled() == (3, 0.25)


QUOTAS = checks("kernel.toml", "quotas")


@pytest.mark.parametrize(("files", "cores"), QUOTAS)
def test_the_tightest_quota_counts(root: Path, files: dict[str, str], cores: float | None) -> None:
    write(root, {"proc/self/cgroup": "0::/a\n"})
    write(root / "cgroup", files)

    assert interference.quota_cores() == cores


STOLEN = [
    (STAT, (), (80, 360)),
    (STAT, {0}, (8, 36)),
    (STAT, {1}, (72, 324)),
    (STAT, {0, 1}, (80, 360)),
    (STAT, {7}, None),
    ("cpu  1 2 3 4\n", (), None),  # a kernel that knows no steal
]


@pytest.mark.parametrize(("stat", "cores", "ticks"), STOLEN)
def test_steal_is_of_the_cores_asked_for(root: Path, stat: str, cores: Any, ticks: Any) -> None:
    write(root, {"proc/stat": stat})

    stolen = interference.stolen(cores)

    assert stolen == ((None, None) if ticks is None else tuple(n / TICKS_PER_S for n in ticks))


def test_connections_that_a_full_queue_dropped(root: Path) -> None:
    names, values = "TcpExt: SyncookiesSent ListenOverflows ListenDrops", "TcpExt: 0 3 4"
    write(root, {"proc/net/netstat": f"{names}\n{values}\nIpExt: InNoRoutes\nIpExt: 9\n"})

    assert interference.listen_drops() == 4


NAMES = tuple(interference.read())
COUNTERS = st.tuples(*[st.integers(0, 10**6)] * 6)


@given(COUNTERS, COUNTERS)
def test_what_happened_between_is_the_growth(start: Any, grown: Any) -> None:
    before, after = (dict(zip(NAMES, one, strict=True)) for one in (start, map(add, start, grown)))
    periods, throttled_s, stolen_s, cores_s, drops, suspended_s = grown

    assert interference.between(before, after) == Interference(
        throttled_periods=periods,
        throttled_s=throttled_s,
        stolen_s=stolen_s,
        stolen_percent=round(100 * stolen_s / cores_s, 2) if cores_s else None,
        listen_drops=drops,
        suspended_s=suspended_s,
    )


@pytest.mark.parametrize("known", range(2))
def test_what_was_not_told_once_is_not_known(known: int) -> None:
    readings = [dict.fromkeys(NAMES)] * 2
    readings[known] = dict.fromkeys(NAMES, 1.0)

    assert interference.between(*readings) == Interference()


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="Linux only")
def test_this_machine_is_read() -> None:
    cores = os.sched_getaffinity(0)

    before, after = interference.read(cores), interference.read(cores)

    assert after["cores_s"] >= before["cores_s"] > 0
