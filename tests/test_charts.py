"""Charts, by the data of what they draw, by their words, and once each as an image."""

import itertools
import statistics
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import msgspec
import pytest
from IPython.utils import io
from machines import checks
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from labkit import charts, stats
from labkit.charts import Chart, Row, style, trial_chart
from labkit.charts.figure import Trust, trust
from labkit.errors import BadInput
from labkit.profiler.callgraph import CallGraph
from labkit.record.record import Note, Record, Timeline
from labkit.record.requests import PHASES, Staged
from tests.factories import call, make_function, make_record, make_study, phases

KIB = 1024
BUSY = Note(code="server-busy", message="the server used 75 % of its core")
METRICS = ("process_peak_rss_bytes", "process_wall_s", "process_cpu_percent")
PUBLISHED = {
    "semaphore": dict(zip(METRICS, (352_684 * KIB, 154.87, 38.0), strict=True)),
    "as_completed": dict(zip(METRICS, (57_548 * KIB, 154.91, 100.0), strict=True)),
}
FIELDS = [name.replace("process_", "process.") for name in METRICS]
NOW = {
    "semaphore": dict(zip(FIELDS, (380_000_000, 155.0, 45.0), strict=True)),
    "as_completed": dict(zip(FIELDS, (52_000_000, 154.0, 100.0), strict=True)),
}


THREE = {"repeats": "smoke", "reference": "workshop", "published": "paper"}


def garcia() -> list[Record]:
    """Two of the clients of 2018; the second is in doubt."""
    doubts = {"semaphore": {}, "as_completed": {"verdict": "warn", "warnings": [BUSY]}}
    return [msgspec.structs.replace(one, **doubts[one.axes["strategy"]]) for one in make_study(NOW)]


def garcia_rows(**more: Any) -> list[Row]:
    return charts.rows(stats.frame(garcia()), ["strategy"], published=PUBLISHED, **more)


def bars(records: list[Record], *by: str) -> Chart:
    return charts.bars(stats.frame(records), "memory", by or ["strategy"])


def beside_a_reference() -> list[Row]:
    return garcia_rows(reference=stats.frame(make_study(NOW, spread=0.0)))


def by_requests(*, factor: float = 1.0) -> list[Record]:
    return [
        make_record(
            axes={"strategy": strategy, "requests": requests},
            settings={"strategy": strategy, "requests": requests},
            repeat=repeat,
            **{"process.peak_rss_bytes": int(factor * (40e6 + each * requests) + repeat)},
        )
        for requests in (1_000, 10_000, 100_000)
        for strategy, each in (("semaphore", 3_000), ("task_pool", 1))
        for repeat in range(3)
    ]


def over_requests(**more: Any) -> Chart:
    return charts.over_axis(stats.frame(by_requests()), "requests", "memory", ["strategy"], **more)


def latencies() -> dict[str, list[Record]]:
    quick = [make_record(latencies_us=range(1_000, 6_000)) for _ in range(2)]
    slow = make_record(latencies_us=range(20_000, 20_500), verdict="warn", warnings=[BUSY])
    return {"worker_pool": quick, "sequential": [slow]}


def traced() -> dict[str, list[Record]]:
    """Two arms of 40 requests, one of which waits for connections in one repeat of two."""
    return {
        "free": [make_record(phases=phases()), make_record(phases=phases())],
        "queued": [make_record(phases=phases()), make_record(phases=phases(queue_s=0.02))],
    }


SPOTS = {
    f"{panel}-{group}-{bar}": (panel, group, bar)
    for panel in ("streams", "HTTP client, aiohttp")
    for group in ("1 KiB", "100 KiB")
    for bar in ("asyncio", "uvloop")
}


def rates() -> list[Row]:
    """Two styles of two sizes on two loops; those of the second style have no published figure."""

    def row(label: str, panel: str, group: str, bar: str) -> Row:
        base = (20_000 if panel == "streams" else 3_000) * (2 if bar == "uvloop" else 1)
        records = [make_record(verdict="warn")] if group == "100 KiB" else []
        return Row(
            trust=trust(label, stats.frame(records)),
            repeats=[{"throughput_rps": base * more} for more in (1, 1.1, 1.3)],
            published={"throughput_rps": 2 * base} if panel == "streams" else None,
        )

    return [row(label, *spot) for label, spot in SPOTS.items()]


