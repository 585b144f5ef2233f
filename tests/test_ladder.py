"""The ladder: its rungs, the programs of others, what it makes of readings, and a small climb."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

import labkit as lab
from labkit import charts
from labkit.charts import Bar
from labkit.errors import BadInput, TrialFailed
from labkit.launch import environment, load_generators
from labkit.launch import program as programs
from labkit.launch.load_generators import Counted, Load
from labkit.record.store import Store
from labkit.report.ladder import Climb, Conditions
from labkit.studies import ladder as rungs
from labkit.studies import standings
from labkit.studies.ladder import Reading

LADDER = rungs.load()
OWN = ("one-session", "worker-pool", "wire")
LOAD = Load(url="http://127.0.0.1:1/x", connections=20, seconds=0.2, requests=3_000)

# What the programs printed on one machine: wrk 4.1.0, ab 2.3, hey of Debian 12, Locust 2.47.0,
# molotov 2.6. `BAD` are of a server that resets every 50th request and fails every 7th.
WRK = """\
Running 1s test @ http://127.0.0.1:34627/x
  1 threads and 100 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     0.94ms  580.47us   8.28ms   90.38%
    Req/Sec    90.85k    10.22k  104.82k    80.00%
  90482 requests in 1.00s, 12.60MB read
Requests/sec:  90142.88
Transfer/sec:     12.55MB
"""
WRK_BAD = """\
  21015 requests in 1.10s, 1.28MB read
  Socket errors: connect 0, read 428, write 0, timeout 0
  Non-2xx or 3xx responses: 3002
Requests/sec:  19094.60
Transfer/sec:      1.16MB
"""
HEY = """\

Summary:
  Total:\t1.0030 secs
  Slowest:\t0.0259 secs
  Requests/sec:\t18354.6590

  Total data:\t239330 bytes
  Size/request:\t13 bytes

Response time histogram:
  0.000 [1]\t|
  0.003 [4132]\t|■■■■■■■■■■

Status code distribution:
  [200]\t18410 responses



"""
HEY_BAD = """\
Summary:
  Total:\t0.5020 secs
  Requests/sec:\t11005.0000

Status code distribution:
  [200]\t4728 responses
  [500]\t787 responses

Error distribution:
  [10]\tGet "http://127.0.0.1:1/x": dial tcp 127.0.0.1:1: connect: connection refused
