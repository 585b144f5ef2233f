"""Processes that are killed or interrupted: nothing is lost, and none stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import psutil
import pytest
from servers import Children, noted_children

from labkit.errors import TrialFailed
from labkit.launch import launcher
from labkit.record.record import Record
from labkit.record.store import Store
from labkit.spec.trial import Trial

PATIENCE_S = 60.0
GONE_WITHIN_S = 2.0
LONG = Trial(requests=30, limit=3, delay="60", deadline_s=100)

SCRIPT = """
import asyncio, os, sys
from pathlib import Path
from labkit.launch import launcher
from labkit.spec.trial import Trial
from labkit.record.store import Store

kind, folder = sys.argv[1:]
mark = str(Path(folder).parent / "blocked")

async def blocks(fetch, items, limit):
    task = asyncio.ensure_future(fetch(0))
    await asyncio.sleep(0)
    os.close(os.open(mark, os.O_CREAT | os.O_WRONLY))
    while True:
        pass

def watch(progress):
    if progress.in_flight or kind == "blocks":
        print("running", flush=True)

async def main():
    store = Store(folder)
    if kind == "waits":
        await launcher.run(Trial(requests=5), keep=store.add)
    strategy = blocks if kind == "blocks" else "worker_pool"
    trial = Trial(requests=30, limit=3, delay="60", strategy=strategy)
    await launcher.run(trial, watch=watch, keep=store.add)

asyncio.run(main())
"""


def children_of(pid: int) -> list[int]:
    """The processes that this one has started."""
    return [child.pid for child in psutil.Process(pid).children()]


class Ends:
    """Waits for processes to end that are not this one's children."""

    def __init__(self, pids: list[int]) -> None:
        self.descriptors = [os.pidfd_open(pid) for pid in pids]

    def within(self, seconds: float) -> bool:
        """Whether all have ended before this time has passed."""
        until = monotonic() + seconds
        for fd in self.descriptors:
            if not select.select([fd], [], [], max(until - monotonic(), 0))[0]:
                return False
        return True

    def close(self) -> None:
        for fd in self.descriptors:
            os.close(fd)


