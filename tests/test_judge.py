"""How records become verdicts: the two rules, what counts, and the sentence that says why."""

import json
import math
import statistics
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from machines import checks

from labkit import stats
from labkit.errors import BadInput
from labkit.record import guards
from labkit.record.record import Record
from labkit.spec.trial import Trial
from labkit.stats import comparisons
from labkit.studies import judge, study_file, verdicts
from labkit.studies.parts import Check, Judged
from labkit.studies.verdicts import Finding, Verdict
from tests.factories import STUDIES, make_record

MB = 1_000_000
ONES = {"of": "one", "to": "other"}


def check(**changes: Any) -> Check:
    """'One takes at least 1.05 times as long as the other', with changes."""
    usual: dict[str, Any] = {"measure": "wall_s", "at_least": 1.05, **ONES}
    return Check(**usual | changes)


def judged(undecidable: str = "", *, instead: bool = False, **changes: Any) -> Judged:
    one = check(**changes)
    sides = [[side] if isinstance(side, str) else side or [] for side in (one.of, one.to)]
    of, to = (tuple(side) for side in sides if isinstance(side, list))
    return Judged(check=one, instead=instead, of=of, to=to, undecidable=undecidable)


def decided(values: list[float | None], min_repeats: int = 3, **changes: Any) -> Finding:
    return judge.decide(judged(**changes), values, min_repeats)


def counted(values: list[float | None], **changes: Any) -> Finding:
    usual = {"measure": "connections_opened", "to": None, "at_least": 10, "at_most": 10}
    return decided(values, 5, **{**usual, "exact": True, **changes})


def records(arm: str, measure: str, values: list[float], **changes: Any) -> list[Record]:
    """A record for each repeat of an arm, with these figures."""
    quiet = {"client.waited_percent": 0.0, "server.cpu_percent": 20.0}
    return [
        make_record(axes={"arm": arm}, repeat=repeat, **{measure: value, **quiet, **changes})
        for repeat, value in enumerate(values)
    ]


def timed(of: list[float], to: list[float]) -> list[list[Record]]:
    """Records of two arms that took so many seconds."""
    return [records("one", "wall_s", of), records("other", "wall_s", to)]


MEMORY = {"measure": "process_peak_rss_bytes"}


def weighed(of: list[float], to: list[float]) -> list[list[Record]]:
    """Records of two arms that took so much memory."""
    field = "process.peak_rss_bytes"
    return [records("one", field, of), records("other", field, to)]


def found(of: list[Record], to: list[Record] | None = None, **changes: Any) -> Finding:
    one = judged(**({} if to else {"to": None}) | changes)
    return judge.finding(one, {"one": of, "other": to or []}, 3)


# Two rules


def test_three_repeats_decide_where_all_lie_on_one_side() -> None:
    assert decided([1.1, 1.2, 1.3]).verdict == "holds"
    assert decided([1.0, 0.9, 1.0]).verdict == "refuted"
    assert decided([4, 5, 6], at_most=3.0).verdict == "refuted"
    for values in ([1.0, 1.2, 1.3], [1, 1, 9]):
        open_ = decided(list(values), at_most=3.0)
        assert open_.verdict == "inconclusive"
        assert "different sides" in open_.reason


@pytest.mark.parametrize(("low", "high", "word"), checks("judge.toml", "by_ends"))
def test_an_interval_decides_by_both_its_ends(low: float, high: float, word: str) -> None:
    check = Check(measure="wall_s", of="a", at_least=1, at_most=2)
    assert judge.by_interval(check, (low, high))[0] == word
    assert judge.by_every_repeat(check, [low, high, low])[0] == word


