"""Whole trials in processes of their own: what is measured, and how a trial may end."""

import asyncio
import base64
import functools
import json
import multiprocessing
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import Context
from io import BytesIO, TextIOWrapper
from operator import attrgetter
from pathlib import Path
from time import process_time_ns
from typing import Any
from unittest.mock import Mock

import pytest
from machines import checks
from servers import SERVER, WORKER, Ran, hostile, noted_children, ran, serving

import labkit as lab
from labkit.errors import BadInput
from labkit.lab.runner import run_all
from labkit.launch import cores, environment, launcher, preflight, process
from labkit.launch.assembly import StudyPosition
from labkit.launch.cores import Cores, State
from labkit.launch.process import Child
from labkit.measured import lifeline
from labkit.measured.probes import malloc
from labkit.record.record import Record
from labkit.spec import delays
from labkit.spec.addresses import MAX_REMOTE_LIMIT, MAX_REMOTE_RPS
from labkit.spec.plan import interleave
from labkit.spec.registry import LIBRARIES
from labkit.spec.trial import Trial
from wrong_answers.strategies import a_bare_loop, everything_at_once, in_a_cell

CORES = os.sched_getaffinity(0)
# From 3.13 on Python itself has freed a large block once aiohttp is imported.
MAPS_READS = [None if malloc.settle() is None else sys.version_info < (3, 13)] * 2
CONGESTION_CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")
# What a machine that others use as well may bring into any record.
WEATHER = {
    *("core-contended", "core-lost", "server-busy", "client-cpu", "client-saturated", "loop-lag"),
    *("steal", "backlog", "server-contended", "server-core-lost", "core-shared"),
}
TINY = Trial(requests=60, limit=7)
FORBIDDEN = ("IPython", "jinja2", "matplotlib", "numpy", "pandas", "psutil", "rich", "click")


def doubts(record: Record) -> list[str]:
    return [note.code for note in record.warnings if note.code not in WEATHER]


def assert_all_done(record: Record, trial: Trial) -> None:
    """Every item was sent once and succeeded, on both sides of the wire."""
    assert doubts(record) == []
    assert record.counts.ok == record.counts.planned == trial.requests
    assert record.server.requests == record.counts.sent
    assert 1 <= record.server.max_in_flight <= trial.slots


# One trial, looked at from all sides


SET = {"PYTHONASYNCIODEBUG": "1", "MALLOC_MMAP_THRESHOLD_": "4194304", "HTTP_PROXY": "http://x:1"}


@pytest.fixture(scope="module")
def usual() -> Ran:
    """Half a second of work, begun where variables are set that change what it costs."""
    position = StudyPosition(study="s", experiment="e", axes={"limit": 4}, repeat=2, order=9)
    trial = Trial(requests=40, limit=4, delay="0.05", seed=3)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SET.items():
            patch.setenv(name, value)
        return asyncio.run(ran(trial, position=position))


def test_all_was_done_as_it_was_asked_for_in_a_time_that_agrees_with_the_delays(usual: Ran) -> None:
    record, effective = usual.record, usual.record.effective
    trial = Trial.from_dict(record.trial)

    assert trial == Trial(requests=40, limit=4, delay="0.05", seed=3)
    assert_all_done(record, trial)
    assert record.server.max_in_flight == record.server.connections_opened == 4
    assert (record.study, record.experiment, record.axes) == ("s", "e", {"limit": 4})
    assert (record.repeat, record.order) == (2, 9)
    assert record.id.startswith(record.started_at[:10].replace("-", ""))
    assert (effective["loop"], effective["eager_tasks"]) == ("asyncio", False)
    assert effective["transport"]["limit"] == 0
    assert effective["server"]["loop"] == "uvloop"
    assert (effective["server"]["delay"], effective["server"]["seed"]) == ("0.05", 3)
    assert effective["python"] == sys.version.split()[0]
    assert effective["congestion_control"] == CONGESTION_CONTROL.read_text().strip()
    # None of what was set in the shell was in force, nor did the lab change what malloc does.
    assert (effective["debug"], effective["variables"]) == (False, {})
    assert effective["malloc_maps_reads"] == MAPS_READS
    assert record.environment["variables_left_out"] == sorted(SET)
    assert record.server.cpu_percent == pytest.approx(
        100 * record.server.cpu_s / record.wall_s, abs=0.01
    )
    # Times agree with the delays.
    assert record.floor_s == pytest.approx(0.5)
    assert record.wall_s >= 0.5
    assert record.efficiency == pytest.approx(0.5 / record.wall_s)
    assert record.throughput_rps == pytest.approx(40 / record.wall_s)
    assert 0.05 <= record.latency_s.p50 <= record.latency_s.max <= record.wall_s
    assert record.latency_hdr
    assert record.loop_lag_s is not None