"""
AB = """\
Concurrency Level:      100
Time taken for tests:   1.000 seconds
Complete requests:      20273
Failed requests:        0
Keep-Alive requests:    20273
Total transferred:      3446410 bytes
Requests per second:    20271.38 [#/sec] (mean)
Time per request:       4.933 [ms] (mean)
"""
AB_BAD = """\
Complete requests:      3000
Failed requests:        180
   (Connect: 0, Receive: 60, Length: 60, Exceptions: 60)
Non-2xx responses:      421
Keep-Alive requests:    2940
Requests per second:    10844.18 [#/sec] (mean)
"""
LOCUST = """\
[
    {
        "name": "/x",
        "method": "GET",
        "last_request_timestamp": 1795193541.151598,
        "start_time": 1795193538.5330567,
        "num_requests": 14277,
        "num_none_requests": 0,
        "num_failures": 27,
        "total_response_time": 175618.53981104481,
        "response_times": {"12": 1264},
        "num_fail_per_sec": {}
    }
]
"""
MOLOTOV = """\
Preparing 100 workers...
OK
[W:98] Ran 150 scenarios
[W:99] Ran 150 scenarios
**** Molotov v2.6. Happy breaking! ****
SUCCESSES: 1781 | FAILURES: 298
*** Bye ***
"""


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_STORE", str(tmp_path / "store"))


# What programs say


@pytest.mark.parametrize(
    ("name", "text", "ok", "failed", "wall_s"),
    [
        ("wrk", WRK, 90_482, 0, 1.0038),
        ("wrk", WRK_BAD, 18_013, 3_430, 1.1006),
        ("hey", HEY, 18_410, 0, 1.0030),
        ("hey", HEY_BAD, 4_728, 797, 0.5020),
        ("ab", AB, 20_273, 0, 1.0001),
        ("ab", AB_BAD, 2_579, 421, 0.2766),
        ("locust", LOCUST, 14_250, 27, 2.6185),
        ("molotov", MOLOTOV, 1_781, 298, 1.0),
    ],
)
def test_output_is_read(name: str, text: str, ok: int, failed: int, wall_s: float) -> None:
    counted = load_generators.RIVALS[name].read(text, LOAD)

    assert counted == Counted(ok=ok, failed=failed, wall_s=pytest.approx(wall_s, rel=1e-3))
    assert counted.throughput_rps == pytest.approx(ok / wall_s, rel=1e-3)


@pytest.mark.parametrize("name", load_generators.RIVALS)
@pytest.mark.parametrize("text", ["", "[]", "unable to connect to 127.0.0.1:1\n"])
def test_output_without_figures_is_refused(name: str, text: str) -> None:
    with pytest.raises(TrialFailed, match=r"does not hold the figures|had no answer"):
        load_generators.RIVALS[name].read(text, LOAD)


def test_a_program_that_was_never_answered_has_no_figures() -> None:
    with pytest.raises(TrialFailed, match="had no answer"):
        load_generators.read_molotov("SUCCESSES: 0 | FAILURES: 0", LOAD)


@pytest.mark.parametrize("name", load_generators.RIVALS)
def test_programs_get_the_server_and_the_connections(name: str) -> None:
    rival = load_generators.RIVALS[name]
    words = list(rival.words(LOAD))
    if rival.scenario is not None:
        file, text = rival.scenario(LOAD)
        compile(text, file, "exec")
        assert file in words
        words.append(text)
    told = " ".join(words)

    assert LOAD.url in told
    assert "20" in told


# Running a program


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


async def test_a_program_runs_on_its_core_and_its_cpu_is_known(tmp_path: Path) -> None:
    core, before = environment.core_each()[0], environment.usable_cores()
    code = "import os, sys; print(os.getcwd()); print(sorted(os.sched_getaffinity(0)))"

    ended = await programs.run(python(code), core=core, folder=str(tmp_path))

    folder, cores = ended.out.splitlines()
    assert Path(folder) == tmp_path
    assert json.loads(cores) == ([core] if core is not None else before)
    assert ended.status == 0
    assert (ended.others_percent is None) == (core is None)
    assert ended.cpu_s > 0
    assert environment.usable_cores() == before


async def test_a_program_that_does_not_end_is_ended(tmp_path: Path) -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"

    with pytest.raises(TrialFailed, match="did not end within"):
        await programs.run(python(code), core=None, folder=str(tmp_path), within_s=0.5)


async def test_cancelling_ends_the_program(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = f"import os, time; open({str(pid)!r}, 'w').write(f'{{os.getpid()}} '); time.sleep(60)"
    running = asyncio.ensure_future(
        programs.run(python(code), core=None, folder=str(tmp_path), within_s=60)
    )
    async with asyncio.timeout(30):
        while not (pid.exists() and pid.read_text().endswith(" ")):  # noqa: ASYNC110  # its file
            await asyncio.sleep(0.01)
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


async def test_a_program_that_is_none_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(TrialFailed, match="no-such cannot be run"):
        await programs.run([str(tmp_path / "no-such")], core=None, folder=str(tmp_path))


# The rungs


def test_every_rung_is_a_trial_or_a_program_that_is_known() -> None:
    assert [rung.id for rung in LADDER.rung][:2] == ["session-each", "one-session"]
    for rung in LADDER.rung:
        assert rung.program is None or rung.program in load_generators.RIVALS
        assert rung.own or rung.install
        trial = rung.trial(0.5, LADDER.connections, "http://127.0.0.1:1")
        assert trial.url == "http://127.0.0.1:1/{item}"
        in_flight = trial.limit
        assert trial.transport.connections_at(in_flight) == LADDER.connections
        assert trial.requests >= in_flight


def test_a_rung_is_not_longer_than_it_says() -> None:
    first = LADDER.rung[0]

    assert first.requests(1e3, 100) == first.most_requests
    assert first.requests(0.01, 100) == 100


def test_chosen_rungs_keep_the_order_of_the_ladder() -> None:
    assert [rung.id for rung in LADDER.chosen(["wire", "semaphore"])] == ["semaphore", "wire"]
    assert LADDER.chosen(None) == LADDER.rung


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("[[rung]]", "cannot be read"),
        ('[[rung]]\nid = "a"\nlabel = "a"\nwhy = "a"\nrps = 1', "either settings or a program"),
        (
            '[[rung]]\nid = "b"\nlabel = "b"\nwhy = "b"\nrps = 1\nprogram = "b"\nagainst = "wier"',
            "did you mean 'wire'",
        ),
        (
            '[[rung]]\nid = "wire"\nlabel = "b"\nwhy = "b"\nrps = 1\nprogram = "b"',
            "no two with one id",
        ),
    ],
)
def test_a_ladder_that_is_wrong_is_refused(change: str, message: str) -> None:
    text = Path(rungs.paths.file("ladder.toml")).read_text(encoding="utf-8")

    with pytest.raises(BadInput, match=message):
        rungs.parse(f"{text}\n{change}\n")


# What readings mean


def reading(rung: str, repeat: int, rps: float | None, **more: Any) -> Reading:
    usual = {"requests": 1_000, "wall_s": 1.0, "server_cpu_percent": 50.0}
    return Reading(rung=rung, repeat=repeat, order=repeat, throughput_rps=rps, **usual | more)


def climbed(readings: list[Reading], ids: tuple[str, ...], missing: tuple[str, ...] = ()) -> Climb:
    conditions = Conditions(
        connections=100,
        seconds=0.25,
        repeats=max(one.repeat for one in readings) + 1,
        seed=0,
        apart=True,
        server={"engine": "wire"},
        environment={},
        versions={"wrk": "4.1.0", "hey": None} if "wrk" in ids else {},
    )
    absent = LADDER.chosen(missing) if missing else []
    return Climb(LADDER.chosen(ids), readings, [], conditions, absent)


def test_gain_is_judged_block_by_block_over_the_step_before() -> None:
    blocks = [(100.0, 200.0), (1_000.0, 3_000.0), (50.0, 500.0)]
    readings = [
        reading(rung, repeat, rps)
        for repeat, pair in enumerate(blocks)
        for rung, rps in zip(("worker-pool", "uvloop"), pair, strict=True)
    ]

    first, second = standings.standings(LADDER.chosen(["worker-pool", "uvloop"]), readings)

    assert (first.against, first.gain) == (None, None)
    assert second.against == "worker-pool"
    assert second.gain == standings.Spread(median=3, least=2, most=10)
    assert second.throughput_rps == standings.Spread(median=500, least=200, most=3_000)


def test_invalid_and_missing_readings_make_no_gain() -> None:
    readings = [
        reading("wire", 0, 100.0),
        reading("wire", 1, 100.0, verdict="invalid"),
        reading("wrk", 0, None, verdict="invalid", says="wrk: it had no answer"),
        reading("wrk", 1, 200.0),
    ]

    _, wrk = standings.standings(LADDER.chosen(["wire", "wrk"]), readings)

    assert wrk.gain is None
    assert (wrk.verdict, wrk.says) == ("invalid", ["wrk: it had no answer"])


def test_without_the_rung_it_is_counted_from_a_rung_has_no_gain() -> None:
    (wrk,) = standings.standings(LADDER.chosen(["wrk"]), [reading("wrk", 0, 5.0)])

    assert (wrk.against, wrk.gain) == (None, None)


@pytest.mark.parametrize(
    ("percent", "bound"), [(None, ""), (70, ""), (70.1, "maybe"), (90, "maybe"), (90.1, "server")]
)
def test_who_was_the_bottleneck(percent: float | None, bound: str) -> None:
    assert standings.bound(percent) == bound


def test_it_says_when_the_server_was_the_bottleneck_and_what_is_missing() -> None:
    readings = [
        reading("streams", 0, 30.0, server_cpu_percent=75.0),
        reading("wire", 0, 100.0, server_cpu_percent=97.0, server_waited_percent=30.0),
        reading("wrk", 0, 50.0, server_cpu_percent=95.0, failed=3),
    ]

    climb = climbed(readings, ("streams", "wire", "wrk"), missing=("hey",))
    text = climb.text()

    assert "The server was the bottleneck under wire and wrk (above 90 %" in text
    assert "up to 97 %" in text
    assert "may have been the bottleneck under streams (above 70 %" in text
    assert "Other processes had the server's core for up to 30 % of the time (under wire)" in text
    assert "The rung wire does ×2.0 of wrk." in text
    assert "hey (version not told), wrk 4.1.0" in text
    assert "Not found, so not climbed: hey (apt install hey)." in text
    assert "nothing is known of the spread" in text


def test_nothing_is_said_of_a_server_that_had_to_wait_for_its_core() -> None:
    text = climbed([reading("wire", 0, 1.0, server_waited_percent=40.0)], ("wire",)).text()

    assert "never the bottleneck" not in text
    assert "up to 40 % of the time (under wire)" in text


def test_it_says_when_the_server_was_not_the_bottleneck() -> None:
    text = climbed([reading("wire", repeat, 1.0) for repeat in range(3)], ("wire",)).text()

    assert "The server was never the bottleneck" in text
    assert "Medians of 3 repeats" in text


def test_a_rung_that_failed_is_shown_with_its_reason() -> None:
    readings = [
        reading("wire", 0, 100.0),
        Reading(rung="wrk", repeat=0, order=1, verdict="invalid", says="wrk did not end"),
    ]
    climb = climbed(readings, ("wire", "wrk"))

    assert "wrk: wrk did not end." in climb.text()
    assert "1 of 2 readings are invalid and make no gain" in climb.text()
    assert "not measured" in climb.plot().alt
    assert climb.to_dict()["summary"][1]["throughput_rps"] is None
    assert "<table" in climb._repr_html_()


# The picture


def bars() -> list[Bar]:
    return [
        Bar(label="wrk", own=False, rate=90e3, gain="×0.90", over="wire", bound="server"),
        Bar(label="slow", own=True, rate=1e3, reach=(900, 1_100), cpu_us=350.0, bound="maybe"),
        Bar(label="fast", own=True, rate=1e5, reach=(1e5, 1e5), gain="×100.0", cpu_us=7.0),
    ]


def test_own_rungs_come_before_others_and_gains_are_named() -> None:
    chart = charts.ladder(bars(), notes=["a note"])
    rates, costs = chart.axes

    assert [text.get_text() for text in rates.get_yticklabels()] == ["slow", "fast", "wrk"]
    assert [rates.get_xscale(), costs.get_xscale()] == ["log", "log"]
    assert chart.alt == (
        "Requests a second, rung by rung. slow 1,000, server busy; fast 100,000 ×100.0; "
        "wrk 90,000 ×0.90 of wire, server-bound."
    )
    assert {patch.get_hatch() for patch in rates.patches} == {"//", "", "xx"}
    assert chart.notes == ("a note",)
    assert chart.png().startswith(b"\x89PNG")


def test_a_ladder_without_figures_is_not_drawn() -> None:
    with pytest.raises(BadInput, match="no figures to draw"):
        charts.ladder([Bar(label="a", own=True, rate=None)])


# A climb


async def test_a_small_climb(tmp_path: Path) -> None:
    wrk = ("wrk",) if shutil.which("wrk") else ()
    store = Store(tmp_path / "kept")

    climb = await lab.ladder([*OWN, *wrk], repeats=2, seconds=0.01, store=store)

    assert [one.rung for one in climb.standings] == [*OWN, *wrk]
    assert [one.n for one in climb.standings] == [2] * (3 + len(wrk))
    assert all(one.throughput_rps and one.failed == 0 for one in climb.standings)
    assert all(one.cpu_us_per_request is not None for one in climb.standings)
    assert [one.against for one in climb.standings[:3]] == [None, *OWN[:2]]
    assert sorted(one.order for one in climb.readings) == list(range(2 * (3 + len(wrk))))
    for repeat in range(2):
        orders = [one.order // (3 + len(wrk)) for one in climb.readings if one.repeat == repeat]
        assert set(orders) == {repeat}
    assert set(store.ids()) == {one.record for one in climb.readings if one.record}
    assert {record.experiment for record in climb.records} == {"ladder"}
    assert len({record.trial["target"]["url"] for record in climb.records}) == 1
    assert set(climb.conditions.versions) == set(wrk)
    for record in climb.records:
        assert record.counts.ok == record.counts.planned
    assert json.loads(msgspec.json.encode(climb.to_dict()))["summary"][0]["rung"] == "one-session"
    assert climb.plot().alt.startswith("Requests a second")
    assert len(climb.frame()) == len(climb.readings)
    assert len(climb.summary()) == len(climb.standings)


async def test_a_program_that_fails_leaves_the_others_their_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    false = tmp_path / "wrk"
    false.write_text("#!/bin/sh\necho out of order >&2\nexit 3\n")
    false.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    climb = await lab.ladder(["wire", "wrk"], repeats=1, seconds=0.01)

    wire, wrk = climb.standings
    assert wire.throughput_rps is not None
    assert (wrk.throughput_rps, wrk.verdict) == (None, "invalid")
    assert "wrk (exit status 3)" in climb.text()
    assert "out of order" in climb.text()


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"rungs": ["wier"]}, "did you mean 'wire'"),
        ({"rungs": []}, "rungs is empty"),
        ({"repeats": 0}, "repeats is 0: it must be a whole number from 1"),
        ({"seconds": 0}, "seconds is 0: it must be a number from 0.01"),
        ({"seed": -1}, "seed is -1"),
    ],
)
async def test_bad_input_is_refused(named: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        await lab.ladder(**named)


async def test_rungs_of_which_none_is_installed_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_generators, "find", lambda name: None)

    with pytest.raises(BadInput, match="apt install hey"):
        await lab.ladder(["hey"])


def labkit(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "labkit", "ladder", *words],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_command_climbs_draws_and_writes(tmp_path: Path) -> None:
    chart, out = tmp_path / "ladder.svg", tmp_path / "ladder.json"

    done = labkit(
        *("--short", "--repeats", "1", "--rungs", "streams,wire"),
        *("--chart", str(chart), "--json", str(out)),
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("rung ")
    assert "[2/2]" in done.stderr
    assert chart.read_text(encoding="utf-8").startswith("<?xml")
    result = json.loads(out.read_text())
    assert [row["rung"] for row in result["summary"]] == ["streams", "wire"]
    assert len(result["records"]) == len(result["readings"]) == 2


def test_the_command_lists_the_rungs() -> None:
    listed = labkit("--rungs", "list").stdout

    assert all(rung.id in listed and rung.why in listed for rung in LADDER.rung)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--rungs", "wire,strems"), "did you mean 'streams'"),
        (("--repeats", "0"), "repeats is 0"),
        (("--chart", "ladder.gif"), "--chart is 'ladder.gif'"),
    ],
)
def test_the_command_refuses_in_a_sentence(words: tuple[str, ...], message: str) -> None:
    done = labkit(*words)

    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
