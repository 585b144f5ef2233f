"""Verdicts: what decides one, what keeps it open, and that nothing else does."""

from __future__ import annotations

import json
import math
import statistics
from typing import Any

import pytest
from factories import make_record
from hypothesis import assume, given
from hypothesis import strategies as st

from labkit import stats
from labkit.errors import BadInput
from labkit.record.record import Note, Record
from labkit.spec.trial import Trial
from labkit.studies import relations
from labkit.studies.published import Relation
from labkit.studies.relations import Verdict, judge, values

MB = 1_000_000


def relation(**changes: Any) -> Relation:
    """'One needs at least twice the memory of the other', published as 6.06, with changes."""
    usual: dict[str, Any] = {
        "id": "memory",
        "says": "One needs several times the memory of the other.",
        "measure": "process_peak_rss_bytes",
        "of": "one",
        "to": "other",
        "published": 6.06,
        "at_least": 2.0,
    }
    return Relation(**usual | changes)


def cpu(**changes: Any) -> Relation:
    """'One uses about a core', without another to compare it with."""
    usual = {"measure": "cpu_percent", "to": None, "published": 100.0, "at_least": 80.0}
    return relation(**usual | changes)


def record(row: str, repeat: int, **changes: Any) -> Record:
    return make_record(axes={"row": row}, repeat=repeat, **changes)


def memory(row: str, repeat: int, peak_mb: float) -> Record:
    return record(row, repeat, **{"process.peak_rss_bytes": int(peak_mb * MB)})


def asked(of: list[Any], to: list[Any] | None = None, **changes: Any) -> Verdict:
    return judge(relation(**changes), of, [1.0] * len(of) if to is None else to, "paper")


def test_agrees_where_every_repeat_lies_in_the_band() -> None:
    verdict = judge(relation(), [420 * MB, 410 * MB, 430 * MB], [100 * MB] * 3, "paper")
    assert verdict.verdict == "agrees"
    assert (verdict.measured, verdict.low, verdict.high) == (4.2, 4.1, 4.3)
    assert verdict.reason == (
        "The peak memory of one was 4.1 to 4.3 times that of other (medians 420 MB and 100 MB) in "
        "3 repeats; at least 2 agrees, and the source found 6.06, of which this is 0.69"
    )


def test_disagrees_where_every_repeat_lies_on_one_side_of_the_band() -> None:
    verdict = asked([1.5, 1.6, 1.4], published=None)
    assert verdict.verdict == "disagrees"
    assert verdict.reason.startswith("The peak memory of one was 1.4 to 1.6 times that of other")
    assert verdict.reason.endswith("at least 2 agrees, and the source gives no figure")
    assert asked([4, 5, 6], published=None, at_most=3.0).verdict == "disagrees"


def test_agreement_is_about_the_band_and_the_published_size_is_told_apart() -> None:
    verdict = asked([60.6, 60.6, 60.6])
    assert verdict.verdict == "agrees"
    assert "was 60.6 times that" in verdict.reason
    assert verdict.reason.endswith("the source found 6.06, of which this is 10")


@pytest.mark.parametrize(
    ("of", "to", "reason"),
    [
        ([3, 3], [1, 1], "A verdict needs 3 repeats, and there are 2"),
        ([3], [1], "A verdict needs 3 repeats, and there are 1; the peak memory"),
        ([], [], "A verdict needs 3 repeats, and there are 0; at least 2 agrees"),
        ([3, 3, None], [1, 1, 1], "1 of 3 repeats have no valid value"),
        ([3, 3, 3], [1, None, 1], "1 of 3 repeats have no valid value"),
        ([3, 3, 3, 3], [1, 1, 1], "1 of 4 repeats have no valid value"),
        ([3, 3, math.nan], [1, 1, 1], "1 of 3 repeats have no valid value"),
        ([3, 3, 3], [1, math.nan, 1], "1 of 3 repeats have no valid value"),
        ([3, 3, math.inf], [1, 1, 1], "1 of 3 repeats have no valid value"),
        ([3, 3, 3], [0, 1, -1], "2 of 3 repeats have no valid value"),
        ([3, 3, 3], [1, 1, math.inf], "1 of 3 repeats have no valid value"),
        ([3, 3, 1e308], [1, 1, 1e-300], "1 of 3 repeats have no valid value"),
        ([None] * 3, [None] * 3, "3 of 3 repeats have no valid value"),
        ([3, 3, 1.9], [1, 1, 1], "The repeats fall on different sides of what agrees"),
    ],
)
def test_not_decided(of: list[float | None], to: list[float | None], reason: str) -> None:
    verdict = asked(of, to)
    assert verdict.verdict == "not decided"
    assert verdict.reason.startswith(reason)