EVERY_CHART: dict[str, Callable[[], Chart]] = {
    "triptych": lambda: charts.triptych(garcia_rows(), conditions="100,000 requests"),
    "triptych beside a reference": lambda: charts.triptych(beside_a_reference()),
    "triptych of another size": lambda: charts.triptych(
        beside_a_reference(), scales=THREE, differs="of 100,000 requests"
    ),
    "bars": lambda: bars(garcia()),
    "bars by two": lambda: bars(by_requests(), "strategy", "requests"),
    "throughput": lambda: charts.throughput(rates(), SPOTS, conditions="10 at a time"),
    "timeline": lambda: charts.timeline(make_record(verdict="warn", warnings=[BUSY] * 6)),
    "latency": lambda: charts.latency(latencies()),
    "waterfall": lambda: charts.waterfall(make_record(phases=phases(60), verdict="warn")),
    "waterfall of three": lambda: charts.waterfall(make_record(phases=phases(3, queue_s=0.02))),
    "phases": lambda: charts.phases(traced()),
    "over an axis": lambda: over_requests(reference=stats.frame(by_requests(factor=0.8))),
}


@cache
def drawn(name: str) -> Chart:
    return EVERY_CHART[name]()


@pytest.fixture(params=EVERY_CHART)
def chart(request: pytest.FixtureRequest) -> Chart:
    return drawn(request.param)


def texts(chart: Chart) -> list[Text]:
    """Every text that can be seen."""
    return [one for one in chart.findobj(Text) if one.get_text() and one.get_visible()]


def words(chart: Chart) -> list[str]:
    return [text.get_text() for text in texts(chart)]


def boxes(ax: Axes) -> list[Rectangle]:
    return [patch for patch in ax.patches if isinstance(patch, Rectangle)]


def widths(ax: Axes) -> list[float]:
    return [box.get_width() for box in boxes(ax)]


def labels(ax: Axes, which: str = "y") -> list[str]:
    axis = ax.yaxis if which == "y" else ax.xaxis
    return [label.get_text() for label in axis.get_ticklabels()]


def line(ax: Axes, label: str) -> Line2D:
    (found,) = [one for one in ax.lines if one.get_label().partition(", at most")[0] == label]
    return found


def column(line: Line2D, which: str = "y") -> list[float]:
    return [float(one) for one in (line.get_ydata() if which == "y" else line.get_xdata())]


# What holds for every chart


@pytest.mark.parametrize("name", ["bars", "waterfall of three"])
def test_chart_is_a_png_of_the_size_in_which_it_was_drawn(name: str) -> None:
    chart = EVERY_CHART[name]()
    before = [ax.get_position().bounds for ax in chart.axes]
    png = chart.png()

    assert png.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", png[16:24])
    assert width / height == pytest.approx(chart.get_figwidth() / chart.get_figheight(), abs=0.01)
    assert before != [ax.get_position().bounds for ax in chart.axes]  # they were laid out


@pytest.mark.parametrize("name", EVERY_CHART)
def test_same_data_give_the_same_svg(name: str) -> None:
    first, second = EVERY_CHART[name]().svg(), EVERY_CHART[name]().svg()

    assert first == second
    assert "<dc:date>" not in first


def test_texts_are_large_enough_within_the_figure_and_apart(chart: Chart) -> None:
    chart.draw_without_rendering()  # after which the places of texts are known
    whole = chart.bbox.padded(2)

    for text in texts(chart):
        assert text.get_fontsize() >= 12, text
        ends = text.get_window_extent().get_points()
        # Ticks beyond the ends of an axis are there, but not drawn.
        is_number = text.get_text().replace(",", "").replace(".", "").isdigit()
        assert is_number or all(whole.contains(*end) for end in ends), text
    for axis in (axis for ax in chart.axes for axis in (ax.xaxis, ax.yaxis)):
        shown = [label for label in axis.get_ticklabels() if label.get_visible()]
        places = [label.get_window_extent() for label in shown if label.get_text()]
        assert [1 for one, next_one in itertools.pairwise(places) if one.overlaps(next_one)] == []


def test_a_chart_names_axes_shows_verdicts_and_notes_and_describes_itself(chart: Chart) -> None:
    for ax in chart.axes:
        assert ax.get_title(loc="left") or ax.get_ylabel() or ax.get_xlabel()
        shown = f"{ax.get_xlabel()} {ax.get_ylabel()}"
        assert any(unit in shown for unit in ("MB", "s", "% of a core", "requests"))
    assert any("alid" in note or "warn" in note for note in chart.notes)
    assert len(chart.alt.splitlines()) == 1
    assert repr(chart) == str(chart) == "\n".join([f"Chart: {chart.alt}", *chart.notes])


