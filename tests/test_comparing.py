"""Comparisons of two arms: what is claimed, what is not, and how often by chance."""

import itertools
import math
import random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import checks
from scipy import stats as scipy_stats

from labkit import stats
from labkit.errors import BadInput
from labkit.record.record import Counts, Note
from labkit.report.study import Study
from labkit.spec.targets import Command
from labkit.spec.trial import Trial
from labkit.stats import comparisons, metrics
from tests.factories import make_record, make_study

POSITIVE = st.floats(1e-3, 1e3)
VALUES = st.lists(POSITIVE, min_size=1, max_size=12)
ANYTHING = st.none() | st.floats() | POSITIVE


def test_a_difference_in_every_repeat_is_claimed() -> None:
    to = [1.0, 1.1, 0.9, 1.05, 0.95]
    of = [value * factor for value, factor in zip(to, [2.0, 2.1, 1.9, 2.3, 1.85], strict=True)]
    found = stats.compare(of, to)
    assert found.answer == "higher"
    assert found.ratio == stats.of_ratio(of, to)
    assert found.n == 5
    ends = found.says.partition("(")[2].removesuffix(")")
    interval = f"interval of the ratio for this comparison alone, {ends}, lies above 1"
    assert found.reason == f"the 95 % {interval}"
    assert found.text() == f"↑ higher: ×2 over 5 repeats; {found.reason}."
    assert stats.compare(to, of).answer == "lower"
    together = stats.compare(of, to, level=0.9, family=stats.Family(3))
    assert "the 90 % interval of the ratio for 3 comparisons together, " in together.reason


@pytest.mark.parametrize(("ratio", "text"), [
    (0.5, "×0.5"), (0.8, "×0.8"), (0.99, "×0.990"), (1, "×1.000"), (1.2, "×1.200"), (1.25, "×1.25"),
])  # fmt: skip
def test_a_ratio_has_more_digits_near_1(ratio: float, text: str) -> None:
    assert comparisons.times(ratio) == text


def test_one_repeat_that_goes_the_other_way_leaves_five_undecided() -> None:
    found = stats.compare([2.0, 2.1, 1.9, 2.2, 0.9], [1.0] * 5)
    assert found.answer == "inconclusive"
    assert "contains 1" in found.reason
    assert found.says.endswith("inconclusive")


def test_fewer_than_five_repeats_claim_nothing() -> None:
    found = stats.compare([9.0] * 3, [1.0] * 3)
    assert found.says == "inconclusive (3 repeats; 5 needed)"
    assert found.ratio.value == pytest.approx(9.0)
    assert found.text() == "? inconclusive: over 3 repeats; 3 repeats; 5 needed."
    assert stats.compare([], []).text() == "? inconclusive: over 0 repeats; no repeat has both."
    assert stats.compare([9.0] * 5, [1.0] * 5, 0.99).reason == "5 repeats: too few for 99.0%"
    named = stats.Comparison(n=1, reason="inconclusive")._repr_mimebundle_()
    assert named["text/html"].count("<b>inconclusive</b>") == 1
    text = Study(make_study(TIMES, repeats=3), ["strategy"]).text()
    assert text.count("inconclusive (3 repeats; 5 needed)") == 2


def test_counts_that_are_exactly_equal_or_double_are_told_apart() -> None:
    equal, double = stats.compare([3.0] * 5, [3.0] * 5), stats.compare([6.0] * 5, [3.0] * 5)
    assert equal.answer == "inconclusive"
    assert (double.answer, double.says) == ("higher", "2 (2 to 2)")


@pytest.mark.parametrize(("of", "to", "says"), checks("comparing.toml", "undecided"))
def test_what_cannot_be_compared_is_inconclusive(of: Any, to: Any, says: str) -> None:
    found = stats.compare(of, to)
    assert (found.answer, found.n) == ("inconclusive", min(len(of), len(to)))
    assert says in found.reason


def test_ratios_hundreds_of_orders_apart_are_those_of_the_largest_float() -> None:
    found = stats.compare([1e308] * 5, [1e-308] * 5)
    assert (found.answer, found.says) == ("higher", "1.8e+308 (1.8e+308 to 1.8e+308)")
    assert stats.compare([1e-308] * 5, [1e308] * 5).answer == "lower"


# All comparisons of a study