def test_not_decided_where_repeats_miss_the_band_on_both_sides() -> None:
    assert asked([1, 1, 9], published=None, at_most=3.0).verdict == "not decided"


def test_a_ratio_without_its_other_side_is_not_decided() -> None:
    verdict = judge(relation(), [3, 3, 3], None, "paper")
    assert (verdict.verdict, verdict.measured) == ("not decided", None)


def test_a_scale_that_cannot_decide_says_why_and_shows_what_was_measured() -> None:
    hidden = relation(undecidable={"smoke": "tasks weigh too little"})
    verdict = judge(hidden, [3, 3, 3], [1, 1, 1], "smoke")
    assert (verdict.verdict, verdict.measured, verdict.scale) == ("not decided", 3.0, "smoke")
    assert verdict.reason.startswith(
        "Scale smoke cannot decide it, because tasks weigh too little; the peak memory of one was 3"
    )
    assert judge(hidden, [3, 3, 3], [1, 1, 1], "paper").verdict == "agrees"


def test_a_single_row_is_judged_by_its_own_value_with_its_unit() -> None:
    verdict = judge(cpu(), [99.5, 98.0, 100.0], None, "smoke")
    assert (verdict.verdict, verdict.measured) == ("agrees", 99.5)
    assert verdict.reason == (
        "The client CPU of one was 98 to 100 % of a core in 3 repeats; at least 80 % of a core "
        "agrees, and the source found 100 % of a core, of which this is 0.99"
    )


def test_equal_repeats_are_shown_as_one_number_and_large_ratios_without_exponent() -> None:
    assert " was 12,345 times that" in asked([12_345.0] * 3).reason
    assert " was 90 % of a core in 3" in judge(cpu(), [90.0] * 3, None, "paper").reason


def several(take: str, **changes: Any) -> Relation:
    usual = {"measure": "wall_s", "of": ["a", "b", "c"], "to": None, "take": take}
    return relation(**usual | {"published": None} | changes)


@pytest.mark.parametrize(
    ("take", "band", "words", "answer", "measured"),
    [
        ("spread", {"at_least": None, "at_most": 1.3}, "was 1.2 times the sm", "agrees", 1.2),
        (
            "smallest",
            {"at_least": 11.0},
            "The smallest time of a, b and c was 10 s",
            "disagrees",
            10,
        ),
        ("largest", {"at_least": 11.0}, "The largest time of a, b and c was 12 s", "agrees", 12),
    ],
)
def test_several_rows_are_judged_by_what_is_taken_of_them(
    take: str, band: dict[str, Any], words: str, answer: str, measured: float
) -> None:
    times = {"a": 11.0, "b": 10.0, "c": 12.0}
    records = [record(row, n, wall_s=wall_s) for n in range(3) for row, wall_s in times.items()]
    (verdict,) = relations.verdicts([several(take, **band)], records, "paper")
    assert (verdict.verdict, verdict.measured) == (answer, measured)
    assert words in verdict.reason


def test_values_are_paired_by_repeat_in_whatever_order_the_records_come() -> None:
    records = [memory("other", 1, 20), memory("one", 0, 50), memory("one", 1, 60)]
    records += [memory("else", 2, 1), memory("other", 0, 10)]
    assert values(relation(), records) == ([50 * MB, 60 * MB], [10 * MB, 20 * MB])


def test_a_side_that_is_missing_in_one_repeat_leaves_that_repeat_without_value() -> None:
    records = [memory("one", 0, 50), memory("other", 0, 10), memory("one", 1, 60)]
    assert values(relation(), records) == ([50 * MB, None], [10 * MB, None])


def test_a_record_that_is_invalid_or_there_twice_has_no_value() -> None:
    fine, again = memory("one", 0, 50), memory("one", 0, 50)
    invalid = record("one", 1, verdict="invalid")
    alone = relation(to=None, published=None)
    assert values(alone, [fine, invalid]) == ([50 * MB, None], None)
    assert values(alone, [fine, again, again]) == ([None], None)


