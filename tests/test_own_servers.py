"""Servers of the user's own: found by their listener, started by a command, over TLS."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import example_app
import psutil
import pytest
from calls import alone
from factories import STUDIES, make_record
from machines import checks
from servers import Running, ran, serving
from targets import ending

import labkit as lab
from labkit import cli, paths
from labkit.cli import options
from labkit.errors import BadInput, TrialFailed
from labkit.launch import experiment, listeners, preflight, servers
from labkit.launch.cores import Cores
from labkit.measured.probes import window
from labkit.measured.transports import open_transport
from labkit.notebook.panel import form
from labkit.record import guards, interference
from labkit.report import stored
from labkit.spec import plan, transports
from labkit.spec.trial import Trial
from labkit.studies import study_file

CORES = os.sched_getaffinity(0)
HERE, FEW = ["127.0.0.1"], Trial(requests=200, limit=10)


def cpu_s(pids: list[int]) -> float:
    return sum(interference.cpu_s(pid) or 0.0 for pid in pids)


@pytest.fixture(scope="module")
def secure() -> Iterator[Running]:
    """A server of several processes that speaks TLS."""
    with serving(tls=True, workers=2) as server:
        yield server


async def test_all_processes_of_a_url_are_measured_on_the_axis_of_time(secure: Running) -> None:
    family = psutil.Process(secure.process.pid)
    pids = [family.pid, *(one.pid for one in family.children(recursive=True))]
    before_s = cpu_s(pids)
    there = FEW.replace(target=f"{secure.url}/json/1000", **{"transport.ca": secure.ca})
    record = (await ran(there)).record
    used_s = cpu_s(pids) - before_s
    largest = max(psutil.Process(pid).memory_info().rss for pid in pids)

    assert len(pids) == 3
    assert record.effective["server"] == {"pids": [family.pid], "cores": None}
    assert 0.5 * used_s < record.server.cpu_s <= used_s
    assert largest < record.server.peak_rss_bytes < 3 * largest
    assert record.timeline.server_rss_bytes[-1] <= record.server.peak_rss_bytes
    assert record.timeline.server_cpu_percent[-1] is not None


SHARED = checks("own_servers.toml", "shared")


@contextmanager
def sharing() -> Iterator[tuple[int, list[int]]]:
    """Two workers: a port of which their parent has the socket, one of both, one of one alone."""
    words = [sys.executable, "-c", SHARED]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, text=True, **pipes) as parent:  # type: ignore[call-overload]
        lines = [parent.stdout.readline() for _ in range(2)]
        yield parent.pid, [*map(int, lines[1].split())]
        parent.stdin.close()


def test_a_server_is_found_by_its_port_with_its_fellow_workers() -> None:
    with sharing() as (parent, ports):
        found = [listeners.find(HERE, port) for port in ports]
        family = window.reader_of(found[0].pids)
        once, again = family.rss_bytes(), family.peak_bytes()
        assert psutil.Process(parent).memory_info().rss > 50e6
    assert [one.roots for one in found] == [[parent]] * 3
    assert [len(one.pids) for one in found] == [3] * 3
    # What the workers have of their parent counts once.
    assert 50e6 < once < 100e6
    assert once == pytest.approx(again, rel=0.02)


def test_of_two_that_listen_the_one_that_answers_there_is_found() -> None:
    with ExitStack() as stack:
        own = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = own.getsockname()[1]
        assert listeners.find(["::1"], port).hosts == []
        found = listeners.find(["::1", *HERE], port)
        assert f"127.0.0.1 port {port}" in listeners.of_process(os.getpid())

    # It is this process, below which runs the client too: it is measured alone.
    assert (found.hosts, found.roots, found.pids) == (HERE, [os.getpid()], [])
    assert servers.measured("http://x", found).pid == os.getpid()


def test_what_cannot_be_read_is_said_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as own:
        port = own.getsockname()[1]
        monkeypatch.setattr(listeners, "holders_of", lambda _: set())
        served = servers.measured("http://x", listeners.find(HERE, port))
    (note,) = served.notes
    assert (served.pid, served.pids, note.code) == (None, [], "target-not-read")
    assert "is another user's" in note.message
    (note,) = servers.measured("http://x", listeners.find(HERE, port)).notes
    assert "is none of this machine that can be seen" in note.message


@pytest.mark.parametrize(("taken", "core"), [((), 0), ({0}, 1), ({1}, 0), ({0, 1}, 2)])
def test_the_client_leaves_a_server_its_core(
    taken: set[int], core: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labkit.launch.environment.usable_cores", lambda: [0, 1, 2])
    assert Cores(0, 1).of_clients(1, taken) == [core]
    assert Cores(None, None).of_clients(1, taken) == [None]


async def test_a_url_that_hangs_is_named_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as hung:
        url = f"http://127.0.0.1:{hung.getsockname()[1]}/"
        found = await ran(Trial(target=url, requests=9, limit=5, deadline_s=5))
    assert "the target answered none of 5 requests for " in str(found.error)


# A server that the lab starts


ROOT = Path(__file__).parent.parent
FAMILY = "sleep 60 & setsid sleep 60 & exec python -m http.server {port}"


def commanded(command: str, **more: Any) -> preflight.Ready:
    return preflight.prepare(Trial(target=lab.Command(command, **more)))


async def test_a_command_is_measured_with_all_that_it_starts_and_all_of_it_ends() -> None:
    ready = commanded(f"sh -c '{FAMILY}'")
    with ExitStack() as gone:
        async with servers.target_of(ready, min(CORES), None) as served:
            server = psutil.Process(served.in_force["in_force"]["pids"][0])
            family = [server, *server.children(recursive=True)]
            gone.enter_context(ending(*family))
            assert [one.name() for one in family[1:]] == ["sleep", "sleep"]
            assert server.cpu_affinity() == [min(CORES)]
            assert Path(server.cwd()) == Path.cwd()
            assert (served.pid, [note.code for note in served.notes]) == (None, ["target-exposed"])


@pytest.mark.parametrize(("command", "says"), checks("own_servers.toml", "unanswered"))
async def test_a_command_that_never_answers_says_why(command: str, says: str) -> None:
    with pytest.raises(TrialFailed, match=says):
        async with servers.target_of(
            commanded(command.replace("PYTHON", sys.executable), start_s=0.3), None, None
        ):
            pass


@pytest.mark.parametrize(("command", "says"), checks("own_servers.toml", "refused"))
def test_a_command_that_cannot_be_started_is_refused_before(command: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        commanded(command)


def test_a_port_that_is_named_must_be_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=f"target.port is {port}: .* already in use"):
            commanded("sleep 60", port=port)
    assert commanded("sleep 60", port=port).trial.path == "/"


async def test_a_stranger_s_data_starts_nothing_until_its_user_allows_it() -> None:
    name, command = str(STUDIES / "stranger.toml"), lab.Command("touch ran {port}")
    with pytest.raises(BadInput, match=r"touch ran .*: a study file runs no command"):
        await lab.reproduce(name, scale="smoke")
    with pytest.raises(BadInput, match="repeats is 0"):  # what is looked at next
        await lab.reproduce(name, scale="smoke", repeats=0, allow_commands=True)
    record = make_record(axes={"arm": "one"})
    loaded = study_file.load(name)
    file = stored.OF_FILE[loaded.chart](loaded, "smoke", [record])
    assert file.plot().figure  # though it has neither a source nor a scale paper

    data = Trial(target=command).to_dict()
    with pytest.raises(BadInput, match="run only where you allow it"):
        Trial.from_dict(data)
    assert Trial.from_dict(data, allow_commands=True).target == command


def test_a_command_is_an_axis_and_may_hold_commas() -> None:
    axes = options.axes(Trial(), ["target.command=a {port},b|c {port}", "limit=1,2"])
    assert axes == {"target.command": ["a {port},b", "c {port}"], "limit": [1, 2]}
    arms = plan.arms(Trial(), axes)
    assert [arm["target.command"] for arm, _ in arms[::2]] == axes["target.command"]
    assert options.axes(Trial(), ["target.command=a {port},b"])["target.command"] == ["a {port},b"]
    _, wrong = form.read(Trial(), ["worker_pool"], {
        "target": "command", "transport": "wire", "command": "a {port},b|sleep {port}",
    })  # fmt: skip
    assert wrong == [
        "target.command is 'a {port},b': there is no program 'a'; install it, or write its path"
    ]


def test_the_line_of_the_guide_compares_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = (ROOT / "docs/guide.md").read_text(encoding="utf-8")
    line = re.search(r"^labkit (compare --axis 'target.command=.*)$", guide, re.MULTILINE)[1]
    more = re.findall(r"`(\|(?:granian|hypercorn) [^`]*)`", guide)
    listed = (
        line.replace("5000", "300")
        .replace("wire", "aiohttp")
        .replace("no-access-log", "no-access-log" + "".join(more))
    )
    words = [*shlex.split(listed), "--repeats", "1", "--json", str(tmp_path / "all.json")]
    monkeypatch.setattr(sys, "argv", ["labkit", *words])
    monkeypatch.setenv("LABKIT_STORE", str(tmp_path))
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    records = json.loads((tmp_path / "all.json").read_text())["records"]
    shown = capsys.readouterr().out

    assert not ended.value.code
    assert len(records) == 4
    assert "notebooks.example_app" not in shown
    for words in ("aiohttp.web ", "uvicorn ", "granian ", "hypercorn ", "server memory (MB)"):
        assert words in shown
    for record in records:
        assert record["counts"]["ok"] == 300
        assert record["received"]["decoded_bytes"] == 300 * len(example_app.BODY)
        assert record["server"]["cpu_s"] > 0
        assert record["server"]["peak_rss_bytes"] > 10_000_000
        assert record["axes"]["target.command"] == record["trial"]["target"]["command"]
        client, server = record["effective"]["cores"], record["effective"]["server"]["cores"]
        assert len(CORES) == 1 or not {*client} & {*server}


# TLS

KINDS = ("aiohttp", "streams", "wire", "httpx", "httpx2", "requests")
TRANSPORTS: list[Any] = [transports.TRANSPORTS[kind] for kind in KINDS]


async def failure(settings: Any, url: str) -> object:
    """Return the kind in which a call fails; nothing where it succeeds."""
    found = await alone(open_transport(settings, url, addresses=HERE), 1)
    return found if isinstance(found, str) else ""


@pytest.mark.filterwarnings("ignore:Unverified HTTPS")  # of requests
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_client_trusts_whom_it_is_to_trust(
    transport: Any, secure: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = transport(ca=secure.ca)
    assert await failure(known, secure.url) == ""
    assert await failure(known, secure.url.replace("127.0.0.1", "localhost")) == ""
    if transport in TRANSPORTS[:3]:  # the others ask for the address themselves
        assert await failure(known, secure.url.replace("127.0.0.1", "other.test")) == "certificate"
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)  # requests takes none that is empty
    assert await failure(transport(), secure.url) == "certificate"
    assert await failure(transport(verify=False), secure.url) == ""
    monkeypatch.setenv("SSL_CERT_FILE", secure.ca)
    assert await failure(transport(), secure.url) == ""


async def test_a_wrong_scheme_has_a_cause(secure: Running) -> None:
    with serving() as plain:
        for transport in TRANSPORTS:
            kind = await failure(transport(), secure.url.replace("https", "http"))
            assert "begins with https:" in guards.FAILURES[kind]
            kind = await failure(transport(), plain.url.replace("http", "https"))
            assert "begins with http:" in guards.FAILURES[kind]


async def test_the_lab_s_own_clients_trust_its_server() -> None:
    record = (await ran(FEW.replace(requests=60, **{"target.tls": True}))).record
    assert record.counts.ok == record.server.requests == 60
    assert record.effective["server"]["tls"]
    assert record.effective["transport"]["verify"]

    settings = {"keepalive_timeout": 0.001, "requests": 3}
    figures, *_ = await experiment.measured("idle_gaps", settings, {"tls": True})
    assert figures["connections"] == 3


def test_a_user_has_one_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = paths.certificates()
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert paths.certificates() == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    assert {*first} == {"client.pem", "server.key", "server.pem"}

    (folder / "server.key").unlink()  # by who cleans up the folder of temporary files
    assert (paths.certificates() / "server.key").read_bytes() != first["server.key"]
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    folder.chmod(0o755)
    with pytest.raises(PermissionError, match="remove it"):
        paths.certificates()


def test_a_file_to_trust_must_have_certificates(tmp_path: Path) -> None:
    for name in ("missing.pem", "empty.pem"):
        (tmp_path / "empty.pem").touch()
        with pytest.raises(BadInput, match=r"transport.ca is .*: it is no file of certificates"):
            preflight.check(Trial(**{"transport.ca": str(tmp_path / name)}))