def test_the_process_is_more_than_its_window_and_light_before_it(usual: Ran) -> None:
    client, process = usual.record.client, usual.record.process

    assert process.peak_rss_bytes >= client.peak_rss_bytes >= client.rss_before_bytes * 0.9
    assert client.rss_before_bytes < 45_000_000
    assert process.wall_s > (usual.record.wall_s or 0)
    assert process.cpu_user_s >= client.cpu_user_s
    assert client.to_first_send_s >= 0


def test_timeline_and_progress_only_grow_and_have_what_both_sides_use(usual: Ran) -> None:
    timeline = usual.record.timeline
    columns = {name: getattr(timeline, name) for name in timeline.__struct_fields__}

    assert columns.pop("connections") == []  # of a program alone
    assert {len(column) for column in columns.values()} == {len(timeline.t_s)}
    assert len(timeline.t_s) >= 2
    assert timeline.t_s == sorted(timeline.t_s)
    assert timeline.completed == sorted(timeline.completed)
    assert (timeline.completed[-1], timeline.in_flight[-1]) == (40, 0)
    assert max(timeline.in_flight) <= 4
    first, last = usual.progress[0], usual.progress[-1]
    assert first is not last
    for name in ("t_s", "done", "counts.sent", "counts.ok"):
        values = [*map(attrgetter(name), usual.progress)]
        assert values == sorted(values)
    for one in usual.progress:
        assert one.counts.conserved
        assert 0 <= one.in_flight <= 4
        assert one.client_rss_bytes
        assert one.server_rss_bytes
    assert first.client_cpu_percent is None
    assert 0 <= last.client_cpu_percent <= 150
    assert None not in (last.server_cpu_percent, last.loop_lag_s)
    assert last.done == 40


@pytest.mark.skipif(len(CORES) < 2, reason="there is one core")
def test_client_and_server_have_a_core_each(usual: Ran) -> None:
    client, server = (usual.cores[name] for name in (WORKER, SERVER))

    assert len(client) == len(server) == 1
    assert not client & server
    assert usual.record.effective["cores"] == [*client]


# Strategies


# Over every strategy go the tests of the strategies, in one process; here are those that bring code
# of others, and one of each kind of the lab's own.
LOADED = [(name, "aiohttp", "asyncio") for name in (*LIBRARIES, "sequential")]
LOADED += [("semaphore", "wire", "asyncio"), ("task_group", "wire", "uvloop")]
LOADED += [("worker_pool", "aiohttp", "uvloop")]


@pytest.mark.parametrize(("name", "transport", "loop"), LOADED)
async def test_a_strategy_does_all_and_heeds_the_limit_unpinned(
    name: str, transport: str, loop: str
) -> None:
    of_server = "uvloop" if loop == "asyncio" else "asyncio"
    is_eager = sys.version_info >= (3, 12) and name in {"semaphore", "worker_pool"}
    trial = TINY.replace(strategy=name, transport=transport, eager_tasks=is_eager)
    trial = trial.replace(delay="uniform(0,0.01)", pin=False)

    record = (await ran(trial.replace(loop=loop, **{"target.loop": of_server}))).record

    assert (record.trial["strategy"], record.trial["transport"]["kind"]) == (name, transport)
    assert_all_done(record, trial)
    assert (record.effective["loop"], record.effective["server"]["loop"]) == (loop, of_server)
    assert record.effective["eager_tasks"] is is_eager
    assert set(record.effective["cores"]) == CORES


async def test_probes_that_are_switched_off_measure_nothing() -> None:
    trial = TINY.replace(probes="counts", variables="PYTHONASYNCIODEBUG=1")

    record = (await ran(trial)).record

    assert_all_done(record, trial)
    assert (record.latency_s, record.latency_hdr, record.loop_lag_s) == (None, None, None)
    assert record.timeline.t_s == []
    assert None not in (record.wall_s, record.client)
    assert record.effective["malloc_maps_reads"] == MAPS_READS
    # What the trial itself asks for is in force.
    asked = (record.effective["debug"], record.effective["variables"])
    assert asked == (True, {"PYTHONASYNCIODEBUG": "1"})


