"""Doubts about an arm as a whole, in summaries, tables and charts; and what is never a figure."""

import ast
import random
import re
import statistics
from pathlib import Path

import pytest
from factories import make_record, make_study
from hypothesis import given
from hypothesis import strategies as st
from machines import checks

from labkit import charts, stats
from labkit.charts import figure
from labkit.record import guards
from labkit.record.codes import CODES
from labkit.record.record import Note, Record
from labkit.record.requests import Lateness
from labkit.report import tables
from labkit.report.study import Study
from labkit.stats import frames
from labkit.stats.intervals import MIN_REPEATS

PACKAGE = Path(guards.__file__).parents[1]
MEASURED = (
    *(f"measured/{name}" for name in ("worker.py", "http_framing.py", "probes", "strategies")),
    *("measured/transports", "measured/targets", "record/interference.py"),
)
# The header Date of an answer tells the time of day; no duration is taken from it.
DATES = {"engine.py": {"time.time"}}
# Requests to a remote host are spaced by the clock that sleeping has; nothing is measured by it.
PACED = {"transports/__init__.py": {".time"}}
ARMS = {"gather": {"wall_s": 10.0}, "queue": {"wall_s": 12.0}}


def doubted(records: list[Record]) -> list[str]:
    return figure.doubts(stats.by_label(stats.frame(records), ["strategy"]))


# Repeats and spread


@pytest.mark.parametrize(("repeats", "spread", "codes"), checks("doubts.toml", "doubts"))
def test_a_summary_doubts_few_or_unlike_runs(repeats: int, spread: float, codes: list[str]) -> None:
    frame = stats.frame(make_study(ARMS, repeats=repeats, spread=spread))
    rows = stats.summary_rows(stats.summary(frame, ["strategy"]))
    assert [row["doubts"] for row in rows] == [codes, codes]


def test_invalid_records_are_no_repeats() -> None:
    gather, queue = make_study(ARMS, repeats=5)[:2]
    last = [make_record(axes=gather.axes, repeat=4, verdict="invalid", wall_s=99.0)]

    summary = stats.summary(stats.frame([*[gather] * 4, *last, *[queue] * 5]), ["strategy"])

    assert summary["doubts"].tolist() == ["few-repeats", ""]


@given(st.lists(st.floats(0.001, 1_000), min_size=2, max_size=30))
def test_a_spread_is_by_deviation_or_by_an_extreme(values: list[float]) -> None:
    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    by_deviation = deviation / mean - 0.1
    by_extreme = max(abs(value - mean) for value in values) / mean - 0.5

    if min(abs(by_deviation), abs(by_extreme)) > 1e-9:
        assert frames.spreads(values) == (by_deviation > 0 or by_extreme > 0)


AT_THE_BOUNDS = ([9.0, 10.0, 11.0], [5.0, *[10.0] * 98, 15.0])


@pytest.mark.parametrize("values", [[], [3.0], [3.0, 3.0], [10.0] * 99 + [14.9], *AT_THE_BOUNDS])
def test_what_does_not_spread(values: list[float]) -> None:
    assert not frames.spreads(values)
    assert all(frames.spreads([10.0] * 999 + [far]) for far in (15.2, 4.8))  # one is enough


