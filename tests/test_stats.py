"""Metrics, frames, summaries, ratios and merged latency, against independent oracles."""

import json
import math
import statistics
from collections import Counter
from typing import Any

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import example, given, settings
from hypothesis import strategies as st
from machines import checks
from msgspec import structs

from labkit import stats
from labkit.errors import BadInput, RecordDamaged
from labkit.record import histogram as latency
from labkit.record.record import Counts, OneClient, Record, Timeline
from labkit.stats import frames, metrics
from lesson_charts import corrected
from tests.factories import arrivals, encoded, histogram, make_record, make_study, phases

SECONDS = st.floats(min_value=1e-6, max_value=1e6)
MAYBE_SECONDS = st.none() | SECONDS
GATHER, WAIT = {"strategy": "gather"}, {"strategy": "wait"}
ARMS = st.tuples(st.integers(0, 2), st.booleans(), st.sampled_from("xy"))
LATENCIES_US = st.lists(st.integers(1, 60_000_000), min_size=1, max_size=60)


def counts(ok: int, **failed: int) -> Counts:
    sent = ok + sum(failed.values())
    return Counts(planned=sent, sent=sent, not_sent=0, ok=ok, failed=failed, cancelled=0)


def unmeasured(**changes: Any) -> Record:
    """A trial that was ended before anything could be measured."""
    names = "wall_s floor_s efficiency throughput_rps client process server received"
    nothing = dict.fromkeys(f"{names} latency_s latency_hdr loop_lag_s".split())
    return make_record(
        **nothing, timeline=Timeline(), counts=counts(0), verdict="invalid", **changes
    )


# Metrics


@pytest.mark.parametrize("name", stats.METRICS)
def test_each_metric_stands_in_a_whole_record(name: str) -> None:
    late = {"p50": 0.001, "p99": 0.002, "max": 0.01}
    figures: dict[str, Any] = {"client.waited_percent": 0.0, "server.delay_error_s": late}
    figures |= {"arrivals": arrivals(), "phases": phases(), "start_skew_s": 0.01}
    assert math.isfinite(stats.METRICS[name].of(make_record(settings={"delay": "0.02"}, **figures)))


def test_percentile_that_the_sample_does_not_support_is_not_measured() -> None:
    for name, enough in {"p50": 20, "p90": 100, "p99": 1_000, "p999": 10_000, "max": 1}.items():
        metric = stats.metric(f"latency_{name}_s")
        assert math.isnan(metric.of(make_record(counts=counts(enough - 1))))
        assert metric.of(make_record(counts=counts(enough))) > 0


def test_alias_names_the_same_metric_and_an_unknown_one_is_refused() -> None:
    names = {"memory": "process_peak_rss_bytes", "time": "wall_s", "cpu": "cpu_percent"}
    for alias, name in names.items():
        assert stats.metric(alias) is stats.metric(name) is stats.METRICS[name]
    with pytest.raises(BadInput, match=r"metric is 'wal_s'.*did you mean 'wall_s'"):
        stats.metric("wal_s")


@pytest.mark.parametrize(("name", "shown"), checks("stats.toml", "shown"))
def test_value_is_shown_in_the_unit_that_people_read(name: str, shown: list[Any]) -> None:
    assert [[value, stats.metric(name).text(value)] for value, _ in shown] == shown
    assert stats.metric(name).text(math.nan) == "n/a"
    assert stats.metric("memory").title == "peak memory (MB)"
    assert stats.metric("failures").title == "requests failed"
    formats = {name: stats.metric(name).format for name in ("wall_s", "failures")}
    shown = [formats["wall_s"](2.0), formats["wall_s"](None), formats["failures"](3)]
    assert shown == ["2 s", "n/a", "3"]
    assert stats.metric("wall_s").of(make_record(figures={"wall_s": 3.0})) == 3.0


# Which records count


WAITED = checks("stats.toml", "waited")