# Strategies of one's own, which travel to the process by value


async def one_by_one(fetch: Any, items: Any, limit: int) -> None:
    """Says which of the libraries that a measured process must not hold it does hold."""
    for item in items:
        await fetch(item)
    raise RuntimeError(f"{fetch.__qualname__} holds {sorted({*FORBIDDEN} & {*sys.modules})}")


async def test_a_strategy_that_raises_makes_the_record_invalid() -> None:
    found = await ran(TINY.replace(strategy=one_by_one))

    assert found.error is None
    assert doubts(found.record) == ["strategy-failed"]
    assert found.record.verdict == "invalid"
    assert found.record.counts.ok == 60
    # Nothing heavy is in a measured process: the function that raised this looked for it there.
    said, _, _ = found.record.warnings[0].message.partition(";")
    assert re.fullmatch(
        r"the strategy itself raised RuntimeError: fetch holds \[\] \(one_by_one, line \d+\)", said
    )


PROGRAMS = checks("launch.toml", "programs")


async def test_a_partial_and_what_its_pool_of_processes_calls_are_sent_along() -> None:
    strategy = functools.partial(in_a_cell(PROGRAMS["pool_in_a_cell"]), n=20)
    found = await ran(TINY.replace(strategy=strategy))

    assert (found.error, doubts(found.record)) == (None, [])
    assert found.record.trial["strategy"] == "one(n=20)"


async def forgets_to_await(fetch: Any, items: Any, limit: int) -> None:
    await fetch(0)
    for item in items[1:]:
        fetch(item)


async def test_a_call_that_is_not_awaited_is_named_before_what_follows_from_it() -> None:
    record = (await ran(TINY.replace(strategy=forgets_to_await))).record

    assert doubts(record) == ["not-awaited", "not-sent"]
    assert "without awaiting it" in record.warnings[0].message
    assert record.counts.ok == 1


async def leaves_tasks(fetch: Any, items: Any, limit: int) -> None:
    global left  # noqa: PLW0603 - a task that nobody refers to may vanish
    left = [asyncio.ensure_future(fetch(item)) for item in items[:limit]]
    await asyncio.sleep(0)


async def repeats_items(fetch: Any, items: Any, limit: int) -> None:
    for item in items:
        await fetch(item)
    await fetch(0)


async def swaps_items(fetch: Any, items: Any, limit: int) -> None:
    for item in items:  # number and sum of the items are right
        await fetch(item + (-1 if item % 4 in (1, 2) else 1))


async def loses_items(fetch: Any, items: Any, limit: int) -> None:
    for item in items:
        if item % 2:
            await fetch(item)


async def sends_nothing(fetch: Any, items: Any, limit: int) -> None:
    """Returns at once."""


async def computes_on_the_loop(fetch: Any, items: Any, limit: int) -> None:
    for item in items:
        await fetch(item)
        until_ns = process_time_ns() + 400_000_000 * (item == 30)
        while process_time_ns() < until_ns:
            pass


SWAPPED = {"sent": 60, "ok": 60, "repeated": 30, "not_sent": 30}
WRONG = [
    (leaves_tasks, "30", "tasks-left-behind cancelled not-sent all-failed", {"cancelled": 7}),
    (repeats_items, "0", "items-repeated", {"sent": 61, "ok": 61, "repeated": 1, "not_sent": 0}),
    (swaps_items, "0", "items-repeated not-sent", SWAPPED),
    (loses_items, "0.01", "not-sent", {"ok": 30, "not_sent": 30}),
    (sends_nothing, "0", "not-sent", {"sent": 0, "not_sent": 60}),
    (everything_at_once, "0.1", "over-limit too-fast", {"ok": 60}),
    (computes_on_the_loop, "0", "stalled", {"ok": 60}),
]


@pytest.mark.parametrize(("strategy", "delay", "codes", "counts"), WRONG)
async def test_wrong_work_is_invalid(strategy: Any, delay: str, codes: str, counts: Any) -> None:
    record = (await ran(TINY.replace(strategy=strategy, delay=delay))).record

    assert doubts(record) == codes.split()
    assert record.verdict == "invalid"
    assert {name: getattr(record.counts, name) for name in counts} == counts
    assert record.server.requests == record.counts.sent or strategy is leaves_tasks
    # Work that was not done is no efficiency; of nothing sent nothing is measured.
    assert record.efficiency is None or record.counts.ok == 60
    if strategy is computes_on_the_loop:
        assert "the strategy blocked the loop for 0." in str(record.warnings)
    if strategy is sends_nothing:
        assert (record.wall_s, record.latency_s, record.client) == (None, None, None)


