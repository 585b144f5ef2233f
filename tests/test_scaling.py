"""Little's law, the knee and the Universal Scalability Law, on curves whose truth is known."""

import math
import statistics
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit import stats
from labkit.errors import BadInput
from labkit.record.record import Note, Record, Timeline
from labkit.record.requests import Latency
from labkit.report.study import Study
from labkit.stats.scaling import Rates
from tests.factories import arrivals, make_record

LIMITS = [2**power for power in range(10)]
CLOSE = [64, 80, 100, 128, 160, 200, 256]
EXPERIMENTS = 120
Curve = Callable[[int], float]


def usl(rate_1: float = 100, sigma: float = 0.02, kappa: float = 1e-4) -> Curve:
    return lambda n: rate_1 * n / (1 + sigma * (n - 1) + kappa * n * (n - 1))


def saturating(n: int) -> float:
    """A server that answers in 10 ms, and at most 3,000 a second."""
    return min(100.0 * n, 3_000.0)


def exact(curve: Curve, limits: list[int] | None = None, repeats: int = 5) -> Rates:
    return {limit: [curve(limit)] * repeats for limit in limits or LIMITS}


def noisy(curve: Curve, rng: np.random.Generator, *, repeats: int) -> Rates:
    """Rates with 5 % of noise each, and 5 % more that a repeat shares."""
    shared = rng.lognormal(0, 0.05, repeats)
    return {n: (curve(n) * shared * rng.lognormal(0, 0.05, repeats)).tolist() for n in LIMITS}


@given(st.integers(1, 50), st.floats(1e-4, 10))
def test_littles_law_of_a_closed_workload_gives_its_limit(limit: int, latency_s: float) -> None:
    record = make_record(throughput_rps=limit / latency_s, **{"latency_s.mean": latency_s})
    assert record.mean_in_flight == pytest.approx(limit)


# The knee


def test_the_knee_is_the_smallest_limit_within_5_percent_of_the_best() -> None:
    rates = {1: 50.0, 2: 94.9, 4: 95.0, 8: 100.0, 16: 97.0}
    found = stats.knee({limit: [rate] * 5 for limit, rate in rates.items()})
    assert (found.limit, found.low, found.high) == (4, 4, 4)
    assert (found.best, found.rate, found.best_rate) == (8, 95.0, 100.0)
    assert not found.at_end


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=12))
def test_the_knee_of_any_rates_is_that_of_its_definition(values: list[float]) -> None:
    rates = dict(enumerate(values, start=1))
    found = stats.knee({limit: [rate] for limit, rate in rates.items()})
    near = [limit for limit, rate in rates.items() if rate >= 0.95 * max(values) * (1 - 1e-12)]
    assert found.limit == pytest.approx(min(near))
    assert found.low is None


@pytest.mark.parametrize("repeats", [5, 10, 20])
@pytest.mark.parametrize("curve", [usl(), usl(kappa=0), saturating], ids=["usl", "rises", "hard"])
def test_its_interval_holds_the_knee_of_the_true_rates(curve: Curve, repeats: int) -> None:
    truth, rng = stats.knee(exact(curve)).limit, np.random.default_rng(repeats)
    knees = [stats.knee(noisy(curve, rng, repeats=repeats)) for _ in range(EXPERIMENTS)]
    # Limits are few and apart, so that it holds more often than it says.
    assert statistics.fmean(found.low <= truth <= found.high for found in knees) >= 0.95


def test_a_repeat_without_a_rate_is_left_out_and_fewer_than_five_give_no_interval() -> None:
    rates = {limit: [*values] for limit, values in exact(saturating, repeats=6).items()}
    rates[32][0] = None
    assert stats.knee(rates).n == 5
    rates[32][1] = math.nan
    found = stats.knee(rates)
    assert (found.limit, found.low, found.high, found.n) == (32, None, None, 4)
    assert "needs 5 valid repeats (one has 4)" in stats.knee_says(found)
    found = stats.knee({**exact(saturating), 4: [400.0] * 4 + [None]})
    assert (found.limit, found.low, found.high, found.n) == (32, None, None, 4)
    # Without a repeat of both, nothing says that a limit is near the best.
    found = stats.knee({1: [95.0, None], 2: [None, 96.0]})
    assert (found.limit, found.n) == (2, 0)


