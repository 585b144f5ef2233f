"""The audit: what it says of readings, and that it fails closed."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from labkit.errors import BadInput, TrialFailed
from labkit.lab import audit as auditing
from labkit.lab import facade
from labkit.record.record import Arrivals, Record
from labkit.record.store import Store
from labkit.report import audit
from labkit.report.audit import Audit, Figure
from labkit.spec.plan import Step
from tests.factories import arrivals, make_record

STEADY = [100.0, 103.0, 98.0, 101.0, 99.0]
SAME = ([100.0, 101.0, 99.0, 102.0, 98.0], [101.0, 99.0, 100.0, 98.0, 103.0])


def test_comparisons_that_claim_a_difference_are_counted() -> None:
    twice = (STEADY, [value / 2 for value in STEADY])
    figure = audit.false_positives([SAME] * 19 + [twice])
    assert (figure.status, figure.value) == ("ok", 0.05)
    assert figure.found.startswith("1 of 20 comparisons claim a difference")
    assert audit.false_positives([SAME] * 18 + [twice] * 2).status == "warn"


@pytest.mark.parametrize("pairs", [[], [([1.0] * 4, [1.0] * 4)]])
def test_nothing_is_shown_by_too_few_repeats(pairs: Any) -> None:
    figure = audit.false_positives(pairs)
    assert (figure.status, figure.value) == ("not shown", None)


def test_simulated_comparisons_of_real_noise_claim_few_differences() -> None:
    figure = audit.simulated([SAME, (STEADY, SAME[0])] * 5)
    assert figure.status == "ok"
    assert figure.value is not None
    assert 0 <= figure.value <= 0.1
    assert figure == audit.simulated([SAME, (STEADY, SAME[0])] * 5)
    assert audit.simulated([SAME, (STEADY, SAME[0])]).status == "not shown"


@pytest.mark.parametrize(
    ("ratios", "status"),
    [
        ([0.99, 0.991, 0.992, 0.99, 0.991], "ok"),
        ([0.95, 0.951, 0.952, 0.95, 0.951], "warn"),
        ([0.97, 0.99, 1.0, 0.96, 0.985], "not shown"),
        ([0.99, 0.99, 0.99, 0.99], "not shown"),
    ],
)
def test_the_cost_of_probes_is_judged_by_its_interval(ratios: list[float], status: str) -> None:
    figure = audit.overhead("wire on uvloop", ratios)
    assert figure.status == status
    assert figure.interval is not None
    assert figure.value == figure.interval.value


def record(p50_s: float, *, of_server_s: float | None = 0.0002, **changes: Any) -> Record:
    told = None if of_server_s is None else {"p50": of_server_s, "p99": 0.001, "max": 0.002}
    figures = {"latency_s.p50": p50_s, "server.delay_error_s": told}
    return make_record(**figures, **changes)


@pytest.mark.parametrize(
    ("p50_s", "status"), [(0.0205, "ok"), (0.0212, "ok"), (0.0213, "warn"), (0.0191, "warn")]
)
def test_percentiles_are_held_against_what_the_server_knows(p50_s: float, status: str) -> None:
    figure = audit.percentile_error("wire", "p50", 0.02, [record(p50_s)] * 3)
    assert figure.status == status
    assert figure.value == pytest.approx(p50_s - 0.0202)


@pytest.mark.parametrize("records", [[], [record(0.02, of_server_s=None)]])
def test_without_the_servers_word_no_percentile_is_judged(records: list[Record]) -> None:
    figure = audit.percentile_error("wire", "p50", 0.02, records)
    assert (figure.status, figure.value) == ("not shown", None)


def stalled(p99_s: float) -> Record:
    whole: Arrivals = arrivals()
    assert whole.latency_s is not None
    return make_record(arrivals=arrivals(latency_s=replace(whole.latency_s, p99=p99_s)))


@pytest.mark.parametrize(
    ("p99_s", "status"), [(0.45, "ok"), (0.4544, "ok"), (0.456, "warn"), (0.44, "warn")]
)
def test_a_stall_is_held_against_arithmetic(p99_s: float, status: str) -> None:
    assert audit.stall_error(0.45, [stalled(p99_s)]).status == status
    assert audit.stall_error(0.45, []).status == "not shown"
    assert audit.stall_error(0.45, [make_record()]).status == "not shown"


def test_an_audit_says_what_is_beyond_and_what_is_not_shown() -> None:
    def figure(name: str, status: Any) -> Figure:
        return Figure(name=name, found="x", allowed="y", status=status, value=None)

    assert "within what is allowed" in Audit([figure("a", "ok")], []).says()
    said = Audit([figure("a", "ok"), figure("b", "warn"), figure("c", "not shown")], []).says()
    assert "beyond what is allowed: b" in said
    assert "not shown either way: c" in said
    assert "a;" not in said


def test_the_stall_of_the_audit_is_as_late_as_its_arithmetic_supposes() -> None:
    trial = auditing.STALLED
    assert trial.workload.rate == auditing.STALL_RATE
    late = auditing.STALL_S * auditing.STALL_RATE / trial.requests
    assert 0.01 < late < 0.2  # within p99, and within what a guard lets pass


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
                arrivals=None if step.trial.workload.rate is None else arrivals(),
            )
            for step in steps
        ]

    async def measured(name: str, settings: Any, server: Any) -> dict[str, float]:
        assert (name, server) == ("overhead", {})
        if settings["transport"] == "aiohttp":
            raise TrialFailed("it died")
        return {"throughput_ratio": 0.99, "cpu_ratio": 1.01}

    monkeypatch.setattr(auditing, "run_all", run_all)
    monkeypatch.setattr(auditing.fresh, "measured", measured)
    found = await facade.audit(3, store=Store(tmp_path))
    assert len(asked) == 3 * 5 * 2 + 3 * 5
    names = [figure.name for figure in found.figures]
    assert names[0] == "a thing compared with itself"
    assert "throughput with the probes, wire on uvloop" in names
    died = next(figure for figure in found.figures if "probes, aiohttp" in figure.name)
    assert (died.status, died.found) == ("not shown", "nothing was measured")
    assert found.figures[0].found.startswith("0 of 3")
    assert found.to_dict()["conclusion"] == found.says()
    assert found.text() == repr(found)


@pytest.mark.parametrize("comparisons", [0, -1, 2.5, True])
async def test_a_number_of_comparisons_that_is_none_is_refused(comparisons: Any) -> None:
    with pytest.raises(BadInput, match="comparisons"):
        await facade.audit(comparisons)