@pytest.mark.parametrize(("measure", "value", "waited", "ends"), WAITED)
def test_what_waited_widens_what_depends_on_it(
    measure: str, value: float, waited: tuple[Any, Any], ends: tuple[float, float]
) -> None:
    shares = dict(zip(("client.waited_percent", "server.waited_percent"), waited, strict=True))
    assert metrics.undisturbed(make_record(**shares), measure, value) == pytest.approx(ends)
    assert metrics.waited_percent(make_record(**shares), "own_bytes") == 0


def test_a_ratio_needs_finite_numbers_above_0_of_both() -> None:
    assert math.isnan(stats.METRICS["cpu_percent"].of(make_record(client=None)))
    values = [None, math.nan, math.inf, -1.0, 0.0, 0.5, 2.0]
    assert [one for one in values if metrics.is_usable(one)] == [0.5, 2.0]
    assert metrics.usable_pairs([1.0, None, 3.0], [2.0, 2.0, 0.0]) == ([1.0], [2.0])


DOUBTS = checks("stats.toml", "doubts")


@pytest.mark.parametrize(("settings", "changes", "measure", "why"), DOUBTS)
def test_a_record_counts_by_what_nobody_else_set(
    settings: dict[str, Any], changes: dict[str, Any], measure: str, why: str
) -> None:
    record, why = make_record(settings=settings, **changes), why.format(metrics.SERVER_BOUND)
    assert metrics.doubt(record, measure) == why
    assert metrics.doubt(record, measure, of_client=False) == why.replace(metrics.SERVER_BOUND, "")


def test_of_several_clients_the_busiest_says_if_they_had_time_to_spare() -> None:
    one = make_record(settings={"delay": "0", "limit": 10}, **{"server.cpu_percent": 20.0})
    assert one.client
    clients = [
        OneClient(counts=one.counts, client=structs.replace(one.client, cpu_percent=percent))
        for percent in (10.0, 69.0, 95.0)
    ]
    for several, why in ((clients, ""), (clients[:2], metrics.SERVER_BOUND)):
        assert metrics.doubt(structs.replace(one, clients=several), "throughput_rps") == why


def test_the_rates_of_an_arm_are_those_that_count_whichever_side_set_them() -> None:
    busy = {"server.cpu_percent": 95.0, "client.cpu_percent": 50.0}
    changes: list[dict[str, Any]] = [{}, busy, {"warnings": ["worker-lost"]}]
    runs = [make_record(study="s", repeat=n, **each) for n, each in enumerate(changes)]
    assert metrics.rates(runs) == {("s", n): runs[0].throughput_rps for n in (0, 1)}


# Frames


def test_frame_describes_each_record() -> None:
    given = {"study": "s1", "experiment": "compare", "repeat": 3, "order": 7, "verdict": "warn"}
    axes = {"strategy": "gather", "transport.limit": 30}
    notes = ["server-busy", "failures"]
    record = make_record(settings=axes | {"loop": "uvloop"}, axes=axes, warnings=notes, **given)
    record.trial["options"] = {"size": 5}

    (row,) = stats.frame([record]).to_dict("records")

    assert {name: row[name] for name in stats.DESCRIPTION} == given | {
        **{"id": record.id, "started_at": record.started_at, "warnings": "server-busy, failures"},
        **{"program": None, "strategy": "gather", "loop": "uvloop"},
        **{"requests": 100_000, "limit": 1_000},
        **{"delay": "randint(0,3)", "transport": "aiohttp", "target": "http", "called": "http"},
        **{"seconds": None, "stages": None, "stages_of": "rate", "warmup": None, "think": "0"},
    }
    assert (row["transport.limit"], row["strategy.size"], row["wall_s"]) == (30, 5, 153.0)
    client = record.client
    assert client is not None
    assert client.rss_before_bytes is not None
    assert row["rss_growth_bytes"] == client.peak_rss_bytes - client.rss_before_bytes > 0