def test_its_interval_is_that_with_any_limit_that_may_be_the_best() -> None:
    found = stats.knee({1: [94.5] * 5, 2: [99.0] * 4 + [101.0], 4: [100.0] * 5})
    # 94.5 is not near 100, but near 99, which once was better than 100.
    assert (found.limit, found.low, found.high, found.best) == (2, 1, 2, 4)


def test_the_knee_in_words_names_limits_without_any_rate() -> None:
    found = stats.knee({**exact(saturating), 4: [None] * 5, 16: [0.0] * 5})
    says = stats.knee_says(found)
    assert (found.limit, found.left_out) == (32, [4, 16])
    assert "left out: limit 4, 16. The knee is at a limit of 32" in says
    assert says.endswith(
        "32: it is the smallest whose rate (3,000 requests/s) is within 5% of the best (3,000 at "
        "32); its 95 % interval, of the limits tried, is 32 alone."
    )


@pytest.mark.parametrize("rates", [{}, {1: []}, {1: [None, math.nan, 0.0]}])
def test_no_rate_has_no_knee(rates: Rates) -> None:
    with pytest.raises(BadInput, match="there is no knee"):
        stats.knee(rates)


def test_a_rate_that_still_rises_has_no_knee_yet() -> None:
    found = stats.knee(exact(lambda n: 100.0 * n))
    assert found.at_end
    assert stats.knee({1: [1.0], 2: [2.0]}).at_end
    assert not stats.knee({1: [1.0]}).at_end
    assert "sweep further" in stats.knee_says(found)


# The Universal Scalability Law


@pytest.mark.parametrize("limits", [LIMITS, LIMITS[3:], [*LIMITS[:9:2], 200]])
def test_the_law_is_found_again(limits: list[int]) -> None:
    found = stats.fit_usl(exact(usl(120, 0.03, 2e-4), limits)).usl
    assert (found.rate_1, found.sigma, found.kappa) == pytest.approx((120, 0.03, 2e-4), rel=1e-4)
    assert found.peak == pytest.approx(math.sqrt(0.97 / 2e-4), rel=1e-3)
    assert found.off < 1e-5
    assert found.at(1) == pytest.approx(120, rel=1e-4)


def test_the_law_is_found_through_noise() -> None:
    found = stats.fit_usl(noisy(usl(), np.random.default_rng(1), repeats=5)).usl
    assert found.sigma == pytest.approx(0.02, rel=0.3)
    assert found.peak == pytest.approx(math.sqrt(0.98 / 1e-4), rel=0.2)


def wobbling(curve: Curve, share: float, limits: list[int]) -> Rates:
    """Rates that are above the curve and below it in turns."""
    return {n: [curve(n) * (1 + share * (-1) ** place)] for place, n in enumerate(limits)}


@pytest.mark.parametrize(
    ("rates", "peak"),
    [
        (exact(usl(kappa=0)), None),
        (exact(usl(sigma=1.5, kappa=1e-3)), None),  # it falls from the start
        (wobbling(usl(kappa=1.2e-5), 0.06, LIMITS), 260),  # kappa is 2.5 standard errors from 0
        (wobbling(usl(kappa=8e-6), 0.06, LIMITS), None),  # 1.9
    ],
)
def test_a_rate_has_no_peak_where_it_only_levels_off_or_may_do_so(
    rates: Rates, peak: float | None
) -> None:
    fit = stats.fit_usl(rates)
    assert fit.usl.peak == (peak and pytest.approx(peak, rel=0.01))
    assert ("no peak is known" in stats.usl_says(fit)) == (peak is None)