def test_five_repeats_decide_by_their_interval() -> None:
    holds = decided([2.0, 2.1, 2.2, 2.0, 2.1], 5)
    assert (holds.verdict, holds.n, holds.inside) == ("holds", 5, 5)
    interval = stats.of_ratio([2.0, 2.1, 2.2, 2.0, 2.1], [1.0] * 5)
    assert holds.interval == (interval.low, interval.high)
    assert "×2.1 (×2 to ×2.23 at 95 %) in 5 repeats" in holds.reason
    assert decided([1.0, 0.99, 1.0, 1.01, 1.0], 5).verdict == "refuted"
    across = decided([1.06, 1.2, 1.051, 1.3, 1.1], 5)
    assert (across.verdict, across.inside) == ("inconclusive", 5)
    assert "across the edge" in across.reason
    cpu = decided([96.8, 98.0, 99.2, 98.0, 98.0], 5, measure="cpu_percent", to=None, at_least=95)
    assert cpu.effect.startswith("98 % of a core (96.5 to 99.5 at 95 %)")


@pytest.mark.parametrize(("least", "values"), [(3, [9.0] * 2), (5, [9.0] * 4), (5, []), (3, [])])
def test_fewer_repeats_than_a_file_asks_for_decide_nothing(least: int, values: list[Any]) -> None:
    finding = decided(values, least)
    assert finding.verdict == "inconclusive"
    assert f"a verdict needs {least} repeats, and there are {len(values)}" in finding.reason.lower()


def test_a_count_holds_in_every_run_or_in_none() -> None:
    assert counted([10.0] * 5).verdict == "holds"
    assert counted([11.0] * 5).verdict == counted([9.0, 11.0] * 3).verdict == "refuted"
    assert counted([10.0] * 4).verdict == "inconclusive"
    mixed = counted([10.0, 10.0, 11.0, 10.0, 10.0])
    assert (mixed.verdict, mixed.inside, mixed.interval) == ("inconclusive", 4, None)
    assert "nly 4 of 5" in mixed.reason


@pytest.mark.parametrize("bad", [None, math.nan, math.inf])
@pytest.mark.parametrize("n", [3, 6])
def test_one_value_that_is_none_keeps_any_claim_open(bad: float | None, n: int) -> None:
    finding = decided([9.0] * (n - 1) + [bad])
    assert finding.verdict == "inconclusive"
    assert f"1 of {n} repeats have no value" in finding.reason


def test_a_ratio_to_nothing_has_no_interval_and_without_a_band_nothing_is_decided() -> None:
    finding = decided([0.0, *[0.1] * 4], 5, at_least=None, at_most=0.5)
    assert (finding.verdict, finding.interval) == ("inconclusive", None)
    assert decided([-1.0, 0.0, 1.0, -1.0, 0.5], 5, to=None, at_least=-9).interval is not None
    assert decided([9.0] * 5, at_least=None).verdict == "informational"
    wide = decided([1.0, 1.0, 1.0, 1.0, 1e300], 5)
    assert wide.verdict == "inconclusive"
    assert wide.interval == (1.0, pytest.approx(sys.float_info.max))


def test_what_a_scale_cannot_decide_says_why_and_shows_what_was_measured() -> None:
    one = judged("scale smoke cannot decide it, because tasks weigh too little")
    finding = judge.decide(one, [3.0, 3.0, 3.0], 3)
    assert (finding.verdict, finding.measured) == ("inconclusive", 3.0)
    assert finding.reason.startswith(
        "Scale smoke cannot decide it, because tasks weigh too little; time of one over other: ×3"
    )


RATIOS = st.lists(st.floats(min_value=1e-3, max_value=1e3), min_size=3, max_size=12)
BANDS = st.sampled_from(
    [{"at_least": 2.0}, {"at_least": None, "at_most": 1.0}, {"at_least": 0.5, "at_most": 2.0}]
)


@given(RATIOS, BANDS)
def test_an_answer_follows_from_the_rule_alone(values: list[float], band: dict[str, Any]) -> None:
    finding = decided(list(values), **band)
    low, high = check(**band).band
    least, most = min(values), max(values)
    assert (finding.interval is None) == (len(values) < 5)
    if len(values) >= 5:
        whole = stats.of_ratio(values, [1.0] * len(values))
        least, most = whole.low or math.nan, whole.high or math.nan
    holds, refuted = low <= least and most <= high, most < low or least > high
    assert finding.verdict == ("holds" if holds else "refuted" if refuted else "inconclusive")
    assert finding.measured is not None
    assert len(values) % 2 == 0 or finding.measured == pytest.approx(statistics.median(values))
    assert least <= finding.measured <= most
    assert (finding.low, finding.high) == (min(values), max(values))


