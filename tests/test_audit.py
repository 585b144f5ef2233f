"""The audit: what it makes of records, and that it fails closed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from labkit.errors import BadInput
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
    found = judge.false_positives([SAME] * 19 + [twice])
    assert (found.verdict, found.measured) == ("holds", 0.05)
    assert found.says.startswith("1 of 20 comparisons claim a difference")
    assert judge.false_positives([SAME] * 18 + [twice] * 2).verdict == "refuted"
    few: list[Any] = [([1.0] * 4, [1.0] * 4)]
    for nothing in (judge.false_positives([]), judge.false_positives(few)):
        assert (nothing.verdict, nothing.measured) == ("inconclusive", None)


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


@pytest.mark.parametrize(
    ("ratios", "answer"),
    [
        ([0.99, 0.991, 0.992, 0.99, 0.991], "holds"),
        ([0.95, 0.951, 0.952, 0.95, 0.951], "refuted"),
        ([0.97, 0.99, 1.0, 0.96, 0.985], "inconclusive"),
        ([0.99, 0.99, 0.99, 0.99], "inconclusive"),
    ],
)
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
    alone = [record("paced-wire", **one)]
    assert judge.within("p50", "latency_error_p50_s", alone, -0.001, 0.001).verdict == answer


@pytest.mark.parametrize(
    ("p99_s", "answer"), [(0.45, "holds"), (0.4544, "holds"), (0.456, "refuted"), (0.44, "refuted")]
)
def test_a_stall_is_compared_with_arithmetic(p99_s: float, answer: str) -> None:
    late = arrivals(latency_s=msgspec.structs.replace(arrivals().latency_s, p99=p99_s))
    one = {"arrivals": late, "client.waited_percent": 0.0, "client.cpu_percent": 80.0}
    assert audited("stalled", [one] * 5)["stall"].verdict == answer
    assert audited("stalled", [{}] * 5)["stall"].verdict == "inconclusive"


def test_an_audit_says_what_is_beyond_and_what_is_not_shown() -> None:
    ratios = {"figures": {"throughput_ratio": 0.9}}
    found = audited("probes-wire", [ratios] * 5)
    assert "beyond what is allowed: probes-wire," in found.sentences()[0]
    assert "not shown either way: same; probes-aiohttp;" in found.sentences()[0]
    assert found.text().endswith(found.sentences()[0])


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
    assert len(asked) == 3 * 5 * 2 + 7 * 5
    assert [one.id for one in found.verdicts][:3] == ["same", "same-simulated", "probes-aiohttp"]
    assert found["same"].reason.startswith("0 of 3 comparisons")
    assert found["probes-wire"].verdict == "holds"
    assert {row["id"] for row in found.to_dict()["verdicts"]} >= {"same", "p99-wire", "stall"}


@pytest.mark.parametrize("comparisons", [0, -1, 2.5, True])
async def test_a_number_of_comparisons_that_is_none_is_refused(comparisons: Any) -> None:
    with pytest.raises(BadInput, match="comparisons"):
        await facade.audit(comparisons)
