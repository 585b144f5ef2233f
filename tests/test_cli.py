"""Every command, as a user types it: what it prints, where, and how it exits."""

import contextlib
import io
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pandas as pd
import programs
import psutil
import pytest
from factories import STUDIES, make_record, recorded
from machines import checks
from servers import ROOT

import labkit as lab
from labkit import cli, paths, stats
from labkit.launch import launcher
from labkit.record.record import Note

SMALL = "--requests 60 --limit 10"
ABSENT = '[environment.then]\npython = "/nowhere/python"\nprograms = "2018"\n'
MAIN = "runpy.run_module('labkit', run_name='__main__')"


def labkit_here(line: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a shell would, in this process."""
    return programs.here(*shlex.split(line))


def refused(line: str) -> str:
    """The one sentence with which a command refuses, having printed nothing else."""
    # The server replaces its process.
    run = programs.labkit if line.startswith("serve") else programs.here
    done = run(*shlex.split(line))
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert done.stderr.startswith("labkit: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize(("line", "absent"), checks("cli.toml", "absent"))
def test_a_command_imports_what_it_uses(store: Path, line: str, absent: str) -> None:
    words = [sys.executable, "-X", "importtime", "-m", "labkit", *line.split()]
    imported = set(re.findall(r"\| +([\w.]+)$", programs.ran(*words).stderr, re.MULTILINE))
    heavy = {"matplotlib", "numpy", "pandas", "pydantic", "rich", "scipy"}
    assert "labkit.cli" in imported
    assert not imported & {*heavy, *absent.split()}


def test_a_run_removes_what_a_killed_one_left(store: Path) -> None:
    of_one_killed = Path(tempfile.mkdtemp(prefix=paths.TEMPORARY))
    of_one_killed.chmod(paths.OURS)
    assert "throughput" in programs.labkit("run", "--requests", 1, check=True).stdout
    assert not of_one_killed.exists()


def test_run_stores_a_record_and_gives_it_as_json(store: Path) -> None:
    done = labkit_here(f"run {SMALL} --delay 'uniform(0,0.01)' --json -")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    (record,) = result["records"]
    assert record["counts"]["ok"] == 60
    assert record["trial"]["workload"]["requests"] == 60
    assert record["schema_version"] == 1
    assert result["summary"][0]["n"] == 1
    assert [path.stem for path in store.glob("*.json")] == [record["id"]]
    shown = labkit_here(f"results show {record['id']}").stdout
    assert "efficiency" in shown
    assert record["verdict"] in shown


def test_settings_by_name(store: Path) -> None:
    sets = "--set transport.limit=3 --set strategy=chunked --set strategy.chunk_size=20"
    done = labkit_here(f"run {SMALL} {sets} --set target.loop=asyncio --no-pin --json -")
    (record,) = json.loads(done.stdout)["records"]
    assert record["server"]["max_in_flight"] <= 3
    assert record["effective"]["transport"]["limit"] == 3
    assert record["effective"]["server"]["loop"] == "asyncio"
    assert record["trial"]["options"] == {"chunk_size": 20}
    assert record["trial"]["pin"] is False
    assert "connector-limit" in [note["code"] for note in record["warnings"]]


def test_compare_runs_every_combination(store: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(launcher, "run", recorded)
    chart, out = tmp_path / "memory.png", tmp_path / "out.json"
    done = labkit_here(
        f"compare --axis strategy=semaphore,queue --axis 'delay=0,randint(0,3)*0.001' {SMALL} "
        f"--repeats 2 --chart {chart} --metric memory --json {out}"
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert len(result["records"]) == 8
    assert [row["n"] for row in result["summary"]] == [2, 2, 2, 2]
    assert {row["delay"] for row in result["summary"]} == {"0", "randint(0,3)*0.001"}
    assert len({record["study"] for record in result["records"]}) == 1
    assert chart.read_bytes().startswith(b"\x89PNG")
    assert "Medians of 2 fresh-process repeats" in done.stdout
    assert [line[:5] for line in done.stderr.splitlines()] == [f"[{n}/8]" for n in range(1, 9)]


def test_phases_of_a_trial_and_of_a_comparison_are_drawn(store: Path, tmp_path: Path) -> None:
    waterfall, phases = tmp_path / "waterfall.svg", tmp_path / "phases.svg"
    resolved = f"{SMALL} --set transport.resolve_s=0.001"
    drawn = f"--chart {waterfall} --metric waterfall"
    done = labkit_here(f"run {resolved} --set transport.trace=true {drawn} --json -")
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(done.stdout)["records"]
    assert record["phases"]["n"] == record["counts"]["ok"]
    assert record["effective"]["transport"]["lookups"] == record["phases"]["lookups"] == 1
    assert "<svg" in waterfall.read_text()

    drawn = f"--chart {phases} --metric phases"
    done = labkit_here(f"compare {resolved} --axis transport.trace=true --repeats 1 {drawn}")
    assert done.returncode == 0, done.stderr
    assert "<svg" in phases.read_text()


def test_sweep_says_where_the_knee_is(store: Path, tmp_path: Path) -> None:
    out, drawn = tmp_path / "out.json", f"--chart {tmp_path / 'knee.png'}"
    done = labkit_here(
        f"sweep --requests 40 --delay 0.005 --limits 4,1 --repeats 1 {drawn} --json {out}"
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    ran = [(record["axes"]["limit"], record["repeat"]) for record in result["records"]]
    assert ran == [(1, 0), (4, 0)]
    assert {record["experiment"] for record in result["records"]} == {"sweep"}
    assert [row["server_max_in_flight_max"] for row in result["summary"]] == [1, 4]
    assert {"knee", "usl", "comparisons"} <= set(result)
    assert done.stdout.rstrip().endswith(result["says"][-1])
    assert "sweep 6 or more" in result["usl"]["reason"]


def test_profile_says_where_the_time_went_and_stores_no_record(store: Path, tmp_path: Path) -> None:
    out, result = tmp_path / "profile", tmp_path / "profile.json"
    done = labkit_here(
        f"profile {SMALL} --delay 0.01 --clock cpu --rows 3 --out {out} --json {result}"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("function")
    assert "this is no measurement" in done.stdout
    assert not list(store.glob("*.json"))
    assert sorted(path.name for path in out.iterdir()) == ["profile.pstat", "profile.svg"]
    found = json.loads(result.read_text())
    assert (found["profiled"], found["clock"], found["counts"]["ok"]) == (True, "cpu", 60)
    assert {"function", "kind", "calls", "self_s", "total_s"} <= set(found["functions"][0])


def test_a_profile_of_memory_names_lines_and_counts_no_time(store: Path, tmp_path: Path) -> None:
    refused = labkit_here("profile --memory --clock cpu")
    assert (refused.returncode, "goes with neither" in refused.stderr) == (2, True)
    done = labkit_here(f"profile {SMALL} --memory --rows 2 --out {tmp_path / 'out'} --json -")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() == {"profiled", "trial", "counts", "functions"}
    assert {"function", "place", "kind", "bytes", "share"} == set(found["functions"][0])
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["profile.folded", "profile.svg"]


def test_results_are_listed_shown_and_exported(store: Path, tmp_path: Path) -> None:
    assert "No record" in labkit_here("results list").stdout
    record_id = json.loads(labkit_here(f"run {SMALL} --json -").stdout)["records"][0]["id"]
    (store / "20260101T000000-000000.json").write_text('{"schema_version": 1, "id"')
    old = make_record(id="2025", trial={"workload": {"requests": 1, "mimit": 1}})  # no checksum
    (store / "2025.json").write_bytes(msgspec.json.encode(old))
    listed = labkit_here("results list --last 1")
    assert record_id in listed.stdout
    assert "20260101T000000-000000 is damaged" in listed.stderr
    assert listed.returncode == 0
    whole, older, damaged = json.loads(labkit_here("results list --json -").stdout)["records"]
    assert older["id"] == "2025"
    assert set(damaged) == {"id", "damaged"}
    assert (whole["id"], whole["strategy"]) == (record_id, "worker_pool")
    assert json.loads(labkit_here(f"results show {record_id} --json -").stdout)["id"] == record_id
    untraced = f"--chart {tmp_path / 'w.svg'} --metric waterfall"
    assert "not traced" in refused(f"results show {record_id} {untraced}")
    shown = labkit_here(f"results show {record_id[:18]} --chart {tmp_path / 't.svg'}")
    assert "60 ok" in shown.stdout
    assert "<svg" in (tmp_path / "t.svg").read_text()
    assert record_id in labkit_here("results export").stdout
    exported = labkit_here("results export --json -")
    assert [record["id"] for record in json.loads(exported.stdout)["records"]] == [
        "2025",
        record_id,
    ]
    assert exported.stderr == listed.stderr
    assert "damaged" in refused("results show 20260101T000000-000000")


def test_a_list_has_filters_and_pages_newest_first(store: Path) -> None:
    for day in range(1, 8):
        about = {"axes": {"limit": day}} if day > 1 else {"verdict": "invalid", "study": "other"}
        at = {"id": f"2026010{day}", "started_at": f"2026-01-0{day}T12:00:00+00:00"}
        lab.Store(store).add(make_record(**{"study": "s"} | at | about))
    for options, ids, number in checks("listed.json"):
        found = json.loads(labkit_here(f"results list --last 3 {options} --json -").stdout)
        assert [one["id"][-1] for one in found["records"]] == [*ids]
        assert (found["of"], found["pages"]) == (number, math.ceil(number / 3) or 1)
    shown = labkit_here("results list --last 3 --match 'run task'").stdout
    assert "3 of 7 records" in shown
    assert "labkit results list --match 'run task' --last 3 --page 2;" in shown
    assert "--page" not in labkit_here("results list").stdout
    assert "has --study none" in labkit_here("results list --study none").stdout


def test_a_store_that_cannot_be_read_is_not_empty(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LABKIT_STORE", str(tmp_path / "file"))
    for command in ("list", "list --json -", "export", "show 2026"):
        assert "cannot be read (Not a directory)" in refused(f"results {command}")


def test_a_full_disk_loses_no_trial(store: Path) -> None:
    """A limit on the size of files is a full disk to a process; a record has 3 KB."""
    limit = f"import resource as r, runpy; r.setrlimit(r.RLIMIT_FSIZE, (1000, 1000)); {MAIN}"
    words = [sys.executable, "-c", limit, "run", "--requests", "5", "--json", "-"]
    done = programs.ran(*words)
    assert (done.returncode, list(store.iterdir())) == (1, [])
    (record,) = json.loads(done.stdout)["records"]
    assert record["counts"]["ok"] == 5
    assert record["warnings"][-1]["code"] == "not-stored"
    assert f"labkit: the store {store} cannot be written (File too large); nor can" in done.stderr


def test_a_failed_run_says_why_wherever_it_is_looked_at(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    done = labkit_here(f"run --set path=/status/404 {SMALL} --json {out}")
    assert done.returncode == 1
    (record,) = json.loads(out.read_text())["records"]
    assert record["counts"]["failed"] == {"status": 60}
    assert record["counts"]["statuses"] == {"404": 60}
    assert record["verdict"] == "invalid"
    assert "(404: 60)" in done.stderr
    run = lab.load(store=lab.Store(store))
    assert run.counts.statuses == {404: 60}
    shown = labkit_here(f"results show {record['id']}").stdout
    for text in (done.stdout, shown, run.html(), lab.Study([run.record], []).html()):
        assert "404: 60" in text
        assert "status: BadStatus: status 404" in text


def test_a_run_that_was_cut_short_says_why_too(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    out.write_text("of an earlier run")
    notes = [Note(code="deadline", message="it passed its deadline; raise deadline_s")]
    counts = {"counts.failed": {"status": 30}, "counts.statuses": {503: 30}}
    record = make_record(warnings=notes, first_errors=["status: BadStatus: 503"], **counts)
    failure = lab.TrialFailed("the trial passed its deadline", record)
    with mock.patch("labkit.run", mock.AsyncMock(side_effect=failure)):
        done = labkit_here(f"run --json {out}")

    assert (done.returncode, done.stderr) == (1, "labkit: the trial passed its deadline\n")
    found = json.loads(out.read_text())
    assert found["failed"] == "the trial passed its deadline"
    assert found["records"][0]["counts"]["statuses"] == {"503": 30}
    for text in (done.stdout, "\n".join(failure._render_traceback_())):
        assert all(word in text for word in ("raise deadline_s", "BadStatus: 503"))
    assert "503: 30" in done.stdout


@pytest.mark.parametrize(("line", "says"), checks("refused_commands.json"))
def test_bad_input_is_one_sentence_and_exits_2(store: Path, line: str, says: str) -> None:
    assert says.format(here=__file__) in refused(line.format(here=__file__))
    assert not list(store.glob("*.json"))


@contextlib.contextmanager
def standard_output(stream: Any, line: str) -> Iterator[int]:
    """Run a command of this process whose standard output is the stream; its exit status."""
    with (
        mock.patch.object(sys, "stdout", stream),
        mock.patch.object(sys, "argv", ["labkit", *shlex.split(line)]),
        pytest.raises(SystemExit) as ended,
    ):
        cli.main()
    yield int(ended.value.code or 0)


@pytest.mark.parametrize("line", ["results list", "results export", "doctor --guards", "--help"])
def test_output_that_cannot_be_written_is_a_sentence(store: Path, line: str, capsys: Any) -> None:
    with Path("/dev/full").open("w") as full, standard_output(full, line) as status:
        assert status == 1
    assert "labkit: standard output cannot be used (No space left" in capsys.readouterr().err


def test_a_reader_that_left_and_closed_streams_are_no_fault(store: Path) -> None:
    here, there = os.pipe()
    os.close(here)
    with os.fdopen(there, "w") as nobody, standard_output(nobody, "doctor --guards") as status:
        assert status == 0
    closed = f"exec {sys.executable} -m labkit results list <&- >&- 2>&-"
    assert subprocess.run(closed, shell=True, check=False).returncode == 0  # noqa: S602  # our own


def test_a_letter_that_a_stream_has_not_got_is_a_question_mark(store: Path) -> None:
    record, written = make_record(), io.BytesIO()
    lab.Store(store).add(record)
    stream = io.TextIOWrapper(written, encoding="ascii")
    with standard_output(stream, f"results show {record.id}") as status:
        assert status == 0
        assert re.search(rb"CPU per request +[0-9.]+ \?s\n", written.getvalue())


def test_a_record_its_table_and_its_export_name_what_was_called(store: Path) -> None:
    trial, url = make_record().trial, {"kind": "url", "url": "http://127.0.0.1:9000/items"}
    asked = [(trial["target"], "/status/404"), (url, "/7")]
    records = [
        make_record(trial=trial | {"target": to, "workload": trial["workload"] | {"path": path}})
        for to, path in asked
    ]
    for record in records:
        lab.Store(store).add(msgspec.structs.replace(record, id=f"20260101T000000-{id(record)}"))
    listed = labkit_here("results list").stdout
    exported = labkit_here("results export").stdout
    for record, called in zip(
        records, ("http /status/404", "http://127.0.0.1:9000/items/7"), strict=True
    ):
        assert called in listed
        assert f",{called}," in exported
        assert called in lab.Run(record).text()
        assert f"Called: {called}." in lab.Study([record], []).text()


def test_an_export_as_parquet_has_what_the_csv_has(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    trial = lab.Trial(target=lab.Command("app {port}"), **{"transport.limit": 7}).to_dict()
    arm = {"target.command": "app {port}", "transport.limit": 7}
    for number, (axes, asked) in enumerate([({}, make_record().trial), ({}, trial), (arm, trial)]):
        lab.Store(store).add(make_record(id=f"2026{number}", axes=axes, trial=asked))
    line = f"results export --csv {tmp_path / 'all.csv'} --parquet {tmp_path / 'all.parquet'}"
    with standard_output(io.StringIO(), line) as status:
        assert status == 0
    parquet, csv = pd.read_parquet(tmp_path / "all.parquet"), pd.read_csv(tmp_path / "all.csv")

    assert list(parquet) == list(csv)
    assert parquet["target.command"].fillna("").tolist() == ["", *["app {port}"] * 2]
    assert parquet["transport.limit"].tolist()[1:] == [7, 7]
    assert parquet["path"].tolist() == ["/{item}", "/", "/"]
    assert parquet["wall_s"].equals(stats.frame(lab.Store(store).records())["wall_s"])
    monkeypatch.setattr("labkit.cli.results.find_spec", lambda _: None)
    with standard_output(io.StringIO(), line) as status:
        assert status == 2
    assert "pip install 'labkit[parquet]'" in capsys.readouterr().err


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_has_an_example(command: str) -> None:
    done = labkit_here(f"{command} --help")
    assert done.returncode == 0
    assert f"Example: labkit {command}" in " ".join(done.stdout.split())


def test_help_shows_the_defaults_of_the_fields() -> None:
    run, serve = (labkit_here(f"{command} --help").stdout for command in ("run", "serve"))
    assert re.search(r"--limit N [^\[]*\[100\]", run)
    assert re.search(r"--client-max-size BYTES [^\[]*\[1048576\]", serve)


@pytest.mark.parametrize(("line", "offered"), checks("cli.toml", "completed"))
def test_a_shell_completes_commands_and_values(
    line: str, offered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    monkeypatch.setenv("_LABKIT_COMPLETE", "bash_complete")
    assert {*programs.labkit().stdout.split()} == {f"plain,{one}" for one in offered}


def test_serve_answers_and_ends_with_status_0(store: Path) -> None:
    words = shlex.split("-m labkit serve --port 0 --delay 0.01 --json")
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = json.loads(server.stdout.readline())
            url = address["url"]
            assert address["pid"] == server.pid
            with urllib.request.urlopen(f"{url}/anyone", timeout=5) as answer:  # noqa: S310  # our own
                assert answer.read() == b"Hello, World!"
            done = labkit_here(f"run --target {url}/{{item}} {SMALL} --json -")
            assert json.loads(done.stdout)["records"][0]["counts"]["ok"] == 60
            taken = programs.labkit("serve", "--port", url.rpartition(":")[2])
            assert (taken.returncode, taken.stderr.count("\n")) == (2, 1)
            server.send_signal(signal.SIGINT)
            assert server.wait(timeout=5) == 0
        finally:
            server.kill()


@pytest.mark.parametrize("words", [["-m", "labkit"], [str(Path(sys.prefix) / "bin" / "labkit")]])
def test_ctrl_c_while_it_imports_exits_130_without_a_word(tmp_path: Path, words: Any) -> None:
    interrupting = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nimport ast\n"
    (tmp_path / "click.py").write_text(interrupting)

    env = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = programs.ran(sys.executable, *words, "results", "list", env=env)

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_exits_130_and_stores_what_was_measured(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    out.write_text("of an earlier run")
    words = shlex.split(f"-m labkit run --requests 1000 --limit 1 --delay 0.05 --json {out}")
    process = subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True)
    deadline, started = time.monotonic() + 30, False
    while time.monotonic() < deadline and not started:
        time.sleep(0.05)
        with contextlib.suppress(psutil.Error):  # a child may end in between
            children = psutil.Process(process.pid).children()
            clients = [one for one in children if "labkit.measured.worker" in one.cmdline()]
            started = any(client.net_connections() for client in clients)
    assert started, "the worker never sent a request"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=15)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "interrupted" in json.loads(out.read_text())["failed"]
    (file,) = store.glob("*.json")
    record = json.loads(file.read_text())
    assert record["verdict"] == "invalid"
    assert "interrupted" in [note["code"] for note in record["warnings"]]
    counts = record["counts"]
    assert counts["planned"] == counts["sent"] + counts["not_sent"]
    assert counts["sent"] == counts["ok"] + sum(counts["failed"].values()) + counts["cancelled"]


def test_reproduce_writes_a_report(store: Path, tmp_path: Path) -> None:
    text = (STUDIES / "small.toml").read_text(encoding="utf-8")
    text = text.replace("randint(0,3)", "0").replace("[scale.smoke]", ABSENT + "[scale.smoke]")
    text = text.replace('id = "one"', 'id = "one"\nthen = "task_pool.py"')
    (tmp_path / "small.toml").write_text(text, encoding="utf-8")
    out, result_file = tmp_path / "out", tmp_path / "r.json"
    line = f"reproduce {tmp_path / 'small.toml'} --scale workshop --repeats 1 --out {out}"
    line += f" --allow-commands --save-reference {tmp_path / 'kept.json'}"
    done = labkit_here(f"{line} --json {result_file}")
    assert done.returncode == 0, done.stderr
    assert re.search("The software of then is left out: .*/nowhere/python", done.stdout)
    result = json.loads(result_file.read_text())
    assert set(result) >= {"records", "summary", "published", "verdicts"}
    for verdict in result["verdicts"]:
        names = "id source says published measured interval verdict"
        assert set(verdict) >= set(names.split())
        assert verdict["verdict"] in ("holds", "refuted", "inconclusive")
    page = (out / "report.html").read_text()
    assert "<svg" in page or "data:image/svg+xml" in page
    # It links to its sources, and loads nothing from anywhere.
    assert not re.search(r"src=.https?:|<(link|script)", page)
    assert "The report is" in done.stderr
    assert re.match(r"small at scale workshop: \d+ runs", done.stderr)
    kept = json.loads((tmp_path / "kept.json").read_bytes())
    assert [one["id"] for one in kept["records"]] == [one["id"] for one in result["records"]]
    assert (tmp_path / "kept.png").is_file()