@given(st.lists(st.one_of(st.none(), st.floats(), st.floats(0.01, 100)), max_size=8), BANDS)
def test_whatever_is_measured_there_is_a_reason_and_it_is_json(
    values: list[float | None], band: dict[str, Any]
) -> None:
    finding = decided(values, **band)
    json.dumps(msgspec.to_builtins(finding), allow_nan=False)
    assert finding.reason
    assert len(values) >= 3 or finding.verdict == "inconclusive"


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=3, max_size=4))
def test_values_are_paired_by_repeat(pairs: list[tuple[float, float]]) -> None:
    ratios = [of / to for of, to in pairs]
    assume(all(abs(ratio / 1.05 - 1) > 1e-9 for ratio in ratios))
    of, to = weighed([pair[0] for pair in pairs], [pair[1] for pair in pairs])
    finding = found(of[::-1], to, **MEMORY)
    assert (finding.low, finding.high) == (min(ratios), max(ratios))


# What is made of several arms


@pytest.mark.parametrize(
    ("take", "band", "words", "answer", "measured"), checks("judge.toml", "taken")
)
def test_several_arms_are_judged_by_what_is_taken_of_them(
    take: str, band: dict[str, Any], words: str, answer: str, measured: float
) -> None:
    times = {"a": 11.0, "b": 10.0, "c": 12.0}
    by_arm = {arm: records(arm, "wall_s", [wall_s] * 3) for arm, wall_s in times.items()}
    one = judged(of=["a", "b", "c"], to=None, take=take, **{"at_least": None} | band)
    finding = judge.finding(one, by_arm, 3)
    assert (finding.verdict, finding.measured) == (answer, measured)
    assert words in finding.reason.lower()
    del by_arm["b"]
    assert judge.finding(one, by_arm, 3).n == 0


def test_a_slope_is_what_a_further_request_takes() -> None:
    def grown(arm: str, requests: int, growth_mb: float) -> list[Record]:
        more = {"client.rss_before_bytes": 40 * MB, "settings": {"requests": requests}}
        return records(arm, "client.peak_rss_bytes", [40 * MB + growth_mb * MB] * 3, **more)

    sizes = {"few": (1_000, 2), "many": (5_000, 10), "flat": (1_000, 1), "flat-many": (3_000, 1.1)}
    by_arm = {arm: grown(arm, *size) for arm, size in sizes.items()}
    slope = {"measure": "rss_growth_bytes", "of": ["few", "many"], "take": "slope", "to": None}
    alone = judge.finding(judged(**{**slope, "at_least": 500}), by_arm, 3)
    assert (alone.verdict, alone.measured) == ("holds", 2_000)
    assert "for each further request of few: 2,000 bytes" in alone.reason
    less = judged(**{**slope, "to": ["flat", "flat-many"], "at_least": 500})
    assert judge.finding(less, by_arm, 3).measured == pytest.approx(1_950)
    sides = {"of": {"requests": 1_000}, "to": {"requests": 5_000}, "take": "slope", "at_least": 500}
    written = Judged(check=Check(measure="rss_growth_bytes", **sides), of=("few",), to=("many",))
    assert judge.finding(written, by_arm, 3).measured == 2_000
    by_arm["many"] = grown("many", 1_000, 10)
    assert judge.finding(less, by_arm, 3).verdict == "inconclusive"


# What counts


@pytest.mark.parametrize(("changes", "why"), checks("judge.toml", "untrusted"))
def test_what_cannot_be_trusted_decides_nothing(changes: dict[str, Any], why: str) -> None:
    of, to = timed([9.0] * 3, [1.0] * 3)
    of[1:2] = records("one", "wall_s", [9.0], **changes)
    of[1] = msgspec.structs.replace(of[1], repeat=1)
    finding = found(of, to)
    assert (finding.verdict, finding.n) == ("inconclusive", 2)
    assert why in finding.reason