# What disturbs a run


@pytest.mark.parametrize(
    ("module", "who", "rate"), [(WORKER, "client", None), (SERVER, "server", 100)]
)
async def test_who_stood_still_is_known(module: str, who: str, rate: float | None) -> None:
    trial = Trial(requests=200, limit=50 if rate else 1, delay="0.01", rate=rate)
    if module == WORKER:  # whoever stops it, it is no doing of a strategy of the user's own
        trial = trial.replace(strategy=a_bare_loop)

    record = (await ran(trial, stopping=module)).record

    notes = [note.message for note in record.warnings if note.code == "stalled"]
    assert [note.partition(" for ")[0] for note in notes] == [f"the {who} stood still"]
    assert record.verdict == "invalid"
    assert [stall.who for stall in record.stalls] == [who]
    assert 0.4 <= record.stalls[0].lasted_s <= (record.wall_s or 0.0)


@pytest.mark.skipif(len(CORES) < 2, reason="there is one core")
def test_a_neighbour_on_the_servers_core_is_noted() -> None:
    with (
        cores.reserved() as mine,
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) as neighbour,
    ):
        os.sched_setaffinity(neighbour.pid, {mine.server or 0})
        try:
            record = asyncio.run(ran(Trial(requests=2_000, limit=10, transport="wire"))).record
        finally:
            neighbour.kill()

    assert record.server.waited_percent > 5
    assert {note.code for note in record.warnings} & {"server-contended", "server-core-lost"}


def taken(usable: list[int], held: ExitStack) -> tuple[Cores, State]:
    """The cores that a further run takes until `held` is closed, and their state at its start."""
    apart, reserving = Context(), cores.reserved()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("labkit.launch.environment.usable_cores", lambda: usable)
        mine = apart.run(reserving.__enter__)
    held.callback(apart.run, reserving.__exit__, None, None, None)
    return mine, mine.state()


def test_two_runs_take_other_cores_and_both_say_where_they_share_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr("labkit.launch.environment.threads_with", lambda core: {core})
    with ExitStack() as held, ExitStack() as short, ExitStack() as shorter:
        first, at_first = taken([0, 1, 2, 3], held)
        second, at_second = taken([0, 1, 2, 3], short)
        assert [(one.client, one.server) for one in (first, second)] == [(0, 1), (2, 3)]
        assert first.notes(at_first) == second.notes(at_second) == []

        third, at_third = taken([0, 1, 2], shorter)
        assert (third.client, third.server) == (0, 1)
        assert [note.code for note in third.notes(at_third)] == ["core-shared"]
        shorter.close()  # one that came and went is noticed by the one that stayed
        assert [note.code for note in first.notes(at_first)] == ["core-shared"]
        assert first.notes(first.state()) == second.notes(at_second) == []
    # What another user may have laid there is not touched: then nothing is locked.
    [folder] = tmp_path.iterdir()
    folder.chmod(0o770)
    with ExitStack() as held:
        assert taken([0, 1], held)[0] == Cores(0, 1)


def one_at_a_time(strategy: Any) -> Any:
    @functools.wraps(strategy)
    async def wrapper(fetch: Any, items: Any, limit: int) -> None:
        await strategy(fetch, items, 1)

    return wrapper


@one_at_a_time
async def all_at_once(fetch: Any, items: Any, limit: int) -> None:
    slots = asyncio.Semaphore(limit)
    print("a learner looks at the items", flush=True)
    child = multiprocessing.get_context("spawn").Process(target=os.getpid)
    child.start()  # and a tracker of resources
    child.join()

    async def bounded(item: int) -> None:
        async with slots:
            await fetch(item)

    await asyncio.gather(*map(bounded, items))