def test_frame_of_no_records_has_every_column_and_of_an_unmeasured_or_unknown_one_nan() -> None:
    row, unknown = stats.frame([unmeasured(), make_record(trial={})]).to_dict("records")
    assert (unknown["strategy"], unknown["wall_s"]) == (None, 153.0)
    empty = stats.frame([])

    known = {name for name in stats.METRICS if not math.isnan(row[name])}
    assert known == {"bound_s", "failures", "ok"}
    assert empty.empty
    assert [*empty.columns] == [*stats.DESCRIPTION, *stats.METRICS]


def test_commands_are_named_by_what_tells_them_apart() -> None:
    one = "python -m uvicorn app:app --port {port}"
    commands = [one, f"{one} --workers 2", "/usr/bin/granian app --port {port}", "http"]
    frame = stats.DataFrame({"target": commands, "n": [1, 2, 3, 4]})
    short = ["uvicorn", "uvicorn --workers 2", "granian", "http"]

    assert stats.short(frame, ["target"])["target"].tolist() == short
    assert stats.short(frame[2:], ["target"])["target"].tolist() == short[2:]
    # Two that differ in their folder or in the order of their words only stay as they are.
    alike = stats.DataFrame({"target": ["/a/serve {port}", "/b/serve {port}"]})
    assert stats.short(alike, ["target"]).equals(alike)
    assert stats.short(frame[3:], ["target"])["target"].tolist() == ["http"]


def test_frame_has_a_column_of_its_type_for_each_axis_of_any_record() -> None:
    axes = ({"a.b": 1}, {"c": "x"}, {"limit": 10}, {"limit": None})
    frame = stats.frame([make_record(axes=one) for one in axes])

    assert frame["a.b"].tolist() == [1, None, None, None]
    assert frame["c"].tolist() == [None, "x", None, None]
    assert stats.frame([make_record(axes=one) for one in axes[2:]])["limit"].tolist() == [10, None]


# Summaries


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(["b", "a", None, "c"]), MAYBE_SECONDS), max_size=30))
def test_summary_agrees_with_the_statistics_module(runs: list[tuple[str | None, Any]]) -> None:
    frame = stats.frame([make_record(axes={"arm": arm}, wall_s=wall_s) for arm, wall_s in runs])

    rows = stats.summary_rows(stats.summary(frame, ["arm"])) if runs else []

    assert [row["arm"] for row in rows] == list(dict.fromkeys(arm for arm, _ in runs))
    for row in rows:
        values = [wall_s for arm, wall_s in runs if arm == row["arm"] and wall_s is not None]
        assert row["n"] == sum(arm == row["arm"] for arm, _ in runs)
        assert row["wall_s"] == (pytest.approx(statistics.median(values)) if values else None)
        assert row["wall_s_min"] == min(values, default=None)
        assert row["wall_s_max"] == max(values, default=None)


@settings(max_examples=25)
@given(st.lists(ARMS, min_size=1, max_size=20))
def test_arms_of_several_axes_come_in_order_of_first_appearance(settings: list[Any]) -> None:
    records = [make_record(axes=dict(zip("ijk", one, strict=True))) for one in settings]

    summary = stats.summary(stats.frame(records), ["i", "j", "k"])

    found = [(row["i"], row["j"], row["k"]) for row in stats.summary_rows(summary)]
    assert found == list(dict.fromkeys(settings))
    assert summary["n"].tolist() == [Counter(settings)[one] for one in found]