def test_a_run_that_is_missing_or_there_twice_decides_nothing() -> None:
    of, to = timed([9.0] * 3, [1.0] * 3)
    assert "a run is missing: 1" in found(of, to[:2]).reason
    assert "not measured: 3" in found(of, measure="own").reason
    assert "(a divisor is not above 0)" in found(*weighed([1.0] * 3, [0.0] * 3), **MEMORY).reason
    assert found(records("one", "wall_s", [0.2] * 3), at_least=0.1).verdict == "holds"
    assert "a run is there twice: 1" in found([*of, of[0]], to).reason
    assert found(of, to).verdict == "holds"


def test_a_disturbed_run_spoils_times_but_neither_counts_nor_memory() -> None:
    lost = {"client.waited_percent": 40.0, "verdict": "invalid",
            "warnings": ["core-lost"]}  # fmt: skip
    for field in ("server.connections_opened", "process.peak_rss_bytes"):
        runs = records("one", field, [10, 10, 10], **lost)
        measure = field.replace("process.", "process_").removeprefix("server.")
        assert found(runs, measure=measure, at_least=10).verdict == "holds"
    assert found(records("one", "wall_s", [9.0] * 3, **lost)).n == 0


def test_a_disturbed_run_counts_inside_a_band_that_it_can_only_have_left() -> None:
    lost = {"client.waited_percent": 40.0}
    near = {"measure": "efficiency", "at_least": 0.9, "at_most": 0.99, "despite_disturbance": True}
    assert found(records("one", "efficiency", [0.95, 0.9, 0.99], **lost), **near).verdict == "holds"
    beyond = found(records("one", "efficiency", [0.8, 0.7, 0.8], **lost), **near)
    assert (beyond.verdict, beyond.n) == ("inconclusive", 0)
    assert "no value (core-lost: 3)" in beyond.reason
    assert found(records("one", "efficiency", [0.8, 0.7, 0.8]), **near).verdict == "refuted"


@pytest.mark.parametrize(("measure", "values", "band", "answer"), checks("judge.toml", "waited"))
def test_what_waited_for_its_core_decides_nothing_where_it_may_have_crossed_the_edge(
    measure: str, values: list[float], band: dict[str, float], answer: str
) -> None:
    field = {"cpu": "client.", "lat": "latency_s."}.get(measure[:3], "")
    field += measure.removeprefix("latency_").removesuffix("_s") if "lat" in measure else measure
    waited, judged_by = {"client.waited_percent": 12.6}, {"at_least": None, "measure": measure}
    finding = found(records("one", field, values, **waited), **judged_by | band)
    assert finding.verdict == answer
    assert "thers had its core for up to 13 % of the time, which" in finding.reason
    says = "moved it across the edge: without" if answer == "inconclusive" else "too little to"
    assert says in finding.reason
    quiet = {"client.waited_percent": guards.CONTENDED_PERCENT}
    quiet = found(records("one", field, values, **quiet), **judged_by | band)
    assert quiet.verdict != "inconclusive"
    assert "had its core" not in quiet.reason


def test_a_ratio_is_moved_by_what_waited_in_each_of_its_arms() -> None:
    of, to = (records(arm, "wall_s", [wall_s] * 5) for arm, wall_s in (("one", 1.1), ("other", 1)))
    waited = [msgspec.structs.replace(one.client, waited_percent=8.0) for one in of]
    of = [msgspec.structs.replace(a, client=b) for a, b in zip(of, waited, strict=True)]
    of[1] = msgspec.structs.replace(of[1], wall_s=1.2)
    assert "across the edge: without them it may be ×1.012 to ×1.226;" in found(of, to).reason
    assert found(of, to, at_least=1.0).verdict == "holds"
    anything = judge.decide(judged(), [2.0] * 5, ends=[(0.0, 9.0)] * 5, waited=50.0)
    assert "without them it may be anything;" in anything.reason
    assert "without them it may be ×1.012 to ×1.200;" in found(of[:3], to[:3]).reason


