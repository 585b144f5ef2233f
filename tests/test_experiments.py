"""Coded experiments: each gives figures and leaves a record; and what an audit makes of records."""

import asyncio
import functools
import inspect
import math
import random
import signal
import sys
from typing import Any

import msgspec
import pytest
from machines import checks
from scipy.stats import binom
from servers import STOPPED_S, noted_children

from labkit import stats
from labkit.errors import TrialFailed
from labkit.lab import facade, runner
from labkit.launch import experiment, servers
from labkit.launch.assembly import StudyPosition
from labkit.launch.process import Child
from labkit.measured import experiments
from labkit.record import codes
from labkit.record.codec import decode, encode
from labkit.record.record import Interference, Record
from labkit.record.store import Store
from labkit.report import tables
from labkit.report.file_study import Audit
from labkit.report.study import Run
from labkit.spec.plan import Coded, Step
from labkit.studies import judge, study_file
from labkit.studies.study_file import EXPERIMENTS
from tests.factories import arrivals, make_record


@functools.cache
def coded() -> dict[str, Coded]:
    """An arm of each experiment that a study file asks for."""
    files = {"claims": "smoke", "audit": "full", "eager-2023": "smoke", "asyncpg-2023": "smoke"}
    arms = [a for n, s in files.items() for a in study_file.load(n).plan(s, cores=2).arms.values()]
    return {arm.name: arm for arm in arms if isinstance(arm, Coded)}


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_the_settings_of_an_experiment_are_those_of_its_code(name: str) -> None:
    taken = inspect.signature(experiments.load(name)).parameters.values()
    keywords = [one for one in taken if one.kind is one.KEYWORD_ONLY]
    marks = [f"{one.name}{'' if one.default is one.empty else '?'}" for one in keywords]
    assert EXPERIMENTS[name]["settings"] == marks


@pytest.mark.parametrize(
    "name",
    [*sorted(EXPERIMENTS.keys() - {"queries"}), pytest.param("queries", marks=pytest.mark.service)],
)
async def test_an_experiment_of_a_study_leaves_a_record_with_its_figures(name: str) -> None:
    arm = coded()[name]
    if name == "freed_block" and sys.version_info >= (3, 13):
        pytest.skip("this Python has freed a large block once aiohttp is imported")
    short = {"overhead": {"turns": 2}, "queries": {"driver": "psycopg", "seconds": 0.02}}
    arm = msgspec.structs.replace(arm, settings={**arm.settings, **short.get(name, {})})
    record = await experiment.run(arm, StudyPosition(study="s", axes={"arm": name}, repeat=2))
    assert set(record.figures) == set(EXPERIMENTS[name]["figures"])
    assert all(math.isfinite(value) and value >= 0 for value in record.figures.values())
    assert (record.ran, record.study, record.repeat) == (name, "s", 2)
    # A busy machine may spoil it, and is noted then; nothing else is wrong with it.
    assert not codes.failed(record)
    assert record.verdict != "invalid" or codes.by_others(record)
    assert record.client is not None
    assert decode(encode(record)) == record
    assert name in record.says
    for shown in (Run(record).text(), tables.of_records([record]).text()):
        assert name in shown


@pytest.mark.parametrize(("name", "settings", "figures"), checks("experiments.toml", "faults"))
async def test_faults_are_seen_every_time(
    name: str, settings: dict[str, Any], figures: dict[str, float]
) -> None:
    assert await experiments.load(name)(None, **settings) == figures


async def test_urgent_work_waits_less_in_a_priority_queue_and_equals_keep_their_order() -> None:
    measure = experiments.load("priority")
    kinds = ("fifo", "printed", "priority")
    plain, printed, own = [await measure(None, queue=kind) for kind in kinds]
    assert own["urgent_wait_s"] < plain["urgent_wait_s"]
    assert (plain["overtaken"], own["overtaken"]) == (0, 0)
    assert printed["overtaken"] > 100