def busy(client: float, server: float, **changes: Any) -> Record:
    figures = {"client.cpu_percent": client, "server.cpu_percent": server}
    return record("one", 0, throughput_rps=900.0, **figures, **changes)


@pytest.mark.parametrize(
    ("client", "server", "is_its_own"),
    [
        (50.0, 60.0, True),  # neither: a delay, or something else, sets the rate
        (98.0, 60.0, True),
        (98.0, 85.0, True),  # the client does what it can, the server has more to spare
        (85.0, 80.0, False),
        (60.0, 95.0, False),
        (95.0, 97.0, False),
    ],
)
def test_a_rate_that_the_other_side_may_have_set_has_no_value(
    client: float, server: float, *, is_its_own: bool
) -> None:
    rate = relation(measure="throughput_rps", to=None, published=None)
    expected = [900.0] if is_its_own else [None]
    assert values(rate, [busy(client, server)]) == (expected, None)
    # Of an echo it is the server that is compared.
    of_server = busy(server, client, trial=Trial(target="echo", transport="echo").to_dict())
    assert values(rate, [of_server]) == (expected, None)
    assert values(cpu(), [busy(client, server)])[0] == [client]


def test_a_verdict_that_is_open_says_what_kept_it_open() -> None:
    lost = Note(code="core-lost", message="others had its core")
    records = [
        record("one", 0, verdict="invalid", warnings=[lost]),
        record("one", 1, **{"client.cpu_percent": 60.0, "server.cpu_percent": 95.0}),
        record("one", 2),
        record("else", 0, verdict="invalid", warnings=[lost]),
    ]
    rate = relation(measure="throughput_rps", to=None, published=None)
    (verdict,) = relations.verdicts([rate], records, "paper")
    assert verdict.reason.startswith(
        "2 of 3 repeats have no valid value (invalid records: 1, core-lost; rates that the other "
        "side may have set: 1)"
    )
    (verdict,) = relations.verdicts([cpu()], records, "paper")
    assert "(invalid records: 1, core-lost)" in verdict.reason
    assert relations.causes(cpu(), records[2:]) == ""


def test_a_number_that_was_not_measured_has_no_value() -> None:
    assert values(cpu(), [record("one", 0, client=None)]) == ([None], None)


def test_growth_is_memory_above_the_start() -> None:
    grown = {"client.peak_rss_bytes": 50 * MB, "client.rss_before_bytes": 38 * MB}
    growth = relation(measure="rss_growth_bytes", to=None, published=None)
    assert values(growth, [record("one", 0, **grown)]) == ([12 * MB], None)


def test_verdicts_of_a_study_come_in_the_order_of_the_relations() -> None:
    records = [
        memory(row, n, peak) for n in range(3) for row, peak in (("one", 90 + n), ("other", 30))
    ]
    found = relations.verdicts([relation(says="first"), cpu(says="second")], records, "paper")
    assert [(one.says, one.verdict) for one in found] == [
        ("first", "agrees"),
        ("second", "disagrees"),
    ]
    assert found[0].measured == pytest.approx(91 / 30)


def test_a_metric_that_does_not_exist_is_refused_even_before_anything_was_measured() -> None:
    with pytest.raises(BadInput, match="did you mean 'wall_s'"):
        relations.verdicts([relation(measure="wal_s")], [], "paper")


def test_as_json_the_range_is_no_interval() -> None:
    verdict = asked([3.0, 4.0, 5.0])
    data = verdict.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data == {
        "id": "memory",
        "says": "One needs several times the memory of the other.",
        "published": 6.06,
        "measured": 4.0,
        "interval": None,
        "range": [3.0, 5.0],
        "verdict": "agrees",
        "reason": verdict.reason,
        "scale": "paper",
    }
    assert asked([]).to_dict()["range"] is None


def test_five_repeats_give_a_ratio_an_interval_that_decides_nothing() -> None:
    ratios = [3.0, 4.0, 5.0, 6.0, 7.0]
    verdict = asked(ratios)
    found = stats.of_ratio(ratios, [1.0] * 5)
    assert verdict.to_dict()["interval"] == [found.low, found.high]
    assert verdict.verdict == asked(ratios[:3]).verdict == "agrees"
    assert asked(ratios[:4]).interval is None


def test_no_interval_without_every_repeat_or_of_what_is_no_ratio() -> None:
    assert asked([3.0, 4.0, 5.0, 6.0, None, 7.0]).interval is None
    assert asked([3.0, 4.0, 5.0, 6.0, 0.0]).interval is None
    assert judge(cpu(), [99.0] * 6, None, "paper").interval is None