async def test_a_strategy_may_print_and_be_decorated_and_no_process_runs_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = hostile(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")  # as in a notebook

    record = (await ran(TINY.replace(strategy=all_at_once, delay="0.01"))).record
    async with lab.serving(workers=2):
        assert not imported.exists(), imported.read_text()

    assert_all_done(record, TINY)
    assert record.server.max_in_flight == 1


def test_each_interpreter_that_the_lab_starts_is_safe_from_the_current_folder() -> None:
    sources = [path.read_text() for path in Path(lab.__file__).parent.rglob("*.py")]
    started = [one for text in sources for one in re.findall(r'sys\.executable,\s*"(.*?)"', text)]

    assert len(started) >= 6
    assert set(started) == {"-P"}


def test_a_function_of_a_script_is_measured_and_the_parent_stays_free(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(PROGRAMS["script"])
    # What a script imports from its own folder is found.
    (tmp_path / "helper.py").write_text("def calls(items): return list(items)")
    command = [sys.executable, script]
    ended = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)

    assert ended.stderr == ""
    found = json.loads(ended.stdout)
    trial, counts = found["record"]["trial"], found["record"]["counts"]
    assert (trial["strategy"], trial["own_strategy"], counts["ok"]) == ("mine", True, 9)
    assert not [name for name in found["modules"] if name.startswith("labkit.measured")]
    assert not {"matplotlib", "pandas", "aiohttp"} & set(found["modules"])


# Targets of one's own


async def test_a_url_is_called_item_by_item_and_a_connector_that_holds_back_is_noted() -> None:
    usual, _ = environment.core_each()
    with serving(core=usual) as server:
        url = f"http://localhost:{server.address[1]}/bytes/{{item}}"
        record = (await ran(TINY.replace(target=url, **{"transport.limit": 3}))).record
        stats = server.stats()

    assert doubts(record) == ["connector-limit"]
    # The core of a server that runs already is left alone, where there is another.
    assert usual is None or record.effective["cores"] != [usual]
    assert stats["connections_opened"] == 3
    assert record.counts.ok == stats["requests"] == 60
    assert stats["bytes_out"] == sum(range(60))
    assert (record.floor_s, record.efficiency) == (None, None)


async def sends_all_twice(fetch: Any, items: Any, limit: int) -> None:
    await asyncio.gather(*map(fetch, [*items, *items]), return_exceptions=True)


@pytest.mark.parametrize(("requests", "delay"), [(60, "1"), (100, "0")])
async def test_a_remote_host_is_sent_no_more_than_the_caps_whatever_a_strategy_does(
    requests: int, delay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "addresses", lambda *_: ["127.0.0.1"])
    with serving(delay=delay) as server:
        url = f"http://example.invalid:{server.address[1]}/"
        remote = Trial(target=url, allow_remote="example.invalid", requests=requests, limit=5)
        record = (await ran(remote.replace(strategy=sends_all_twice))).record
        assert server.stats()["max_in_flight"] <= MAX_REMOTE_LIMIT

    assert record.counts.sent == record.counts.ok == requests
    # The first may have been sent a little late.
    assert (record.wall_s or 0.0) >= 0.9 * (requests - 1) / MAX_REMOTE_RPS


async def test_where_nobody_listens_all_fail_and_nothing_is_lost() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    record = (await ran(TINY.replace(target=f"http://127.0.0.1:{port}"))).record

    assert doubts(record) == ["all-failed", "failures"]
    assert record.verdict == "invalid"
    assert record.counts.failed == {"connect": 60}
    assert (record.latency_s, record.latency_hdr) == (None, None)
    assert 1 <= len(record.first_errors) <= 5


# Refused before anything is started


LOCK = threading.Lock()


async def holds_a_lock(fetch: Any, items: Any, limit: int) -> None:
    with LOCK:
        pass


ELSEWHERE = Mock(return_value=[(0, 0, 0, "", ("192.0.2.1", 80))])
REFUSED = [
    ({"target": "http://localhost/"}, {"socket.getaddrinfo": ELSEWHERE}, "is not loopback"),
    ({}, {"labkit.launch.preflight.descriptors": lambda: 65}, "allows 1 a process"),
    ({"strategy": holds_a_lock}, {}, "strategy is 'holds_a_lock': it uses 'LOCK', a lock of"),
]


@pytest.mark.parametrize(("settings", "patches", "message"), REFUSED)
async def test_what_cannot_run_here_starts_nothing(
    monkeypatch: Any, settings: Any, patches: Any, message: str
) -> None:
    for name, value in patches.items():
        monkeypatch.setattr(name, value)
    with noted_children() as children, pytest.raises(BadInput, match=message):
        await launcher.run(TINY.replace(**settings), keep=pytest.fail)

    assert children == {}


# Endings


async def dies(fetch: Any, items: Any, limit: int) -> None:
    os._exit(7)


UNFINISHED = [
    ({"delay": "60", "deadline_s": 3}, "the trial passed its deadline of 3 s (re", "deadline"),
    ({"strategy": dies}, "the client process died (exit status 7)", "worker-lost"),
]


@pytest.mark.parametrize(("settings", "says", "code"), UNFINISHED)
async def test_a_trial_that_is_not_finished_fails(settings: Any, says: str, code: str) -> None:
    found = await ran(TINY.replace(**settings))

    assert str(found.error).startswith(says)
    assert (found.record.warnings[0].code, found.record.verdict) == (code, "invalid")
    assert found.record.counts.ok == 0
    assert found.record.counts.not_sent >= 53


NO_SERVER = [
    (("labkit.launch.servers.START_S", 0), "^the target announced nothing for 0 s"),
    (
        ("labkit.launch.environment.usable_cores", lambda: [0, 10**6]),
        r"^the target did not start \(exit status 2\): .*serve\.core is 1000000",
    ),
]


@pytest.mark.parametrize(("patches", "message"), NO_SERVER)
async def test_a_server_does_not_start(monkeypatch: Any, patches: Any, message: str) -> None:
    monkeypatch.setattr(*patches)
    found = await ran(TINY)

    assert re.search(message, str(found.error))
    assert [note.code for note in found.record.warnings] == ["target-lost"]
    assert found.record.counts.sent == 0
    assert set(found.children) == {SERVER, WORKER}


class Unusable:
    """Pickled, it is a call that is refused where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return delays.parse, ("nonsense",)


async def test_what_the_client_refuses_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    pickled = base64.b64encode(pickle.dumps(Unusable())).decode()
    monkeypatch.setattr("labkit.launch.preflight.pickled", lambda _: pickled)
    message = "delay is 'nonsense': it does not parse"
    with noted_children() as children, pytest.raises(BadInput, match=message):
        await launcher.run(TINY, keep=pytest.fail)

    assert children.gone


async def test_a_child_holds_no_thread_of_the_loops_executor() -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    child = process.start(WORKER)
    try:
        async with asyncio.timeout(2):
            await asyncio.to_thread(int)
    finally:
        await child.stop()


async def test_a_process_that_was_started_ahead_is_taken_where_it_is_the_same_and_lives() -> None:
    dead = process.start_ahead(WORKER)
    dead.signal(signal.SIGKILL)
    await dead.ended
    ahead = process.start_ahead(WORKER)
    other = process.start(WORKER, asked={"MALLOC_ARENA_MAX": "1"})
    same, third = process.start(WORKER), process.start(WORKER)
    try:
        assert same is ahead
        assert len({other.pid, same.pid, third.pid}) == 3
    finally:
        await asyncio.gather(*(one.stop(0) for one in (other, same, third)))
        await process.stop_ahead()


async def test_clients_are_started_ahead_one_for_each_run_and_none_is_left() -> None:
    arms = [({"limit": limit}, Trial(requests=5, limit=limit)) for limit in (1, 2)]
    clients = dict[int, Child]()
    start = process.start

    def noting(module: str, *words: str, **how: Any) -> Child:
        child = start(module, *words, **how)
        if module == WORKER:
            clients[child.pid] = child
        return child

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "start", noting)
        records = await run_all(interleave(arms, repeats=2))

    assert [record.counts.ok for record in records] == [5] * 4
    assert len(clients) == len(records)
    assert {child.status for child in clients.values()} == {0}


def test_a_process_adds_up_how_long_it_waits_for_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(b"null\n{}\n[]\n")))
    monkeypatch.setattr("time.perf_counter", iter([1.0, 3.5, 7.0, 7.25]).__next__)
    monkeypatch.setattr(lifeline, "WAITED_S", waited_s := list[float]())

    assert [lifeline.next_line(), lifeline.next_line()] == [b"{}\n", b"[]\n"]
    assert waited_s == [2.5, 0.25]


PATHS = [
    ("/home/me/lab", "", "/home/me/lab"),
    ("/home/me/lab", "/else", f"/home/me/lab{os.pathsep}/else"),
    ("/x/site-packages", "/else", "/else"),
]


@pytest.mark.parametrize(("home", "before", "found"), PATHS)
def test_children_find_the_package(monkeypatch: Any, home: str, before: str, found: str) -> None:
    monkeypatch.setattr(process, "Child", lambda _, **named: named["environment"])
    monkeypatch.setattr(process, "__file__", f"{home}/labkit/launch/process.py")
    monkeypatch.setenv("PYTHONPATH", before)

    assert process.start(WORKER)["PYTHONPATH"] == found