@pytest.mark.parametrize("n", [9, 10, 20])
def test_repeats_that_follow_each_other_are_doubted_from_ten_on(n: int) -> None:
    """Half of the repeats lie above the others, in a row or by turns; the interval cannot tell."""
    drifting = [10.0] * (n // 2) + [10.1] * (n - n // 2)
    for values, expected in ((drifting, n >= 10), (drifting[::2] + drifting[1::2], n >= 20)):
        assert frames.follows_itself(values) == expected
    assert not frames.follows_itself([10.0, 10.1] * n)
    assert not frames.follows_itself([10.0] * 2 + [10.1] * 5 + [10.0] * 3)  # a half, of ten
    assert not frames.follows_itself([10.0] * n)
    arms = [
        make_record(axes={"strategy": "queue"}, repeat=k, wall_s=s) for k, s in enumerate(drifting)
    ]
    assert [one.partition(" ")[0] for one in doubted(arms)] == ["correlated"] * (n >= 10)


def test_independent_repeats_are_seldom_called_correlated() -> None:
    draws = random.Random(3)
    series = [[draws.gauss(10, 1) for _ in range(12)] for _ in range(500)]
    assert sum(map(frames.follows_itself, series)) <= 15


def test_of_single_runs_nothing_is_said_but_that_they_are_single() -> None:
    records = make_study(ARMS, repeats=1)

    assert doubted(records) == []
    assert "One run an arm" in Study(records, ["strategy"]).table().says


def test_tables_and_charts_show_the_doubts() -> None:
    records = make_study(ARMS, repeats=3, spread=0.3)
    expected = doubted(records)

    codes = [one.partition(":")[0] for one in expected]
    assert codes == ["few-repeats (all arms)", "spread (all arms)"]
    shown = Study(records, ["strategy"]).table().says
    for kind in ("time", "latency"):
        assert set(expected) <= set(charts.plot(kind, records, ["strategy"]).notes)
    assert all(sentence in shown for sentence in expected)


def test_a_line_over_an_axis_has_an_arm_at_each_of_its_points() -> None:
    frame = stats.frame(
        make_record(settings={"limit": limit}, axes={"limit": limit}, repeat=n, wall_s=1e3 / limit)
        for limit in (10, 100)
        for n in range(5)
    )

    notes = charts.over_axis(frame, "limit", "wall_s").notes
    assert not [note for note in notes if note.startswith(("spread", "few-repeats"))]


def test_the_table_of_codes_names_the_thresholds_in_force() -> None:
    shares = [100 * frames.DEVIATION_SHARE, 100 * frames.EXTREME_SHARE]
    for code, numbers in (("few-repeats", [MIN_REPEATS]), ("spread", shares)):
        assert [float(text) for text in re.findall(r"\d+", CODES[code].when)] == numbers


# What latency means


def test_latency_is_called_service_time_wherever_it_is_shown() -> None:
    records = make_study(ARMS, repeats=5)
    untimed = make_record(latency_s=None, latency_hdr=None)

    assert guards.LATENCY["closed"] in Study(records, ["strategy"]).table().says
    assert guards.LATENCY["closed"] in tables.of_run(records[0]).says
    assert "closed workload" in " ".join(charts.plot("latency", records, ["strategy"]).notes)
    assert guards.LATENCY["closed"] not in tables.of_run(untimed).says


def test_an_invalid_record_says_what_made_it_so() -> None:
    notes = [Note(code="failures", message="few"), Note(code="throttled", message="held; raise it")]
    record = make_record(warnings=notes, verdict="invalid")

    assert tables.of_run(record).says == "The record is invalid: held; raise it."


def test_a_valid_record_says_how_near_it_came_to_its_delays() -> None:
    says = tables.of_run(make_record(floor_s=1.8, bound_s=1.5, wall_s=2.0, efficiency=0.9)).says
    assert says.startswith("The server's delays alone take 1.80 s in this order; this client took ")
    assert "took 2.00 s, an efficiency of 90.0%. No order takes less than 1.50 s." in says


@pytest.mark.parametrize(
    ("n", "shown"), [(999, False), (1_000, True), (None, True)], ids=["few", "enough", "unknown"]
)
def test_a_percentile_of_the_lag_needs_enough_timers(n: int | None, shown: bool) -> None:
    record = make_record(loop_lag_s=Lateness(p50=0.001, p99=0.002, max=0.003, n=n))

    assert (stats.METRICS["loop_lag_p99_s"].of(record) == 0.002) == shown
    assert stats.METRICS["loop_lag_max_s"].of(record) == 0.003


# Clocks


def _clocks_read(tree: ast.AST) -> set[str]:
    """`module.name` or `.name` of what is called or imported to tell the time."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("time", "datetime"):
            found |= {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Attribute):
            whose = node.value.id if isinstance(node.value, ast.Name) else ""
            found.add(f"{whose}.{node.attr}" if whose in ("time", "datetime") else f".{node.attr}")
    return found


@pytest.mark.parametrize("name", MEASURED)
def test_measured_code_reads_no_wall_clock_and_not_the_loops(name: str) -> None:
    """The wall clock is set by others; uvloop's own ticks in milliseconds."""
    path = PACKAGE / name
    files = [path] if path.is_file() else sorted(path.rglob("*.py"))
    assert files

    for file in files:
        read = _clocks_read(ast.parse(file.read_text(encoding="utf-8")))
        wrong = {"time.time", "time.time_ns", ".time", ".now", ".utcnow"} & read
        paced = PACED.get(f"{file.parent.name}/{file.name}", set())
        assert wrong <= DATES.get(file.name, paced), file
        assert not {one for one in read if one.startswith("datetime.")}, file


def test_a_sentence_names_the_arms_that_it_is_about() -> None:
    few, both = ["few-repeats"], {"a": ["few-repeats"], "b": ["few-repeats"]}
    for doubts, who in (({"a": few}, "(a)"), ({"a": few, "b": []}, "(a)"), (both, "(all arms)")):
        (sentence,) = frames.doubt_sentences(doubts, repeats=2)
        assert sentence.startswith(f"few-repeats {who}: ")
        assert sentence.endswith(CODES["few-repeats"].do + ".")
    assert frames.doubt_sentences(both, repeats=1) == []
