"""Charts of single lessons, by the data of what they draw."""

import asyncio
import dataclasses

import pytest
from factories import make_record
from machines import checks

import lesson_charts as charts
from labkit import Trial, strategies
from labkit.errors import BadInput
from labkit.report.study import Run

LOG = checks("charts.toml", "log")


def test_turns_stand_by_connection_and_in_order() -> None:
    chart = charts.turns(LOG, "A log")
    (ax,) = chart.axes

    assert [text.get_text() for text in ax.get_yticklabels()] == [
        "/slow on connection 4",
        "/behind on connection 4",
        "/other on connection 7",
    ]
    assert [bar.get_x() for bar in ax.patches] == pytest.approx([0, 200, 50])
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([200, 0, 10])
    assert [bar.get_facecolor() for bar in ax.patches].count(ax.patches[0].get_facecolor()) == 2
    assert "/slow on connection 4 0 to 200 ms" in chart.alt
    assert "/behind on connection 4 at 200 ms" in chart.alt

    waiting = charts.turns(LOG, "A log", sent_together=True).axes[0].patches[::2]
    assert [bar.get_x() for bar in waiting] == [0, 0, 0]
    assert [bar.get_width() for bar in waiting] == pytest.approx([0, 200, 50])


PLAIN = charts.Coded(coding="identity", wire_bytes=10_000, cpu_us=200, latency_s=0.0003)
PACKED = charts.Coded(coding="gzip", wire_bytes=2_000, cpu_us=1_000, latency_s=0.001)


def test_a_coding_breaks_even_where_the_bytes_saved_take_as_long_as_its_cpu() -> None:
    rate = charts.break_even_rate(PLAIN, PACKED)

    assert rate == pytest.approx(8_000 / 800e-6)
    assert PLAIN.over_s(rate) == pytest.approx(PACKED.over_s(rate))
    assert PLAIN.over_s(rate / 2) > PACKED.over_s(rate / 2)
    assert charts.break_even_rate(PACKED, PLAIN) is None
    assert charts.break_even_rate(PLAIN, dataclasses.replace(PACKED, cpu_us=1)) is None


def test_codecs_stand_by_their_bytes_and_cpu() -> None:
    chart = charts.codecs([PLAIN, PACKED, dataclasses.replace(PACKED, label="level 9")], "Cost")
    (ax,) = chart.axes

    plain, packed = ax.lines
    assert [*plain.get_xydata()[0]] == [10_000, 200]
    assert len(packed.get_xydata()) == 2
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert "gzip level 9 2,000 bytes" in chart.alt


def test_break_even_draws_lines_from_what_is_free_and_marks_as_measured() -> None:
    timed = ((PLAIN, 0.11), (PACKED, 0.022))
    over = [dataclasses.replace(one, rate=1e5, latency_s=latency_s) for one, latency_s in timed]
    (ax,) = charts.break_even([PLAIN, PACKED, *over], "Time").axes

    line, mark, _, packed = ax.lines
    rate, first_ms = line.get_xydata()[0]
    assert first_ms == pytest.approx(1e3 * PLAIN.over_s(rate))
    assert [*mark.get_xydata()[0]] == [1e5, pytest.approx(110)]
    assert [*packed.get_xydata()[0]] == [1e5, pytest.approx(22)]


def test_classes_have_a_panel_for_each_arm_and_a_line_for_each_class() -> None:
    arms = {
        "plain": {"urgent": [0.1, 0.3, 0.2], "other": [0.2]},
        "by priority": {"urgent": [0.01], "other": [0.4, 0.2], "none": []},
    }
    chart = charts.by_class(arms, "Who waits")
    plain, ranked = chart.axes
    assert [ax.get_title(loc="left") for ax in chart.axes] == list(arms)
    urgent = plain.lines[0]
    assert list(urgent.get_xdata()) == [100, 200, 300]
    assert list(urgent.get_ydata()) == pytest.approx([1 / 3, 2 / 3, 1])
    colours = [[line.get_color() for line in ax.lines[::2]] for ax in (plain, ranked)]
    assert colours[0] == colours[1]
    assert "plain: urgent 200 ms; plain: other 200 ms; by priority: urgent 10 ms" in chart.alt