def test_summary_has_the_worst_verdict_and_every_code_once() -> None:
    doubts = {"warn": ["server-busy"], "invalid": ["failures", "server-busy"], "valid": []}
    records = [make_record(verdict=verdict, warnings=found) for verdict, found in doubts.items()]

    frame = stats.frame(records)
    summary = stats.summary(frame, ["strategy"])

    assert stats.counted(frame, ["strategy"])["verdict"].tolist() == ["warn", "valid"]
    assert len(stats.counted(frame[1:2], ["strategy"])) == 1  # it has no other
    assert summary["verdict"].tolist() == ["invalid"]
    assert summary["warnings"].tolist() == ["server-busy, failures"]
    assert stats.summary_rows(summary)[0]["warnings"] == ["server-busy", "failures"]


@pytest.mark.parametrize("by", [[], ["strategy"], ["strategy", "loop"]])
def test_summary_of_no_records_is_empty_with_every_column(by: list[str]) -> None:
    frame = stats.frame(make_study({"gather": {}, "task_pool": {}}, repeats=3))
    summary = stats.summary(stats.frame([]), by)

    assert stats.summary(frame, [])["n"].tolist() == [6]
    assert summary.empty
    assert {*by, "n", "verdict", "warnings", "wall_s", "wall_s_min"} <= {*summary.columns}
    assert stats.summary_rows(summary) == []
    assert stats.worst([]) == "valid"
    with pytest.raises(BadInput, match=r"'stratgy'.*did you mean 'strategy'"):
        stats.summary(frame, ["stratgy"])


def test_summary_rows_are_json_without_nan() -> None:
    frame = stats.frame([unmeasured(axes={"limit": 5}), make_record(axes={"limit": None})])

    rows = stats.summary_rows(stats.summary(frame, ["limit"]))

    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert [row["limit"] for row in rows] == [5, None]
    assert rows[0]["wall_s"] is None


LABELS = checks("stats.toml", "labels")


@pytest.mark.parametrize(("label", "settings"), LABELS)
def test_label_of_an_arm(label: str, settings: dict[str, Any]) -> None:
    assert stats.arm_label(settings) == label


def test_records_of_an_arm_are_found_by_its_setting_and_by_its_label() -> None:
    records = [make_record(axes={"limit": limit}) for limit in (30, 4, 30)]
    frame = stats.frame(records)

    assert {name: len(of) for name, of in stats.by_axis(records, "limit").items()} == {
        "30": 2,
        "4": 1,
    }
    assert list(stats.by_label(frame, ["limit"])) == ["30", "4"]
    assert list(stats.by_label(frame, ["limit"], in_line=True)) == ["limit 30", "limit 4"]


# Pairs


def both(frame: Any, *arms: dict[str, Any]) -> Any:
    return frames.paired(*(frames.by_block(frame, "wall_s", arm) for arm in arms))


@settings(max_examples=25)
@given(st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=12), st.randoms())
def test_pairs_are_of_the_arms_of_each_repeat(pairs: list[Any], chance: Any) -> None:
    records = [
        make_record(axes={"strategy": arm}, study="s", repeat=repeat, wall_s=wall_s)
        for repeat, pair in enumerate(pairs)
        for arm, wall_s in zip(["gather", "wait"], pair, strict=True)
    ]
    chance.shuffle(records)

    found = both(stats.frame(records), GATHER, WAIT)

    assert sorted(zip(*found, strict=True)) == sorted(pairs)


@pytest.mark.parametrize("changes", [{}, {"wall_s": None}, {"repeat": 1}, {"study": "another"}])
def test_a_block_without_a_trusted_number_has_none(changes: dict[str, Any]) -> None:
    first = make_record(axes=GATHER, study="s", wall_s=6.0)
    other = make_record(axes=WAIT, **({"study": "s", "wall_s": 3.0} | changes))

    of, to = both(stats.frame([first, other]), GATHER, WAIT)

    assert (of[0], to[0]) == (6.0, None if changes else 3.0)
    assert of[1:] == [None] * (len(of) - 1)


NO_ARMS = checks("stats.toml", "no_arms")


@pytest.mark.parametrize(("says", "of"), NO_ARMS)
def test_pairs_refuse_an_arm_that_is_not_one(says: str, of: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=says):
        both(stats.frame(make_study({"gather": {}, "wait": {}})), of, WAIT)


