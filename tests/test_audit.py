"""The audit: what it makes of records, and that it fails closed."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from machines import checks
from scipy.stats import binom

from labkit import stats
from labkit.lab import facade, runner
from labkit.record.record import Interference, Record
from labkit.record.store import Store
from labkit.report.file_study import Audit
from labkit.spec.plan import Coded, Step
from labkit.studies import judge, study_file
from tests.factories import arrivals, make_record

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