async def test_a_stream_holds_no_more_results_than_its_limit_and_the_printed_list_all() -> None:
    measure = experiments.load("chunk_results")
    assert (await measure(None, how="printed", items=60))["most_held"] == 60
    assert (await measure(None, how="stream", items=60))["most_held"] <= 10 + 1


async def test_a_weak_cache_gives_back_what_nobody_uses() -> None:
    weak, kept = [
        (await experiment.measured("cache_memory", {"how": how, "values": 20}, None))[0]
        for how in ("weak", "dict")
    ]
    assert min(weak["in_use_bytes"], kept["in_use_bytes"], kept["left_bytes"]) > 15 << 20
    assert weak["left_bytes"] < 5 << 20


@pytest.mark.parametrize(("name", "settings", "message"), checks("experiments.toml", "refused"))
async def test_an_experiment_that_cannot_be_run_says_so(
    name: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(TrialFailed, match=message):
        await experiment.measured(name, settings, None)


async def test_an_experiment_is_guarded_like_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process stands still for a while, and its server after that."""
    jobs, asked, send = dict[str, Any](), asyncio.Event(), Child.send
    arm = Coded(name="idle_gaps", settings={"keepalive_timeout": 15}, server={})

    def noting(child: Child, job: dict[str, Any]) -> None:
        jobs.update(job)
        asked.set()
        send(child, job)

    async def stop(module: str, answered: int) -> None:
        served: dict[str, Any] | None = None
        while (served or {"requests": 0})["requests"] < answered:
            served = await asyncio.to_thread(servers.asked, jobs["url"], "/-/stats")
        children[module].signal(signal.SIGSTOP)
        await asyncio.sleep(STOPPED_S)
        children[module].signal(signal.SIGCONT)

    monkeypatch.setattr(Child, "send", noting)
    with noted_children() as children:
        running = asyncio.ensure_future(experiment.run(arm, StudyPosition()))
        await asked.wait()
        await stop("labkit.measured.experiments", 3)
        await stop("labkit.measured.targets.http", 20)
        record = await running
    notes = [note.message for note in record.warnings if note.code == "stalled"]
    assert [note.partition(" for ")[0] for note in notes] == [
        "the client stood still",
        "the server stood still",
    ]
    assert (record.verdict, codes.by_others(record)) == ("invalid", True)
    assert record.client.waited_percent is not None
    assert record.server.waited_percent is not None


async def test_an_experiment_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "DEADLINE_S", 0.0)
    arm = Coded(name="held_lock", settings={"twice": True})
    record = await experiment.run(arm, StudyPosition())
    assert (record.verdict, record.figures) == ("invalid", {})
    assert [note.code for note in record.warnings] == ["program-failed"]
    assert "took over" in record.warnings[0].message


# The audit: what it makes of records, and that it fails closed

STEADY = [100.0, 103.0, 98.0, 101.0, 99.0]
SAME = ([100.0, 101.0, 99.0, 102.0, 98.0], [101.0, 99.0, 100.0, 98.0, 103.0])


def test_comparisons_that_claim_a_difference_are_counted() -> None:
    twice = (STEADY, [value / 2 for value in STEADY])
    found = judge.false_positives([SAME] * 43 + [twice] * 7)
    assert (found.verdict, found.measured) == ("holds", 0.14)
    assert found.says.startswith("7 of 50 comparisons claim a difference, with ends of an interval")
    low, high = stats.of_ratio(*SAME).low or 0, stats.of_ratio(*SAME).high or 0
    assert found.says.endswith(f" {high / low:.2f} times apart")
    # A perfect lab has more of so many in at most 1 % of all audits, and fewer are not enough.
    for many in (2, 20, 50):
        most = int(binom.ppf(0.99, many, 0.05))
        for wrong, verdict in ((most, "holds"), (most + 1, "refuted")):
            pairs = [SAME] * (many - wrong) + [twice] * wrong
            assert judge.false_positives(pairs).verdict == verdict
    assert binom.sf(7, 50, 0.2) > 0.8
    few: list[Any] = [([1.0] * 4, [1.0] * 4)]
    for nothing in (judge.false_positives(one) for one in ([], few, [twice])):
        assert (nothing.verdict, nothing.measured) == ("inconclusive", None)
    assert nothing.at_most == 1  # of one comparison each may


def test_simulated_comparisons_of_real_noise_claim_few_differences() -> None:
    found = judge.simulated([SAME, (STEADY, SAME[0])] * 5)
    assert found.verdict == "holds"
    assert 0 <= (found.measured or 0) <= 0.1
    assert found == judge.simulated([SAME, (STEADY, SAME[0])] * 5)
    assert judge.simulated([SAME, (STEADY, SAME[0])]).verdict == "inconclusive"
    # A real difference must show, also one of less than the noise.
    for slower in (2, 1.03):
        real = [([value * slower for value in of], to) for of, to in [SAME, (STEADY, SAME[0])] * 5]
        assert judge.simulated(real).verdict == "refuted"


def record(arm: str, repeat: int = 0, **changes: Any) -> Record:
    settings = {"delay": "0.02"} if arm.startswith("paced") else None
    return make_record(axes={"arm": arm}, repeat=repeat, settings=settings, **changes)


def audited(arm: str, changes: list[dict[str, Any]]) -> Audit:
    """An audit of these records of one arm, a repeat each."""
    listed = [record(arm, repeat, **one) for repeat, one in enumerate(changes)]
    return Audit(study_file.load("audit"), "full", listed)


@pytest.mark.parametrize(("ratios", "answer"), checks("audit.toml", "cost"))
def test_the_cost_of_probes_is_judged_by_its_interval(ratios: list[float], answer: str) -> None:
    found = audited("probes-wire-uvloop", [{"figures": {"throughput_ratio": r}} for r in ratios])
    assert found["probes-wire-uvloop"].verdict == answer
    assert found["probes-wire"].verdict == "inconclusive"


@pytest.mark.parametrize(
    ("p50_s", "answer"),
    [(0.0205, "holds"), (0.0211, "holds"), (0.0214, "refuted"), (0.0191, "refuted")],
)
def test_percentiles_are_compared_with_what_the_server_knows(p50_s: float, answer: str) -> None:
    late = {"p50": 0.0002, "p99": 0.001, "max": 0.002}
    one = {"latency_s.p50": p50_s, "server.delay_error_s": late, "client.waited_percent": 0.0}
    found = audited("paced-wire", [one] * 5)["p50-wire"]
    assert found.verdict == answer
    assert found.measured == pytest.approx(p50_s - 0.0202)
    unknown = {**one, "server.delay_error_s": None}
    assert audited("paced-wire", [unknown] * 5)["p50-wire"].verdict == "inconclusive"
    slow = {**one, "latency_s.p99": 0.0235}
    assert audited("paced-wire", [slow] * 5)["p99-wire"].verdict == "refuted"
    # Where the host had the cores for a good part of a hundredth, it may have made the p99.
    stolen = {**slow, "interference": Interference(stolen_percent=0.6)}
    assert audited("paced-wire", [stolen] * 5)["p99-wire"].verdict == "inconclusive"


LATE_S = {"p50": 0.0002, "p99": 0.001, "max": 0.002}


def readings(clock: float = 1.0, cpu: float = 1.0, cost: float = 0.01) -> dict[str, dict[str, Any]]:
    """Return what each arm measures by a clock and a count of CPU, right or off.

    `cost` is the share of the throughput that probes take. A freed block saves less by twice that.
    """
    client = {"client.waited_percent": 0.3, "client.cpu_percent": 99.6 * cpu}
    paced = {"latency_s.p50": 0.0204 * clock, "latency_s.p99": 0.0215 * clock}
    paced |= {**client, "server.delay_error_s": LATE_S}
    late = arrivals(latency_s=msgspec.structs.replace(arrivals().latency_s, p99=0.45 * clock))
    probed = {"figures": {"throughput_ratio": 1 - cost}}
    return {
        "paced-aiohttp": paced,
        "paced-wire": paced,
        "stalled": {**client, "arrivals": late},
        "polling": client,
        **dict.fromkeys(("probes-aiohttp", "probes-wire", "probes-wire-uvloop"), probed),
        "freed-block": {"figures": {"cpu_ratio": 0.8 + 2 * cost}},
    }


def audit(read: dict[str, dict[str, Any]], slower: float = 1.0, **all_of: Any) -> dict[str, str]:
    """Return the word of each verdict; a trial that is compared with itself may be `slower`."""
    chance, listed = random.Random(4), []
    for repeat in range(100):
        for arm, times in (("same", 1.0), ("same-again", slower)):
            rps = 1_000 / times * chance.lognormvariate(0, 0.02)
            listed.append(record(arm, repeat, throughput_rps=rps, **all_of))
    for arm, one in read.items():
        listed += [record(arm, repeat, **one, **all_of) for repeat in range(5)]
    return {one.id: one.verdict for one in Audit(study_file.load("audit"), "full", listed).verdicts}


ITSELF, PROBES = {"same", "same-simulated"}, {f"probes-{kind}" for kind in ("aiohttp", "wire")}
PROBES |= {"probes-wire-uvloop", "malloc"}
CLOCK = {"p50-aiohttp", "p99-aiohttp", "p50-wire", "p99-wire", "stall"}


@pytest.mark.parametrize(
    ("read", "slower", "beyond"),
    [
        (readings(), 1.0, set()),
        (readings(), 1.05, ITSELF),
        (readings(clock=1.1, cpu=1.1), 1.0, CLOCK | {"cpu"}),
        (readings(clock=0.9, cpu=0.9, cost=0.1), 1.0, CLOCK | {"cpu"} | PROBES),
    ],
)
def test_what_is_off_refutes_its_figure_and_no_other(
    read: dict[str, dict[str, Any]], slower: float, beyond: set[str]
) -> None:
    """A tenth of a clock, of CPU, of the throughput by probes; a twentieth between equal arms."""
    found = audit(read, slower)
    assert {name for name, word in found.items() if word == "refuted"} == beyond
    assert {word for name, word in found.items() if name not in beyond} <= {"holds"}


def test_no_figure_holds_by_records_that_lost_a_request() -> None:
    assert "holds" not in audit(readings(), warnings=["not-conserved"], verdict="invalid").values()


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_intervals_that_are_too_narrow_are_found(
    monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    def narrow(made: stats.Interval) -> stats.Interval:
        low, high = (made.value * (end / made.value) ** share for end in (made.low, made.high))
        return msgspec.structs.replace(made, low=low, high=high)

    for name in ("of_ratio", "of_ratios"):
        usual = getattr(stats, name)
        monkeypatch.setattr(stats, name, lambda *of, usual=usual: narrow(usual(*of)))
    assert {name for name, word in audit(readings()).items() if word == "refuted"} >= ITSELF


async def test_an_audit_runs_each_part_and_reads_each(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    asked: list[Step] = []

    async def run_all(steps: list[Step], **_: Any) -> list[Record]:
        asked.extend(steps)
        return [
            make_record(
                axes=dict(step.axes),
                repeat=step.repeat,
                throughput_rps=1_000.0 + step.order % 7,
                figures={"throughput_ratio": 0.99} if isinstance(step.work, Coded) else {},
            )
            for step in steps
        ]

    monkeypatch.setattr(runner, "run_all", run_all)
    found = await facade.audit(3, store=Store(tmp_path))
    assert len(asked) == 3 * 5 * 2 + 8 * 5
    assert [one.id for one in found.verdicts][:3] == ["same", "same-simulated", "probes-aiohttp"]
    assert found["same"].reason.startswith("0 of 3 comparisons")
    assert found["probes-wire"].verdict == "holds"
    assert {row["id"] for row in found.to_dict()["verdicts"]} >= {"same", "p99-wire", "stall"}