ANYTHING = st.one_of(st.none(), st.floats(), st.floats(min_value=0.01, max_value=100))
MEASURED = st.floats(min_value=1e-3, max_value=1e9)
PAIRS = st.lists(st.tuples(MEASURED, MEASURED), min_size=3, max_size=8)
BANDS = st.sampled_from(
    [
        {"at_least": 2.0},
        {"at_least": None, "at_most": 1.0},
        {"at_least": 0.5, "at_most": 2.0},
    ]
)


def of_pairs(pairs: list[tuple[float, float]], band: dict[str, Any]) -> Verdict:
    of, to = zip(*pairs, strict=True)
    return judge(relation(published=None, **band), of, to, "paper")


@given(st.lists(st.tuples(ANYTHING, ANYTHING), max_size=2), BANDS)
def test_fewer_than_three_repeats_never_decide(
    pairs: list[tuple[float | None, float | None]], band: dict[str, Any]
) -> None:
    of, to = [of for of, _ in pairs], [to for _, to in pairs]
    assert judge(relation(published=None, **band), of, to, "paper").verdict == "not decided"


@given(PAIRS, BANDS, st.sampled_from([None, math.nan, math.inf, 0.0]), st.data())
def test_one_divisor_that_is_none_keeps_any_claim_open(
    pairs: list[tuple[float, float]], band: dict[str, Any], bad: float | None, data: st.DataObject
) -> None:
    of, to = [of for of, _ in pairs], list[float | None](to for _, to in pairs)
    to[data.draw(st.integers(0, len(to) - 1))] = bad
    assert judge(relation(published=None, **band), of, to, "paper").verdict == "not decided"


@given(st.lists(st.tuples(ANYTHING, ANYTHING)), BANDS)
def test_whatever_is_measured_there_is_a_verdict_and_it_is_json(
    pairs: list[tuple[float | None, float | None]], band: dict[str, Any]
) -> None:
    of, to = [of for of, _ in pairs], [to for _, to in pairs]
    verdict = judge(relation(published=None, **band), of, to, "paper")
    json.dumps(verdict.to_dict(), allow_nan=False)
    assert verdict.reason


@given(PAIRS, BANDS, st.randoms())
def test_the_order_of_the_repeats_does_not_matter(
    pairs: list[tuple[float, float]], band: dict[str, Any], chance: Any
) -> None:
    assert of_pairs(chance.sample(pairs, len(pairs)), band) == of_pairs(pairs, band)


@given(PAIRS, BANDS, st.randoms())
def test_no_other_pairing_of_the_same_values_turns_a_verdict_into_its_opposite(
    pairs: list[tuple[float, float]], band: dict[str, Any], chance: Any
) -> None:
    of, to = zip(*pairs, strict=True)
    ratios = [a / b for a, b in pairs]
    # At the very edge of a band the last digit of a division decides.
    assume(all(abs(ratio / edge - 1) > 1e-9 for ratio in ratios for edge in (0.5, 1.0, 2.0)))
    other = of_pairs(list(zip(of, chance.sample(to, len(to)), strict=True)), band)
    assert {of_pairs(pairs, band).verdict, other.verdict} != {"agrees", "disagrees"}


@given(PAIRS, BANDS, st.integers(-20, 20))
def test_a_ratio_does_not_depend_on_the_unit(
    pairs: list[tuple[float, float]], band: dict[str, Any], power: int
) -> None:
    scaled = [(of * 2.0**power, to * 2.0**power) for of, to in pairs]
    first, second = of_pairs(pairs, band), of_pairs(scaled, band)
    assert (first.verdict, first.measured, first.low, first.high) == (
        (second.verdict, second.measured, second.low, second.high)
    )


@given(PAIRS, BANDS)
def test_an_answer_holds_for_every_single_repeat(
    pairs: list[tuple[float, float]], band: dict[str, Any]
) -> None:
    verdict = of_pairs(pairs, band)
    ratios = [of / to for of, to in pairs]
    low, high = relation(published=None, **band).band
    inside = {low <= ratio <= high for ratio in ratios}
    assert verdict.measured == statistics.median(ratios)
    assert (verdict.low, verdict.high) == (min(ratios), max(ratios))
    assert (verdict.verdict == "agrees") == (inside == {True})
    assert verdict.verdict != "disagrees" or inside == {False}
