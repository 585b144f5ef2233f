"""Little's law, the knee and the Universal Scalability Law, on curves whose truth is known."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit import stats
from labkit.errors import BadInput
from labkit.stats.scaling import Rates

LIMITS = [2**power for power in range(10)]
EXPERIMENTS = 300
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
    assert stats.in_flight(limit / latency_s, latency_s) == pytest.approx(limit)


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


def test_the_knee_in_words_names_limits_without_any_rate() -> None:
    found = stats.knee({**exact(saturating), 4: [None] * 5, 16: [0.0] * 5})
    says = stats.knee_says(found)
    assert (found.limit, found.left_out) == (32, [4, 16])
    assert "left out: limit 4, 16. The knee is at a limit of 32" in says
    assert says.endswith("its 95 % interval, of the limits tried, is 32 alone.")


@pytest.mark.parametrize("rates", [{}, {1: []}, {1: [None, math.nan, 0.0]}])
def test_no_rate_has_no_knee(rates: Rates) -> None:
    with pytest.raises(BadInput, match="there is no knee"):
        stats.knee(rates)


def test_a_rate_that_still_rises_has_no_knee_yet() -> None:
    found = stats.knee(exact(lambda n: 100.0 * n))
    assert found.at_end
    assert "sweep further" in stats.knee_says(found)


# The Universal Scalability Law


def test_the_law_is_found_again() -> None:
    found = stats.fit_usl(exact(usl(120, 0.03, 2e-4))).usl
    assert (found.rate_1, found.sigma, found.kappa) == pytest.approx((120, 0.03, 2e-4), rel=1e-4)
    assert found.peak == pytest.approx(math.sqrt(0.97 / 2e-4), rel=1e-3)
    assert found.off < 1e-5
    assert found.at(1) == pytest.approx(120, rel=1e-4)


@given(st.floats(1, 1e5), st.floats(0.005, 0.3), st.floats(1e-5, 1e-2))
def test_its_peak_is_where_the_rate_is_highest(rate_1: float, sigma: float, kappa: float) -> None:
    found = stats.fit_usl(exact(usl(rate_1, sigma, kappa))).usl
    if found.peak is not None:
        around = [found.at(found.peak * factor) for factor in (0.9, 1.0, 1.1)]
        assert max(around) == around[1]


def test_the_law_is_found_through_noise() -> None:
    found = stats.fit_usl(noisy(usl(), np.random.default_rng(1), repeats=5)).usl
    assert found.sigma == pytest.approx(0.02, rel=0.3)
    assert found.peak == pytest.approx(math.sqrt(0.98 / 1e-4), rel=0.2)


def test_a_rate_that_only_levels_off_has_no_peak() -> None:
    fit = stats.fit_usl(exact(usl(kappa=0)))
    assert fit.usl.peak is None
    assert "no peak is known" in stats.usl_says(fit)


@pytest.mark.parametrize(
    ("rates", "says"),
    [
        (exact(usl(), LIMITS[:5]), "sweep 6 or more"),
        ({**exact(usl(), LIMITS[:5]), 64: [None]}, "5 limits"),
        (exact(saturating), "off by"),
        (exact(lambda n: 100.0 * n), "nothing is seen"),
        (exact(lambda n: 1000.0 if n % 3 == 1 else 10.0), "off by"),
    ],
)
def test_the_law_is_refused_where_it_does_not_fit(rates: Rates, says: str) -> None:
    fit = stats.fit_usl(rates)
    assert fit.usl is None
    assert says in fit.reason
    assert says in stats.usl_says(fit)


@given(st.dictionaries(st.integers(1, 10_000), st.lists(st.none() | st.floats(), max_size=5)))
def test_nothing_makes_the_fit_raise(rates: dict[int, list[float | None]]) -> None:
    fit = stats.fit_usl(rates)
    assert (fit.usl is None) == bool(fit.reason)
