"""Servers of the user's own: found by their listener, started by a command, over TLS."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest
from servers import ran, serving

from labkit.launch import listeners, servers
from labkit.launch.cores import Cores
from labkit.record import interference
from labkit.spec.trial import Trial

HERE, FEW = ["127.0.0.1"], Trial(requests=200, limit=10)


def cpu_s(pids: list[int]) -> float:
    return sum(interference.cpu_s(pid) or 0.0 for pid in pids)


async def test_all_processes_of_a_url_are_measured_on_the_axis_of_time() -> None:
    with serving(workers=2) as server:
        family = psutil.Process(server.process.pid)
        pids = [family.pid, *(one.pid for one in family.children(recursive=True))]
        before_s = cpu_s(pids)
        url = f"http://127.0.0.1:{server.address[1]}/json/1000"
        record = (await ran(FEW.replace(target=url))).record
        used_s, name = cpu_s(pids) - before_s, family.name()
        largest = max(psutil.Process(pid).memory_info().rss for pid in pids)

    assert len(pids) == 3
    assert record.effective["server"] == {"process": name, "pids": [family.pid], "cores": None}
    assert 0.5 * used_s < record.server.cpu_s <= used_s
    assert largest < record.server.peak_rss_bytes < 3 * largest
    assert record.timeline.server_rss_bytes[-1] <= record.server.peak_rss_bytes
    assert record.timeline.server_cpu_percent[-1] is not None


SHARED = """
import os, socket
forked = socket.create_server(("127.0.0.1", 0))
with socket.create_server(("127.0.0.1", 0), reuse_port=True) as first:
    port = first.getsockname()[1]
for _ in range(2):
    if not os.fork():
        own = socket.create_server(("127.0.0.1", port), reuse_port=True)
        os.write(1, b"%d %d\\n" % (forked.getsockname()[1], port))
        os.read(0, 1)
        os._exit(0)
os.read(0, 1)
"""


@contextmanager
def sharing() -> Iterator[tuple[int, list[int]]]:
    """Two workers, a port whose socket they have of their parent, and one that each opened."""
    words = [sys.executable, "-c", SHARED]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, text=True, **pipes) as parent:  # type: ignore[call-overload]
        lines = [parent.stdout.readline() for _ in range(2)]
        yield parent.pid, [*map(int, lines[1].split())]
        parent.stdin.close()


def test_a_server_is_found_by_its_port_with_its_fellow_workers() -> None:
    with sharing() as (parent, ports):
        found = [listeners.find(HERE, port) for port in ports]
    assert [one.roots for one in found] == [[parent], [parent]]
    assert [one.alone for one in found] == [False, False]


def test_of_two_that_listen_the_one_that_answers_there_is_found() -> None:
    with ExitStack() as stack:
        own = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = own.getsockname()[1]
        assert listeners.find(["::1"], port).hosts == []
        found = listeners.find(["::1", *HERE], port)

    # It is this process, below which runs the client too: it is measured alone.
    assert (found.hosts, found.roots, found.alone) == (HERE, [os.getpid()], True)
    assert servers.measured("http://x", found).pid == os.getpid()
    assert servers.measured("http://x", found).roots == []


def test_what_cannot_be_read_is_said_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as own:
        port = own.getsockname()[1]
        monkeypatch.setattr(listeners, "holders_of", lambda _: set())
        served = servers.measured("http://x", listeners.find(HERE, port))
    (note,) = served.notes
    assert (served.pid, served.roots, note.code) == (None, [], "target-not-read")
    assert "is another user's" in note.message
    (note,) = servers.measured("http://x", listeners.find(HERE, port)).notes
    assert "is none of this machine that can be seen" in note.message


@pytest.mark.parametrize(("taken", "core"), [((), 0), ({0}, 1), ({1}, 0), ({0, 1}, 2)])
def test_the_client_leaves_a_server_its_core(
    taken: set[int], core: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labkit.launch.environment.usable_cores", lambda: [0, 1, 2])
    assert Cores(0, 1).of_client(taken) == core
    assert Cores(None, None).of_client(taken) is None


async def test_a_url_that_hangs_is_named_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as hung:
        url = f"http://127.0.0.1:{hung.getsockname()[1]}/"
        found = await ran(Trial(target=url, requests=9, limit=5, deadline_s=3))
    assert "the target answered none of 5 requests for " in str(found.error)
