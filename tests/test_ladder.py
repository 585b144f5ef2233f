"""The ladder: its rungs, the programs of others, what it makes of readings, and a small climb."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from machines import checks
from programs import here

import labkit as lab
from labkit import charts
from labkit.charts import Rung
from labkit.errors import BadInput, TrialFailed
from labkit.launch import environment, process, programs
from labkit.record.record import Note, Record
from labkit.record.store import Store
from labkit.report.ladder import Ladder, bound
from labkit.studies import study_file
from tests.factories import make_record

LADDER = study_file.load("ladder")
OWN = ("one-session", "worker-pool", "wire")
PYTHON = (sys.executable, "-c")
# What the programs printed on one machine: wrk 4.1.0, ab 2.3, hey of Debian 12, Locust 2.47.0,
# molotov 2.6. `bad` are of a server that resets every 50th request and fails every 7th.
PRINTED = Path(__file__).parent / "printed"


pytestmark = pytest.mark.usefixtures("store")


# What programs say


@pytest.mark.parametrize(("file", "ok", "failed", "wall_s"), checks("ladder.toml", "outputs"))
def test_output_is_read(file: str, ok: int, failed: int, wall_s: float) -> None:
    text = (PRINTED / f"{file}.txt").read_text(encoding="utf-8")
    counts, took_s = programs.RIVALS[file.removesuffix("_bad")].read(text, "-d 1")

    assert (counts.ok, counts.failures, counts.sent) == (ok, failed, ok + failed)
    assert took_s == pytest.approx(wall_s, rel=1e-3)


@pytest.mark.parametrize("name", programs.RIVALS)
def test_a_program_gets_server_and_connections_and_without_figures_is_refused(name: str) -> None:
    rival = programs.RIVALS[name]
    work = LADDER.plan("short", 2).arms[name]
    assert isinstance(work, lab.Trial)
    words = work.replace(limit=20).words("http://127.0.0.1:1/{item}")
    filled = " ".join(words) + rival.text.format(url="http://127.0.0.1:1/0")
    compile(rival.text.format(url=""), rival.scenario, "exec")

    assert all(words in filled for words in ("http://127.0.0.1:1/0", "20"))
    assert "{" not in filled
    assert rival.scenario in rival.words
    for text in ("", "[]", "unable to connect to 127.0.0.1:1\n", "SUCCESSES: 0 | FAILURES: 0"):
        with pytest.raises(TrialFailed, match=r"does not have the figures|had no answer"):
            rival.read(text)


# Running a program


async def test_a_program_runs_on_its_core_and_its_cpu_is_known(tmp_path: Path) -> None:
    core, before = environment.core_each()[0], environment.usable_cores()
    code = "import os, sys; print(os.getcwd()); print(sorted(os.sched_getaffinity(0)))"

    ended, out, _ = await process.run([*PYTHON, code], core=core, folder=str(tmp_path))

    cores = str(before if core is None else [core])
    assert (ended.status, out.splitlines()) == (0, [str(tmp_path), cores])
    assert ended.usage.ru_utime > 0
    assert environment.usable_cores() == before


async def test_a_program_that_does_not_end_or_is_none_is_a_failure(tmp_path: Path) -> None:
    folder = str(tmp_path)
    asleep = [*PYTHON, "import time; time.sleep(60)"]
    absent = [str(tmp_path / "no-such")]
    for words, message in ((asleep, "did not end within"), (absent, "no-such cannot be run")):
        with pytest.raises(TrialFailed, match=message):
            await process.run(words, core=None, folder=folder, within_s=0.5)


# What records mean


def record(arm: str, repeat: int, rps: float | None, **more: Any) -> Record:
    usual = {"counts.ok": 1_000, "wall_s": 1.0, "server.cpu_percent": 50.0}
    return make_record(axes={"arm": arm}, repeat=repeat, throughput_rps=rps, **usual | more)


def failed(arm: str, repeat: int, why: str) -> Record:
    note = Note(code="program-failed", message=why)
    return record(arm, repeat, None, verdict="invalid", warnings=[note])


def climbed(records: list[Record], missing: dict[str, str] | None = None) -> Ladder:
    return Ladder(LADDER, "short", records, absent=missing)


def test_gain_is_judged_block_by_block_over_the_step_before() -> None:
    blocks = [(100.0, 200.0), (1_000.0, 3_000.0), (50.0, 500.0)]
    records = [
        record(arm, repeat, rps)
        for repeat, pair in enumerate(blocks)
        for arm, rps in zip(("worker-pool", "uvloop"), pair, strict=True)
    ]

    first, second = climbed(records).rungs

    assert (first.against, first.gain, second.against) == (None, None, "worker-pool")
    assert (second.gain, second.gain_min, second.gain_max, second.gain_text) == (3, 2, 10, "×3")
    rates = (second.throughput_rps, second.throughput_rps_min, second.throughput_rps_max)
    assert rates == (500, 200, 3_000)
    assert "×3 (2-10)" in climbed(records).text()


def test_invalid_and_missing_records_make_no_gain() -> None:
    wires = [record("wire", 0, 100.0), record("wire", 1, 100.0, verdict="invalid")]
    wrks = [failed("wrk", 0, "wrk: it had no answer"), record("wrk", 1, 200.0)]

    _, wrk = climbed([*wires, *wrks]).rungs

    assert wrk.gain is None
    assert (wrk.verdict, wrk.failures) == ("invalid", ["wrk: it had no answer"])
    (alone,) = climbed([record("wrk", 0, 5.0)]).rungs
    assert (alone.against, alone.gain) == (None, None)


def test_who_was_the_bottleneck() -> None:
    bounds = {percent: bound(percent) for percent in (None, 70, 70.1, 90, 90.1)}
    assert bounds == {None: "", 70: "", 70.1: "maybe", 90: "maybe", 90.1: "server"}


def test_it_says_when_the_server_was_the_bottleneck_and_what_is_missing() -> None:
    waited = {"server.waited_percent": 15.0}
    wrk = {"effective": {"program": {"name": "wrk", "version": "4.1.0"}}}
    hey = {"effective": {"program": {"name": "hey", "version": None}}}
    records = [
        record("streams", 0, 30.0, **{"server.cpu_percent": 75.0}),
        record("wire", 0, 100.0, **{"server.cpu_percent": 97.0}, **waited),
        record("wrk", 0, 50.0, **{"server.cpu_percent": 95.0}, **wrk),
        record("hey", 0, 50.0, **{"server.cpu_percent": 20.0}, **hey),
    ]

    text = climbed(records, missing={"ab": "apt install apache2-utils"}).text()

    assert "The server was the bottleneck under wire and wrk (above 90 %" in text
    assert "up to 97 %" in text
    assert "may have been the bottleneck under streams (above 70 %" in text
    assert "Other processes had the server's core for up to 15 % of the time (under wire)" in text
    assert "The rung wire does ×2 of wrk and ×2 of hey." in text
    assert "hey (version not known), wrk 4.1.0" in text
    assert "Not found, so not run: ab (apt install apache2-utils)." in text
    assert "nothing is known of the spread" in text


def test_it_says_what_the_kernel_takes_and_what_is_left_to_gain() -> None:
    used = {"client.cpu_user_s": 0.2, "client.cpu_system_s": 0.5, "client.cpu_us_per_request": 7.0}
    rival = {"client": None, "figures": {"cpu_us_per_request": 6.0, "cpu_us_in_kernel": 5.5}}
    ladder = climbed([record("wire", 0, 100.0, **used), record("wrk", 0, 90.0, **rival)])

    assert [row["cpu_us_in_kernel"] for row in ladder.to_dict()["summary"]] == [5.0, 5.5]
    assert all(text in ladder.text() for text in ("2 + 5", "0.5 + 5.5"))
    assert "without any work of its own wire would do ×1.4 of its rate" in ladder.text()
    assert {"2 + 5", "0.5 + 5.5"} <= {text.get_text() for text in ladder.plot().axes[1].texts}
    assert "any work of its own" not in climbed([record("wrk", 0, 90.0, **rival)]).text()


def test_a_server_that_had_to_wait_for_its_core_was_not_idle() -> None:
    text = climbed([record("wire", 0, 1.0, **{"server.waited_percent": 40.0})]).text()
    assert "never the bottleneck" not in text
    assert "up to 40 % of the time (under wire)" in text
    text = climbed([record("wire", repeat, 1.0) for repeat in range(3)]).text()
    assert "The server was never the bottleneck" in text
    assert "Medians of 3 repeats" in text


def test_a_rung_that_failed_is_shown_with_its_reason() -> None:
    ladder = climbed([record("wire", 0, 100.0), failed("wrk", 0, "wrk did not end")])

    assert "wrk: wrk did not end." in ladder.text()
    assert "1 of 2 runs are invalid and make no gain" in ladder.text()
    assert "not measured" in ladder.plot().alt
    assert ladder.to_dict()["summary"][1]["throughput_rps"] is None
    assert "<table" in ladder.html()


def test_own_rungs_come_before_others_and_gains_are_named() -> None:
    ends = {"throughput_rps_min": 900, "throughput_rps_max": 1_100}
    ends |= {"cpu_us_per_request": 8, "cpu_us_in_kernel": 6}
    rungs = [
        Rung(arm="wrk", label="wrk", own=False, throughput_rps=90e3, gain=0.7, against="wire"),
        Rung(arm="slow", label="slow", own=True, throughput_rps=1e3, bound="maybe", **ends),
        Rung(arm="fast", label="fast", own=True, throughput_rps=1e5, gain=100, bound="server"),
    ]
    chart = charts.ladder(rungs, notes=["a note"])
    rates, costs = chart.axes

    assert [text.get_text() for text in rates.get_yticklabels()] == ["slow", "fast", "wrk"]
    # Lengths are amounts: both axes are linear and begin at 0.
    assert [rates.get_xscale(), costs.get_xscale()] == ["linear", "linear"]
    assert [bar.get_width() for bar in rates.patches] == [1_000, 100_000, 90_000]
    own, kernel = costs.patches[:2]
    assert (own.get_width(), kernel.get_x(), kernel.get_width()) == (2, 2, 6)
    assert chart.alt == (
        "Requests a second, rung by rung. slow 1,000, server busy; fast 100,000 ×100, "
        "server-bound; wrk 90,000 ×0.7 of wire."
    )
    assert {patch.get_hatch() for patch in rates.patches} == {"//", "", "xx"}
    assert chart.notes == ("a note",)
    assert chart.png().startswith(b"\x89PNG")
    with pytest.raises(BadInput, match="no figures to draw"):
        charts.ladder([Rung(arm="a", label="a", own=True)])


# Runs


async def test_a_small_ladder_keeps_a_record_of_every_run_and_is_loaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    false = tmp_path / "hey"
    false.write_text("#!/bin/sh\necho out of order >&2\nexit 3\n")
    false.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    wrk = ("wrk",) if shutil.which("wrk") else ()
    store = Store(tmp_path / "kept")

    ladder = await lab.ladder([*OWN, *wrk, "hey"], repeats=1, seconds=0.01, store=store)

    assert [one.arm for one in ladder.rungs] == [*OWN, *wrk, "hey"]
    assert [one.n for one in ladder.rungs] == [1] * (4 + len(wrk))
    *good, hey = ladder.rungs
    assert all(one.throughput_rps and one.failed == 0 for one in good)
    assert (hey.throughput_rps, hey.verdict) == (None, "invalid")
    assert all(words in ladder.text() for words in ("hey (exit status 3)", "out of order"))
    assert {record.experiment for record in ladder.records} == {"ladder"}
    trials = [one for one in ladder.records if not one.trial["program"]]
    assert len({record.trial["target"]["url"] for record in trials}) == 1
    assert all(record.counts.ok == record.counts.planned for record in ladder.records)
    others = [one for one in ladder.records if one.ran.startswith("wrk ")]
    assert all(one.process and one.process.peak_rss_bytes for one in others)
    assert json.loads(msgspec.json.encode(ladder.to_dict()))["summary"][0]["arm"] == "one-session"
    assert ladder.plot().alt.startswith("Requests a second")
    assert len(ladder.frame()) == len(ladder.records) == len(ladder.summary())
    # Of other lengths than the file's: a comparison of its arms.
    again = lab.load(ladder.records[0].study, store=store)
    assert {record.id for record in ladder.records} <= {record.id for record in again.records}


@pytest.mark.parametrize(("named", "message"), checks("ladder.toml", "refused"))
async def test_bad_input_is_refused(
    named: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "find", lambda name: None)
    with pytest.raises(BadInput, match=message):
        await lab.ladder(**named)


def test_the_command_lists_climbs_draws_writes_and_refuses_in_a_sentence(tmp_path: Path) -> None:
    chart, out = tmp_path / "ladder.svg", tmp_path / "ladder.json"
    files = ("--chart", str(chart), "--json", str(out))
    done = here("ladder", "--short", "--repeats", "1", "--rungs", "streams,wire", *files)
    listed = here("ladder", "--rungs", "list").stdout
    refused = here("ladder", "--rungs", "wire,strems", "--repeats", "1")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("rung ")
    assert "[2/2]" in done.stderr
    assert chart.read_text(encoding="utf-8").startswith("<?xml")
    result = json.loads(out.read_text())
    assert [row["arm"] for row in result["summary"]] == ["streams", "wire"]
    assert (len(result["records"]), result["verdicts"]) == (2, [])
    assert all(arm.id in listed and arm.why in listed for arm in LADDER.arms)
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert "did you mean 'streams'" in refused.stderr