@contextlib.contextmanager
def script(tmp_path: Path, kind: str) -> Iterator[tuple[subprocess.Popen[str], Ends]]:
    """A script in the middle of its last trial, and the processes that it has started."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, path, kind, tmp_path / "runs"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.readline()
    assert said == "running\n", process.communicate()
    if kind == "blocks":
        assert until((tmp_path / "blocked").exists)
    ends = Ends(children_of(process.pid))
    try:
        assert len(ends.descriptors) == 2
        yield process, ends
    finally:
        process.kill()
        process.communicate()
        ends.close()


def until(done: Callable[[], bool]) -> bool:
    """Look again and again; whether it was so before all patience was gone."""
    deadline = monotonic() + PATIENCE_S
    while not done():
        if monotonic() > deadline:
            return False
        select.select([], [], [], 0.01)
    return True


# The parent


@pytest.mark.parametrize("kind", ["waits", "blocks"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_when_the_parent_is_stopped_no_process_is_left_and_nothing_is_lost(
    tmp_path: Path, kind: str, number: signal.Signals
) -> None:
    with script(tmp_path, kind) as (process, ends):
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE_S)

        assert ends.within(GONE_WITHIN_S)

    found = list(Store(tmp_path / "runs").records())
    finished = [record.counts.ok for record in found if record.counts.planned == 5]
    assert finished == ([5] if kind == "waits" else [])
    stopped = [record for record in found if record.counts.planned == 30]
    if number == signal.SIGKILL:
        assert stopped == []
        return
    assert "KeyboardInterrupt" in errors
    assert "Exception ignored" not in errors
    assert "never" not in errors
    [record] = stopped
    assert (record.warnings[0].code, record.verdict) == ("interrupted", "invalid")
    assert record.counts.conserved
    if kind == "waits":
        assert (record.counts.cancelled, record.counts.not_sent) == (3, 27)


# The children


async def test_a_client_that_is_killed_leaves_a_record() -> None:
    kept: list[Record] = []
    trial = Trial(requests=5_000, limit=3, delay="0.02", deadline_s=100)

    with noted_children() as children:
        killing = children.killing("labkit.measured.worker")
        with pytest.raises(TrialFailed) as caught:
            await launcher.run(trial, watch=killing, keep=kept.append)

    [record] = kept
    assert caught.value.record is record
    assert str(caught.value).startswith("the client process died (exit status -9)")
    assert record.warnings[0].code == "worker-lost"
    assert record.verdict == "invalid"
    assert record.counts.conserved
    assert record.counts.ok >= 1
    # The client's window died with it; what the server counted did not.
    assert record.client is None
    assert record.server is not None
    assert record.server.cpu_percent is None
    assert (record.server.requests or 0) >= record.counts.ok
    assert children.gone


async def test_a_server_that_is_killed_fails_requests_and_loses_none() -> None:
    kept: list[Record] = []
    trial = Trial(requests=600, limit=3, delay="0.02", deadline_s=100)

    with noted_children() as children:
        killing = children.killing("labkit.measured.targets.http")
        record = await launcher.run(trial, watch=killing, keep=kept.append)

    assert kept == [record]
    assert record.counts.conserved
    assert record.counts.ok >= 1
    assert record.counts.failures >= 1
    assert record.counts.sent == 600
    assert set(record.counts.failed) <= {"connect", "reset", "disconnected", "payload"}
    assert "failures" in [note.code for note in record.warnings]
    assert record.verdict != "valid"
    assert children.gone


# The task that runs the trial


async def cancelled(trial: Trial, when: Callable[[Children], bool], **more: Any) -> list[Record]:
    """Cancel a trial once it is so far: what is kept of it, with none of its processes left."""
    kept: list[Record] = []
    with noted_children() as children:
        task = asyncio.ensure_future(launcher.run(trial, keep=kept.append, **more))
        while not when(children):  # noqa: ASYNC110  # what is awaited says nothing before
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert children.gone
    assert all(record.counts.conserved for record in kept)
    return kept


async def test_a_cancelled_trial_is_kept_as_interrupted() -> None:
    seen: list[int] = []

    [record] = await cancelled(
        LONG, lambda _: 3 in seen, watch=lambda progress: seen.append(progress.in_flight)
    )

    assert record.warnings[0].code == "interrupted"
    assert (record.counts.sent, record.counts.cancelled) == (3, 3)


async def test_a_trial_that_is_cancelled_after_its_end_keeps_what_was_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured, gate = threading.Event(), threading.Event()

    def asking_the_server(url: str, path: str) -> None:
        measured.set()
        gate.wait(30)

    monkeypatch.setattr(launcher, "asked", asking_the_server)
    [record] = await cancelled(Trial(requests=10, limit=3), lambda _: measured.is_set())
    gate.set()

    assert record.warnings[0].code == "interrupted"
    assert record.counts.ok == 10
    assert record.latency_s is not None


@pytest.mark.parametrize("module", ["labkit.measured.targets.http", "labkit.measured.worker"])
async def test_a_trial_that_is_cancelled_as_a_process_starts_leaves_none(module: str) -> None:
    await cancelled(LONG, lambda children: module in children)


async def blocks(fetch: Any, items: Any, limit: int) -> None:
    while True:
        pass


# Not strict: on a machine so busy that the client has not begun by then, it ends at once.
async def test_a_client_that_answers_nothing_is_gone_soon_after_the_deadline() -> None:
    with noted_children() as children, pytest.raises(TrialFailed):
        await launcher.run(LONG.replace(strategy=blocks, deadline_s=2), keep=lambda _: None)

    assert children.gone
    assert children["labkit.measured.worker"].wall_s < 2 + GONE_WITHIN_S + 0.5
