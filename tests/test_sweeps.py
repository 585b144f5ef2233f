"""Sweeps: the table, the sentence about the knee, the picture and the JSON."""

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from machines import checks

from labkit import charts
from labkit.errors import BadInput
from labkit.lab import facade
from labkit.record.record import Record, Timeline
from labkit.record.store import Store
from labkit.report import stored
from labkit.report.study import Sweep
from labkit.spec.trial import Trial
from tests.factories import arrivals, make_record

LIMITS = (1, 2, 4, 8, 16, 32, 64, 128)


def law(n: int) -> float:
    return 100 * n / (1 + 0.03 * (n - 1) + 5e-4 * n * (n - 1))


def records(
    curve: Callable[[int], float] = law, limits: Sequence[int] = LIMITS, **changes: Any
) -> list[Record]:
    """Five repeats of each limit; a latency as Little's law has it."""
    return [
        make_record(
            settings={"limit": limit, "requests": 5_000, "delay": "0.01"},
            axes={"limit": limit},
            repeat=repeat,
            throughput_rps=curve(limit) * (1 + 0.002 * repeat),
            latencies_us=[int(1e6 * limit / curve(limit))] * 400,
            **{"latency_s.mean": limit / curve(limit) / (1 + 0.002 * repeat), **changes},
        )
        for repeat in range(5)
        for limit in limits
    ]


def test_the_text_ends_with_the_knee_and_as_json_there_are_both_laws() -> None:
    sweep = Sweep(records())
    assert sweep.knee is not None
    assert sweep.text().splitlines()[-1] == sweep.knee_says()
    assert "The knee" in sweep.html()
    assert f"limit of {sweep.knee.limit}" in sweep.knee_says()
    data = json.loads(msgspec.json.encode(sweep.to_dict()))
    assert {"records", "summary", "comparisons", "knee", "usl", "says"} <= set(data)
    assert data["usl"]["usl"]["sigma"] == pytest.approx(0.03, rel=0.01)
    assert [row["mean_in_flight"] for row in data["summary"]] == pytest.approx(LIMITS)


def test_a_row_for_each_limit_with_littles_law_beside_what_the_server_saw() -> None:
    table = Sweep(records()[::-1]).table()
    rows = [dict(zip(table.headers, row, strict=True)) for row in table.rows]
    assert [int(row["limit"]) for row in rows] == list(LIMITS)
    assert [float(row["in flight"]) for row in rows] == pytest.approx(LIMITS)
    assert [int(row["most at server"]) for row in rows] == list(LIMITS)
    assert {"requests/s", "p50 (ms)", "p99 (ms)", "efficiency (%)"} <= set(rows[0])


def test_invalid_trials_move_no_knee() -> None:
    whole = Sweep(records())
    first, second, *others = records()
    assert (second.repeat, second.axes["limit"]) == (0, 2)
    spoilt = msgspec.structs.replace(second, throughput_rps=1e6, verdict="invalid")
    sweep = Sweep([first, spoilt, *others])
    assert sweep.rates[2][0] is None
    assert sweep.knee
    assert whole.knee
    assert (sweep.knee.limit, sweep.knee.low) == (whole.knee.limit, None)
    # A sweep of invalid trials says so.
    sweep = Sweep(records(verdict="invalid"))
    assert sweep.knee is None
    assert sweep.text().endswith("no limit has a rate above 0 from a valid trial.")
    assert json.loads(msgspec.json.encode(sweep.to_dict()))["knee"] is None


def test_it_says_when_the_knee_may_be_the_servers() -> None:
    busy = {"server.cpu_percent": 97.0, "client.cpu_percent": 60.0}
    assert any("the knee is the server's" in one for one in Sweep(records(**busy)).sentences())
    assert not any("is the server's" in one for one in Sweep(records()).sentences())


def test_unmeasured_latency_is_none() -> None:
    bare = [msgspec.structs.replace(one, latency_s=None, latency_hdr=None) for one in records()]
    sweep = Sweep(bare)
    assert sweep.summary()["mean_in_flight"].isna().all()
    assert "in flight" not in sweep.table().headers
    labels = legends(sweep.plot())
    assert "latency p50" not in labels
    assert "limit / shortest latency" not in labels


# The chart


def legends(chart: charts.Chart) -> list[str]:
    found = [ax.get_legend() for ax in chart.axes]
    return [text.get_text() for legend in found if legend for text in legend.get_texts()]


