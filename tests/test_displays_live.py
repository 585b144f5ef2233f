"""What is drawn while a trial runs: bounded, in order, escaped, and the same for every theme."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from xml.etree.ElementTree import XML

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.lab.live import MAX_ARMS, MIN_RATE_S, Point, Points, strips

LINE = "{http://www.w3.org/2000/svg}polyline"


def reading(t_s: float, done: int, **changes: Any) -> Any:
    """Return what a trial reports while it runs, as far as it is drawn."""
    usual = {"in_flight": 3, "client_rss_bytes": 40_000_000, "client_cpu_percent": 50.0}
    usual |= {"server_cpu_percent": None, "loop_lag_s": 0.001}
    return SimpleNamespace(**usual | changes | {"t_s": t_s, "done": done})


def times(found: Points) -> list[float]:
    return [point.t_s for point in found.points]


def legend(picture: Any) -> list[Any]:
    return picture.findall("div/span/{*}svg/{*}path")


def points(readings: int, most: int = 240) -> Points:
    found = Points(most)
    for number in range(1, readings + 1):
        found.add(reading(t_s=number / 10, done=100 * number))
    return found


@given(readings=st.integers(0, 3_000), most=st.integers(2, 50))
def test_points_are_bounded_and_reach_to_the_last_reading(readings: int, most: int) -> None:
    found = points(readings, most)

    assert len(found) <= most
    assert times(found) == sorted(set(times(found)))
    assert times(found)[-1:] == ([readings / 10] if readings else [])
    for name in ("rate_rps", *Point._fields):
        assert len(found.column(name)) == len(found)


@given(st.lists(st.tuples(st.floats(0.001, 10), st.integers(0, 10_000)), max_size=200))
def test_rates_add_up_to_what_was_done(steps: list[tuple[float, int]]) -> None:
    found, t_s, done = Points(16), 0.0, 0
    for took_s, more in steps:
        t_s, done = t_s + took_s, done + more
        found.add(reading(t_s=t_s, done=done))

    rates = found.column("rate_rps")
    known = [at for at, rate in enumerate(rates) if rate is not None]
    at_s = [0.0, *(times(found)[at] for at in known)]
    counted = sum(rates[at] * (b - a) for at, (a, b) in zip(known, pairwise(at_s), strict=True))
    assert all(b - a >= MIN_RATE_S for a, b in pairwise(at_s))
    if known and known[-1] == len(rates) - 1:
        assert counted == pytest.approx(done, rel=1e-6, abs=1e-3)
    else:
        assert counted <= done * (1 + 1e-6)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.floats(-1e6, 1e6)), max_size=20))
def test_nothing_is_drawn_outside_its_panel(readings: list[tuple[int, float]]) -> None:
    found = Points()
    for number, (done, lag_s) in enumerate(readings):
        found.add(reading(t_s=number / 10, done=done, loop_lag_s=lag_s))

    lines = [one.attrib["points"] for one in XML(strips({"a": found})).iter(LINE)]
    heights = [float(place.split(",")[1]) for line in lines for place in line.split()]
    assert all(0 <= height <= 124 for height in heights)


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=500))
def test_the_peak_of_memory_stays(sizes: list[int]) -> None:
    found = Points(8)
    for number, size in enumerate(sizes):
        found.add(reading(t_s=number, done=number, client_rss_bytes=size))

    assert max(filter(lambda v: v is not None, found.column("client_rss_bytes"))) == max(sizes)


def test_what_is_unknown_is_no_number_and_a_reading_of_the_same_time_is_left_out() -> None:
    found = Points(2)
    for done in (1, 2):
        found.add(reading(t_s=1, done=done, client_cpu_percent=None))
    assert found.column("rate_rps") == [1.0]
    for number in range(2, 9):
        found.add(reading(t_s=number, done=2, client_cpu_percent=None))

    assert set(found.column("client_cpu_percent")) == {None}
    assert set(found.column("server_cpu_percent")) == {None}
    assert "no data yet" in strips({"a": found})


def test_a_share_of_a_core_over_a_moment_is_no_point() -> None:
    found = points(3)
    found.add(reading(t_s=0.3 + MIN_RATE_S / 2, done=300, client_cpu_percent=100.0))

    assert found.column("client_cpu_percent") == [50.0, 50.0, 50.0, None]


@given(
    counts=st.lists(st.integers(0, 400), max_size=12),
    name=st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff")),
)
def test_a_picture_is_well_formed_whatever_there_is(counts: list[int], name: str) -> None:
    arms = {f"{at}{name}": points(n) for at, n in enumerate(counts)}

    picture = XML(strips(arms, f"0{name}"))

    assert len(picture.findall(".//{*}polyline")) <= MAX_ARMS * 6


def test_of_many_arms_the_last_are_drawn_with_names_escaped_and_no_fixed_text_colour() -> None:
    name = '<img src=x onerror="alert(1)">'
    arms = {f"{name}-{n:02}": points(2) for n in range(MAX_ARMS + 3)}

    picture = strips(arms)

    assert "-02" not in picture
    assert f"-{MAX_ARMS + 2}" in picture
    assert "<img" not in picture
    assert 'fill="white"' not in picture
    assert "#000" not in picture.lower().replace("#0072b2", "").replace("#009e73", "")


@pytest.mark.parametrize("running", [None, "arm 0"])
def test_arms_differ_without_their_colours(running: str | None) -> None:
    picture = XML(strips({f"arm {n}": points(5) for n in range(MAX_ARMS)}, running))

    dashes = [one.get("stroke-dasharray") for one in legend(picture)]
    assert len(set(dashes)) == MAX_ARMS
    lines = picture.findall(".//{*}polyline")
    assert [one.get("stroke-dasharray") for one in lines] == dashes * (len(lines) // MAX_ARMS)


def test_a_hidden_arm_has_no_line_and_comes_back_with_its_colour() -> None:
    arms = {name: points(5) for name in ("a", "b", "c")}
    shown, hidden = XML(strips(arms)), XML(strips(arms, None, ["b"]))

    colours = [one.get("stroke") for one in legend(shown)]
    assert [one.get("stroke") for one in legend(hidden)] == [colours[0], colours[2]]
    assert {one.get("stroke") for one in hidden.iter(LINE)} == {colours[0], colours[2]}
    assert not [*XML(strips(arms, None, [*arms])).iter(LINE)]


def test_the_floor_of_an_arm_is_a_line_at_its_time_and_stands_in_the_legend() -> None:
    slow, fast = points(40), points(20)
    slow.floor_s, slow.efficiency, fast.floor_s = 2.0, 0.5, 1.0

    picture = XML(strips({"slow": slow, "fast": fast}))
    (*arms, _) = ["".join(one.itertext()).strip() for one in picture.findall("div/span")]

    assert arms == ["slow: floor 2.00 s, efficiency 50.0 %", "fast: floor 1.00 s"]
    panel = picture.find("{*}svg")
    ends = [one.get("points").split()[-1] for one in panel.iter(LINE)]
    at_4_s, at_2_s = (float(end.split(",")[0]) for end in ends)
    floors = [float(one.get("d")[1:].split()[0]) for one in panel.findall("{*}path")]
    assert floors == pytest.approx([at_2_s - (at_4_s - at_2_s) / 2, at_2_s], abs=0.2)