@pytest.mark.parametrize(
    ("rates", "says"),
    [
        (exact(usl(), LIMITS[:5]), "sweep 6 or more"),
        ({**exact(usl(), LIMITS[:5]), 64: [None]}, "5 limits"),
        (exact(saturating), "off by"),
        (exact(lambda n: 100.0 * n), "nothing is seen"),
        (exact(usl(sigma=2e-4, kappa=0)), "up to the limit 512 the rate rises"),  # by 91 % of it
        (wobbling(usl(sigma=0.05, kappa=1e-3), 0.008, CLOSE), "determine no coefficients"),
        (exact(lambda n: 1000.0 if n % 3 == 1 else 10.0), "off by"),
    ],
)
def test_the_law_is_refused_where_it_does_not_fit(rates: Rates, says: str) -> None:
    fit = stats.fit_usl(rates)
    assert fit.usl is None
    assert says in fit.reason
    assert says in stats.usl_says(fit)


def test_the_law_is_fitted_to_what_bends_enough_and_determines_its_coefficients() -> None:
    bent = stats.fit_usl(exact(usl(sigma=1e-3, kappa=0))).usl  # by 34 % at the largest
    assert bent.sigma == pytest.approx(1e-3, rel=1e-3)
    # The rate of one at a time is known to 43 %, and to 65 % above.
    assert stats.fit_usl(wobbling(usl(sigma=0.05, kappa=1e-3), 0.006, CLOSE)).usl


@given(st.dictionaries(st.integers(1, 10_000), st.lists(st.none() | st.floats(), max_size=5)))
def test_nothing_makes_the_fit_raise(rates: dict[int, list[float | None]]) -> None:
    fit = stats.fit_usl(rates)
    assert (fit.usl is None) == bool(fit.reason)


# Rates


def at(rate: float, share: float, p50_s: float, repeat: int = 0, **changes: Any) -> Record:
    """A run at a rate, of which a share was sent, and its median latency since due."""
    latency = Latency(mean=p50_s, p50=p50_s, p90=p50_s, p99=p50_s, p999=p50_s, max=p50_s)
    found = arrivals(rate_rps=rate, achieved_rps=share * rate, latency_s=latency)
    settings = {"strategy": "worker_pool", "rate": rate, "limit": 1_000}
    made = {"axes": {"rate": rate}, "arrivals": found, "repeat": repeat, "latency_s": latency}
    made["timeline"] = Timeline(t_s=[0.0], completed=[0], in_flight=[9])
    return make_record(settings=settings, **(made | changes))


USUAL = at(100, 1, 0.02)
FULL = Timeline(t_s=[0.0], completed=[0], in_flight=[1_000])
FULL_SAYS = "50.0% of it was sent, where at least 98% must be; its limit of 1,000 was reached, and"
SPOILT = [Note(code="client-full", message="the client used 97 % of its core")]


def test_a_rate_is_sustained_where_it_is_sent_and_its_requests_take_no_longer() -> None:
    runs = [at(400, 0.5, 0.3), USUAL, at(200, 0.98, 0.099)]
    assert [one.verdict for one in stats.sustained(runs)] == ["holds", "holds", "refuted"]
    assert stats.rates_say(runs) == (
        "The highest rate that was sustained is 200 requests/s; 400 was not: 50.0% of it was sent, "
        "where at least 98% must be."
    )


@pytest.mark.parametrize(
    ("run", "verdict", "why"),
    [
        (at(200, 0.9799, 0.02), "refuted", "98.0% of it was sent, where at least 98% must be"),
        (at(200, 0.98, 0.3), "refuted", "half took over 300 ms, and 20 at the lowest"),
        (at(200, 1, 0.101), "refuted", "half took over 101 ms, and 20 at the lowest"),
        (at(200, 1, 0.02, **{"counts.failed": {"status": 1_100}}), "refuted", "1.1% of its"),
        (at(200, 0.5, 0.02, warnings=SPOILT), "inconclusive", "the client used 97 % of its core"),
        (at(200, 1, 0.02, arrivals=None), "inconclusive", "nothing was sent"),
        (at(200, 0.5, 0.02, timeline=FULL), "inconclusive", FULL_SAYS),
    ],
)
def test_why_a_rate_was_not_sustained(run: Record, verdict: str, why: str) -> None:
    *_, found = stats.sustained([USUAL, run])
    assert (found.rate_rps, found.verdict, found.reason[: len(why)]) == (200, verdict, why)
    word = "was not" if verdict == "refuted" else "is inconclusive"
    assert f"is 100 requests/s; 200 {word}: {why}" in stats.rates_say([run, USUAL])


