"""Delay expressions, what is drawn from them, and the floor against a simulated schedule."""

import itertools
import math
import re
import statistics
from fractions import Fraction
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import checks
from scipy.stats import kstest

from labkit.errors import BadInput
from labkit.spec import delays
from labkit.spec.delays import (
    FORMS,
    MAX_DELAY_S,
    Delay,
    Stage,
    due_s,
    floor_and_bound,
    floor_and_bound_of,
    floor_s,
    parse,
)

SEEDS = [0, 1, 2**63 - 1]
EXPRESSIONS = [
    *("0.05", "randint(0,3)", "randint(2,5)*0.1", "uniform(0,0.1)", "uniform(1,2)*3"),
    *("exponential(0.05)", "lognormal(0.05,0.5)"),
]

SMALL = st.integers(0, 60)
SECONDS = st.floats(0, 60, allow_nan=False).map(lambda value: round(value, 3))


@st.composite
def expressions(draw: st.DrawFn) -> tuple[str, Delay]:
    """An expression, and the delay that it stands for."""
    kind = draw(st.sampled_from(["fixed", "randint", "uniform", "exponential", "lognormal"]))
    factor = draw(st.none() | st.floats(0, 50))
    a = b = draw(SECONDS)
    if kind == "fixed":
        text, b = repr(a), 0.0
    elif kind == "exponential":
        text = f"exponential({a})"
    elif kind == "lognormal":
        a, b = a + 0.001, draw(st.floats(0, 3))
        text = f"lognormal({a!r},{b!r})"
    else:
        a, b = sorted(draw(st.tuples(*[SMALL if kind == "randint" else SECONDS] * 2)))
        text = f"{kind}({a},{b})"
    text += "" if factor is None else f"*{factor!r}"
    return text, Delay(kind=kind, a=a, b=b, factor=1.0 if factor is None else factor)


# Parsing


@given(expressions())
def test_an_expression_parses_to_what_it_says_whatever_the_spaces(pair: tuple[str, Delay]) -> None:
    text, delay = pair

    assert parse(text) == delay
    for sign in "(),*":
        text = text.replace(sign, f" {sign} ")
    assert parse(f" {text} ") == delay


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0.0), ("3", 3.0), ("3.", 3.0), (".5", 0.5), ("1e-3", 0.001), ("2E+1*.5", 10.0)],
)
def test_numbers_are_written_as_in_python(text: str, seconds: float) -> None:
    assert parse(text).draw(0, "0") == seconds
    assert parse(text).factor != 1 or parse(text) == Delay(kind="fixed", a=seconds)


@pytest.mark.parametrize("text", checks("delays.toml", "refused"))
def test_anything_else_is_refused_with_all_forms(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(text)

    assert str(caught.value).startswith(f"delay is {text!r}: ")
    assert FORMS in str(caught.value)


def test_the_forms_that_a_refusal_lists_are_read() -> None:
    named, _, factored = FORMS.partition(", each with")

    kinds = [parse(form).kind for form in re.split(r", (?=[a-z])", named)]

    assert kinds == ["fixed", "randint", "uniform", "exponential", "lognormal"]
    assert parse(factored.split()[-1]).factor == 0.1


@pytest.mark.parametrize("text", ["0.5", "randint(0,3)", "uniform(0,0.1)*2", "lognormal(0.05,0)"])
def test_what_may_wait_holds_back(text: str) -> None:
    assert parse(text).holds_back
    assert not any(parse(none).holds_back for none in ("0", "randint(0,0)", "uniform(1,2)*0"))


@pytest.mark.parametrize("rate", [4.0, 0.5])
def test_requests_are_due_evenly_or_after_gaps_that_are_exponential(rate: float) -> None:
    endless = [Stage(math.inf, rate, rate)]
    assert list(due_s(endless, "constant", 0, 4)) == [item / rate for item in range(4)]
    due = list(due_s(endless, "poisson", 1, 20_000))
    gaps = [after - before for before, after in itertools.pairwise(due)]
    assert due[0] == 0
    assert min(gaps) > 0
    assert list(due_s(endless, "poisson", 1, 100)) == due[:100]
    # The mean is as large as the deviation: the standard error of 20,000 is 0.7 % of it.
    assert statistics.fmean(gaps) == pytest.approx(1 / rate, rel=0.02)
    assert kstest(gaps, "expon", args=(0, 1 / rate)).pvalue > 0.01


# Stages


def test_a_stage_is_a_step_or_a_ramp_and_may_have_a_name() -> None:
    text = "10s:100 warm up, 1.5m:100..500 climb,2s: ..0 , 0.5s:..3"
    assert delays.parse_stages(text) == delays.parse_stages(f" ({text}) ")
    assert [*delays.parse_stages(text)] == [
        Stage(10, 100, 100, "warm up"),
        Stage(90, 100, 500, "climb"),
        Stage(2, 500, 0),
        Stage(0.5, 0, 3),
    ]
    assert delays.parse_stages("3s:..6") == (Stage(3, 0, 6),)


@pytest.mark.parametrize("part", ["", "10:5", "s:5", "10s", "10s:", "10s:5..", "10s:a", "10s:-1"])
def test_what_is_no_stage_is_refused_with_the_form(part: str) -> None:
    with pytest.raises(BadInput, match=f"{re.escape(repr(part))} does not parse; write SECONDSs:"):
        delays.parse_stages(f"1s:2,{part}")


@pytest.mark.parametrize(
    "text", ["1s:0", "0s:5", "0s:5, 1s:5", "5s:0, 2s:0..0", "1440m:1, 1s:1", "1s:1000001"]
)
def test_stages_that_do_not_add_up_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match=re.escape(f"{text!r}: they do not add up; write SECONDSs:")):
        delays.parse_stages(text)
    assert delays.parse_stages("1440m:1000000")[0].lasts_s == 86_400
    assert (delays.highest(delays.parse_stages("1s:0.5")), delays.highest([])) == (0.5, 0)