RUNS = {"echo": {"trial": Trial(target="echo", transport="echo").to_dict()}}
RUNS |= {"delayed": {"settings": {"delay": "0.02"}}, "at once": {"settings": {"delay": "0"}}}


@pytest.mark.parametrize(("client", "server", "run", "is_its_own"), checks("judge.toml", "rates"))
def test_a_rate_that_the_other_side_may_have_set_has_no_value(
    client: float, server: float, run: str, *, is_its_own: bool
) -> None:
    busy = {"client.cpu_percent": client, "server.cpu_percent": server, **RUNS[run]}
    runs = records("one", "throughput_rps", [900.0] * 3, **busy)
    assert found(runs, measure="throughput_rps", at_least=1).n == (3 if is_its_own else 0)
    assert found(runs, measure="cpu_percent").n == 3


def test_figures_are_metrics_coded_figures_and_settings_in_force() -> None:
    effective = {"transport": {"enable_cleanup_closed": False, "limit": 7}}
    record = make_record(effective=effective, figures={"kept": 3.0, "wall_s": 1.0})
    wanted = {"kept": 3, "wall_s": 1, "throughput_rps": record.throughput_rps}
    wanted |= {"effective.transport.enable_cleanup_closed": 0, "effective.transport.limit": 7}
    for name, value in {**wanted, "effective.transport.no_such": None}.items():
        assert judge.figure(record, name) == value


# Sentences


def test_figures_are_shown_in_the_unit_that_people_read() -> None:
    figures = {"latency_s": 1.234, "body_bytes": 13015, "cpu_us": 12.34, "seen_share": 0.5}
    figures |= {"connections_opened": 10, "wall_s": 2.5, "own": 1e15, "mine": 2.5}
    shown = [verdicts.show(measure, value) for measure, value in figures.items()]
    assert shown == ["1,234 ms", "13,015 bytes", "12.3 µs", "50 %", "10", "2.5 s", "1e+15", "2.5"]
    # A ratio has more digits near 1.
    ratios = [comparisons.times(ratio) for ratio in (4.2, 1.0304, 12_345, 1_000, 1.25, 0.8)]
    assert ratios == ["×4.2", "×1.030", "×12,345", "×1,000", "×1.25", "×0.8"]


def test_the_arms_of_a_check_without_a_sentence_are_named() -> None:
    both = {"of": ["a", "b"], "measure": "own", "at_least": 1}
    exactly = Check(measure="own", of="a", at_least=7, at_most=7)
    slope = Judged(check=Check(**both, to=["c", "d"], take="slope"), of=("a", "b"), to=("c", "d"))
    for judged, words in (
        (Judged(check=exactly, of=("a",)), "Own of a: 7 in 1 repeat; exactly 7 holds"),
        (slope, "wn for each further request of a, less that of c"),
        (Judged(check=Check(**both, take="largest"), of=("a", "b")), "argest own of a and b"),
    ):
        assert words in judge.decide(judged, [7.0], min_repeats=1).reason


def test_the_reason_says_what_was_found_beside_the_band_and_what_was_published() -> None:
    of = records("one", "process.peak_rss_bytes", [420 * MB, 410 * MB, 430 * MB])
    to = records("other", "process.peak_rss_bytes", [100 * MB] * 3)
    memory = {"measure": "process_peak_rss_bytes", "at_least": 2.0, "published": 6.06}
    assert found(of, to, **memory).reason == (
        "Peak memory of one over other: ×4.1 to ×4.3 in 3 repeats (medians 420 MB and 100 MB); at "
        "least ×2 holds; the source found ×6.06, of which this is 0.69"
    )
    named = found(of, to, **memory, says="Memory", instead=True).reason
    assert named.startswith("Judged by what shows at this scale: Memory: ×4.1")


# Whole claims