def test_notes_have_two_lines_in_the_picture_and_the_others_fold_below_it(chart: Chart) -> None:
    (foot,) = [text for part in chart.subfigs[1:] for text in part.texts]
    shown, folded = foot.get_text(), set(chart.folded)

    assert len(shown.splitlines()) <= 2
    assert [one for one in chart.notes if one.rstrip(".") in " ".join(shown.split())] == [
        one for one in chart.notes if one not in folded
    ]
    assert folded <= set(chart.notes)
    assert bool(chart.below) == bool(folded)
    assert chart.below.count("<p>") == len(chart.folded)


def test_notebook_shows_a_chart_as_image_and_text_and_its_notes_below() -> None:
    shell = pytest.importorskip("IPython.testing.globalipapp").get_ipython()
    formatter = shell.display_formatter.formatters["image/png"]
    formatter.for_type(Figure, lambda figure: b"drawn in another way")
    chart = EVERY_CHART["bars by two"]()

    with io.capture_output() as captured:
        assert shell.display_formatter.format(chart) == ({}, {})

    picture, below = captured.outputs
    assert picture.data == {"image/png": chart.png_transparent(), "text/plain": str(chart)}
    assert picture.metadata["image/png"]["width"] < chart.get_figwidth() * 100
    assert set(below.data) == {"text/html"}
    assert "<details><summary>Notes</summary><p>few-repeats" in below.data["text/html"]


def luminance(colour: Any) -> float:
    """Return the relative luminance of a colour, as WCAG 2 has it."""
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return sum(c * of for c, of in zip(parts, (0.2126, 0.7152, 0.0722), strict=True))


def contrast(ink: Any, ground: Any) -> float:
    lower, higher = sorted(map(luminance, (ink, ground)))
    return (higher + 0.05) / (lower + 0.05)


FILLED = [*trial_chart.PHASES_LOOKS.values(), trial_chart.COROUTINE, trial_chart.FUNCTION]


def test_text_has_a_contrast_of_four_and_a_half_in_both_themes() -> None:
    # JupyterLab's pages; of its ground a picture has the product with itself.
    for page in ("#FFFFFF", "#111111"):
        ground = [part**2 for part in to_rgb(page)]
        assert contrast([style.GREY] * 3, ground) >= 4.5
    assert contrast(style.INK, "#FFFFFF") >= 4.5  # in a file
    assert "multiply" in style.GROUND
    for look in FILLED:
        assert contrast(style.ON_FILL, look.face) >= 4.5, look


def test_style_and_pyplot_of_the_user_and_the_lab_leave_each_other_alone() -> None:
    mine, figures = dict(mpl.rcParams), pyplot.get_fignums()
    plain = EVERY_CHART["bars"]().svg()

    assert (dict(mpl.rcParams), pyplot.get_fignums()) == (mine, figures)
    with mpl.rc_context({"axes.facecolor": "black", "font.size": 4, "axes.grid": True}):
        assert EVERY_CHART["bars"]().svg() == plain