def test_an_arm_may_be_named_by_none() -> None:
    frame = stats.frame(make_record(axes={"limit": n}, wall_s=4.0) for n in (None, 10))

    assert both(frame, {"limit": None}, {"limit": 10}) == ([4.0], [4.0])


# Latency


@settings(max_examples=30)
@given(st.lists(LATENCIES_US, min_size=1, max_size=5))
def test_merged_latency_is_that_of_one_histogram(runs: list[list[int]]) -> None:
    records = [make_record(latencies_us=run) for run in runs]
    merged = stats.merge_latency(records)

    assert stats.merge_latency(records[:1]).total_count == len(runs[0])  # merging changes no record
    whole = histogram(latency_us for run in runs for latency_us in run)
    assert list(merged.counts) == list(whole.counts)
    for name in ("get_total_count", "get_min_value", "get_max_value"):
        assert getattr(merged, name)() == getattr(whole, name)()


def test_latency_as_the_worker_encodes_it_is_read() -> None:
    counted = latency.empty()
    for value_ns in (1_500_000, 2_500_000, 3_000_000_000):
        counted[latency.index(value_ns)] += 1

    merged = stats.merge_latency([make_record(latency_hdr=latency.to_hdr(counted))])

    assert merged.total_count == 3
    assert merged.get_max_value() == pytest.approx(3_000_000, rel=1e-3)
    for records in ([], [make_record(latency_hdr=None)]):
        with pytest.raises(BadInput, match="no latency to merge"):
            stats.merge_latency(records)


@pytest.mark.parametrize("damage", ["", "AAAA", "not base64!", encoded([1, 2, 3])[:-9], "\u00e9"])
def test_a_damaged_or_unlike_histogram_is_refused_with_its_record(damage: str) -> None:
    with pytest.raises(RecordDamaged, match="of record damaged-one is damaged"):
        stats.merge_latency([make_record(id="damaged-one", latency_hdr=damage)])
    coarse = HdrHistogram(1, 3_600 * 10**6, 2).encode().decode()
    with pytest.raises(BadInput, match="of record coarse has other bounds or digits"):
        stats.merge_latency([make_record(), make_record(id="coarse", latency_hdr=coarse)])


# How many points a curve has: 50 for each nine, from 10 values beyond the last.
POINTS = {10: 1, 11: 4, 100: 51, 1_000: 101}


@given(st.lists(st.integers(1, 60_000_000), min_size=10, max_size=400))
def test_curve_agrees_with_ranks_of_the_sorted_sample(latencies_us: list[int]) -> None:
    n, ranked = len(latencies_us), sorted(latencies_us)

    percentiles, seconds = stats.percentile_curve(histogram(latencies_us))

    assert stats.percentile_curve(histogram(latencies_us[:9])) == ([], [])
    assert [len(stats.percentile_curve(histogram([1] * n))[0]) for n in POINTS] == [
        *POINTS.values()
    ]
    assert percentiles[0] == 0
    assert percentiles[-1] == pytest.approx(100 * (1 - 10 / n))
    assert seconds == sorted(seconds)
    for percentile, second in zip(percentiles[1:], seconds[1:], strict=True):
        # HdrHistogram counts up to the nearest rank, and answers the upper end of a bucket.
        rank = max(int(percentile * n / 100 + 0.5), 1)
        assert second * 1e6 == pytest.approx(ranked[rank - 1], rel=2e-3, abs=1)


# Coordinated omission


def golden() -> HdrHistogram:
    """HdrHistogram's own example: 10,000 values of 1,000 and one of 100,000,000."""
    recorded = HdrHistogram(1, 3_600 * 1_000 * 1_000, 3)
    recorded.record_value(1_000, 10_000)
    recorded.record_value(100_000_000)
    return recorded