def test_the_chart_marks_the_knee_and_draws_both_laws(tmp_path: Path) -> None:
    sweep = Sweep(records())
    chart = sweep.plot()
    assert sweep.knee is not None
    labels = legends(chart)
    knees = [label for label in labels if label.startswith(f"knee, {sweep.knee.limit}")]
    assert len(knees) == 3
    assert {"Universal Scalability Law, fitted", "limit / shortest latency"} <= set(labels)
    assert all(ax.get_xscale() == "log" for ax in chart.axes)
    low, high = chart.axes[0].get_xlim()
    assert low <= min(LIMITS)
    assert max(LIMITS) <= high < 1_000
    assert sweep.knee_says() in chart.notes
    # No bound of Little's law is crossed.
    throughput, latency, _ = chart.axes
    lines = {line.get_label(): line for line in (*throughput.lines, *latency.lines)}
    bound = dict(zip(*lines["limit / shortest latency"].get_data(), strict=True))
    measured = dict(zip(*lines["throughput"].get_data(), strict=True))
    assert measured[1] <= bound[1.0] * 1.01
    assert chart.save(tmp_path / "knee.png").read_bytes().startswith(b"\x89PNG")


def test_a_law_that_was_refused_and_a_knee_beyond_the_limits_are_not_drawn() -> None:
    sweep = Sweep(records(lambda n: min(100 * n, 1_000)))
    assert sweep.usl.usl is None
    assert not any("Scalability" in label for label in legends(sweep.plot()))
    assert not any("knee" in one for one in legends(Sweep(records(lambda n: 100 * n)).plot()))


def test_nothing_measured_is_refused() -> None:
    nothing = [msgspec.structs.replace(one, throughput_rps=None) for one in records()]
    with pytest.raises(BadInput, match="no trial of the sweep has a throughput"):
        Sweep(nothing).plot()
    assert "memory" in Sweep(nothing).plot("memory").alt


# Which limits


@pytest.mark.parametrize(("requests", "last"), [(1, 1), (2, 2), (1_000, 512), (1_024, 1_024)])
def test_limits_are_powers_of_two_up_to_the_requests(requests: int, last: int) -> None:
    limits = Sweep.limits_for(Trial(requests=requests))
    assert (limits[0], limits[-1]) == (1, last)
    assert all(b == 2 * a for a, b in itertools.pairwise(limits))


def test_limits_of_a_trial_that_the_clock_ends_go_as_far_as_those_of_the_usual_requests() -> None:
    assert Sweep.limits_for(Trial(seconds=5)) == Sweep.limits_for(Trial())


@pytest.mark.parametrize(("settings", "why"), checks("sweeps.toml", "refused"))
async def test_a_trial_that_heeds_no_limit_or_has_a_rate_is_refused(
    settings: dict[str, Any], why: str, tmp_path: Path
) -> None:
    asked = {name: settings.pop(name) for name in ("rates", "baseline") if name in settings}
    limit = settings.pop("limits", None)
    with pytest.raises(BadInput, match=why):
        await facade.sweep(Trial(**settings), limit, **asked, store=Store(tmp_path))


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, str | None]]:
    """The rates that were run, and of which study, on a service that sustains 300 a second."""
    ran: list[tuple[float, str | None]] = []

    async def run_all(steps: Any, *, study: str | None = None, **_: Any) -> list[Record]:
        found = []
        for step in steps:
            rate = step.trial.workload.rate
            ran.append((rate, study))
            sent = arrivals(rate_rps=rate, achieved_rps=min(rate, 300))
            asked = {"strategy": "worker_pool", "rate": rate, "seconds": 2.0}
            more = {"study": "one", "experiment": "sweep", "axes": dict(step.axes)}
            more |= {"repeat": step.repeat, "arrivals": sent, "timeline": Timeline()}
            found.append(make_record(settings=asked, **more))
        return found

    monkeypatch.setattr(facade, "run_all", run_all)
    return ran


async def test_a_sweep_by_itself_ends_near_the_highest_rate_that_is_sustained(served: Any) -> None:
    study = await facade.sweep(rates="auto", repeats=2)
    rates = list(dict.fromkeys(rate for rate, _ in served))
    assert rates == [64, 128, 256, 512, 362, 304, 332]
    assert {of for _, of in served[2:]} == {"one"}
    assert "is 304 requests/s; 332 was not: 90.4% of it was sent" in study.text()
    assert [record.axes["rate"] for record in study.records] == sorted(2 * rates)
    assert stored.study_of(study.records).text() == study.text()


async def test_it_goes_down_where_the_first_is_not(served: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(facade, "FIRST_RPS", 2_000.0)
    await facade.sweep(rates="auto", repeats=1)
    assert [rate for rate, _ in served] == [2_000, 1_000, 500, 250, 354, 297, 324]


async def test_a_sweep_of_the_rates_that_are_given(served: Any) -> None:
    study = await facade.sweep(Trial(delay="0.1"), rates=[400, 100], repeats=1)
    assert sorted(rate for rate, _ in served) == [100, 400]
    assert study.text().endswith("400 was not: 75.0% of it was sent, where at least 98% must be.")


def test_without_a_floor_the_chart_has_no_panel_of_efficiency() -> None:
    whole, bare = Sweep(records()), Sweep(records(floor_s=None, efficiency=None))

    assert [len(one.plot().axes) for one in (whole, bare)] == [3, 2]