VALUES = st.integers(0, 50).map(float)
STAGED = st.lists(st.builds(Stage, st.integers(1, 5).map(float), VALUES, VALUES), min_size=1)


@given(STAGED, st.integers(0, 400))
def test_request_i_of_a_rate_in_stages_is_due_when_its_integral_is_i(
    stages: list[Stage], most: int
) -> None:
    due = list(due_s(stages, "constant", 0, most))
    assert len(due) == min(math.ceil(sum(stage.whole for stage in stages)), most)
    assert due == sorted(due)
    for item, at_s in enumerate(due):
        integral, began_s = 0.0, 0.0
        for stage in stages:
            in_stage_s = min(max(at_s - began_s, 0.0), stage.lasts_s)
            slope = (stage.ends - stage.begins) / stage.lasts_s
            integral += (stage.begins + slope * in_stage_s / 2) * in_stage_s
            began_s += stage.lasts_s
        assert integral == pytest.approx(item, abs=1e-6)
        assert at_s <= began_s


def test_poisson_stays_poisson_within_a_stage_and_comes_to_the_rate_of_each() -> None:
    stages = delays.parse_stages("100s:20, 50s:0, 100s:20..60, 100s:60")
    due = list(due_s(stages, "poisson", 7, 100_000))
    assert due == list(due_s(stages, "poisson", 7, 100_000)) != list(due_s(stages, "poisson", 8, 9))
    counts = [sum(from_s <= at < from_s + 100 for at in due) for from_s in (0, 150, 250)]
    # Four standard deviations of a count n are 4 * sqrt(n).
    for count, asked in zip(counts, (2_000, 4_000, 6_000), strict=True):
        assert abs(count - asked) < 4 * math.sqrt(asked)
    assert not [at for at in due if 100 <= at < 150]
    gaps = [after - at for at, after in itertools.pairwise(due) if at > 250]
    assert statistics.fmean(gaps) == pytest.approx(1 / 60, rel=0.06)
    assert statistics.stdev(gaps) == pytest.approx(1 / 60, rel=0.08)


def test_the_value_goes_along_the_stages() -> None:
    stages = delays.parse_stages("2s:10..30, 1s:5")
    found = [delays.value_at(stages, at_s) for at_s in (0, 0.5, 1.999, 2, 2.9, 3, 9)]
    assert found == pytest.approx([10, 15, 29.99, 5, 5, 0, 0])


# Drawing


@given(expressions(), st.integers(0, 2**63 - 1), st.text(max_size=8))
def test_a_draw_is_in_range_and_always_the_same(pair: Any, seed: int, name: str) -> None:
    text, delay = pair
    low, high = delay.a * delay.factor, max(delay.a, delay.b) * delay.factor
    if delay.kind in ("exponential", "lognormal"):
        low, high = 0.0, MAX_DELAY_S

    drawn = parse(text).draw(seed, name)

    assert low * (1 - 1e-12) <= drawn <= high * (1 + 1e-12)
    assert drawn == delay.draw(seed, name)
    whole = msgspec.structs.replace(delay, factor=1).draw(0, name)
    assert delay.kind != "randint" or whole % 1 == 0


@pytest.mark.parametrize("byte", [b"\x00", b"\xff"])
def test_uniform_is_open_at_both_ends(byte: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delays, "blake2b", Mock(return_value=Mock(digest=lambda: byte * 8)))

    assert 0 < delays.uniform(0, "0") < 1


def test_draws_depend_on_seed_and_name_and_are_those_of_stored_records() -> None:
    whole, uniform = parse("randint(0,3)"), parse("uniform(0,1)")

    drawn = [int(whole.draw(0, str(item))) for item in range(20)]

    assert drawn == [1, 3, 3, 0, 3, 2, 2, 3, 2, 3, 3, 3, 0, 3, 2, 0, 2, 3, 3, 3]
    assert len({uniform.draw(seed, str(item)) for seed in range(30) for item in range(30)}) == 900