def test_batches_show_round_trips_and_latency_over_the_size() -> None:
    def run(size: int, at_once: int, trips: int) -> charts.Batched:
        return charts.Batched(
            size=size, calls=1_000, at_once=at_once, round_trips=trips, p50_s=0.002, p99_s=0.05
        )

    runs = [run(1, 20, 1_000), run(100, 20, 50), run(1, 100, 1_000), run(100, 100, 10)]
    chart = charts.batches(runs, delay_s=0.01)
    trips, latency = chart.axes
    least = next(line for line in trips.lines if line.get_label() == "calls / size")
    assert list(least.get_ydata()) == [1_000, 10]
    named = {str(line.get_label()): list(line.get_ydata()) for line in trips.lines}
    assert named["20 at a time"] == [1_000, 50]
    assert named["100 at a time"] == [1_000, 10]
    assert "100, p99" in {str(line.get_label()) for line in latency.lines}
    assert "10 ms after its first key" in chart.notes[0]
    assert "20 at a time in batches of 100: 50 round trips" in chart.alt


def test_changes_show_each_stage_with_its_factor_over_the_one_before() -> None:
    process = {"process.peak_rss_bytes": 50_000_000, "client.cpu_us_per_request": 100.0}
    runs = [Run(make_record(**process, verdict="warn", warnings=["steal"]))]
    first = charts.Stage(label="then", changed="", peak_rss_bytes=[1e8], cpu_us=[500.0])
    chart = charts.changes([first, charts.Stage.of("now", "software", runs)], "Changed")
    memory, cpu = chart.axes

    assert [bar.get_width() for bar in memory.patches] == pytest.approx([100, 50])
    assert [bar.get_width() for bar in cpu.patches] == pytest.approx([500, 100])
    assert [text.get_text() for text in cpu.texts] == ["500", "100  ×0.20 software"]
    assert "steal" in chart.notes[1]
    assert "now 50 MB, 100 µs" in chart.alt


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(BadInput, match="no request that has ended"):
        charts.turns(LOG[-1:], "A log")
    with pytest.raises(BadInput, match="nothing to draw"):
        charts.codecs([], "Cost")
    with pytest.raises(BadInput, match="no rate to draw over"):
        charts.break_even([PLAIN, PACKED], "Time")
    with pytest.raises(BadInput, match="no latency to draw"):
        charts.by_class({"plain": {"urgent": []}})
    with pytest.raises(BadInput, match="nothing to draw"):
        charts.batches([], delay_s=0.01)
    with pytest.raises(BadInput, match="nothing to draw"):
        charts.changes([], "Changed")


def test_the_floor_is_drawn_from_the_delays_and_ends_at_the_makespan() -> None:
    trial = Trial(requests=24, limit=6, delay="randint(1,3)*0.05")
    waits = charts.delays_of(trial)
    chart = charts.ideas.floor(waits, trial.limit)
    (ax,) = chart.axes

    assert charts.makespan(waits, 6) == pytest.approx(trial.floor_s)
    assert [bar.get_width() for bar in ax.patches] == pytest.approx(waits)
    assert max(bar.get_x() + bar.get_width() for bar in ax.patches) == pytest.approx(trial.floor_s)
    assert "24 delays on 6 slots" in chart.alt
    assert len({bar.get_y() for bar in charts.ideas.floor(waits, 24).axes[0].patches}) == 10


@pytest.mark.parametrize("name", charts.ideas.__all__)
def test_each_picture_of_an_idea_is_drawn_without_arguments_and_said_in_words(name: str) -> None:
    chart = getattr(charts.ideas, name)()

    assert len(chart.alt) > 60
    assert chart.svg().startswith("<?xml")


def test_a_turn_says_how_long_its_callbacks_hold_the_loop() -> None:
    assert "3 callbacks, one after another, for 100.4 ms" in charts.ideas.turn((0.2, 100, 0.2)).alt


async def test_what_a_strategy_holds_is_counted_at_each_call() -> None:
    inside = await charts.held(strategies.semaphore, requests=20, limit=4)
    before = await charts.held(strategies.task_pool, requests=20, limit=4)
    panels = charts.holding({"inside": inside, "before": before}, 4).axes

    assert sorted(inside["item"]) == sorted(before["item"]) == [*range(20)]
    assert (inside["tasks"].iloc[0], inside["read"].iloc[0]) == (20, 20)
    assert before["tasks"].max() <= 5
    assert [max(line.get_ydata()) for line in panels[0].lines] == [20, before["tasks"].max(), 4]
    assert "def semaphore" in charts.source(strategies.semaphore).data


def test_points_lie_by_share_and_gain_beside_the_law() -> None:
    (ax,) = charts.by_share({"all": (1.0, 3.0), "some": (0.2, 1.1)}, k=3.0).axes
    law, *points = ax.lines

    assert [*law.get_xydata()[-1]] == pytest.approx([100, 3])
    assert [[*point.get_xydata()[0]] for point in points] == [[100, 3], [20, 1.1]]