def noisy(world: str, rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Return the runs of identical arms: no metric of any differs in truth."""
    slow = rng.lognormal(0, 0.03, shape) * np.where(rng.random(shape) < 0.1, 1.5, 1)
    modes = rng.lognormal(0, 0.01, shape) * np.where(rng.random(shape) < 0.5, 1.1, 1)
    return {"slow": slow, "modes": modes, "normal": rng.normal(1, 0.05, shape)}[world]


def claims(values: Any) -> int:
    """Return how many comparisons of a study claim a difference: metric by arm by repeat."""
    among, found = len(values) * (len(values[0]) - 1), 0
    for first, *others in values:
        family = stats.Family.of(among, [dict(enumerate(arm)) for arm in (first, *others)])
        found += sum(
            stats.compare(o, first, family=family).answer != "inconclusive" for o in others
        )
    return found


@pytest.mark.parametrize(
    ("world", "arms", "n"), [("normal", 2, 5), ("slow", 4, 8), ("modes", 12, 5)]
)
def test_identical_arms_claim_some_difference_in_5_percent_of_studies(
    world: str, arms: int, n: int
) -> None:
    rng, studies = np.random.default_rng([arms, n]), 1_000 // arms
    claimed = sum(bool(claims(noisy(world, rng, (4, arms, n)).tolist())) for _ in range(studies))
    # Of so many studies 3 standard errors above 5 %; uncorrected it is 18 to 82 %.
    assert claimed / studies <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / studies)


def test_a_real_difference_is_found_among_many_comparisons() -> None:
    for n in (5, 12):
        values = np.random.default_rng(n).lognormal(0, 0.01, (4, 12, n))
        values[0, 3] *= 1.5
        assert claims(values.tolist()) == 1


def test_a_family_of_comparisons_needs_repeats_and_is_wider_with_few() -> None:
    assert [stats.repeats_for(n) for n in (1, 4, 44)] == [5, 8, 11]
    of, to = [1.1, 1.12, 1.09, 1.11, 1.13], [1.0] * 5
    alone, four = stats.of_ratio(of, to), stats.of_ratio(of, to, family=stats.Family(4))
    many = stats.of_ratio(of, to, family=stats.Family(44, deviation=0.1))
    assert four.low < alone.low < alone.high < four.high
    logs = [math.log(value) for value in of]
    reach = scipy_stats.t.ppf(1 - 0.8 * 0.05 / 8, 4) * np.std(logs, ddof=1) / math.sqrt(5)
    assert math.log(four.high) == pytest.approx(np.mean(logs) + reach)
    # Agreement by chance is no precision: a share of the usual arm's deviation is the least.
    reach = scipy_stats.t.ppf(1 - 0.8 * 0.05 / 88, 4) * 0.08 / math.sqrt(5)
    assert math.log(many.high) == pytest.approx(np.mean(logs) + reach)
    assert (four.level, four.among, many.value) == (0.95, 4, alone.value)
    # Where these lie further out, the ends are order statistics at 95 %.
    far = stats.of_ratio([1.0] * 4 + [math.exp(-1)], [1.0] * 5, family=stats.Family(2))
    assert math.log(far.low) == pytest.approx(-1.25)


@pytest.mark.parametrize("level", [1.0, 100.0])
def test_the_noise_of_a_family_is_that_of_its_usual_arm_at_any_level(level: float) -> None:
    logs = np.random.default_rng(1).normal(size=(3, 5))
    arms = [dict(enumerate(level**n * np.exp(arm))) for n, arm in enumerate(logs)]
    off = logs - np.median(logs, axis=1, keepdims=True)
    usual = np.median(np.std(off - np.median(off, axis=0), axis=1, ddof=1))
    assert stats.Family.of(4, arms).deviation == pytest.approx(usual)


@given(st.lists(ANYTHING, max_size=9), st.lists(ANYTHING, max_size=9))
def test_nothing_makes_it_raise(of: list[float | None], to: list[float | None]) -> None:
    found = stats.compare(of, to)
    if found.answer != "inconclusive":
        assert found.ratio is not None
        assert found.ratio.excludes(1.0)
    assert found.reason
    msgspec.json.decode(msgspec.json.encode(found), type=stats.Comparison)


@given(st.lists(st.tuples(POSITIVE, POSITIVE), min_size=5, max_size=12))
def test_swapping_the_arms_swaps_the_answer(pairs: list[tuple[float, float]]) -> None:
    of, to = map(list, zip(*pairs, strict=True))
    there, back = stats.compare(of, to), stats.compare(to, of)
    assert {there.answer, back.answer} in ({"higher", "lower"}, {"inconclusive"})


# Arms of a study.

FAST, SLOW = {"strategy": "queue"}, {"strategy": "gather"}
TIMES = {"gather": {"wall_s": 20.0}, "queue": {"wall_s": 10.0}}


def test_arms_are_paired_by_repeat() -> None:
    records = make_study(TIMES, spread=0.5)
    random.Random(1).shuffle(records)
    found = Study(records, ["strategy"]).compare("time", of=FAST, to=SLOW)
    assert found.answer == "lower"
    assert (found.ratio.low, found.ratio.high) == pytest.approx((0.5, 0.5))
    # One comparison stands alone; those that a study shows hold together.
    assert found.ratio.among == 1
    for one in Study(records, ["strategy"]).comparisons():
        assert one.comparison.ratio.among == len(comparisons.COMPARED)
        assert "4 comparisons together" in one.comparison.reason


def test_an_invalid_or_missing_record_leaves_its_arm_undecided_and_one_in_doubt_does_not() -> None:
    first, *others = make_study(TIMES)
    invalid = msgspec.structs.replace(first, verdict="invalid")
    note = Note(code="cancelled", message="1 request was cancelled in flight")
    warned = msgspec.structs.replace(first, verdict="warn", warnings=[note])
    for records, says in (
        ([invalid, *others], "inconclusive (1 of 5 repeats lack a valid value above 0 of both)"),
        (others, "inconclusive (1 of 5 repeats lack a valid value above 0 of both)"),
        ([warned, *others], "0.5 (0.5 to 0.5)"),
    ):
        assert Study(records).compare("time", of=FAST, to=SLOW).says == says


def test_a_core_that_was_lost_for_half_of_a_short_run_is_compared_by_memory_alone() -> None:
    lost = {name: {**one, "client.waited_percent": 50.0} for name, one in TIMES.items()}
    study = Study(make_study(lost, spread=0.0), ["strategy"])
    assert "both: core-lost" in study.compare("time", of=FAST, to=SLOW).reason
    assert study.compare("cpu", of=FAST, to=SLOW).ratio is None
    assert study.compare("memory", of=FAST, to=SLOW).ratio is not None


def test_what_the_server_held_up_is_no_property_of_the_client() -> None:
    busy = {"server.cpu_percent": 95.0, "client.cpu_percent": 50.0}
    study = Study(make_study({name: figures | busy for name, figures in TIMES.items()}))
    for metric in ("time", "throughput_rps", "efficiency"):
        assert metrics.SERVER_BOUND in study.compare(metric, of=FAST, to=SLOW).reason
    assert study.compare("cpu_us_per_request", of=FAST, to=SLOW).ratio is not None


def test_an_arm_with_failures_is_compared_by_nothing_but_them() -> None:
    failing = Counts(planned=100, sent=100, not_sent=0, ok=98, failed={"reset": 2}, cancelled=0)
    study = Study([msgspec.structs.replace(one, counts=failing) for one in make_study(TIMES)])
    assert "over 1% failed" in study.compare("time", of=FAST, to=SLOW).reason
    assert study.compare("failures", of=FAST, to=SLOW).n == 5


def test_an_arm_or_metric_that_does_not_exist_is_refused() -> None:
    study = Study(make_study(TIMES))
    with pytest.raises(BadInput, match="no record has the settings"):
        study.compare("time", of={"strategy": "wait"}, to=SLOW)
    with pytest.raises(BadInput, match="did you mean"):
        study.compare("memry", of=FAST, to=SLOW)


def test_the_text_of_one_axis_ends_with_each_ratio_to_the_first_arm() -> None:
    study = Study(make_study(TIMES), ["strategy"])
    table = study.text().split("\n\n")[-2].splitlines()
    assert table[0].split() == ["ratio", "to", "gather", "time", "throughput"]
    assert table[1].split()[:5] == ["queue", "0.5", "(0.5", "to", "0.5)"]
    assert "queue" in study.html().split("</table>")[1]


def test_no_axis_several_and_one_arm_have_no_such_table() -> None:
    two, one = make_study(TIMES), make_study({"queue": {}})
    for records, by in ((two, []), (two, ["strategy", "loop"]), (one, ["strategy"])):
        study = Study(records, by)
        assert study.text() == study.table().text()
    assert study.to_dict()["comparisons"] == Study([], ["strategy"]).comparisons() == []


def test_comparisons_as_json() -> None:
    study = Study(make_study(TIMES), ["strategy"])
    found = msgspec.json.decode(msgspec.json.encode(study.to_dict()))["comparisons"]
    assert [one["metric"] for one in found] == list(comparisons.COMPARED)
    assert (found[0]["of"], found[0]["to"], found[0]["answer"]) == (FAST, SLOW, "lower")
    assert found[0]["ratio"]["level"] == 0.95
    assert {"value", "low", "high", "n"} <= set(found[0]["ratio"])


# Two arms that were not run together


def test_the_ends_of_an_unpaired_ratio_are_pairs_as_deep_as_the_rank_sum_test_allows() -> None:
    of, to = [1.1, 1.12, 1.09, 1.11, 1.13], [1.0, 1.01, 0.99, 1.02, 0.98]
    pairs = sorted(a / b for a, b in itertools.product(of, to))
    assert stats.of_unpaired(of, to).value == pytest.approx(pairs[12])
    family = stats.of_unpaired(of, to, family=stats.Family(5))
    assert (family.low, family.high) == pytest.approx((pairs[0], pairs[-1]))
    assert stats.of_unpaired([2.0] * 5, [1.0] * 9, family=stats.Family(99)).low == pytest.approx(2)
    assert stats.of_unpaired(of, to[:4]).low is None
    # No depth reaches this level: the lowest pair lies beyond Welch's end, the highest does not.
    of, to = np.array([-1, 0, 0, 0, 0]), np.array([1, 0, 0, 0, 0, 0, 0])
    many = stats.of_unpaired(np.exp(of).tolist(), np.exp(to).tolist(), family=stats.Family(20))
    welch = scipy_stats.ttest_ind(of, to, equal_var=False).confidence_interval(0.998)
    assert (math.log(many.low), math.log(many.high)) == pytest.approx((-2, welch.high))


@pytest.mark.parametrize(
    ("n", "m", "level"), [(5, 5, 0.95), (9, 6, 0.9), (20, 20, 0.95), (21, 20, 0.95)]
)
def test_the_depth_of_unpaired_ends_is_that_of_mann_and_whitneys_test(
    n: int, m: int, level: float
) -> None:
    of, to = np.random.default_rng(n).normal(size=n), np.random.default_rng(m + 99).normal(size=m)
    found = stats.of_unpaired(np.exp(of).tolist(), np.exp(to).tolist(), level)
    shifts = np.sort(np.subtract.outer(of, to), axis=None)
    depth = int(np.argmin(abs(shifts - math.log(found.low)))) + 1
    assert (math.log(found.high), found.n) == pytest.approx((shifts[-depth], m))

    def tail(u: int) -> float:
        """How often so few pairs, or fewer, have the higher value on the first side."""
        full, part = divmod(u, m)
        of = [*[m + 0.5] * full, part + 0.5, *[0.5] * n][:n]
        found = scipy_stats.mannwhitneyu(of, range(1, m + 1), alternative="less", method="exact")
        return float(found.pvalue)

    if n * m > 400:  # of so many it is taken as normal
        normal = scipy_stats.norm(n * m / 2, math.sqrt(n * m * (n + m + 1) / 12))
        assert depth == math.floor(normal.ppf((1 - level) / 2))
    else:
        assert tail(depth - 1) <= (1 - level) / 2 < tail(depth)


@pytest.mark.parametrize(("n", "among", "worlds"), [(5, 3, 300), (12, 4, 100)])
def test_a_thing_that_is_measured_twice_differs_in_5_percent_at_most(
    n: int, among: int, worlds: int
) -> None:
    rng, family, found = np.random.default_rng(n), stats.Family(among), 0
    for world in ("slow", "modes", "normal"):
        values = noisy(world, rng, (worlds, among, 2, n)).tolist()
        found += sum(
            any(stats.of_unpaired(*both, family=family).excludes(1) for both in study)
            for study in values
        )
    most = 3 * worlds
    assert found / most <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / most)


NAMES = dict(checks("comparing.toml", "commands"))


def test_commands_are_shown_by_what_tells_them_apart() -> None:
    trial = Trial(target=Command("app {port}")).to_dict()
    axes = [{"target.command": command} for command in NAMES]
    study = Study([make_record(axes=one, trial=trial) for one in axes], ["target.command"])

    assert [row[0] for row in study.table().rows] == [*NAMES.values()]
    assert all(name in study.plot().alt for name in NAMES.values())
    assert "server memory (MB)" in study.table().headers
    assert [one["target.command"] for one in study.to_dict()["summary"]] == [*NAMES]
    assert {one.metric for one in study.comparisons()} == {*comparisons.OF_SERVERS}
    assert study.compare("time", of=axes[0], to=axes[1]).n == 1
    twins = Study([make_record(axes={"target.command": f"app{n * ' '}{{port}}"}) for n in (1, 2)],
                  ["target.command"])  # fmt: skip
    assert [row[0] for row in twins.table().rows] == ["app {port}", "app  {port}"]
