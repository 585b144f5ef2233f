"""Intervals: against independent oracles, and simulated experiments whose truth is known."""

import math
import random
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import checks
from numpy.typing import NDArray
from scipy import stats as scipy_stats
from scipy.optimize import brentq

from labkit import stats
from labkit.errors import BadInput
from labkit.stats.intervals import LEVEL, Interval, of_ratio, of_ratios, of_value

Arms = tuple[NDArray[np.float64], NDArray[np.float64]]
World = Callable[[np.random.Generator, tuple[int, int]], Arms]

EXPERIMENTS = 4_000
TRUTH = 1.2

POSITIVE = st.floats(1e-3, 1e3)
PAIRS = st.lists(st.tuples(POSITIVE, POSITIVE), min_size=1, max_size=30)


def of_pairs(pairs: Sequence[tuple[float, float]]) -> Interval:
    return of_ratio([of for of, _ in pairs], [to for _, to in pairs])


def ends(interval: Interval) -> tuple[float, float]:
    assert interval.ends
    return interval.low, interval.high


# The noise of six worlds, in all of which the median ratio is TRUTH.


def both(noise: Callable[..., NDArray[np.float64]]) -> World:
    """The same noise, a factor with each run, for both arms."""
    return lambda rng, shape: (TRUTH * 100 * noise(rng, shape), 100 * noise(rng, shape))