async def test_sleeps_are_measured_on_a_loop_in_a_thread() -> None:
    measured = await charts.slept(asyncio.new_event_loop, [0.5, 1.0])
    (ax,) = charts.sleep_chart([0.5, 1.0], {"asyncio": measured}).axes

    assert measured.shape == (9, 2)
    assert (measured >= [0.49, 0.99]).all()
    assert len(ax.lines) == 2


def test_a_further_request_is_charged_as_the_process_was() -> None:
    few, many = (
        make_record(
            settings={"requests": n},
            **{"process.cpu_user_s": 0.3 + 90e-6 * n, "process.cpu_system_s": 0.0},
            **{"client.cpu_us_per_request": 45},
        )
        for n in (1_000, 10_000)
    )

    assert charts.charged_ratio([many, few]) == pytest.approx(2)


@pytest.mark.parametrize(("value", "reach"), [(50, 400), (1_000, 1_050)])
def test_a_guess_is_a_line_that_the_axis_of_values_reaches_to(value: float, reach: float) -> None:
    chart = charts.by_class({"plain": {"urgent": [0.1, 0.3]}}, "Who waits").guess(value)
    ax, guess = chart.axes[0], chart.axes[0].lines[-1]

    assert {*guess.get_xdata(), *guess.get_ydata()} >= {value}
    assert f"guess {value:,}" in {text.get_text() for text in ax.texts}
    assert max(ax.get_xlim()[1], ax.get_ylim()[1]) >= min(value, reach)
    assert chart.alt.endswith(f" A guess {value:,}.")


def test_coded_is_the_median_of_the_runs_of_a_path_and_a_coding() -> None:
    path = {"path": "/json/12?rate=1000", "accept_encoding": "gzip", "requests": 10}
    used = [100.0, 300.0, 200.0]
    records = [
        make_record(settings=path, **{"client.cpu_us_per_request": us, "server.cpu_s": 0.001})
        for us in used
    ]
    (one,) = charts.coded(records)

    assert (one.coding, one.rate, one.wire_bytes) == ("gzip", 1_000, 94)
    assert (one.cpu_us, one.server_cpu_us) == pytest.approx((300, 100))


def test_the_picture_of_littles_law_has_as_many_dots_in_each_place_as_the_law_says() -> None:
    chart = charts.ideas.little(rate=400, queue_s=0.015, connection_s=0.005, server_s=0.01)
    dots = [line.get_color() for line in chart.axes[0].lines]

    assert sorted(dots.count(colour) for colour in set(dots)) == [2, 4, 6]
    assert "400 a second × 30 ms = 12 in flight" in chart.alt


def test_in_a_pipeline_each_request_ends_after_those_ahead_and_side_by_side_by_itself() -> None:
    (ax,) = charts.ideas.pipeline([0.3, 0.1, 0.1]).axes
    working = [bar for bar in ax.patches if bar.get_facecolor() == ax.patches[1].get_facecolor()]
    ends = sorted(bar.get_x() + bar.get_width() for bar in working)

    assert ends == pytest.approx([0.1, 0.1, 0.3, 0.3, 0.4, 0.5])


def test_a_gate_needs_the_whole_interval_beyond_the_tolerance() -> None:
    ratios = {
        "a": (1.2, 1.1, 1.3),
        "b": (1.2, 1.04, 1.4),
        "c": (1, 0.96, 1.04),
        "d": (0.8, 0.7, 0.9),
    }

    assert "a 1.2: regression; b 1.2: inconclusive; c 1: no" in (
        alt := charts.ideas.gate(ratios).alt
    )
    assert alt.endswith("d 0.8: improvement.")


def test_a_claim_is_decided_more_often_the_further_the_truth_is_from_its_band() -> None:
    how: dict[str, float] = {"at_least": 1.05, "noise": 0.1}
    shares = {5: charts.decisions([0.6, 1.05, 2.0], 5, experiments=50, **how)}
    (ax,) = charts.decided(shares, 1.05).axes

    assert list(shares[5].loc[0.6]) == [0, 0, 100]
    assert list(shares[5].loc[2.0]) == [100, 0, 0]
    assert shares[5].loc[1.05, "inconclusive"] >= 80
    assert ax.get_xlim() == (0.6, 2.0)
    assert charts.judged("four", [2.0] * 4, at_least=1.05).verdict == "inconclusive"


def test_an_arm_has_one_mark_whichever_runs_first() -> None:
    orders = {"one": [("A", 1.0), ("B", 2.0)], "other": [("B", 2.0), ("A", 1.0)]}
    chart = charts.in_order("Drift", orders, "A note")

    marks = {
        (ax.lines[n].get_label(), ax.lines[n].get_color()) for ax in chart.axes for n in (0, 1)
    }
    assert sorted(label for label, _ in marks) == ["A", "B"]
