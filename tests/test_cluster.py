"""Trials on a Dask cluster: shares on its workers, what is refused, and what dies with whom."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest
from machines import checks

import labkit as lab
from labkit.errors import BadInput, NotInstalled, TrialFailed
from labkit.lab.progress import Reporter
from labkit.launch import cluster, orphans, preflight
from labkit.launch.cluster import Cluster, Worker
from labkit.measured import lifeline

distributed = pytest.importorskip("distributed")

LOCAL = Worker("tcp://127.0.0.1:9001", "one", "id", 2, False, [0, 1], {}, "labkit 1")
AWAY = LOCAL._replace(address="tls://10.0.0.2:9001", name="two", is_encrypted=True)
TRIAL = lab.Trial(requests=40, limit=4, delay="0.01", clients=2)


@pytest.fixture(scope="module")
def dask_client() -> Iterator[Any]:
    """Give a synchronous client of two workers on this machine."""
    how = {"n_workers": 2, "threads_per_worker": 2, "host": "127.0.0.1", "memory_limit": 0}
    quiet = {"dashboard_address": None, "silence_logs": 50}
    hidden = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    with (
        mock.patch.dict(os.environ),  # Dask sets some for its workers
        distributed.LocalCluster(processes=True, scheduler_kwargs=hidden, **how, **quiet) as there,
        distributed.Client(there) as client,
    ):
        yield client


async def test_shares_run_on_workers_beside_a_server_there(dask_client: Any, store: Path) -> None:
    addresses = {*dask_client.scheduler_info(n_workers=-1)["workers"]}

    run = await lab.run(TRIAL.replace(clients=3, **{"target.on": "1"}), on=dask_client)
    record: Any = run.record

    assert record.counts.conserved
    assert record.server.requests == record.counts.ok == 40
    assert record.server.cpu_s
    assert record.server.peak_rss_bytes
    assert {str(one.place).rpartition(" ")[2] for one in record.clients} == addresses
    assert record.start_skew_s
    assert record.environment["cluster"]["workers"].keys() == addresses
    assert dask_client.status == "running"


async def test_a_worker_that_dies_takes_its_share_and_leaves_nothing(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killing(Reporter):
        killed, marked = 0, {0}

        def update(self, progress: Any) -> None:
            if progress.done and not self.killed:
                below = {*psutil.Process().children()} - before
                busy = [one for one in below if any(map(is_measured, one.children()))]
                self.killed, self.marked = busy[0].pid, {*orphans.find(orphans.LABS)}
                busy[0].kill()

    def is_measured(process: psutil.Process) -> bool:
        return "labkit.measured.worker" in process.cmdline()

    before = {*psutil.Process().children(recursive=True)}
    trial, killing = TRIAL.replace(requests=400, delay="0.05"), Killing()
    os.environ.pop("MALLOC_TRIM_THRESHOLD_", None)
    monkeypatch.setattr("tempfile.tempdir", str(store.parent))
    with pytest.raises(
        TrialFailed, match=r"client [01] of 2 died.* on worker . at tcp://127"
    ) as lost:
        await lab.run(trial, on="local:2", reporter=killing)
    assert "MALLOC_TRIM_THRESHOLD_" not in os.environ
    assert killing.killed in killing.marked
    assert not [*store.parent.glob("dask*")]

    record: Any = lost.value.record
    assert record.verdict == "invalid"
    assert "worker-lost" in [note.code for note in record.warnings]
    assert record.counts.conserved
    assert record.server.requests == record.counts.sent
    assert [one.counts.ok for one in record.clients if not one.lost] == [200]
    left = {*psutil.Process().children(recursive=True)} - before
    assert not [one for one in left if "spawn_main" in str(one.cmdline()) or is_measured(one)]


async def test_what_was_started_before_is_not_started_again(dask_client: Any) -> None:
    (address, found), *_ = dask_client.scheduler_info(n_workers=-1)["workers"].items()
    hold = (cluster.hold, "token", "worker-of-before", "no.module", [], {})

    task = dask_client.submit(*hold, workers=[address], pure=False)

    assert found["id"] != "worker-of-before"
    assert "nothing is started twice" in str(await asyncio.to_thread(task.exception))


async def test_workers_of_another_labkit_are_refused(
    dask_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "SCHEMA_VERSION", 99)

    with pytest.raises(BadInput, match=r"schema 1, .*where this lab has .*schema 99, .*: install"):
        await lab.run(TRIAL, on=dask_client.scheduler.address)


@pytest.mark.parametrize(("on", "why"), checks("cluster.json"))
async def test_a_cluster_that_cannot_be_used_is_refused(
    on: Any, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "ANSWER_S", 0.2)

    with pytest.raises(BadInput, match=why):
        await lab.run(TRIAL, on=on)


async def test_without_dask_a_cluster_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)

    with pytest.raises(NotInstalled, match=r"distributed is not installed.*labkit\[cluster\]"):
        await lab.run(TRIAL, on="local:2")


@pytest.mark.parametrize(
    ("trial", "why"),
    [
        (TRIAL.replace(clients=4), "target is 'http' with a client on another host"),
        (TRIAL.replace(clients=5, limit=5), "clients is 5 on 2 workers with 4 threads"),
        (TRIAL.replace(**{"target.on": "three"}), r"target.on is 'three'.*one of tcp"),
        (TRIAL.replace(tls=True, **{"target.on": "two"}), "target.tls is on with target.on 'two'"),
        (TRIAL.replace(clients=4, **{"target.on": "one"}), "with 3 threads"),
        (lab.Trial(program="python c.py", requests=1), "program is 'python c.py' with on="),
        (TRIAL.replace(python="3.12"), "python is '3.12' with on="),
    ],
)
def test_what_workers_cannot_run_is_refused(trial: lab.Trial, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        Cluster("tls://10.0.0.1:8786", None, [LOCAL, AWAY]).check(trial)


def test_a_server_on_a_worker_needs_a_cluster() -> None:
    with pytest.raises(BadInput, match=r"target.on is 'one' without a cluster"):
        preflight.prepare(TRIAL.replace(**{"target.on": "one"}))
    with pytest.raises(BadInput, match=r"serve.on is 'one'"):
        lab.serving(on="one")


def test_clients_are_spread_over_hosts_first_and_have_cores_there() -> None:
    workers = [LOCAL, LOCAL._replace(address="tcp://127.0.0.1:9002", name="b"), AWAY]
    there = Cluster("tls://10.0.0.1:8786", None, workers)

    found = there.places(TRIAL.replace(clients=4, **{"target.on": "two"}), [5, 6, 7, None])

    named = [(one.name, core) for one, core in found]
    assert named == [("one", 5), ("two", 0), ("b", 7), ("one", None), ("two", 1)]


def test_a_process_ends_when_its_lease_does() -> None:
    code = "from labkit.measured import lifeline; lifeline.end_with_parent(); print(1, flush=True)"
    code += "; import time; time.sleep(60)"
    how: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    variables = {**os.environ, "LABKIT_LEASE_S": "0.5"}

    with subprocess.Popen([sys.executable, "-c", code], env=variables, **how) as process:
        assert process.stdin is not None
        process.stdin.write(lifeline.RENEWAL)
        process.stdin.flush()  # and nothing more: the pipe stays open
        assert process.wait(30) == -signal.SIGALRM


def test_nothing_of_dask_is_imported_without_a_cluster() -> None:
    modules = "labkit.cli, labkit.lab.facade, labkit.launch.cluster, labkit.measured.worker"
    code = f"import sys, {modules}"
    code += "; assert not {'dask', 'distributed', 'tornado'} & {*sys.modules}"

    subprocess.run([sys.executable, "-c", code], check=True)
