"""Every command, as a user types it: what it prints, where, and how it exits."""

from __future__ import annotations

import contextlib
import io
import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from labkit import cli
from labkit.studies import published

SMALL = ("--requests", "60", "--limit", "10")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LABKIT_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


def labkit(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "labkit", *words],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=cwd,
    )


def labkit_here(*words: str) -> subprocess.CompletedProcess[str]:
    """The same in this process, for what starts nothing: a process of its own takes seconds."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["labkit", *words]),
    ):
        try:
            cli.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
    return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())


def refused(*words: str) -> str:
    """The one sentence with which a command refuses, having printed nothing else."""
    # The server replaces its process.
    done = labkit(*words) if words[0] == "serve" else labkit_here(*words)
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert done.stderr.startswith("labkit: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_run_keeps_a_record_and_gives_it_as_json(store: Path) -> None:
    done = labkit("run", *SMALL, "--delay", "uniform(0,0.01)", "--json", "-")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    (record,) = result["records"]
    assert record["counts"]["ok"] == 60
    assert record["trial"]["workload"]["requests"] == 60
    assert record["schema_version"] == 1
    assert result["summary"][0]["n"] == 1
    assert [path.stem for path in store.glob("*.json")] == [record["id"]]


def test_run_says_what_it_means(store: Path) -> None:
    done = labkit("run", *SMALL, "--delay", "0.01")
    assert "efficiency" in done.stdout
    assert "The server's delays alone take 0.06 s" in done.stdout


def test_settings_by_name(store: Path) -> None:
    done = labkit(
        "run",
        *SMALL,
        "--set",
        "transport.limit=3",
        "--set",
        "strategy=chunked",
        "--set",
        "strategy.chunk_size=20",
        "--set",
        "target.loop=asyncio",
        "--json",
        "-",
    )
    (record,) = json.loads(done.stdout)["records"]
    assert record["server"]["max_in_flight"] <= 3
    assert record["effective"]["transport"]["limit"] == 3
    assert record["effective"]["server"]["loop"] == "asyncio"
    assert record["trial"]["options"] == {"chunk_size": 20}
    assert "connector-limit" in [note["code"] for note in record["warnings"]]


def test_compare_runs_every_combination(store: Path, tmp_path: Path) -> None:
    chart, out = tmp_path / "memory.png", tmp_path / "out.json"
    done = labkit(
        "compare",
        "--axis",
        "strategy=semaphore,queue",
        "--axis",
        "delay=0,randint(0,3)*0.001",
        *SMALL,
        "--repeats",
        "2",
        "--chart",
        str(chart),
        "--metric",
        "memory",
        "--json",
        str(out),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert len(result["records"]) == 8
    assert [row["n"] for row in result["summary"]] == [2, 2, 2, 2]
    assert {row["delay"] for row in result["summary"]} == {"0", "randint(0,3)*0.001"}
    assert len({record["study"] for record in result["records"]}) == 1
    assert chart.read_bytes().startswith(b"\x89PNG")
    assert "Medians of 2 fresh-process repeats" in done.stdout


def test_phases_of_a_trial_and_of_a_comparison_are_drawn(store: Path, tmp_path: Path) -> None:
    waterfall, phases = tmp_path / "waterfall.svg", tmp_path / "phases.svg"
    traced = (*SMALL, "--set", "transport.resolve_s=0.001")
    run = ("--set", "transport.trace=true", "--chart", str(waterfall), "--metric", "waterfall")
    done = labkit("run", *traced, *run, "--json", "-")
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(done.stdout)["records"]
    assert record["phases"]["n"] == record["counts"]["ok"]
    assert record["effective"]["transport"]["lookups"] == record["phases"]["lookups"] == 1
    assert "<svg" in waterfall.read_text()

    axis = ("--axis", "transport.trace=true", "--repeats", "1")
    drawn = ("--chart", str(phases), "--metric", "phases")
    done = labkit("compare", *traced, *axis, *drawn)
    assert done.returncode == 0, done.stderr
    assert "<svg" in phases.read_text()


def test_sweep_says_where_the_knee_is(store: Path, tmp_path: Path) -> None:
    chart, out = tmp_path / "knee.png", tmp_path / "out.json"
    words = ("--limits", "1,4", "--repeats", "1", "--chart", str(chart), "--json", str(out))
    done = labkit("sweep", "--requests", "40", "--delay", "0.005", *words)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert [record["trial"]["workload"]["limit"] for record in result["records"]] == [1, 4]
    assert {record["experiment"] for record in result["records"]} == {"sweep"}
    assert [level["server_max_in_flight"] for level in result["levels"]] == [1, 4]
    assert {"knee", "usl", "comparisons"} <= set(result)
    assert done.stdout.rstrip().endswith(result["says"][-1])
    assert "sweep 6 or more" in result["usl"]["reason"]


def test_profile_says_where_the_time_went_and_keeps_no_record(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "profile"
    done = labkit("profile", *SMALL, "--delay", "0.01", "--rows", "3", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("function")
    assert "this is no measurement" in done.stdout
    assert not list(store.glob("*.json"))
    assert sorted(path.name for path in out.iterdir()) == [
        "profile.callgrind",
        "profile.pstat",
        "profile.svg",
    ]


def test_profile_as_json(store: Path) -> None:
    done = labkit("profile", *SMALL, "--delay", "0.01", "--clock", "cpu", "--json", "-")
    found = json.loads(done.stdout)
    assert found["profiled"] is True
    assert found["clock"] == "cpu"
    assert found["counts"]["ok"] == 60
    assert {"function", "kind", "calls", "self_s", "total_s"} <= set(found["functions"][0])


def test_results_are_listed_shown_and_exported(store: Path, tmp_path: Path) -> None:
    assert "No record" in labkit("results", "list").stdout
    record_id = json.loads(labkit("run", *SMALL, "--json", "-").stdout)["records"][0]["id"]
    (store / "20260101T000000-000000.json").write_text('{"schema_version": 1, "id"')
    listed = labkit("results", "list")
    assert record_id in listed.stdout
    assert "20260101T000000-000000 is damaged" in listed.stderr
    assert listed.returncode == 0
    assert json.loads(labkit("results", "show", record_id, "--json", "-").stdout)["id"] == record_id
    untraced = ("--chart", str(tmp_path / "w.svg"), "--metric", "waterfall")
    assert "not traced" in refused("results", "show", record_id, *untraced)
    shown = labkit("results", "show", record_id[:18], "--chart", str(tmp_path / "t.svg"))
    assert "60 ok" in shown.stdout
    assert "<svg" in (tmp_path / "t.svg").read_text()
    assert record_id in labkit("results", "export").stdout
    exported = json.loads(labkit("results", "export", "--json", "-").stdout)
    assert [record["id"] for record in exported["records"]] == [record_id]
    assert "damaged" in refused("results", "show", "20260101T000000-000000")


def test_a_failed_run_exits_1_and_keeps_its_record(store: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        done = labkit("run", "--target", url, "--requests", "5", "--json", "-")
    assert done.returncode == 1
    (record,) = json.loads(done.stdout)["records"]
    assert record["counts"]["failed"] == {"connect": 5}
    assert record["verdict"] == "invalid"
    assert len(list(store.glob("*.json"))) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("run", "--strategy", "taskpool"), "did you mean 'task_pool'?"),
        (("run", "--requests", "0"), "requests is '0'"),
        (("run", "--requests", "1.5"), "a whole number from 1"),
        (("run", "--limit", "many"), "limit is 'many'"),
        (("run", "--limit", "1000000", "--requests", "1000000"), "connections would be open"),
        (("run", "--delay", "sleep(3)"), "randint(0,3)"),
        (("run", "--loop", "uvlop"), "did you mean 'uvloop'?"),
        (("run", "--transport", "wires"), "transport is 'wires'"),
        (("run", "--target", "http://example.invalid/"), "--allow-remote example.invalid"),
        (("run", "--target", "ftp://127.0.0.1/"), "scheme"),
        (("run", "--deadline", "-1"), "deadline_s is '-1'"),
        (("run", "--set", "transport.limt=3"), "did you mean 'transport.limit'?"),
        (("run", "--set", "limit"), "write NAME=VALUE"),
        (("run", "--json", "/nonexistent/x.json"), "a folder that exists"),
        (("run", "--chart", "chart.bmp"), ".svg"),
        (("run", "--metric", "waterfal"), "did you mean 'waterfall'?"),
        (("run", "--chart", "w.svg", "--metric", "waterfall"), "--set transport.trace=true"),
        (("compare", "--axis", "limit=1", "--metric", "waterfall"), "it shows one trial"),
        (("compare", "--axis", "limit=1", "--metric", "phases"), "--set transport.trace=true"),
        (("compare", "--axis", "strateg=queue"), "'strateg' is not a setting"),
        (("compare", "--axis", "strategy="), "write NAME=VALUE,VALUE"),
        (("compare", "--axis", "limit=1,1"), "the same arm twice"),
        (("compare", "--axis", "limit=1", "--axis", "limit=2"), "twice"),
        (("compare", "--axis", "limit=1", "--repeats", "0"), "repeats is 0"),
        (("compare", "--axis", "limit=1", "--metric", "memry"), "did you mean 'memory'?"),
        (("profile", "--clock", "wal"), "did you mean 'wall'?"),
        (("profile", "--sort", "tottime"), "self, total, calls, mean"),
        (("profile", "--rows", "0"), "rows is 0"),
        (("profile", "--slow", "0"), "profile.slow_s is 0.0"),
        (("profile", "--out", "/nonexistent/folder"), "--out is '/nonexistent/folder'"),
        (("profile", "--set", "probes=bare"), "probes is 'bare'"),
        (("sweep", "--limits", "1,,2"), "write N,N,N"),
        (("sweep", "--limits", "1,0"), "limit is '0'"),
        (("sweep", "--limits", "2,2"), "the same arm twice"),
        (("sweep", "--strategy", "gather"), "heeds no limit"),
        (("reproduce", "garcia-2017"), "did you mean 'garcia-2018'?"),
        (("reproduce", "garcia-2018", "--scale", "tiny"), "smoke, workshop, paper"),
        (("results", "show", "nope"), "no record has the id 'nope'"),
        (("results", "show", "../../etc/passwd"), "letters, digits"),
        (("serve", "--port", "70000"), "from 0 to 65,535"),
        (("serve", "--host", "192.0.2.1"), "--allow-remote 192.0.2.1"),
        (("serve", "--delay", "randint(3,0)"), "lower end"),
    ],
)
def test_bad_input_is_one_sentence_and_exits_2(
    store: Path, words: tuple[str, ...], says: str
) -> None:
    assert says in refused(*words)
    assert not list(store.glob("*.json"))


@pytest.mark.parametrize(
    "command",
    [
        "serve",
        "run",
        "compare",
        "sweep",
        "reproduce",
        "profile",
        "ladder",
        "doctor",
        "lab",
        "claims list",
        "claims check",
        "results list",
        "results show",
        "results export",
    ],
)
def test_help_has_an_example(command: str) -> None:
    done = labkit_here(*command.split(), "--help")
    assert done.returncode == 0
    assert f"Example: labkit {command}" in " ".join(done.stdout.split())


def test_doctor_tells_what_it_found() -> None:
    assert "versions" in labkit("doctor").stdout
    checks = json.loads(labkit("doctor", "--json", "-").stdout)["checks"]
    assert {"cores", "load (1 min)", "clock"} <= {check["name"] for check in checks}
    assert {check["status"] for check in checks} <= {"ok", "warn", "bad"}


def test_benchmarks_are_listed() -> None:
    listed = labkit("reproduce", "list").stdout
    assert all(name in listed for name in ("garcia-2018", "unlimited-2024", "miech-2016"))


@pytest.fixture
def server() -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "labkit", "serve", "--port", "0", "--delay", "0.01", "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = json.loads(process.stdout.readline())
    assert said["pid"] == process.pid
    yield process, said["url"]
    process.kill()
    process.wait()
    process.stdout.close()


def test_serve_answers_and_ends_with_status_0(
    server: tuple[subprocess.Popen[str], str], store: Path
) -> None:
    process, url = server
    with urllib.request.urlopen(f"{url}/anyone", timeout=5) as answer:  # noqa: S310  # our own
        assert answer.read() == b"Hello, World!"
    done = labkit("run", "--target", url + "/{item}", *SMALL, "--json", "-")
    assert json.loads(done.stdout)["records"][0]["counts"]["ok"] == 60
    taken = labkit("serve", "--port", url.rpartition(":")[2])
    assert taken.returncode == 2
    assert taken.stderr.count("\n") == 1
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=5) == 0


def test_ctrl_c_exits_130_and_keeps_what_was_measured(store: Path) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "labkit",
            "run",
            "--requests",
            "1000",
            "--limit",
            "1",
            "--delay",
            "0.05",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not _children(process.pid, "labkit.measured.worker"):
        time.sleep(0.05)
    assert _children(process.pid, "labkit.measured.worker"), "the worker never started"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=15)
    assert process.returncode == 130
    assert "interrupted" in errors
    (kept,) = store.glob("*.json")
    record = json.loads(kept.read_text())
    assert record["verdict"] == "invalid"
    assert "interrupted" in [note["code"] for note in record["warnings"]]
    counts = record["counts"]
    assert counts["planned"] == counts["sent"] + counts["not_sent"]
    failed = sum(counts["failed"].values())
    assert counts["sent"] == counts["ok"] + failed + counts["cancelled"]


def _children(pid: int, module: str) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if module in line]


@pytest.fixture
def tiny_benchmark(tmp_path: Path) -> str:
    """The benchmark of 2018 in a file of its own, with a workload that takes no time."""
    text = (published.folder() / "garcia-2018.toml").read_text(encoding="utf-8")
    for old, new in {"requests = 1_500": "requests = 60", '"garcia-2018"': '"tiny"'}.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    (tmp_path / "tiny.toml").write_text(text, encoding="utf-8")
    return str(tmp_path / "tiny.toml")


def test_reproduce_writes_a_report(store: Path, tmp_path: Path, tiny_benchmark: str) -> None:
    done = labkit(
        "reproduce",
        tiny_benchmark,
        "--scale",
        "smoke",
        "--out",
        str(tmp_path / "out"),
        "--json",
        str(tmp_path / "r.json"),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "r.json").read_text())
    assert set(result) >= {"records", "summary", "published", "verdicts"}
    for verdict in result["verdicts"]:
        assert set(verdict) >= {"id", "says", "published", "measured", "interval", "verdict"}
        assert verdict["verdict"] in ("agrees", "disagrees", "not decided")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<svg" in page or "data:image/svg+xml" in page
    assert not re.search(r"(src|href)=.https?:", page)
    assert "The report is" in done.stderr