TWO = study_file.load(str(STUDIES / "two.toml"))


def two_claims(few_s: float = 2.0, many_s: float = 1.0) -> list[Verdict]:
    """The verdicts where the arms of the two regimes take so long, and what they are over 1 s."""
    took = {"one": few_s, "more": many_s, "other": 1.0}
    runs = [run for arm, wall_s in took.items() for run in records(arm, "wall_s", [wall_s] * 5)]
    return judge.verdicts(TWO, "smoke", runs, cores=2)


@pytest.mark.parametrize(("took", "answers"), checks("judge.toml", "regimes"))
def test_each_regime_of_a_claim_has_a_verdict_of_its_own(
    took: list[float], answers: list[str]
) -> None:
    few, many, moon, later = two_claims(*took)
    assert [one.name for one in (few, many, moon)] == ["both/few", "both/many", "both/on the moon"]
    assert [few.verdict, many.verdict] == answers
    for one in (few, many):
        assert (one.remark, one.source) == ("Read it well.", "a document")
        assert one.deciding is one.findings[0]
        assert (one.measured, one.deciding.says) == (one.deciding.measured, "slower")
    # What only informs stands beside the regime that it was written below.
    assert [[each.verdict for each in one.findings[1:]] for one in (few, many, moon)] == [
        [], ["informational"], []]  # fmt: skip
    for one in (moon, later):
        assert (one.verdict, one.measured, one.deciding) == ("inconclusive", None, None)
        assert one.reason == "not testable here: it needs a moon"
    assert few.text().startswith(f"{few.findings[0].marked}: It is so (few). Slower: ")
    missing = {"both": "the package redis"}
    absent = judge.verdicts(TWO, "smoke", [], cores=2, claims=["both"], absent=missing)
    assert {one.reason for one in absent} == {"not testable here: it needs the package redis"}
    with pytest.raises(BadInput, match="did you mean 'both'"):
        judge.verdicts(TWO, "smoke", [], cores=2, claims=["bot"])


SAME = checks("judge.toml", "in_force")


@pytest.mark.parametrize(("in_force", "limit", "repeats", "answer"), SAME)
def test_two_arms_with_the_same_in_force_cannot_be_compared(
    in_force: list[bool | None], limit: int, repeats: int, answer: str
) -> None:
    setting, wall_s = "enable_cleanup_closed", {"one": 2.0, "other": 1.0}
    runs = [
        run
        for n, arm, here, more in zip((50, 60), wall_s, in_force, (10, limit), strict=True)
        for run in records(
            arm,
            "wall_s",
            [wall_s[arm]] * repeats,
            settings={f"transport.{setting}": arm == "one", "limit": more, "transport.limit": n},
            effective={"transport": {"limit": 9} | ({} if here is None else {setting: here})},
        )
    ]
    few = judge.verdicts(TWO, "smoke", runs, cores=2, claims=["both"])[0]
    assert few.verdict == answer
    if answer == "inconclusive":
        assert few.deciding is None
        same = f"transport.limit is 9, transport.{setting} is False in both arms, whatever is asked"
        assert few.reason.startswith(f"not testable here: {same} for")


def test_as_json_a_verdict_has_the_fields_of_the_contract() -> None:
    both, *_, later = two_claims()
    data = json.loads(msgspec.json.encode(both.to_dict()))
    assert both._repr_mimebundle_()["text/plain"] == both.text()
    assert not hasattr(both, "no_such")
    named = "id regime source says published measured interval verdict reason scale range findings"
    assert {*named.split()} <= set(data)
    assert (data["measured"], data["range"], data["scale"]) == (2.0, [2.0, 2.0], "smoke")
    assert later.to_dict()["range"] is None
    assert (data["regime"], later.to_dict()["regime"]) == ("few", "")
    assert verdicts.tally([both, later]) == "2 claims: 1 holds, 1 not testable here."
    found = "1 holds, 1 refuted, 2 not testable here"
    assert verdicts.tally(two_claims()) == f"2 claims in 4 regimes: {found}."
