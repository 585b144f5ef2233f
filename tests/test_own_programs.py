"""Programs as clients: what is measured from outside, counted at the server, and refused."""

import re
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from machines import checks
from programs import here

import labkit as lab
from labkit.errors import BadInput, TrialFailed
from labkit.lab import facade
from labkit.launch import preflight, programs
from labkit.record import codes, guards
from labkit.record.record import Client, Counts, Measurement, Server, Timeline
from labkit.record.store import Store
from labkit.spec import delays
from labkit.spec.trial import Trial

pytestmark = pytest.mark.usefixtures("store")

CLIENT = checks("own_programs.toml", "programs")["client"]
# Leaves a process that has lost its parent, and fails.
CARELESS = (
    "import os, sys, time; os.fork() or os.setsid() or os.fork() or time.sleep(60); sys.exit(3)"
)
# Is stopped by a signal, and goes on by one from a process of its own.
STOPPED = (
    "import os, signal as s, time\n"
    "if os.fork(): os.kill(os.getpid(), s.SIGSTOP), os.wait()\n"
    "else: time.sleep(0.4), os.kill(os.getppid(), s.SIGCONT)"
)
TRIAL = Trial(requests=40, limit=4, delay="randint(1,3)*0.01")
STATS: dict[str, Any] = {"requests": 40, "max_in_flight": 4, "delay": "randint(1,3)*0.01"}
STATS |= {"statuses": {"404": 2}, "given_up": 1, "in_flight": 2}


def program(path: Path, *words: object) -> str:
    (path / "client.py").write_text(CLIENT)
    return " ".join([sys.executable, str(path / "client.py"), "{port} {limit}", *map(str, words)])


def drawn_s(first: int, requests: int = 40) -> float:
    names = range(first, first + requests)
    return sum(delays.parse(STATS["delay"]).draw(0, str(name)) for name in names)


async def test_a_program_is_an_arm_like_any_other_measured_from_outside(tmp_path: Path) -> None:
    asked = [program(tmp_path, "{requests}"), program(tmp_path, "5 status/404 5 x")]

    study = await lab.compare(TRIAL, program=asked, repeats=1)

    first, second = study.records
    assert [one.ran for one in study.records] == asked
    counts = Counts(planned=40, done=40, sent=40, ok=40)
    assert (first.counts, first.floor_s) == (counts, TRIAL.floor_s)
    assert first.efficiency is not None
    assert first.efficiency == pytest.approx(TRIAL.floor_s / first.process.wall_s)
    assert (first.server.requests, first.server.connections_opened) == (40, 4)
    assert (second.counts.statuses, second.counts.not_sent) == ({404: 1}, 36)
    assert second.floor_s is None
    peak, cpu_s = map(float, first.effective["program"]["output"].split())
    assert first.process.peak_rss_bytes == pytest.approx(peak, rel=0.01)
    assert 0 < first.figures["requests_s"] < first.wall_s
    assert first.figures["requests_efficiency"] == first.floor_s / first.figures["requests_s"]
    assert first.client.peak_rss_bytes == first.process.peak_rss_bytes > 30_000_000
    assert cpu_s <= first.process.cpu_user_s + first.process.cpu_system_s < cpu_s + 0.1
    line = first.timeline
    columns = {name: len(getattr(line, name)) for name in Timeline.__struct_fields__}
    of_rows = {of for name, of in columns.items() if not name.startswith(("latency", "failed"))}
    assert of_rows == {len(line.t_s)}
    assert max(one or 0 for one in line.connections) == 4
    assert 1 <= max(one or 0 for one in line.in_flight) <= 4
    assert "connections at most 4 open" in lab.load(first.id).plot().alt
    assert "loop lag" not in lab.load(first.id).plot().alt
    assert "worker_pool" not in study.text() + study.html() + study.openmetrics()
    assert study.plot("memory").alt
    assert codes.judged_anew(first).verdict == first.verdict
    assert Trial.from_dict(first.trial, allow_commands=True).program == asked[0]
    with pytest.raises(BadInput, match=r"program is .* in data"):
        Trial.from_dict(first.trial)


async def test_a_program_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "kept")
    trial = Trial(program=f'{sys.executable} -c "{CARELESS}"', target="none")
    with pytest.raises(TrialFailed, match=r"python.* \(exit status 3\)"):
        await lab.run(trial, store=store)
    await lab.run(Trial(program=f"{sys.executable} -c '{STOPPED}'", target="none"), store=store)
    late = Trial(program=f'{sys.executable} -c "import time; time.sleep(60)"', target="none")
    with pytest.raises(TrialFailed, match="passed its deadline of 1 s"):
        await lab.run(late.replace(deadline_s=1), store=store)

    failed, still, ended = store.records()

    assert {"program-failed", "children-left"} <= {note.code for note in failed.warnings}
    assert failed.throughput_rps is None
    assert (still.verdict, [one.who for one in still.stalls]) == ("invalid", ["client"])
    assert "deadline" in {note.code for note in ended.warnings}
    words = [one.info["cmdline"] or [] for one in psutil.process_iter(["cmdline"])]
    assert not any("time.sleep(60)" in " ".join(one) for one in words)