def test_a_rate_that_may_have_been_missed_is_inconclusive() -> None:
    # Of five repeats the median is enough, but the interval reaches below.
    runs = [at(100, share, 0.02, n) for n, share in enumerate((0.97, 0.975, 0.99, 0.995, 1))]
    assert stats.rates_say(runs).startswith(
        "No rate is known to be sustained; 100 is inconclusive: 99.0% of it was sent (from 96.9% to"
    )
    surely = [at(100, share, 0.02, n) for n, share in enumerate((0.981, 0.985, 0.99, 0.995, 1))]
    assert stats.rates_say(surely).endswith("and no higher one was asked for: sweep further.")


def test_of_a_few_repeats_the_worst_counts_and_one_full_limit_is_enough() -> None:
    late = at(100, 1, 0.02, latency_s=at(100, 1, 0.01).latency_s)
    failing = at(200, 1, 0.02, **{"counts.failed": {"status": 1_100}})
    unknown = at(200, 1, 0.2)
    assert unknown.arrivals is not None
    unknown = msgspec.structs.replace(
        unknown, arrivals=msgspec.structs.replace(unknown.arrivals, achieved_rps=None)
    )
    wide = "75.0% of it was sent (from 50.0% to 100.0%), where at least 98% must be"
    for runs, verdict, why in (
        ([failing, at(200, 1, 0.02, 1)], "refuted", "1.1% of its requests failed"),
        ([at(200, 0.5, 0.02), at(200, 1, 0.02, 1)], "inconclusive", wide),
        ([at(200, 0.5, 0.02), at(200, 0.5, 0.02, 1, timeline=FULL)], "inconclusive", FULL_SAYS),
        ([at(200, 0.97, 0.02), at(200, 0.98, 0.02, 1)], "inconclusive", ""),
        ([unknown], "refuted", "0.0% of it was sent, where at least 98% must be"),
        ([at(200, 1, 0.3)], "refuted", "half took over 300 ms, and 20 at the lowest rate"),
    ):
        *_, found = stats.sustained([late, *runs])
        assert (found.verdict, found.reason[: len(why)]) == (verdict, why)


def test_a_short_latency_may_grow_by_what_a_machine_adds() -> None:
    runs = [at(rate, 1, p50_s) for rate, p50_s in ((9, 0.0005), (10, 0.0104), (11, 0.0106))]
    assert [one.verdict for one in stats.sustained(runs)] == ["holds", "holds", "refuted"]


def test_at_each_bound_a_rate_is_still_sustained() -> None:
    failed = {"counts.failed": {"status": 1_000}}
    runs = [at(9, 1, 0.1), at(10, 0.98, 0.5), at(11, 1, 0.1, **failed)]
    assert {one.verdict for one in stats.sustained(runs)} == {"holds"}
    slower = [at(9, 1, 0.0995), at(10, 1, 0.995)]
    assert "half took over 995 ms, and 99.5 at the lowest" in stats.rates_say(slower)


def test_a_study_of_rates_ends_with_the_highest_that_was_sustained() -> None:
    runs = [USUAL, at(200, 0.5, 0.3)]
    study, mixed = Study(runs, ["rate"]), [*runs, make_record(axes={"rate": None})]
    assert study.text().endswith(stats.rates_say(runs))
    assert Study(mixed, ["rate"]).html().count(stats.rates_say(runs)) == 1
    assert "ratio to" not in study.text()
    assert [one["verdict"] for one in study.to_dict()["sustained"]] == ["holds", "refuted"]
    assert "since due p50 over rate" in study.plot().alt