def test_suffix_says_how_a_chart_is_saved(tmp_path: Path) -> None:
    chart = EVERY_CHART["bars"]()
    for name in ("memory.pdf", "memory", "absent/memory.svg"):
        with pytest.raises(BadInput, match=name):
            chart.save(tmp_path / name)

    assert list(tmp_path.iterdir()) == []
    assert chart.save(tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert chart.save(tmp_path / "a.svg").read_bytes().startswith(b"<?xml")


def test_dollars_in_a_name_are_no_formula() -> None:
    records = [make_record(axes={"workload.path": path}) for path in ("/$a^$", "/$\\bad$")]

    chart = bars(records, "workload.path")

    chart.png()
    assert labels(chart.axes[0]) == ["/$a^$", "/$\\bad$"]


# Bars


def test_bars_are_medians_with_their_repeats_and_doubts() -> None:
    records = garcia()

    chart = bars(records)
    (ax,) = chart.axes

    for place, strategy in enumerate(NOW):
        values = [r.process.peak_rss_bytes / 1e6 for r in records if r.axes["strategy"] == strategy]
        assert widths(ax)[place] == pytest.approx(statistics.median(values))
        whisker = ax.collections[place].get_segments()[0]
        assert [point[0] for point in whisker] == pytest.approx([min(values), max(values)])
        dots = [one for one in ax.lines if one.get_marker() == "o"][place]
        assert column(dots, "x") == pytest.approx(values)
    assert ax.get_xlabel() == "peak memory (MB)"
    assert ax.get_xlim()[0] == 0
    # The arm in doubt is marked, and its codes are noted.
    assert labels(ax) == ["semaphore", "as_completed \N{WARNING SIGN}"]
    assert "Valid: semaphore" in chart.notes
    assert "\N{WARNING SIGN} warn (server-busy): as_completed" in chart.notes


def test_last_axis_is_told_by_colour() -> None:
    chart = EVERY_CHART["bars by two"]()

    (ax,) = chart.axes
    assert labels(ax) == ["semaphore", "task_pool"]
    assert widths(ax) == pytest.approx([43, 70, 340, 40.001, 40.01, 40.1], rel=1e-4)
    colours = [box.get_facecolor() for box in boxes(ax)]
    assert colours[:3] == colours[3:]
    assert len(set(colours)) == 3
    assert {"requests 1,000", "requests 100,000"} <= set(words(chart))
    # Of the conditions those are named that all share.
    assert chart.notes[0] == "limit 1,000, delay randint(0,3), asyncio."


def test_arms_are_named_by_setting_and_value_and_a_lone_run_by_its_strategy() -> None:
    records = [make_record(axes={"limit": limit}) for limit in (1, 20)]
    assert labels(charts.plot("time", records, ["limit"]).axes[0]) == ["limit 1", "limit 20"]
    assert labels(charts.plot("efficiency", records[:1]).axes[0]) == ["task_pool"]


def test_long_commands_that_differ_in_the_middle_are_arms_of_their_own() -> None:
    commands = [f"python /a/long/way/to/clients/{one}/client.py --requests {{n}}" for one in "ab"]
    records = [make_record(axes={"program": command}) for command in commands]

    assert labels(charts.plot("memory", records, ["program"]).axes[0]) == commands


def test_what_was_not_measured_is_said_and_not_drawn_as_nothing() -> None:
    chart = charts.bars(stats.frame([make_record(wall_s=None)]), "time", ["strategy"])

    assert boxes(chart.axes[0]) == []
    assert "not measured" in words(chart)
    assert "task_pool n/a" in chart.alt
    (ax,) = charts.bars(stats.frame([make_record()]), "failures", ["strategy"]).axes
    assert widths(ax) == [0]


# Throughput


def test_throughput_has_a_panel_a_style_with_published_beside_measured() -> None:
    chart = charts.throughput(rates(), SPOTS, year=2016)

    echo, http = chart.axes
    assert echo.get_title(loc="left") == "streams"
    assert labels(echo) == ["1 KiB", "100 KiB \N{WARNING SIGN}"]
    # By group: asyncio and uvloop here, then both as published, in thousands.
    assert widths(echo) == pytest.approx([22, 44, 40, 80] * 2)
    assert widths(http) == pytest.approx([3.3, 6.6] * 2)
    assert [bool(box.get_hatch()) for box in boxes(echo)] == [False, False, True, True] * 2
    assert {"asyncio, measured here", "uvloop, published 2016"} <= set(words(chart))
    assert "streams, 1 KiB, uvloop 44,000 requests/s (published 80,000 requests/s)" in chart.alt
    alone = charts.throughput([replace(rates()[0], repeats=[])], SPOTS)
    assert "streams, 1 KiB, asyncio n/a (published" in alone.alt


# Triptych


def test_triptych_puts_published_beside_measured() -> None:
    chart = charts.triptych(garcia_rows(), year=2018)

    memory, time, cpu = chart.axes
    titles = ["peak memory", "time of the process", "CPU of the process"]
    assert [ax.get_title(loc="left") for ax in chart.axes] == titles
    assert widths(memory) == pytest.approx([380, 361.148, 52, 58.929], rel=1e-4)
    assert widths(time) == pytest.approx([155, 154.87, 154, 154.91])
    assert widths(cpu) == pytest.approx([45, 38, 100, 100])
    assert [bool(box.get_hatch()) for box in boxes(memory)] == [False, True, False, True]
    assert labels(memory) == ["semaphore", "as_completed \N{WARNING SIGN}"]
    named = {"measured here", "published 2018", "floor: the server's delays in this order"}
    assert named <= set(words(chart))


def test_each_bar_of_times_has_its_floor() -> None:
    def floors(*known_s: float | None) -> list[Line2D]:
        each = [{"process_wall_s": 9.0, "floor_s": floor_s} for floor_s in known_s]
        rows = [Row(trust=Trust(label=f"{n}"), repeats=[one]) for n, one in enumerate(each)]
        return [one for one in charts.triptych(rows).axes[1].lines if one.get_linestyle() == "--"]

    assert [column(one, "x") for one in floors(2.0, 3.0)] == [[2, 2], [3, 3]]
    assert [column(one) for one in floors(2.0, 3.0)] == [[-0.4, 0.4], [0.6, 1.4]]
    unknown = charts.triptych([Row(trust=Trust(label="a"), repeats=[{"floor_s": None}])])
    assert not any("floor" in text for text in words(unknown))


def test_times_are_drawn_with_their_floor_and_other_metrics_without() -> None:
    records = [
        make_record(axes={"limit": n}, wall_s=n + 2.0, floor_s=n + 1.0, repeat=repeat)
        for n in (1, 2)
        for repeat in (0, 1)
    ]
    frame = stats.frame(records)
    floor = charts.over_axis(frame, "limit", "time").axes[0].lines[-1]
    dashed = [
        one
        for name in ("time", "memory")
        for one in charts.bars(frame, name, ["limit"]).axes[0].lines
        if one.get_linestyle() == "--"
    ]

    assert (floor.get_label(), column(floor, "x"), column(floor)) == ("floor", [1, 2], [2, 3])
    assert [column(one, "x") for one in dashed] == [[2, 2], [3, 3]]


def test_published_figures_of_another_workload_have_axes_of_their_own() -> None:
    chart = charts.triptych(
        garcia_rows(),
        scales={"repeats": "smoke", "published": "paper"},
        differs="published of 100,000 requests, here of 2,000",
    )

    memory, published = chart.axes[0], chart.axes[3]
    assert widths(memory) == pytest.approx([380, 52])
    assert widths(published) == pytest.approx([361.148, 58.929], rel=1e-4)
    assert labels(published) == ["semaphore", "as_completed"]
    assert [memory.get_ylabel(), published.get_ylabel()] == ["scale smoke", "scale paper"]
    assert any("published of 100,000 requests, here of 2,000" in note for note in chart.notes)


def test_reference_is_drawn_lighter_between_measured_and_published() -> None:
    chart = charts.triptych(beside_a_reference())

    measured, reference, published = boxes(chart.axes[0])[:3]
    assert reference.get_width() == 380
    assert reference.get_facecolor()[:3] == measured.get_facecolor()[:3]
    assert reference.get_facecolor()[3] < measured.get_facecolor()[3]
    assert published.get_hatch()
    assert "reference machine" in words(chart)


def test_a_run_that_is_invalid_is_a_cross_and_counts_only_where_its_arm_has_no_other() -> None:
    spoilt = [(one.axes["strategy"] == "semaphore" or one.repeat == 0) for one in garcia()]
    verdicts = ["invalid" if is_spoilt else "valid" for is_spoilt in spoilt]
    frame = stats.frame(garcia()).assign(verdict=verdicts)
    memory = charts.triptych(charts.rows(frame, ["strategy"])).axes[0]

    assert labels(memory) == ["semaphore \N{BALLOT X}", "as_completed"]
    assert widths(memory) == pytest.approx([380, 52.26])  # the middle of five, and of the last four
    (crosses,) = (one for one in memory.lines if one.get_marker() == "X")
    assert column(crosses, "x") == pytest.approx([50.96])


# Timeline


def test_timeline_draws_each_column_in_the_unit_of_its_panel() -> None:
    record = make_record(verdict="warn", warnings=[BUSY])
    data, chart = record.timeline, charts.timeline(record)

    memory, cpu, in_flight, completed, lag = chart.axes

    assert column(line(memory, "client")) == pytest.approx([v / 1e6 for v in data.client_rss_bytes])
    assert column(line(memory, "server")) == pytest.approx([v / 1e6 for v in data.server_rss_bytes])
    assert column(line(cpu, "client"))[1:] == data.client_cpu_percent[1:]
    assert column(line(in_flight, "in flight")) == data.in_flight
    assert column(line(in_flight, "limit 1,000")) == [1_000, 1_000]
    assert column(line(completed, "completed")) == data.completed
    failing = msgspec.structs.replace(data, failed=[n // 2 for n in data.completed])
    late = charts.timeline(msgspec.structs.replace(record, timeline=failing))
    assert column(line(late.axes[3], "failed")) == failing.failed
    assert "completed so far at most 100,000 requests, failed so far at most 50,000" in late.alt
    assert column(line(lag, "event loop")) == pytest.approx([v * 1e3 for v in data.loop_lag_s])
    *drawn, floor = memory.lines
    assert all(column(one, "x") == data.t_s for one in drawn)
    assert column(floor, "x") == [record.floor_s] * 2
    assert {"client, at most 58", "floor"} <= set(words(chart))
    assert lag.get_xlim() == (0, data.t_s[-1])
    for ax in (memory, cpu, in_flight, completed, lag):
        assert ax.get_ylim()[0] == 0
        assert ax.get_ylim()[1] > 1.05 * ax.dataLim.y1
    # It says what was measured, and how far to trust it.
    assert "task_pool, 100,000 requests, limit 1,000, delay randint(0,3), asyncio" in words(chart)
    busy = "server-busy: the server used 75 % of its core"
    assert chart.notes == ("Verdict: \N{WARNING SIGN} warn", busy)


def test_timeline_names_the_stages_where_they_begin() -> None:
    stages = {"stages": "1s:5 few, 2s:5..20 climb, 1s:9", "stages_of": "limit"}
    met = [Staged(name="few", asked=5, due=0, sent=400, achieved_rps=400.0)]
    data = Timeline(t_s=[0.0, 4.0], completed=[0, 0], in_flight=[0, 9])
    record = make_record(settings={"strategy": "worker_pool", **stages}, stages=met, timeline=data)
    memory, *_, in_flight, _, _ = charts.timeline(record).figure.axes
    assert [(text.get_text(), text.get_position()[0]) for text in memory.texts[-3:]] == [
        (" few: 400/s", 0),
        (" climb", 1),
        (" 3", 3),
    ]
    assert [line.get_xdata()[0] for line in in_flight.lines[-3:]] == [0, 1, 3]
    # There is no one limit then.
    assert not any("limit" in one.get_label() for one in in_flight.lines)


def test_timeline_of_a_server_that_was_not_watched() -> None:
    record = make_record()
    names = [
        f"timeline.{name}" for name in ("server_rss_bytes", "server_cpu_percent", "loop_lag_s")
    ]
    unseen = dict.fromkeys(names, [None] * len(record.timeline.t_s))

    chart = charts.timeline(make_record(trial={**record.trial, "workload": {}}, **unseen))

    shown = [[one.get_label().split(",")[0] for one in ax.lines] for ax in chart.axes]
    floor = "_floor"
    assert (shown[0], shown[2], shown[4]) == (["client", floor], ["in flight", floor], [])
    assert "not measured" in words(chart)


# Latency


def test_latency_line_ends_where_the_answers_do_and_too_few_are_named() -> None:
    few = {"tiny": [make_record(latencies_us=[5] * 9)], "bare": [make_record(latency_hdr=None)]}
    chart = charts.latency(latencies() | few)

    (ax,) = chart.axes
    assert len(ax.lines) == 2
    assert "Not drawn, for too few answers that were timed: tiny; bare." in chart.notes
    quick = line(ax, "worker_pool (n = 10,000)")
    slow = line(ax, "sequential \N{WARNING SIGN} (n = 500)")
    assert column(quick, "x")[-1] == pytest.approx(3)  # 99.9: 10 of 10,000 lie beyond
    assert column(slow, "x")[-1] == pytest.approx(1.69897)  # 98: 10 of 500 lie beyond
    assert column(slow)[-1] == pytest.approx(20.49, rel=2e-3)
    assert labels(ax, "x") == ["0", "50", "90", "99", "99.9"]
    assert ax.get_ylabel() == "latency (ms), logarithmic"
    assert {"6", "20.5"} <= set(words(chart))

    (ax,) = charts.latency({"a": [make_record(latencies_us=[2_000_000] * 100)]}).axes
    assert ax.get_ylabel() == "latency (s)"
    assert ax.get_ylim()[0] == 0
    assert column(ax.lines[0])[-1] == pytest.approx(2, rel=2e-3)


# Over an axis


def test_medians_are_joined_over_an_axis_that_spans_decades() -> None:
    (ax,) = over_requests().axes

    semaphore = line(ax, "semaphore")
    assert column(semaphore, "x") == [1_000, 10_000, 100_000]
    assert column(semaphore) == pytest.approx([43, 70, 340], rel=1e-6)
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_ylim()[0]) == ("log", "linear", 0)
    assert [ax.get_xlabel(), ax.get_ylabel()] == ["requests, logarithmic", "peak memory (MB)"]
    assert labels(ax, "x") == ["1,000", "10,000", "100,000"]
    dots = ax.lines[1]  # one for each repeat
    assert (dots.get_linestyle(), len(column(dots))) == ("None", 9)
    assert ax.get_legend() is not None
    # One line alone needs no legend.
    (alone,) = charts.over_axis(stats.frame(by_requests()), "requests", "memory").axes
    assert alone.get_legend() is None


def test_a_line_has_its_value_at_its_end_where_there_is_room() -> None:
    (far,) = over_requests().axes
    assert {"340", "40.1"} <= {text.get_text() for text in far.texts}
    arms = {"a": 50e6, "b": 50.1e6}
    alike = [
        make_record(axes={"strategy": arm, "limit": limit}, **{"process.peak_rss_bytes": int(size)})
        for arm, size in arms.items()
        for limit in (1, 2)
    ]
    (near,) = charts.over_axis(stats.frame(alike), "limit", "memory", ["strategy"]).axes
    assert [text.get_text() for text in near.texts] == ["50"]


def test_numbers_that_span_decades_are_on_a_logarithmic_axis_that_says_so() -> None:
    def over_limits(*limits: int) -> Axes:
        records = [make_record(axes={"limit": n}, throughput_rps=n * 10.0) for n in limits]
        (ax,) = charts.over_axis(stats.frame(records), "limit", "throughput_rps").axes
        return ax

    wide, near = over_limits(1, 2, 100), over_limits(10, 20, 30)
    assert wide.get_yscale() == "log"
    assert wide.get_ylabel() == "throughput (requests/s), logarithmic"
    assert {"1", "2", "5", "10", "20"} <= set(labels(over_limits(*range(1, 30)), "x"))
    assert (near.get_xscale(), near.get_xlabel()) == ("linear", "limit")


def test_reference_over_an_axis_is_lighter_and_named() -> None:
    (ax,) = over_requests(reference=stats.frame(by_requests(factor=0.5))).axes

    mine, other = line(ax, "semaphore"), line(ax, "semaphore, reference machine")
    assert column(other)[0] == pytest.approx(column(mine)[0] / 2)
    assert mine.get_alpha() is None
    assert (other.get_alpha() or 1) < 1
    assert other.get_color() == mine.get_color()


# Phases


def test_a_waterfall_shows_each_request_from_its_start_to_its_end() -> None:
    chart = charts.waterfall(make_record(phases=phases(3)))
    (ax,) = chart.axes

    bars = [bar for bar in boxes(ax) if bar.get_width()]
    rows = [[bar for bar in bars if bar.get_y() < row < bar.get_y() + 1] for row in range(3)]
    assert labels(ax) == ["0 •", "1", "2"]
    assert [row[0].get_x() for row in rows] == pytest.approx([0, 10, 20])
    assert [len(row) for row in rows] == [7, 5, 5]
    for row in rows:
        for before, after in itertools.pairwise(row):
            assert after.get_x() == pytest.approx(before.get_x() + before.get_width())
    assert sum(bar.get_width() for bar in rows[0]) == pytest.approx(40)
    assert "item 1: prepare 0.1, send 0.2, wait 9, read 0.5, release 0.2 ms" in chart.alt
    assert "queued for a connection" not in words(chart)


def test_a_long_waterfall_has_the_first_and_an_even_sample_of_the_others() -> None:
    first, later = charts.waterfall(make_record(phases=phases(90))).axes

    places = [int(label.split()[0]) for label in labels(later)]
    assert [label.split()[0] for label in labels(first)] == [str(item) for item in range(20)]
    assert places[0] == 20
    assert len({after - before for before, after in itertools.pairwise(places)}) == 1
    assert len(places) <= 14
    assert {bar.get_x() for bar in boxes(later)[:1]} == {0}


def test_a_request_that_failed_is_marked_where_it_failed() -> None:
    found = phases(2)
    failed = msgspec.structs.replace(found.sample[1], failed=True)
    record = make_record(phases=msgspec.structs.replace(found, sample=[found.sample[0], failed]))

    chart = charts.waterfall(record)
    (mark,) = chart.axes[0].lines
    assert column(mark, "x") == pytest.approx([20])
    assert any("A cross: it failed there" in note for note in chart.notes)


def test_phases_of_an_arm_are_those_of_all_its_requests_and_an_untraced_one_is_named() -> None:
    chart = charts.phases({**traced(), "blind": [make_record()]})
    (ax,) = chart.axes

    bars = boxes(ax)
    free, queued = bars[: len(PHASES)], bars[len(PHASES) :]
    assert labels(ax) == ["free", "queued"]
    assert sum(bar.get_width() for bar in free) == pytest.approx(10 + 30 / 40)
    assert queued[PHASES.index("queue")].get_width() == pytest.approx(10)
    assert "queued: prepare 0.1, queue 10" in chart.alt
    assert "10.8 ms" in words(chart)
    assert any("Not drawn" in note and "blind" in note for note in chart.notes)


# By name


TITLES = dict(checks("charts.toml", "titles"))


@pytest.mark.parametrize(("kind", "title"), TITLES.items())
def test_plot_by_name_merges_the_repeats_of_each_arm(kind: str, title: str) -> None:
    more = {"latencies_us": [9] * 10, "phases": phases()}
    records = [make_record(axes={"strategy": arm}, **more) for arm in "abab"]

    chart = charts.plot(kind, records, ["strategy"])
    assert title in words(chart)
    if kind == "latency":
        assert [one.get_label() for one in chart.axes[0].lines] == ["a (n = 20)", "b (n = 20)"]


def test_flames_stand_below_what_called_them() -> None:
    functions = (
        make_function("main", 1.0, call(1, 0.5), call(2, 0.25), self_s=1.0),
        make_function("Client.fetch", 0.5),
        make_function("parse", 0.25, coroutine=False),
        make_function("the_loop", 9.0, call(0, 1.0), self_s=9.0, coroutine=False),
    )
    graph = CallGraph(clock="wall", functions=functions)
    chart = charts.flame(graph, "A profile")
    (ax,) = chart.axes

    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [(0, 1), (0, 0.5), (0.5, 0.25)]
    assert ax.patches[0].get_facecolor() == ax.patches[1].get_facecolor()
    assert ax.patches[0].get_facecolor() != ax.patches[2].get_facecolor()
    assert [text.get_text() for text in ax.texts] == ["main", "Client.fetch", "parse"]
    assert "by the clock wall. Own time: the_loop 84%; main 9%; Client.fetch 5%" in chart.alt
    assert chart.svg() == charts.flame(graph, "A profile").svg()


def test_memory_is_drawn_over_time_and_by_the_calls_that_had_it_at_the_peak() -> None:
    stacks = {
        "main a.py:1": 10**6,
        "main a.py:1;b b.py:2": 2 * 10**6,
        "main a.py:1;c c.py:3": 10**6,
    }
    rows = make_record().timeline
    above, below = charts.allocations(stacks, rows, "Memory").axes

    assert list(above.lines[0].get_xdata()) == rows.t_s
    assert [(bar.get_x(), bar.get_width()) for bar in below.patches] == [(0, 4), (1, 2), (3, 1)]
    assert [text.get_text() for text in below.texts] == ["main", "b", "c"]
    with pytest.raises(BadInput, match="allocated nothing"):
        charts.allocations({}, rows, "Memory")


@pytest.mark.parametrize(
    ("letters", "shown"), [(12, "Client.fetch"), (11, "fetch"), (4, "fet…"), (3, "")]
)
def test_name_in_a_flame_is_shown_as_far_as_it_fits(letters: int, shown: str) -> None:
    assert trial_chart.fitted("Client.fetch", letters) == shown


EAGER = stats.frame([make_record(axes={"eager": True}), make_record(axes={"eager": False})])
NONE = stats.frame([])
BARE = [make_record(process=None, latency_hdr=None, timeline=Timeline())]
COUNTED = make_record(settings={"probes": "counts"}, timeline=Timeline())
FAILED = [make_record(phases=phases(2, n=0))]
NO_GRAPH = CallGraph(clock="cpu", functions=())
REFUSED: list[tuple[Callable[[], Chart], str]] = [
    (lambda: charts.bars(NONE, "memry", ["strategy"]), "did you mean 'memory'"),
    (lambda: bars(garcia(), "strategi"), "'strategy'"),
    (lambda: bars([]), "no records to draw"),
    (lambda: charts.over_axis(NONE, "limit", "memory"), "no records to draw"),
    (lambda: charts.throughput([], {}), "no programs to draw"),
    (lambda: charts.triptych([]), "no clients"),
    (lambda: charts.timeline(COUNTED), r"no timeline .probes was 'counts'.*probes 'full'"),
    (lambda: charts.latency({"a": BARE}), "no arm has 10 answers"),
    (lambda: charts.over_axis(stats.frame(BARE), "limit", "memory"), "no record has a value of it"),
    (lambda: charts.over_axis(EAGER, "strategy", "memory"), "x is 'strategy': it must be a column"),
    (lambda: charts.over_axis(EAGER, "eager", "memory"), "it must be a column of numbers"),
    (lambda: charts.over_axis(EAGER, "no_such", "memory"), "it must be a column of numbers"),
    (lambda: charts.plot("phases", BARE), r"transport\.trace"),
    (lambda: charts.plot("waterfall", BARE), r"transport\.trace"),
    (lambda: charts.plot("phases", FAILED), "no request that was traced succeeded"),
    (lambda: charts.plot("timelin", garcia()), r"plot is 'timelin'.*did you mean 'timeline'"),
    (lambda: charts.plot("timeline", garcia()), "plot is 'timeline': it shows one"),
    (lambda: charts.plot("waterfall", garcia()), "plot is 'waterfall': it shows one"),
    (lambda: charts.flame(NO_GRAPH, "Nothing"), "no function that took any time"),
]


@pytest.mark.parametrize(("draw", "says"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_drawn_is_refused(draw: Callable[[], Chart], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        draw()