def test_time_compares_two_programs_and_says_what_each_used(tmp_path: Path) -> None:
    says = "print('500 requests in 2s\\nRequests/sec: 250.0')"
    words = [sys.executable, "-c", f"x = bytearray(9_000_000); {says}"]
    chart = tmp_path / "memory.svg"

    done = here("time", "--repeats", "1", "--out", chart, "--", *words, "--against", "--", "false")

    assert done.returncode == 1
    table = done.stdout.splitlines()
    assert all(one in table[0] for one in ("memory (KB)", "time (s)", "CPU (%)", "floor (s)"))
    memory_kb = int(table[1].split()[-5].replace(",", ""))
    assert 15_000 < memory_kb < 40_000
    assert "false over" in done.stdout
    assert "program-failed: false (exit status 1)" in done.stdout
    assert str(chart) in done.stderr
    drawn = chart.read_text()
    assert all(f"<!-- {text}" in drawn for text in ("Memory over time -->", "false at most "))
    timed = lab.load()
    assert isinstance(timed, lab.Timed)
    # A rate that a program prints as wrk does is that of its record, and the time is its own.
    rates = [(one.throughput_rps, one.wall_s, one.client is None) for one in timed.records]
    assert rates == [(250, 2, False), (None, timed.records[1].process.wall_s, False)]
    assert re.search("; .*bytearray.* at most [0-9.]+ MB", f"; {timed.plot().alt}")
    refused = here("time", "--", "no-such")
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert here("time", "--", "true", "--against").returncode == 2


async def test_time_has_a_server_where_a_delay_or_a_port_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    async def compared(make: Any, name: str, arms: Any, *more: Any, **how: Any) -> None:
        asked.append(([trial for _, trial in arms], how["repeats"]))

    monkeypatch.setattr(facade, "_compared", compared)
    await lab.time("a {port}", delay=0.5, requests=7, against="b")
    await lab.time("a")

    (first, second), repeats = asked[0]
    assert (first.target.delay, second.program, second.requests, repeats) == ("0.5", "b", 7, 5)
    assert [one.target.kind for one in asked[1][0]] == ["none"]


def test_the_floor_is_known_where_the_names_are() -> None:
    trial = TRIAL.replace(program="a {limit}")
    of_own = programs.floor_and_bound(trial, STATS | {"delays_s": drawn_s(0)})
    from_one = programs.floor_and_bound(trial, STATS | {"delays_s": drawn_s(1)})
    unlimited = programs.floor_and_bound(
        TRIAL.replace(program="a", limit=100), STATS | {"delays_s": drawn_s(0)}
    )

    assert of_own == unlimited == (TRIAL.floor_s, TRIAL.bound_s)
    assert from_one[1] == pytest.approx(drawn_s(1) / 4)
    assert programs.floor_and_bound(trial, STATS | {"delays_s": 1.0}) == (None, 0.25)


def test_what_the_server_counted_becomes_counts_and_notes() -> None:
    trial, seen = TRIAL.replace(program="a {limit}", requests=50), Counts(planned=0, sent=0, ok=0)
    client = Client(cpu_user_s=0.3, cpu_system_s=0.1, cpu_percent=40, peak_rss_bytes=1)
    rows = {"t_s": [0.1, 0.2, 0.3, 0.4], "completed": [0, 0, 40, 40], "in_flight": [0, 0, 0, 0]}
    timeline = Timeline(client_cpu_percent=[None, 50.0, 100.0, 30.0], **rows)
    seen_s = Measurement(counts=seen, client=client, timeline=timeline)
    measured = programs.counted(trial, seen_s, STATS)

    def noted(server: Server) -> set[str]:
        whole = Measurement(counts=measured.counts, client=client, server=server)
        return {note.code for note in guards.find_notes(trial, whole)}

    assert measured.counts.conserved
    assert (measured.counts.ok, measured.counts.cancelled, measured.counts.not_sent) == (35, 3, 10)
    assert measured.counts.why == "404: 2"
    assert measured.client is not None
    # 0.4 s but for 0.05 s before the first request and 0.03 s after the last.
    assert measured.client.cpu_us_per_request == pytest.approx(8_000)
    # After the last row it ran for 0.02 s at most.
    longer = programs.counted(trial, msgspec.structs.replace(seen_s, wall_s=0.42), STATS)
    assert longer.client is not None
    assert longer.client.cpu_us_per_request == pytest.approx(7_500)
    assert {"not-sent", "over-limit"} <= noted(Server(requests=40, max_in_flight=19))
    assert noted(Server(requests=0)) == {"not-called"}
    free = TRIAL.replace(program="a", limit=100)
    assert guards.find_notes(free, Measurement(counts=seen, server=Server(max_in_flight=900))) == []


def test_the_time_of_the_requests_is_without_the_start_and_the_end_of_a_program() -> None:
    seen = Measurement(counts=Counts(planned=9, sent=9, ok=9), wall_s=2.0)
    history = [[at, *row] for at, row in zip(range(0, 10**10, 10**9), [*[(0, 0, 0)] * 3,
               (4, 5, 5), (8, 1, 5), *[(9, 0, 5)] * 5], strict=True)]  # fmt: skip
    assert programs.requests_s(seen, 10**9, history) == 3.0
    assert programs.requests_s(seen, 10**9, history[:4]) == 1.0
    none = Measurement(counts=Counts(planned=0, sent=0, ok=0), wall_s=2.0)
    assert programs.requests_s(none, 10**9, history[:3]) == 2.0


def test_a_program_or_a_port_that_cannot_be_had_is_refused() -> None:
    with pytest.raises(BadInput, match="there is no program 'no-such'"):
        preflight.check(Trial(program="no-such x", target="none"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=f"target.port is {port}: it cannot be had"):
            preflight.check(Trial(port=port))
