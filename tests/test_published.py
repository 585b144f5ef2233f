"""The published benchmarks: what their files say is what was published, and every trial is valid.

The facts are written down here a second time, so that a slip in a file shows.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit import stats
from labkit.errors import BadInput
from labkit.spec import delays, plan
from labkit.spec.trial import Trial
from labkit.studies import published
from labkit.studies.published import SCALES, Benchmark, Relation

NAMES = ["balaam-2017", "garcia-2018", "miech-2016", "unlimited-2024", "uvloop-2016"]
MINUTE_S = 60.0

# Requests, then KB, seconds, CPU percent and user seconds as published (None: not given).
Fact = tuple[int, int | None, float | None, int | None, float | None]
FACTS: dict[str, dict[str, Fact]] = {
    "balaam-2017": {},
    "uvloop-2016": {},
    "garcia-2018": {
        "semaphore": (100_000, 352_684, 154.87, 38, None),
        "as_completed": (100_000, 57_548, 154.91, 100, None),
        "task_pool": (100_000, 58_188, 153.40, 36, None),
        "pypeln": (100_000, 63_624, 154.39, 37, None),
    },
    "unlimited-2024": {
        "pypeln-10k": (10_000, 75_920, 18.33, None, None),
        "pypeln-100k": (100_000, 402_924, 157.43, None, None),
        "pypeln-1m": (1_000_000, 3_639_804, 1551.67, None, None),
        "semaphore-10k": (10_000, 62_888, 17.75, None, None),
        "semaphore-100k": (100_000, 206_204, 154.36, None, None),
        "semaphore-1m": (1_000_000, 1_607_608, 1522.06, None, None),
    },
    "miech-2016": {
        "sync-100": (100, None, 2 * MINUTE_S + 45.54, None, None),
        "async-100": (100, None, 3.48, None, None),
        "each-1k": (1_000, 53_704, 7.14, 40, None),
        "each-10k": (10_000, None, 23, None, None),
        "each-1m": (1_000_000, 5_194_260, 52 * MINUTE_S + 6.87, None, None),
        "one-100k": (100_000, 419_216, 55.53, 99, None),
        "one-1m": (1_000_000, 3_811_640, 9 * MINUTE_S + 5.17, None, 530.86),
    },
}

# Requests per second as published: of 1, 10 and 100 KiB on asyncio, then on uvloop.
RATES: dict[str, dict[str, tuple[tuple[float, ...], tuple[float, ...]]]] = {
    "uvloop-2016": {
        "sockets": ((13_500, 11_400, 8_700), (52_000, 47_000, 20_700)),
        "streams": ((17_500, 13_000, 8_700), (44_000, 37_500, 12_000)),
        "protocol": ((43_000, 35_000, 12_700), (106_000, 83_000, 23_500)),
    }
}
KIB = {"1k": 1_024, "10k": 10_240, "100k": 102_400}


def rates(name: str) -> dict[str, float]:
    """The published requests per second of each row."""
    return {
        f"{style}-{size}-{loop}": of_loop[place]
        for style, loops in RATES.get(name, {}).items()
        for loop, of_loop in zip(("asyncio", "uvloop"), loops, strict=True)
        for place, size in enumerate(KIB)
    }


SMALL = """
id = "small"
title = "Two clients"
about = "One against the other."
notes = ["nothing differs"]
[source]
author = "Somebody"
year = 2020
url = "https://example.org/"
[trial]
delay = "randint(0,3)"
limit = 10
[scale.smoke]
about = "a tenth"
repeats = 3
minutes = 1
time_factor = 0.1
settings = { requests = 10 }
[scale.workshop]
about = "a half"
repeats = 3
minutes = 2
settings = { requests = 50 }
[scale.paper]
about = "all"
repeats = 5
minutes = 3
settings = { requests = 100, limit = 20 }
[[row]]
id = "one"
label = "client-one"
settings = { strategy = "semaphore" }
published = { wall_s = 2 }
[[row]]
id = "other"
label = "client-other"
settings = { strategy = "pypeln", maxsize = 7, limit = 30 }
scales = ["workshop", "paper"]
[[relation]]
id = "slower"
says = "One takes longer than the other."
measure = "wall_s"
of = "one"
to = "other"
at_least = 1
"""


def small(*changes: tuple[str, str]) -> str:
    """The text of a valid benchmark, with some of it replaced."""
    text = SMALL
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def load(*changes: tuple[str, str]) -> Benchmark:
    return published.load(small(*changes), "small")


def cases() -> list[tuple[str, str]]:
    return [(name, scale) for name in NAMES for scale in SCALES]


def mean_s(trial: Trial) -> float:
    """Mean delay of the server of a trial whose delays are fixed or drawn from a range."""
    delay = delays.parse(getattr(trial.target, "delay", "0"))
    return delay.factor * (delay.a + max(delay.a, delay.b)) / 2


def test_the_benchmarks_are_those_whose_facts_are_known() -> None:
    assert published.names() == NAMES == sorted(FACTS)


@pytest.mark.parametrize(("name", "scale"), cases())
def test_every_row_is_a_valid_trial_that_the_plan_takes(name: str, scale: str) -> None:
    benchmark = published.named(name)
    arms = benchmark.arms(scale)
    assert all(isinstance(trial, Trial) for _, trial in arms)
    assert [axes for axes, _ in arms] == [{"row": row.id} for row in benchmark.rows(scale)]
    steps = plan.interleave(arms, repeats=benchmark.repeats(scale))
    assert len(steps) == len(arms) * benchmark.repeats(scale) > 0


@pytest.mark.parametrize("name", NAMES)
def test_published_figures_are_the_facts(name: str) -> None:
    keys = ("requests", "peak_rss_kb", "wall_s", "cpu_percent", "cpu_user_s")
    listed = published.named(name).published()
    timed = [row for row in listed if "rps" not in row]
    assert {row["row"]: tuple(row.get(key) for key in keys) for row in timed} == FACTS[name]
    assert {row["row"]: row["rps"] for row in listed if "rps" in row} == rates(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_without_figures_says_why_or_its_source_gives_none(name: str) -> None:
    for row in published.named(name).all_rows:
        has_figures = row.id in {*FACTS[name], *rates(name)}
        assert has_figures == (row.published is not None)
        assert has_figures or row.own or row.remark or name == "balaam-2017"


@pytest.mark.parametrize(("name", "scale"), cases())
def test_relations_compare_metrics_that_exist_between_rows_that_run(name: str, scale: str) -> None:
    benchmark = published.named(name)
    running = {row.id for row in benchmark.rows(scale)}
    for relation in benchmark.relations_at(scale):
        assert relation.measure in stats.METRICS
        assert set(relation.rows) <= running or scale in relation.undecidable


@pytest.mark.parametrize("name", NAMES)
def test_every_relation_can_be_decided_at_the_published_scale(name: str) -> None:
    relations = published.named(name).relations_at("paper")
    assert not [relation.id for relation in relations if "paper" in relation.undecidable]


def figure(name: str, row: str, measure: str) -> float | None:
    """The published figure of a row as the metric `measure`; None where there is none."""
    if row in rates(name) and measure == "throughput_rps":
        return rates(name)[row]
    if row not in FACTS[name]:
        return None
    requests, peak_rss_kb, wall_s, cpu_percent, _ = FACTS[name][row]
    return {
        "process_peak_rss_bytes": peak_rss_kb and peak_rss_kb * 1024.0,
        "wall_s": wall_s,
        "cpu_percent": cpu_percent,
        "throughput_rps": wall_s and requests / wall_s,
    }.get(measure)


def expected(name: str, relation: Relation) -> float | None:
    figures = [figure(name, row, relation.measure) for row in relation.rows]
    known = [value for value in figures if value is not None]
    if len(known) < len(figures):
        return None
    if relation.take is not None:
        return {"spread": max(known) / min(known), "smallest": min(known)}[relation.take]
    return known[0] if relation.to is None else known[0] / known[1]


@pytest.mark.parametrize("name", NAMES)
def test_a_relation_quotes_what_its_rows_have_published(name: str) -> None:
    for relation in published.named(name).relations:
        if relation.id.startswith("rerun-"):
            continue  # it quotes someone else's figures for these rows
        wanted = expected(name, relation)
        assert relation.published == (wanted and pytest.approx(wanted, rel=3e-3)), relation.id


@pytest.mark.parametrize("name", NAMES)
def test_the_paper_scale_is_the_published_run(name: str) -> None:
    benchmark = published.named(name)
    for row, (requests, *_) in FACTS[name].items():
        (trial,) = [trial for axes, trial in benchmark.arms("paper") if axes["row"] == row]
        assert trial.requests == requests
        assert trial.limit == (1 if trial.strategy == "sequential" else 1_000)
        assert mean_s(trial) in (0.0, 1.5)
        assert trial.get("transport.limit") == 0


def test_the_rows_of_uvloop_differ_in_nothing_but_the_loop() -> None:
    benchmark = published.named("uvloop-2016")
    trials = {axes["row"]: trial for axes, trial in benchmark.arms("paper")}
    assert len(trials) == 36
    for row in [row.removesuffix("-asyncio") for row in trials if row.endswith("-asyncio")]:
        slow, fast = trials[f"{row}-asyncio"], trials[f"{row}-uvloop"]
        http, _, size = row.rpartition("-")
        if http.startswith("http-"):
            assert fast == slow.replace(**{"switches.loop": "uvloop"})
            assert (fast.get("target.loop"), fast.get("engine")) == ("uvloop", "wire")
            assert f"http-{fast.transport.kind}" == http
            assert fast.get("body_bytes") == KIB[size]
        else:
            assert fast == slow.replace(**{"target.loop": "uvloop"})
            assert (slow.loop, slow.get("target.loop")) == ("uvloop", "asyncio")
            assert slow.get("target.api") == http
            assert slow.get("message_bytes") == KIB[size]
        assert slow.limit == 10


def test_each_pair_of_loops_is_judged_once_by_each_source() -> None:
    judged = [tuple(one.rows) for one in published.named("uvloop-2016").relations]
    pairs = {
        (f"{row.id.removesuffix('-asyncio')}-uvloop", row.id)
        for row in published.named("uvloop-2016").all_rows
        if row.id.endswith("-asyncio")
    }
    assert set(judged) == pairs
    echoed = {pair for pair in pairs if not pair[0].startswith("http-")}
    assert sorted(judged) == sorted([*pairs, *echoed])


@pytest.mark.parametrize("scale", SCALES)
def test_garcia_keeps_the_published_request_rate_at_every_scale(scale: str) -> None:
    for _, trial in published.named("garcia-2018").arms(scale):
        assert trial.limit / mean_s(trial) == pytest.approx(1_000 / 1.5)


def needed_s(benchmark: Benchmark, scale: str, start_s: float) -> float:
    """Seconds below which a scale cannot end, with `start_s` for the processes of each trial."""
    trials = [trial for _, trial in benchmark.arms(scale)]
    once = sum(start_s + trial.requests * mean_s(trial) / trial.limit for trial in trials)
    return benchmark.repeats(scale) * once


@pytest.mark.parametrize(("name", "scale"), cases())
def test_the_minutes_of_a_scale_are_no_fewer_than_its_delays_take(name: str, scale: str) -> None:
    benchmark = published.named(name)
    assert needed_s(benchmark, scale, start_s=0.8) <= 60 * benchmark.scale(scale).minutes


def test_the_smallest_garcia_takes_less_than_a_minute() -> None:
    assert needed_s(published.named("garcia-2018"), "smoke", start_s=1.5) < 60


def test_settings_of_a_row_come_before_those_of_the_scale_and_the_base() -> None:
    one, other = (trial for _, trial in load().arms("paper"))
    assert (one.requests, one.limit, one.strategy) == (100, 20, "semaphore")
    assert (other.limit, other.options) == (30, {"maxsize": 7})
    assert [trial.limit for _, trial in load().arms("smoke")] == [10]


def test_a_scale_shrinks_the_delays_by_its_factor() -> None:
    benchmark = load()
    shown = {scale: benchmark.arms(scale)[0][1].get("delay") for scale in SCALES}
    assert shown == {
        "smoke": "randint(0,3)*0.1",
        "workshop": "randint(0,3)",
        "paper": "randint(0,3)",
    }
    without = load(('delay = "randint(0,3)"', ""))
    assert without.arms("smoke")[0][1].get("delay") == "0"


def test_a_scale_shrinks_the_requests_by_its_factor() -> None:
    fewer = ("settings = { requests = 50 }", "settings = { requests = 50 }\nrequests_factor = 0.3")
    assert [trial.requests for _, trial in load(fewer).arms("workshop")] == [15, 15]
    least = ("settings = { requests = 10 }", "requests_factor = 0.0001")
    assert (
        load(least, ("limit = 10\n", "limit = 10\nrequests = 3\n")).arms("smoke")[0][1].requests
        == 1
    )


def test_a_relation_whose_row_does_not_run_is_undecidable_there() -> None:
    benchmark = load()
    (smoke,) = benchmark.relations_at("smoke")
    assert smoke.undecidable == {"smoke": "row other runs only at scale workshop, paper"}
    assert benchmark.relations_at("paper") == benchmark.relations
    own = ("at_least = 1", 'at_least = 1\nundecidable = { smoke = "too short" }')
    assert load(own).relations_at("smoke")[0].undecidable == {"smoke": "too short"}


def test_repeats_and_minutes_are_those_of_the_scale() -> None:
    benchmark = load()
    assert [benchmark.repeats(scale) for scale in SCALES] == [3, 3, 5]
    assert [benchmark.scale(scale).minutes for scale in SCALES] == [1, 2, 3]


def test_a_new_benchmark_takes_a_file_and_no_code(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(SMALL)
    assert published.names(tmp_path) == ["small"]
    assert published.named("small", tmp_path) == published.load(SMALL, "small")


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(BadInput, match="did you mean 'garcia-2018'"):
        published.named("garcia-2017")
    with pytest.raises(BadInput, match="did you mean 'smoke'"):
        load().rows("smok")


def test_a_file_of_ones_own_is_named_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    assert published.named(str(path)) == published.load(SMALL, "small")
    with pytest.raises(BadInput, match=r"absent\.toml"):
        published.named(str(tmp_path / "absent.toml"))


REFUSED: list[tuple[tuple[str, str], str]] = [
    (('title = "Two clients"', "title = "), "small.toml is no benchmark: Invalid value"),
    (('title = "Two clients"', ""), "missing required field `title`"),
    (('title = "Two clients"', 'titel = "x"'), "did you mean 'title'?"),
    (('label = "client-one"', 'label = "x"\nsettigns = {}'), "did you mean 'settings'?"),
    (("minutes = 1\n", "minutes = nan\n"), "`$.scale.smoke.minutes`"),
    (("repeats = 5", "repeats = 2"), "Expected `int` >= 3 - at `$.scale.paper.repeats`"),
    (("[scale.workshop]", "[scale.huge]"), "unknown field `huge`"),
    (('id = "small"', 'id = "large"'), "id of small.toml is 'large': it must be 'small'"),
    (('id = "other"', 'id = "one"'), "row id 'one' is there twice"),
    (('of = "one"', 'of = "onw"'), "a row of relation slower is 'onw'"),
    (('to = "other"', 'to = "one"'), "name different rows"),
    (('to = "other"', 'take = "spread"'), "or a list of rows and what to take of it"),
    (('of = "one"', 'of = ["one", "other"]'), "or a list of rows and what to take of it"),
    (('of = "one"\nto = "other"', 'of = ["one"]\ntake = "spread"'), "name different rows"),
    (("at_least = 1", ""), "the band of slower is None to None"),
    (("at_least = 1", "at_least = inf"), "the band of slower is inf to None"),
    (("at_least = 1", "at_least = 2\nat_most = 1"), "the lower one first"),
    (("at_least = 1", "at_least = 1\npublished = 0.9"), "outside its band of 1.0 to inf"),
    (("at_least = 1", "at_least = 1\npublished = 0"), "Expected `float` > 0.0"),
    (("at_least = 1", 'at_least = 1\nundecidable = { smok = "x" }'), "smoke|workshop|paper"),
    (('scales = ["workshop", "paper"]', 'scales = ["big"]'), "smoke|workshop|paper"),
    (('published = { wall_s = 2 }', 'published = { wall_s = 2 }\nown = true'), "own True"),
    (('published = { wall_s = 2 }', 'published = { wall_s = 2 }\nscales = ["smoke"]'), "row 'one'"),
    (('strategy = "semaphore"', 'strategy = "semafor"'), "row 'one' at scale smoke: strategy is"),
    (('strategy = "semaphore"', "strategy = [1]"), "`$.row[0].settings[...]`"),
    (('published = { wall_s = 2 }', 'published = { rps = 0 }'), "Expected `float` > 0.0"),
    (('id = "small"', 'id = "small"\nchart = "pie"'), "Invalid enum value 'pie' - at `$.chart`"),
    (('id = "small"', 'id = "small"\nchart = "throughput"'), "row 'one' has the spot None"),
    (('label = "client-one"', 'label = "x"\nspot = { panel = "a", group = "b", bar = "c" }'),
     "row 'one' has the spot Spot(panel='a', group='b', bar='c') with chart 'triptych'"),
    (('label = "client-one"', 'label = "x"\nspot = { panle = "a" }'), "did you mean 'panel'?"),
    (("repeats = 5", "repeats = 5\nrequests_factor = 2"), "`$.scale.paper.requests_factor`"),
    (("requests = 50", "requests = 0"), "row 'one' at scale workshop: workload.requests is 0"),
    (("randint(0,3)", "randint(0,3)*0.5"), "row 'one' at scale smoke: delay is"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_a_faulty_file_is_refused_with_the_place_and_the_reason(
    change: tuple[str, str], message: str
) -> None:
    with pytest.raises(BadInput, match=re.escape(message)) as refused:
        load(change)
    assert "small.toml" in str(refused.value)


def test_the_same_relation_twice_is_refused() -> None:
    relation = SMALL[SMALL.index("[[relation]]") :]
    with pytest.raises(BadInput, match="relation id 'slower' is there twice"):
        published.load(SMALL + relation, "small")


@given(st.text())
def test_any_other_text_is_refused_as_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match=r"small\.toml"):
        published.load(text, "small")


VALUES: Any = st.one_of(st.integers(), st.floats(), st.text(max_size=5), st.booleans())


@given(
    st.sampled_from(["of", "to", "take", "published", "at_least", "at_most", "measure"]),
    st.one_of(VALUES, st.lists(VALUES, max_size=3)),
)
def test_a_relation_is_accepted_only_with_rows_and_a_band_that_holds_its_figure(
    name: str, value: object
) -> None:
    given_: dict[str, object] = {"id": "r", "says": "s", "measure": "wall_s", "of": "a", "to": "b"}
    given_ |= {"at_least": 1.0, "published": 2.0} | {name: value}
    try:
        relation = msgspec.convert(given_, Relation)
    except msgspec.ValidationError:
        return
    low, high = relation.band
    assert low <= high
    assert relation.published is None or low <= relation.published <= high
    assert len(relation.rows) == len(set(relation.rows)) >= 1