def test_correction_gives_the_golden_numbers_of_hdrhistogram() -> None:
    before = golden()
    after = corrected(before, 10_000)
    assert after.total_count == 20_000
    assert corrected(histogram([3]), 0.5).total_count == 1 + 5
    for percentile, value in {50: 1_000, 75: 5e7, 90: 8e7, 99: 9.8e7}.items():
        assert after.get_value_at_percentile(percentile) == pytest.approx(value, rel=1e-3)
    # What was recorded is left as it was.
    assert before.total_count == 10_001
    assert before.get_value_at_percentile(99.99) == pytest.approx(1_000, rel=1e-3)


@settings(max_examples=25)
@example([1_500, 3_001], 700)  # one and three are added, of odd lengths
@given(
    st.lists(st.integers(1, 60_000), min_size=1, max_size=10),
    st.sampled_from([700, 1_000.5, 40_000, 5_000_000]),
)
def test_correction_adds_what_is_added_by_hand(latencies_us: list[int], interval_us: float) -> None:
    recorded = histogram(latencies_us)
    by_hand = histogram([])
    for latency_us in latencies_us:
        wait = recorded.get_highest_equivalent_value(latency_us)
        by_hand.record_value(latency_us)
        left, times = wait - interval_us, 1
        while left >= interval_us:
            by_hand.record_value(math.floor(left))
            times += 1
            left = wait - times * interval_us
    assert list(corrected(recorded, interval_us).counts) == list(by_hand.counts)


@pytest.mark.parametrize("interval_us", [0, -1.0, math.nan, math.inf, 1e-9])
def test_an_interval_that_cannot_be_meant_is_refused(interval_us: float) -> None:
    with pytest.raises(BadInput, match="expected_interval_us is"):
        corrected(golden(), interval_us)


# Percentiles of an arm


def test_percentiles_of_an_arm_are_those_of_all_its_answers() -> None:
    fast, slow = [1_000] * 990, [1_000] * 900 + [500_000] * 100
    records = [make_record(latencies_us=one, repeat=n) for n, one in enumerate((fast, fast, slow))]
    (row,) = stats.summary_of(records, []).to_dict("records")
    # 100 of 2,980 answers are slow: more than 1 %, while two of three repeats have none.
    assert row["latency_p99_s"] == pytest.approx(0.5, rel=1e-3)
    assert row["latency_p50_s"] == pytest.approx(0.001, rel=1e-3)
    each = make_record(latencies_us=[*range(1, 1_001)] * 10)
    (exact,) = stats.summary_of([each], []).to_dict("records")
    names = ("p50", "p90", "p99", "p999")
    assert [exact[f"latency_{name}_s"] for name in names] == [0.0005, 0.0009, 0.00099, 0.000999]
    # 10,000 answers are needed for it.
    assert math.isnan(row["latency_p999_s"])
    assert row["n"] == 3
    # Four repeats of 300 answers have the 1,000 that p99 needs, three have not.
    records = [make_record(latencies_us=range(1, 301), repeat=n) for n in range(4)]
    assert stats.summary_of(records, [])["latency_p99_s"][0] == pytest.approx(297e-6, rel=1e-2)
    assert math.isnan(stats.summary_of(records[:3], [])["latency_p99_s"][0])
    for n, known in ((19, False), (20, True)):
        few = stats.summary_of([make_record(latencies_us=range(n))], [])["latency_p50_s"][0]
        assert math.isfinite(few) == known


def test_an_arm_without_a_whole_histogram_has_no_percentiles() -> None:
    records = [make_record(axes={"limit": n}, latency_hdr=hdr) for n, hdr in ((1, "x"), (2, None))]
    summary = stats.summary_of(records, ["limit"])
    assert summary["latency_p50_s"].isna().all()
    assert list(summary["n"]) == [1, 1]
    assert list(stats.summary_of([], [])) == list(stats.summary(stats.frame([]), []))
