"""Processes that are killed or interrupted: nothing is lost, and no process or folder stays."""

import asyncio
import contextlib
import itertools
import os
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any
from unittest.mock import Mock

import psutil
import pytest
from counted import cancel
from machines import checks
from servers import SERVER, WORKER, Children, noted_children, ran

from labkit import paths
from labkit.launch import launcher, orphans, servers
from labkit.measured import strategies
from labkit.record.record import Record
from labkit.record.store import Store
from labkit.report import tables
from labkit.spec.trial import Trial

PATIENCE_S = 60.0
GONE_WITHIN_S = 2.0
LONG = Trial(requests=30, limit=3, delay="60", deadline_s=100)

# A process below a shell that is still its parent, and one without session, environment and parent.
LEAVING = "sleep 60 >&2 & echo $!; setsid env -i sh -c 'sleep 60 >&2 & echo $!'; exec >&2; wait"

SCRIPT = checks("kills.toml", "script").replace("LEAVING", repr(LEAVING))


def ended(descriptors: list[int], within_s: float) -> bool:
    """Return whether these processes, no children of this one, end before this time has passed."""
    until = monotonic() + within_s
    return all(select.select([fd], [], [], max(until - monotonic(), 0))[0] for fd in descriptors)


def is_running(pid: int) -> bool:
    """Return whether a process is there and has not ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


@contextlib.contextmanager
def script(folder: Path, kind: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Run a script to the middle of its last trial; give it and what it has started (pidfds)."""
    (folder / "script.py").write_text(SCRIPT)
    command = [sys.executable, folder / "script.py", kind, folder / "runs"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "running\n", process.communicate()
    patience_ends = monotonic() + PATIENCE_S
    while kind == "blocks" and not (folder / "blocked").exists():
        assert monotonic() < patience_ends
        select.select([], [], [], 0.01)
    started = [one.pid for one in psutil.Process(process.pid).children()]
    assert len(started) == 2
    if kind == "blocks":
        started += map(int, (folder / "blocked").read_text().split())
        assert len(started) == 5
    descriptors = [os.pidfd_open(pid) for pid in started]
    try:
        yield process, descriptors
    finally:
        process.kill()
        process.communicate()
        for fd in descriptors:
            os.close(fd)


# The parent


@pytest.mark.parametrize("kind", ["waits", "blocks"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_parent_that_is_stopped_leaves_nothing(tmp_path: Path, kind: str, number: int) -> None:
    with script(tmp_path, kind) as (process, started):
        if (kind, number) == ("blocks", signal.SIGKILL):
            for fd in started:
                signal.pidfd_send_signal(fd, signal.SIGSTOP)
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE_S)

        assert ended(started, GONE_WITHIN_S)

    found = list(Store(tmp_path / "runs").records())
    finished = [record.counts.ok for record in found if record.counts.planned == 5]
    assert finished == ([5] if kind == "waits" else [])
    stopped = [record for record in found if record.counts.planned == 30]
    if number == signal.SIGKILL:
        assert stopped == []
        return
    assert "KeyboardInterrupt" in errors
    assert not re.search("Exception ignored|never", errors)
    [record] = stopped
    assert (record.warnings[0].code, record.verdict) == ("interrupted", "invalid")
    assert record.counts.conserved
    if kind == "waits":
        assert (record.counts.cancelled, record.counts.not_sent) == (3, 27)
        assert "ended-early" in [note.code for note in record.warnings]


# The children


async def leaves_processes(fetch: Any, items: Any, limit: int) -> None:
    command = ["sh", "-c", LEAVING]
    left = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    raise RuntimeError(f"left {left.pid} {left.stdout.read()}")


async def test_what_a_strategy_leaves_running_ends_with_the_trial() -> None:
    found = await ran(Trial(requests=5, strategy=leaves_processes))

    left = [int(word) for word in found.record.warnings[0].message.split() if word.isdigit()]
    assert len(left) == 3
    assert not any(map(is_running, left))


async def test_a_client_that_is_killed_leaves_a_record() -> None:

    found = await ran(Trial(requests=5_000, limit=3, delay="0.02", deadline_s=100), killing=WORKER)

    record, [told] = found.record, found.record.warnings
    assert str(found.error).startswith("the client process died (exit status -9)")
    assert (told.code, record.verdict) == ("worker-lost", "invalid")
    # The client's window died with it; what the server counted did not, and was sent for certain.
    assert (record.client, record.server.cpu_percent) == (None, None)
    assert record.counts.sent >= record.server.requests >= record.counts.ok >= 1
    assert f"at least {record.counts.sent} of 5,000 requests were sent" in told.message
    assert "not known to be sent" in tables.of_run(record).text()


async def test_a_server_that_is_killed_fails_requests_and_loses_none() -> None:
    found = await ran(Trial(requests=600, limit=3, delay="0.02", deadline_s=100), killing=SERVER)

    counts = found.record.counts
    assert (found.error, counts.sent) == (None, 600)
    assert min(counts.ok, counts.failures) >= 1
    assert set(counts.failed) <= {"connect", "reset", "disconnected", "payload"}
    assert found.record.verdict == "invalid"
    assert {"target-lost", "failures"} <= {note.code for note in found.record.warnings}
    assert found.record.warnings[0].message.startswith("the target died (exit status -9); read")


@strategies.strategy
async def kills_the_database(fetch: Any, items: Any, limit: int) -> None:
    for item in items:
        await fetch(item)
        if item == 3:
            for one in psutil.Process(os.getppid()).children(recursive=True):
                if one.name() == "postgres":
                    one.kill()


@pytest.mark.service
async def test_calls_of_a_database_that_is_gone_end_with_their_trial() -> None:
    found = await ran(Trial(target="postgres", strategy=kills_the_database, seconds=0.5))
    assert found.record.warnings[0].code == "target-lost"
    assert "its server ended by itself" in found.record.warnings[0].message
    assert (found.record.verdict, found.record.counts.ok) == ("invalid", 4)


# Folders


def test_folders_whose_owners_are_gone_are_swept_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(paths, "USUAL", str(tmp_path))
    spared = [tmp_path / "labkit-workspace", tmp_path / "elsewhere", tmp_path / "labkit-link"]
    spared[0].mkdir(mode=0o700)
    spared[1].mkdir()
    spared[1].chmod(paths.OURS)
    spared[2].symlink_to(spared[1])
    left = tmp_path / "labkit-pg-left"
    (left / "data").mkdir(parents=True)
    left.chmod(paths.OURS)
    # As it is left where a database is killed while its files are made.
    with subprocess.Popen(["ipcmk", "-M", "56"], stdout=subprocess.PIPE, text=True) as making:
        piece = making.communicate()[0].split()[-1]
    (left / "data/postmaster.pid").write_text(f"-{making.pid}" + "\n" * 6 + f"1 {piece}\n")

    with paths.temporary_folder("pg") as (own, lock):
        paths.sweep()
        assert sorted(tmp_path.iterdir()) == sorted([*spared, own])
        assert f" {piece} " not in Path("/proc/sysvipc/shm").read_text()
        # A process that has the lock too has the folder as well.
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(["cat"], pass_fds=[lock], **pipes) as other:
            with Path(os.devnull).open() as nothing:
                os.dup2(nothing.fileno(), lock)
            paths.sweep()
            assert own.exists()
            other.communicate(b"end")
        paths.sweep()
        assert not own.exists()


def test_a_folder_that_is_swept_as_it_is_made_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    swept: list[Path] = []

    def lock_too_late(*_: int) -> None:
        if not swept:
            swept.extend(tmp_path.iterdir())
            swept[0].rmdir()

    monkeypatch.setattr("fcntl.flock", lock_too_late)
    with paths.temporary_folder("http") as (folder, _):
        assert folder.exists()
    assert swept != [folder]
    assert list(tmp_path.iterdir()) == []


# The task that runs the trial


async def cancelled(trial: Trial, when: Callable[[Children], bool], **more: Any) -> list[Record]:
    """Cancel a trial once it is so far: what is kept of it, with none of its processes left."""
    kept: list[Record] = []
    with noted_children() as children:
        task = asyncio.ensure_future(launcher.run(trial, keep=kept.append, **more))
        while not when(children):  # noqa: ASYNC110  # what is awaited says nothing before
            await asyncio.sleep(0)
        await cancel(task)
    assert children.gone
    assert all(record.counts.conserved for record in kept)
    return kept


async def test_a_cancelled_trial_is_kept_as_interrupted() -> None:
    seen: list[int] = []

    [record] = await cancelled(
        LONG.replace(requests=3),
        lambda _: 3 in seen,
        watch=lambda progress: seen.append(progress.in_flight),
    )

    # All was sent.
    codes = [note.code for note in record.warnings]
    assert codes[:3] == ["interrupted", "cancelled", "all-failed"]
    assert not {"ended-early", "not-sent"} & set(codes)
    assert (record.counts.sent, record.counts.cancelled) == (3, 3)


async def test_a_trial_that_is_cancelled_after_its_end_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured, gate = threading.Event(), threading.Event()

    def asking_the_server(url: str, path: str) -> None:
        measured.set()
        gate.wait(30)

    monkeypatch.setattr(servers, "asked", asking_the_server)
    [record] = await cancelled(Trial(requests=10, limit=3), lambda _: measured.is_set())
    gate.set()

    assert record.warnings[0].code == "interrupted"
    assert record.counts.ok == 10
    assert record.latency_s is not None


@pytest.mark.parametrize("module", [SERVER, WORKER])
async def test_a_trial_that_is_cancelled_as_a_process_starts_leaves_none(module: str) -> None:
    await cancelled(LONG, lambda children: module in children)


async def blocks(fetch: Any, items: Any, limit: int) -> None:
    while True:
        pass


# Not strict: on a machine so busy that the client has not begun by then, it ends at once.
async def test_a_client_that_answers_nothing_is_gone_soon_after_the_deadline() -> None:
    found = await ran(LONG.replace(strategy=blocks, deadline_s=2))

    assert re.search("deadline of 2 s; the client( and the target)? did not", str(found.error))
    assert found.record.process.wall_s < 2 + GONE_WITHIN_S + 0.5


# Not strict either.
@pytest.mark.parametrize("target", ["http", "echo"])
async def test_a_target_that_hangs_is_gone_soon_after_the_deadline(target: str) -> None:
    trial = Trial(target=target, requests=10**6, limit=3, deadline_s=3)
    server = SERVER.replace("http", target)

    found = await ran(trial, killing=server, number=signal.SIGSTOP)

    assert re.search("deadline of 3 s; the (client and the )?target did not", str(found.error))
    assert found.children[server].status == -signal.SIGKILL
    assert found.children[server].wall_s < found.children[WORKER].wall_s + GONE_WITHIN_S
    assert found.record.counts.sent > 0


def test_a_daemon_that_begins_behind_a_search_is_found_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with subprocess.Popen(["sleep", "60"]) as daemon:
        searches, newest = iter([[], [daemon.pid], [], []]), itertools.count()
        monkeypatch.setattr(orphans, "find", lambda _: next(searches))
        monkeypatch.setattr(Path, "read_bytes", lambda _: b"%d" % next(newest))
        orphans.kill(range(1))
        monkeypatch.undo()
        assert daemon.wait() == -signal.SIGKILL
    assert not list(searches)


def test_what_a_lab_left_that_was_killed_with_its_watcher_is_swept_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch, sleep = orphans.Watch(), ["sleep", "60"]
    with watch, subprocess.Popen(sleep) as left, subprocess.Popen(sleep) as own:
        orphans.mark(left.pid, orphans.LABS.stop - 1)
        watch.begin(own.pid)
        # To root in a container the system does not tell the mark of another user's process.
        monkeypatch.setattr("resource.prlimit", Mock(side_effect=PermissionError))
        monkeypatch.setattr("os.geteuid", int)
        orphans.sweep()
        monkeypatch.undo()
        assert (left.wait(5), own.poll()) == (-signal.SIGKILL, None)
        own.kill()
        watch.end()