MEANS = [
    ("randint(0,3)*0.1", 0.15, 0.1 * math.sqrt(15 / 12)),
    ("randint(1,3)", 2.0, math.sqrt(8 / 12)),
    ("uniform(1,3)", 2.0, 2 / math.sqrt(12)),
    ("exponential(0.05)", 0.05, 0.05),
    ("lognormal(2,0.5)", 2 * math.exp(0.125), 2 * math.exp(0.125) * math.sqrt(math.expm1(0.25))),
]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("text", "mean", "deviation"), MEANS)
def test_the_mean_is_that_of_the_distribution(
    text: str, mean: Any, deviation: Any, seed: int
) -> None:
    drawn = list(delays.of_items(parse(text), seed, 4_000))

    assert sum(drawn) / 4_000 == pytest.approx(mean, abs=5 * deviation / math.sqrt(4_000))


@pytest.mark.parametrize("seed", SEEDS)
def test_numbers_and_halves_are_drawn_as_often(seed: int) -> None:
    whole = list(delays.of_items(parse("randint(0,3)"), seed, 4_000))
    skewed = list(delays.of_items(parse("lognormal(0.05,2)"), seed, 4_000))

    assert all(850 < whole.count(number) < 1_150 for number in range(4))
    assert 1_850 < sum(delay < 0.05 for delay in skewed) < 2_150
    assert all(
        (skewed[item] < 0.05) == (delays.uniform(seed, str(item)) < 0.5) for item in range(9)
    )


def test_a_draw_is_at_most_the_longest_delay() -> None:
    widest = parse(f"lognormal({MAX_DELAY_S},{delays.MAX_SIGMA})")

    assert max(delays.of_items(widest, 0, 100)) == MAX_DELAY_S


# The floor


def simulated(durations: list[int], slots: int) -> int:
    """The makespan of the queue `durations` on `slots` slots, by stepping from end to end."""
    waiting, running, now = list(durations), [], 0
    while waiting or running:
        while waiting and len(running) < slots:
            running.append(waiting.pop(0))
        step = min(running)
        now += step
        running = [left - step for left in running if left > step]
    return now


@given(st.lists(st.integers(0, 9), max_size=25), st.integers(1, 8))
def test_the_floor_is_the_makespan_of_the_schedule(durations: list[int], slots: int) -> None:
    floor, share = floor_s(durations, slots), Fraction(sum(durations), slots)
    longest = max(durations, default=0)

    assert floor == simulated(durations, slots)
    # Graham's bound for list scheduling, against what no schedule can beat.
    _, least = floor_and_bound(durations, slots)
    assert max(share, longest) == pytest.approx(least)
    assert least <= floor_s(sorted(durations, reverse=True), slots) + 1e-9
    assert max(share, longest) <= floor <= share + longest
    assert floor_s(durations, 1) == sum(durations)
    assert floor_s(durations, len(durations) + 1) == longest


@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 5))
def test_the_closed_form_for_a_fixed_delay_is_the_schedule(n: int, slots: int, delay: int) -> None:
    floor, bound = floor_and_bound_of(parse(str(delay)), 0, n, slots)
    assert floor == simulated([delay] * n, slots)
    assert bound == pytest.approx(floor_and_bound([delay] * n, slots)[1])


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_the_floor_of_an_expression_is_that_of_its_draws(text: str) -> None:
    delay = parse(text)
    drawn = [delay.draw(3, str(item)) for item in range(50)]

    assert list(delays.of_items(delay, 3, 50)) == drawn
    assert floor_and_bound_of(delay, 3, 50, 1) == pytest.approx((sum(drawn), sum(drawn)))
    assert floor_and_bound_of(delay, 3, 50, 50) == (max(drawn), max(drawn))
    assert floor_and_bound_of(delay, 3, 50, 7) == pytest.approx(floor_and_bound(drawn, 7))


@pytest.mark.parametrize("text", ["1", "randint(0,3)"])
def test_the_floor_of_several_clients_is_that_of_the_last_to_end(text: str) -> None:
    delay = parse(text)
    drawn = [delay.draw(3, str(item)) for item in range(10)]
    # Three slots of two clients: two and one of them.
    each = [floor_s(drawn[::2], 2), floor_s(drawn[1::2], 1)]

    floor, bound = floor_and_bound_of(delay, 3, 10, 3, clients=2)
    assert floor == max(each) > min(each)
    assert bound == pytest.approx(floor_and_bound(drawn, 3)[1])


def test_a_share_is_the_whole_unless_it_is_said() -> None:
    assert [*delays.Share().items(3)] == [0, 1, 2]


def test_the_floor_in_this_order_is_no_least_time_and_the_bound_is_what_none_beats() -> None:
    # Longest first takes 6; in the order given the long one begins last.
    assert floor_s([1, 1, 1, 1, 1, 1, 6], 2) == 9
    assert floor_s([6, 1, 1, 1, 1, 1, 1], 2) == floor_and_bound([1, 1, 1, 1, 1, 1, 6], 2)[1] == 6