def slow_now_and_then(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    return rng.lognormal(0, 0.03, shape) * np.where(rng.random(shape) < 0.1, 1.5, 1)


def drifting(rng: np.random.Generator, shape: tuple[int, int]) -> Arms:
    of, to = both(lambda rng, shape: rng.lognormal(0, 0.03, shape))(rng, shape)
    drift = np.exp(np.cumsum(rng.normal(0, 0.1, shape), axis=1))
    return of * drift, to * drift


def one_arm_slow(rng: np.random.Generator, shape: tuple[int, int]) -> Arms:
    """The median of one arm's ratio is no longer that of its usual runs: 1 in 10 is slower."""
    of, to = slow_now_and_then(rng, shape), rng.lognormal(0, 0.03, shape)
    # The median is where 0.9 F(x) + 0.1 F(x / 1.5) is 1/2; F is of the ratio of two usual runs.
    cdf = scipy_stats.norm(0, math.sqrt(2) * 0.03).cdf
    log_median = brentq(lambda x: 0.9 * cdf(x) + 0.1 * cdf(x - math.log(1.5)) - 0.5, 0.0, 0.1)
    return TRUTH * of / math.exp(log_median), to


WORLDS: dict[str, World] = {
    "normal": both(lambda rng, shape: rng.normal(1, 0.05, shape)),
    "lognormal": both(lambda rng, shape: rng.lognormal(0, 0.1, shape)),
    "heavy": both(lambda rng, shape: np.exp(0.03 * rng.standard_t(3, shape))),
    "slow": both(slow_now_and_then),
    "one slow": one_arm_slow,
    "drift": drifting,
}


def world(name: str, n: int) -> Arms:
    """Return as many experiments as are simulated, a row each; the same every time."""
    return WORLDS[name](np.random.default_rng([n, *name.encode()]), (EXPERIMENTS, n))


@pytest.mark.parametrize("n", [5, 10, 20])
@pytest.mark.parametrize("name", WORLDS)
def test_the_95_percent_interval_holds_the_truth_in_93_to_97_percent(name: str, n: int) -> None:
    of, to = world(name, n)
    found = [of_ratio(a, b) for a, b in zip(of.tolist(), to.tolist(), strict=True)]
    share = statistics.fmean(low <= TRUTH <= high for low, high in map(ends, found))
    # The standard error of 4,000 experiments is 0.34 %.
    assert 0.935 <= share <= 0.965
    assert {one.level for one in found} == {LEVEL}


# Oracles.


def test_five_repeats_reach_a_quarter_beyond_their_extremes() -> None:
    assert of_value([30.0, 10.0, 18.0, 14.0, 26.0]) == Interval(value=18.0, low=9.0, high=31.0, n=5)
    assert of_value([0.0] * 5) == Interval(value=0.0, low=0.0, high=0.0, n=5)
    assert ends(of_value([30.0, 10.0, 18.0, 14.0, 26.0], 0.9375)) == (10.0, 30.0)


def test_ten_repeats_by_hand() -> None:
    # Of 1,024 the tails hold 11 (ends 2 and 9) and 56 (3 and 8): 97.85 % and 89.06 %. The wanted
    # 95 % lie (97.8516 - 95) / (97.8516 - 89.0625) = 0.32444 of the way; Hettmansperger and
    # Sheather's share is 8 * 0.32444 / (2 + 6 * 0.32444) = 0.65766.
    found = of_value([float(value) for value in range(1, 11)])
    assert found.value == 5.5
    assert ends(found) == pytest.approx((2.65766, 8.34234), abs=1e-5)


@pytest.mark.parametrize("n", [6, 8, 12, 20, 33])
def test_the_ends_lie_between_the_order_statistics_of_the_sign_test(n: int) -> None:
    values = np.sort(np.random.default_rng(n).normal(size=n))
    low, high = ends(of_value(values.tolist()))
    tails = [2 * scipy_stats.binom.cdf(below, n, 0.5) for below in range(n // 2)]
    depth = sum(tail <= 0.05 for tail in tails)
    assert values[depth - 1] <= low <= values[depth]
    assert values[-depth - 1] <= high <= values[-depth]


def test_a_ratio_is_judged_on_its_logarithm() -> None:
    of, to = [2.0, 4.0, 8.0, 16.0, 32.0], [1.0] * 5
    found, logs = of_ratio(of, to), of_value([math.log2(value) for value in of])
    assert found.value == pytest.approx(8.0)
    assert [math.log2(end) for end in ends(found)] == pytest.approx(ends(logs))


def test_equal_ratios_have_an_interval_of_no_width() -> None:
    found = of_ratio([6.0] * 5, [3.0] * 5)
    assert (found.value, *ends(found)) == pytest.approx((2.0, 2.0, 2.0))
    assert found.excludes(1.0)
    assert not of_ratio([0.1] * 5, [0.1] * 5).excludes(1.0)


def test_a_level_out_of_reach_gives_no_ends() -> None:
    widest = 1 - 4 / 16 / 5.25  # of five, 95.24 %
    known = [bool(of_value([1.0, 2.0, 3.0, 4.0, 5.0], level).ends) for level in (widest, 0.953)]
    assert (known, stats.repeats_for(1, widest)) == ([True, False], 5)
    assert of_value([float(value) for value in range(8)], level=0.99).ends


@pytest.mark.parametrize(("of", "to", "level", "says"), checks("intervals.toml", "refused"))
def test_a_ratio_without_an_interval_is_refused(of: Any, to: Any, level: float, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        of_ratio(of, to, level)
    with pytest.raises(BadInput, match="at least one value"):
        of_value([1.0, math.inf])


@given(PAIRS)
def test_swapping_the_arms_gives_the_reciprocals(pairs: list[tuple[float, float]]) -> None:
    there, back = of_pairs(pairs), of_pairs([(to, of) for of, to in pairs])
    assert there.value == pytest.approx(1 / back.value)
    assert there.is_known == bool(back.ends) == (len(pairs) >= 5)
    if there.ends:
        low, high = ends(back)
        assert ends(there) == pytest.approx((1 / high, 1 / low))


@given(st.lists(POSITIVE, min_size=1, max_size=12))
def test_ratios_that_are_known_are_those_to_one(ratios: list[float]) -> None:
    assert of_ratios(ratios) == of_ratio(ratios, [1.0] * len(ratios))


@given(PAIRS, POSITIVE)
def test_a_ratio_has_no_unit(pairs: list[tuple[float, float]], factor: float) -> None:
    found, scaled = of_pairs(pairs), of_pairs([(of * factor, to * factor) for of, to in pairs])
    assert found.value == pytest.approx(scaled.value)
    if found.ends:
        assert ends(found) == pytest.approx(ends(scaled))


@given(PAIRS, st.randoms())
def test_the_order_of_the_repeats_does_not_matter(pairs: list[Any], chance: random.Random) -> None:
    assert of_pairs(chance.sample(pairs, len(pairs))) == of_pairs(pairs)


@given(st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=40), st.sampled_from([0.5, 0.9, 0.95]))
def test_the_ends_hold_the_estimate(values: list[float], level: float) -> None:
    found = of_value(values, level)
    low, high = ends(found)
    slack = 1e-9 * max(map(abs, values))
    assert low - slack <= found.value <= high + slack
    assert found.value == statistics.median(values)
