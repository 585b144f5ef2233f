"""The ledger of claims: its format, how readings are judged, and that all of it can be run."""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from factories import make_record
from hypothesis import given
from hypothesis import strategies as st

from labkit.charts import Claimed, forest
from labkit.errors import BadInput, NotInstalled, TrialFailed
from labkit.lab import claims as checking
from labkit.lab import facade
from labkit.launch import environment, preflight
from labkit.launch import experiment as fresh
from labkit.measured import experiments
from labkit.report.ledger import Ledger
from labkit.spec.experiments import EXPERIMENTS
from labkit.stats import intervals
from labkit.studies import ledger, verdicts, wording
from labkit.studies.ledger import Check, Claim, Claims
from labkit.studies.readings import Reading, of_record
from labkit.studies.verdicts import Finding, Result

IDS = [
    "session-reuse",
    "pool-limit",
    "semaphore-limit",
    "two-per-cpu",
    "async-driver",
    "db-pool",
    "gzip-bytes",
    "pipelining-snippet",
    "pipelining",
    "default-limit",
    "reuse-fast",
    "cleanup-closed",
    "higher-limits",
    "sem-memory",
    "as-completed-cpu",
    "equal-time",
    "task-pool-lean",
    "unlimited",
    "idle-start",
    "default-100",
    "uvloop-speed",
    "streaming-memory",
    "read-buffer",
    "body-cap",
    "batching",
    "batch-as-printed",
    "priority",
    "weak-cache",
    "chunked-memory",
    "dns-cache",
    "keep-alive",
    "redis-pool",
    "pool-sizing",
    "yappi-wall",
    "sleep-zero-poll",
]
"""Every claim of the seeds that the lab was asked to check."""

CLAIM = """
about = "One claim."
[source]
000 = "a document"
[repeats]
smoke = 5
workshop = 5
paper = 5
[[claim]]
id = "lean"
seed = "000"
says = "One is leaner than the other"
[[claim.check]]
says = "Memory"
measure = "rss_growth_bytes"
of = { strategy = "task_pool" }
to = { strategy = "semaphore" }
at_most = 0.5
"""


def check(**changes: Any) -> Check:
    """'One takes at least 1.05 times what the other takes', with changes."""
    usual: dict[str, Any] = {
        "says": "Time, one over the other",
        "measure": "wall_s",
        "of": {"limit": 10},
        "to": {"limit": 20},
        "at_least": 1.05,
    }
    return Check(**usual | changes)


def count(**changes: Any) -> Check:
    """'It opens exactly ten connections', with changes."""
    usual: dict[str, Any] = {
        "measure": "connections_opened",
        "to": None,
        "at_least": 10,
        "at_most": 10,
        "exact": True,
    }
    return check(**usual | changes)


def readings(measure: str, values: list[float], **changes: Any) -> list[Reading]:
    return [
        Reading(arm="arm", repeat=repeat, figures={measure: value}, **changes)
        for repeat, value in enumerate(values)
    ]


def judged(of: list[float], to: list[float], **changes: Any) -> Finding:
    sides: dict[Any, Any] = {"of": readings("wall_s", of), "to": readings("wall_s", to)}
    return verdicts.found(check(**changes), sides)


def counted(values: list[float], **changes: Any) -> Finding:
    return verdicts.found(count(**changes), {"of": readings("connections_opened", values)})


def result(status: str = "holds", **changes: Any) -> Result:
    finding = judged([2.0, 2.1, 2.2, 2.0, 2.1], [1.0] * 5)
    usual: dict[str, Any] = {
        "id": "lean",
        "seed": "000",
        "source": "a document",
        "says": "One is leaner than the other",
        "status": status,
        "reason": finding.reason,
        "remark": None,
        "deciding": finding,
        "findings": [finding],
        "scale": "smoke",
    }
    return Result(**usual | changes)


def a_ledger() -> Ledger:
    waiting = result(
        "not yet measurable", id="db", reason="needs a database", deciding=None, findings=[]
    )
    exact = counted([10.0] * 5)
    bounded = result(id="bounded", deciding=exact, findings=[exact], reason=exact.reason)
    return Ledger([result(), bounded, waiting], [], [make_record()], "smoke", environment.now())


# The file.


def test_every_claim_of_the_seeds_is_in_the_ledger_once() -> None:
    assert sorted(claim.id for claim in ledger.load().claims) == sorted(IDS)


def test_every_claim_can_be_measured() -> None:
    assert not {claim.id for claim in ledger.load().claims if claim.needs}


@pytest.mark.parametrize("scale", ledger.SCALES)
@pytest.mark.parametrize("claim", ledger.load().claims, ids=lambda claim: str(claim.id))
def test_every_arm_can_be_run_at_every_scale(claim: Claim, scale: str) -> None:
    for one in claim.checks:
        for arm in one.arms(scale, cores=2).values():
            assert arm.experiment in EXPERIMENTS or arm.trial().requests > 0


def test_a_database_has_room_for_the_pools_of_a_machine_with_many_cores() -> None:
    checks = [one for claim in ledger.load().claims for one in claim.checks]
    arms = [arm for one in checks for arm in one.arms("smoke", cores=128).values()]
    trials = [arm.trial() for arm in arms if arm.settings.get("target") == "postgres"]
    assert any(getattr(trial.transport, "max_size", 0) == 512 for trial in trials)
    for trial in trials:
        preflight.check(trial)


@pytest.mark.parametrize("scale", ledger.SCALES)
def test_the_ledger_repeats_often_enough_to_decide(scale: str) -> None:
    assert ledger.load().repeats_at(scale) >= intervals.MIN_REPEATS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("at_most = 0.5", "at_most = nan"), "finite"),
        (("at_most = 0.5", "at_most = 0.5\nat_least = 2"), "lower one first"),
        (("at_most = 0.5", "at_most = 0.5\nexact = true"), "belongs to a number"),
        (("at_most = 0.5", ""), "a check with a band"),
        (("at_most", "at_mots"), "did you mean 'at_most'"),
        (("rss_growth_bytes", "rss_growth"), "did you mean 'rss_growth_bytes'"),
        (('strategy = "semaphore"', 'strategy = "semaphor"'), "did you mean 'semaphore'"),
        (('strategy = "semaphore"', 'strategy = "task_pool"'), "the same"),
        (('says = "Memory"', 'says = "Memory"\nserver = {}'), "only an experiment"),
        (('says = "Memory"', 'says = "Memory"\nsmoke = { "up.limit" = 1 }'), "up"),
        (('says = "Memory"', 'says = "Memory"\nexperiment = "readin"'), "did you mean 'reading'"),
        (('says = "Memory"', 'says = "Memory"\nexperiment = "reading"'), "growth_bytes"),
        (('seed = "000"', 'seed = "001"'), "seed of claim 'lean'"),
        (('seed = "000"', 'seed = "000"\nneeds = "a database"'), "or say in needs"),
        (("[[claim]]", "[[claim"), "cannot be read"),
    ],
)
def test_a_ledger_that_is_wrong_is_refused(change: tuple[str, str], message: str) -> None:
    assert change[0] in CLAIM
    with pytest.raises(BadInput, match=message):
        ledger.parse(CLAIM.replace(*change))


def test_the_same_id_twice_is_refused() -> None:
    claim = CLAIM[CLAIM.index("[[claim]]") :]
    with pytest.raises(BadInput, match="'lean' is there twice"):
        ledger.parse(CLAIM + claim)


def test_an_arm_that_is_not_there_cannot_be_set() -> None:
    with pytest.raises(BadInput, match=r"'to\.limit'.*no such arm"):
        count(smoke={"to.limit": 3})


def test_settings_of_one_arm_come_before_those_of_the_scale_before_the_shared_ones() -> None:
    one = check(
        shared={"limit": 1, "requests": 1},
        of={"limit": 5},
        to={},
        smoke={"requests": 7, "limit": 2, "to.requests": 9},
    )
    arms = one.arms("smoke", cores=2)
    assert arms["of"].settings == {"limit": 5, "requests": 7}
    assert arms["to"].settings == {"limit": 2, "requests": 9}


def test_a_limit_may_be_a_multiple_of_the_cores() -> None:
    arms = check(of={"limit": "cores*2"}).arms("smoke", cores=8)
    assert arms["of"].trial().limit == 16


def test_chosen_claims_keep_the_order_of_the_ledger() -> None:
    claims = ledger.load()
    chosen = claims.chosen(["dns-cache", "pool-limit"])
    assert [claim.id for claim in chosen] == ["pool-limit", "dns-cache"]
    assert claims.chosen() == claims.chosen([]) == claims.claims
    with pytest.raises(BadInput, match="did you mean 'dns-cache'"):
        claims.chosen(["dns-cahce"])


def test_a_claim_of_two_seeds_names_both_sources() -> None:
    claims = ledger.load()
    [pool] = claims.chosen(["db-pool"])
    assert claims.source_of(pool) == f"{claims.sources['000']}; {claims.sources['003']}"


# The plan.


def _planned() -> tuple[list[Claim], list[checking.Place]]:
    chosen = ledger.load().chosen()
    return chosen, checking.places(chosen, "smoke")


def test_an_arm_of_several_claims_runs_once() -> None:
    _, places = _planned()
    keys = [place.arm.key for place in places]
    assert len(set(keys)) == len(keys)
    sides = [
        arm
        for claim in ledger.load().claims
        for one in claim.checks
        for arm in one.arms("smoke", 2).values()
    ]
    assert len(keys) < len(sides)
    assert len({json.dumps(dict(place.axes)) for place in places}) == len(places)


def test_every_check_has_its_arms_in_one_group() -> None:
    chosen, places = _planned()
    groups = checking.groups(chosen, places, "smoke")
    assert sorted(p.arm.key for group in groups for p in group) == sorted(p.arm.key for p in places)
    for claim in chosen:
        for one in claim.checks:
            cores = len(environment.usable_cores()) or 1
            keys = {arm.key for arm in one.arms("smoke", cores).values()}
            assert any(keys <= {place.arm.key for place in group} for group in groups)


def test_blocks_hold_each_arm_once_and_the_seed_decides_their_order() -> None:
    chosen, places = _planned()
    groups = checking.groups(chosen, places, "smoke")
    turns = checking.turns(groups, repeats=3, seed=1)
    assert [turn.order for turn in turns] == list(range(3 * len(places)))
    start = 0
    for group in groups:
        for repeat in range(3):
            block = turns[start : start + len(group)]
            assert {turn.repeat for turn in block} == {repeat}
            assert sorted(t.place.arm.key for t in block) == sorted(p.arm.key for p in group)
            start += len(group)
    assert turns == checking.turns(groups, repeats=3, seed=1)
    assert turns != checking.turns(groups, repeats=3, seed=2)


# Judging.


def test_an_interval_wholly_inside_the_band_holds() -> None:
    found = judged([2.0, 2.1, 2.2, 2.0, 2.1], [1.0] * 5)
    assert found.status == "holds"
    assert found.interval is not None
    assert found.interval[0] > 1.05
    assert (found.n, found.inside) == (5, 5)
    assert "×2.1 (×2 to ×2.23 at 95 %)" in found.reason
    sides: dict[Any, Any] = {"of": readings("cpu_percent", [96.8, 98.0, 99.2, 98.0, 98.0])}
    of_cpu = count(measure="cpu_percent", at_least=95, at_most=None, exact=False)
    told = verdicts.found(of_cpu, sides)
    assert told.effect.startswith("98 % of a core (96.5 to 99.5 at 95 %)")
    assert "medians 2.1 s and 1 s" in found.reason


def test_an_interval_wholly_outside_refutes() -> None:
    assert judged([1.0, 0.99, 1.0, 1.01, 1.0], [1.0] * 5).status == "refuted"


def test_an_interval_across_the_edge_is_inconclusive() -> None:
    found = judged([1.0, 1.2, 0.9, 1.3, 1.1], [1.0] * 5)
    assert found.status == "inconclusive"
    assert "across the edge" in found.reason


def test_fewer_than_five_repeats_decide_nothing() -> None:
    assert judged([9.0] * 4, [1.0] * 4).status == "inconclusive"
    assert counted([10.0] * 4).status == "inconclusive"
    assert judged([], []).status == "inconclusive"


@pytest.mark.parametrize(
    ("changes", "measure", "why"),
    [
        ({"why": "a trial failed (deadline)"}, "wall_s", "deadline"),
        ({"lost_core": True}, "wall_s", "had the client's core"),
        ({"lost_core": True}, "cpu_us_per_request", "had the client's core"),
        ({"held_up": True}, "wall_s", "may have set the speed"),
        ({"failed_share": 0.02}, "cpu_us_per_request", "2% of the requests failed"),
    ],
)
def test_what_cannot_be_trusted_decides_nothing(
    changes: dict[str, Any], measure: str, why: str
) -> None:
    of, to = readings(measure, [9.0] * 5), readings(measure, [1.0] * 5)
    of[2] = msgspec.structs.replace(of[2], **changes)
    found = verdicts.found(check(measure=measure), {"of": of, "to": to})
    assert found.status == "inconclusive"
    assert why in found.reason


def test_a_busy_server_or_a_lost_core_does_not_spoil_a_count() -> None:
    held = readings("connections_opened", [10.0] * 5, held_up=True, lost_core=True)
    assert verdicts.found(count(), {"of": held}).status == "holds"


def test_a_missing_run_and_a_missing_figure_decide_nothing() -> None:
    of, to = readings("wall_s", [9.0] * 5), readings("wall_s", [1.0] * 5)
    for sides in (
        {"of": of, "to": to[:4]},
        {"of": of, "to": [*to[:4], Reading(arm="a", repeat=4)]},
    ):
        found = verdicts.found(check(), sides)  # type: ignore[arg-type]
        assert found.status == "inconclusive"
        assert found.n == 4


def test_a_divisor_of_nothing_decides_nothing() -> None:
    assert judged([1.0] * 5, [1.0, 1.0, 0.0, 1.0, 1.0]).status == "inconclusive"
    assert judged([0.0] * 5, [1.0] * 5, at_least=None, at_most=0.5).status == "inconclusive"


def test_a_count_holds_in_every_run_or_in_none() -> None:
    assert counted([10.0] * 5).status == "holds"
    assert counted([11.0] * 5).status == "refuted"
    mixed = counted([10.0, 10.0, 11.0, 10.0, 10.0])
    assert (mixed.status, mixed.inside) == ("inconclusive", 4)
    assert "only 4 of 5" in mixed.reason


def test_a_check_without_a_band_is_told_and_decides_nothing() -> None:
    assert judged([9.0] * 5, [1.0] * 5, at_least=None).status == "told"


positive = st.floats(min_value=1e-3, max_value=1e3)


@given(st.lists(st.tuples(positive, positive), min_size=5, max_size=12), positive)
def test_what_is_judged_follows_from_the_interval_alone(
    pairs: list[tuple[float, float]], edge: float
) -> None:
    of, to = [one for one, _ in pairs], [other for _, other in pairs]
    found = judged(of, to, at_least=edge)
    interval = intervals.of_ratio(of, to)
    assert interval.low is not None
    assert interval.high is not None
    expected = (
        "holds" if interval.low >= edge else "refuted" if interval.high < edge else "inconclusive"
    )
    assert found.status == expected


def test_a_claim_is_refuted_by_one_check_and_holds_by_all() -> None:
    ten = {"says": "ten"}
    claim = Claim(id="c", seed="000", says="It is so", checks=[check(), count(**ten)])
    fast: dict[Any, Any] = {
        "of": readings("wall_s", [2.0] * 5),
        "to": readings("wall_s", [1.0] * 5),
    }
    for values, status in (([10.0] * 5, "holds"), ([9.0] * 5, "refuted"), ([10.0], "inconclusive")):
        sides: list[Mapping[Any, Any]] = [fast, {"of": readings("connections_opened", values)}]
        found = verdicts.judge(claim, "a document", sides, "smoke")
        assert found.status == status
    waiting = Claim(id="w", seed="000", says="It is so", needs="a database")
    waits = verdicts.judge(waiting, "a document", [], "smoke")
    assert (waits.status, waits.reason) == ("not yet measurable", "needs a database")


def test_a_record_is_read_with_its_doubts_and_what_was_in_force() -> None:
    record = make_record(
        verdict="invalid", effective={"transport": {"enable_cleanup_closed": False, "limit": 7}}
    )
    reading = of_record(record, "arm")
    assert reading.lost_core
    assert reading.figures["effective.transport.enable_cleanup_closed"] == 0
    assert reading.figures["effective.transport.limit"] == 7
    assert reading.figures["wall_s"] == record.wall_s
    assert not any(map(math.isnan, reading.figures.values()))
    assert reading.record == record.id


@pytest.mark.parametrize(
    ("changes", "delay", "held_up", "lost"),
    [
        ({"client.cpu_percent": 99.0}, "0", False, False),
        ({"client.cpu_percent": 40.0}, "0", True, False),
        ({"client.cpu_percent": 40.0}, "0.02", False, False),
        ({"client.cpu_percent": 99.0, "client.waited_percent": 30.0}, "0", False, True),
    ],
)
def test_a_client_that_was_held_up_or_lost_its_core_is_known(
    changes: dict[str, Any], delay: str, held_up: bool, lost: bool
) -> None:
    quiet = {"client.waited_percent": 0.0, "server.cpu_percent": 20.0}
    record = make_record(settings={"delay": delay}, **quiet | changes)
    reading = of_record(record, "arm")
    assert (reading.held_up, reading.lost_core, reading.why) == (held_up, lost, "")


@pytest.mark.parametrize(
    ("measure", "value", "text"),
    [
        ("latency_s", 0.0025, "2.5 ms"),
        ("body_bytes", 13015, "13,015 bytes"),
        ("cpu_us", 12.34, "12.3 µs"),
        ("seen_share", 0.5, "50 %"),
        ("connections_opened", 10, "10"),
        ("wall_s", 2.5, "2.5 s"),
    ],
)
def test_figures_are_said_in_the_unit_that_people_read(
    measure: str, value: float, text: str
) -> None:
    assert wording.said_of(measure, value) == text


# What is handed out.


def test_a_ledger_shows_every_claim_in_every_form() -> None:
    book = a_ledger()
    data = json.loads(msgspec.json.encode(book.to_dict()))
    assert [row["id"] for row in data["claims"]] == ["lean", "bounded", "db"]
    first = data["claims"][0]
    assert {"id", "source", "says", "status", "effect", "interval", "n", "band", "scale"} <= set(
        first
    )
    assert first["environment"]["python"] == environment.now()["python"]
    for shown in (book.text(), book._repr_html_()):
        assert all(one.id in shown for one in book.results)
        assert "needs a database" in shown
    assert list(book.summary()["status"]) == ["holds", "holds", "not yet measurable"]
    assert list(book.frame()["claim"]) == ["lean", "bounded"]
    assert book["db"].status == "not yet measurable"
    assert "1 not yet measurable" in book.says()[0]


def test_the_forest_names_every_claim_and_is_the_same_twice() -> None:
    first, second = a_ledger().plot(), a_ledger().plot()
    assert all(name in first.alt for name in ("lean holds", "bounded holds", "db not yet"))
    assert first.svg() == second.svg()


def test_the_forest_of_what_was_never_measured_is_drawn() -> None:
    rest = [Claimed(id="a", status="not yet measurable", says="It is so", why="needs a database")]
    assert forest(rest).png()
    with pytest.raises(BadInput, match="no claims"):
        forest([])


@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.6, 0.97, 1.0, 1.06, 1.4, 1.95, 8, 40, 2_000])
def test_the_axis_of_the_forest_has_two_ticks_or_more(ratio: float) -> None:
    one = Claimed(id="a", status="holds", says="It is so", value=ratio, is_ratio=True, n=5)
    (marks,) = [ax for ax in forest([one], title="Mine").axes if ax.get_xscale() == "log"]
    low, high = marks.get_xlim()
    assert 2 <= sum(low <= tick <= high for tick in marks.get_xticks()) <= 9


# Experiments in code.


def test_every_experiment_can_be_loaded() -> None:
    assert all(callable(experiments.load(name)) for name in EXPERIMENTS)
    with pytest.raises(BadInput, match="did you mean 'reading'"):
        experiments.load("readin")


def _experiments() -> list[Any]:
    found: dict[str, Any] = {}
    for claim in ledger.load().claims:
        for one in claim.checks:
            for side, arm in one.arms("smoke", cores=2).items():
                if arm.experiment is not None:
                    found.setdefault(arm.experiment, (one, side, arm))
    return [pytest.param(arm, id=name) for name, (_, _, arm) in sorted(found.items())]


@pytest.mark.parametrize("arm", _experiments())
async def test_an_experiment_gives_its_figures(arm: ledger.Arm) -> None:
    figures = await fresh.measured(str(arm.experiment), arm.settings, arm.server)
    assert set(figures) == set(EXPERIMENTS[str(arm.experiment)])
    assert all(math.isfinite(value) and value >= 0 for value in figures.values())


def test_every_experiment_is_behind_a_claim() -> None:
    of_the_audit = {"overhead"}
    assert {one.id for one in _experiments()} == set(EXPERIMENTS) - of_the_audit


@pytest.mark.parametrize("transport", ["aiohttp", "wire"])
async def test_the_cost_of_the_probes_is_a_ratio(transport: str) -> None:
    settings = {"transport": transport, "loop": "uvloop", "turns": 2}
    figures = await fresh.measured("overhead", settings, {})
    assert set(figures) == set(EXPERIMENTS["overhead"])
    assert all(0.1 < ratio < 10 for ratio in figures.values())


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("held_lock", {"twice": True}, {"answered": 0.0, "calls": 0.0}),
        ("held_lock", {"twice": False}, {"answered": 2.0, "calls": 1.0}),
        ("held_lock", {"twice": True, "printed": False}, {"answered": 2.0, "calls": 1.0}),
        ("weak_cache", {"kind": "str"}, {"kept": 0.0, "locks_left": 100.0}),
        ("weak_cache", {"kind": "dict"}, {"kept": 0.0, "locks_left": 100.0}),
        ("weak_cache", {"kind": "object"}, {"kept": 100.0, "locks_left": 100.0}),
        ("weak_cache", {"kind": "str", "printed": False}, {"kept": 100.0, "locks_left": 0.0}),
        ("weak_cache", {"kind": "dict", "printed": False}, {"kept": 100.0, "locks_left": 0.0}),
        ("body_cap", {"beyond_bytes": 1}, {"status": 413.0}),
    ],
)
async def test_faults_are_seen_every_time(
    name: str, settings: dict[str, Any], expected: dict[str, float]
) -> None:
    assert await experiments.load(name)(None, **settings) == expected


async def test_urgent_work_waits_less_in_a_priority_queue_and_equals_keep_their_order() -> None:
    measure = experiments.load("priority")
    kinds = ("fifo", "printed", "priority")
    plain, printed, own = [await measure(None, queue=kind) for kind in kinds]
    assert own["urgent_wait_s"] < plain["urgent_wait_s"]
    assert (plain["overtaken"], own["overtaken"]) == (0, 0)
    assert printed["overtaken"] > 100


async def test_a_stream_holds_no_more_results_than_its_limit_and_the_printed_list_all() -> None:
    measure = experiments.load("chunk_results")
    assert (await measure(None, how="printed", items=60))["most_held"] == 60
    assert (await measure(None, how="stream", items=60))["most_held"] <= 10 + 1


async def test_a_weak_cache_gives_back_what_nobody_uses() -> None:
    weak = await fresh.measured("cache_memory", {"how": "weak", "values": 20}, None)
    kept = await fresh.measured("cache_memory", {"how": "dict", "values": 20}, None)
    assert min(weak["in_use_bytes"], kept["in_use_bytes"], kept["left_bytes"]) > 15 << 20
    assert weak["left_bytes"] < 5 << 20


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("nonsense", {}, "experiment is 'nonsense'"),
        ("priority", {"queue": "lifo"}, "queue is 'lifo'"),
        ("priority", {"colour": "red"}, "cannot be run so"),
    ],
)
async def test_an_experiment_that_cannot_be_run_says_so(
    name: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(TrialFailed, match=message):
        await fresh.measured(name, settings, None)


async def test_an_experiment_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "DEADLINE_S", 0.0)
    with pytest.raises(TrialFailed, match="took over"):
        await fresh.measured("held_lock", {"twice": True}, None)


# Whole.


async def test_a_small_check_runs_trials_and_experiments(tmp_path: Path) -> None:
    book = await facade.check_claims(
        ["pool-limit", "body-cap"],
        scale="smoke",
        repeats=1,
        store=facade.Store(tmp_path),
    )
    assert [one.id for one in book.results] == ["pool-limit", "body-cap"]
    assert [one.status for one in book.results] == ["inconclusive", "inconclusive"]
    assert book["pool-limit"].findings[0].value == 10
    assert [finding.value for finding in book["body-cap"].findings] == [200, 413] * 2
    # A run whose core others had is made again.
    assert {record.experiment for record in facade.Store(tmp_path).records()} == {"claims"}
    assert len(book.readings) >= 3


async def test_a_ledger_of_ones_own_is_checked_in_place_of_the_labs(tmp_path: Path) -> None:
    mine = ledger.parse(
        """
        about = "One claim."
        source.own = "a guess"
        repeats = { smoke = 5, workshop = 5, paper = 5 }

        [[claim]]
        id = "mine"
        seed = "own"
        says = "A limit of 2 sends two at a time"

        [[claim.check]]
        says = "Most in flight"
        measure = "server_max_in_flight"
        of = { requests = 8, limit = 2, delay = "0.02" }
        at_least = 2
        at_most = 2
        exact = true

        [[claim]]
        id = "later"
        seed = "own"
        says = "A moon would help"
        needs = "a moon"
        """
    )
    book = await facade.check_claims(scale="smoke", claims=mine, store=facade.Store(tmp_path))
    assert [(one.id, one.source, one.status) for one in book.results] == [
        ("mine", "a guess", "holds"),
        ("later", "a guess", "not yet measurable"),
    ]
    with pytest.raises(BadInput, match="claim"):
        await facade.check_claims(["body-cap"], claims=mine, store=facade.Store(tmp_path))


async def test_a_claim_waits_for_a_package_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "find_spec", lambda name: None if name == "redis" else name)
    mine = ledger.parse(
        """
        about = "One claim."
        source.own = "a guess"
        repeats = { smoke = 1, workshop = 1, paper = 1 }

        [[claim]]
        id = "pooled"
        seed = "own"
        says = "A pool of two opens two connections"

        [[claim.check]]
        says = "Connections opened"
        measure = "connections_opened"
        of = { target = "valkey", "transport.max_connections" = 2, requests = 4, limit = 2 }
        at_most = 2
        exact = true
        """
    )
    book = await facade.check_claims(scale="smoke", claims=mine, store=facade.Store(tmp_path))
    assert book["pooled"].status == "not yet measurable"
    assert book["pooled"].reason == "needs the package redis"
    with pytest.raises(NotInstalled, match="install it with"):
        await facade.check_claims(
            ["pooled"], scale="smoke", claims=mine, store=facade.Store(tmp_path)
        )


async def test_an_experiment_that_fails_decides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fresh, "DEADLINE_S", 0.0)
    book = await facade.check_claims(["body-cap"], scale="smoke", store=facade.Store(tmp_path))
    assert book["body-cap"].status == "inconclusive"
    assert "took over" in book["body-cap"].reason


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ids": ["body-cp"]}, "did you mean 'body-cap'"),
        ({"scale": "smok"}, "did you mean 'smoke'"),
        ({"repeats": 0}, "repeats is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_input_is_refused(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=message):
        asyncio.run(facade.check_claims(**given, store=facade.Store(tmp_path)))
    assert not list(tmp_path.iterdir())


def labkit(*words: str, store: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "labkit", *words],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "LABKIT_STORE": str(store)},
    )


def test_the_command_lists_every_claim(tmp_path: Path) -> None:
    done = labkit("claims", "list", "--json", "-", store=tmp_path)
    assert done.returncode == 0
    rows = json.loads(done.stdout)["claims"]
    assert sorted(row["id"] for row in rows) == sorted(IDS)
    assert all({"id", "source", "says", "status"} <= set(row) for row in rows)
    shown = labkit("claims", "list", store=tmp_path)
    assert all(name in shown.stdout for name in IDS)


def test_the_command_checks_draws_and_writes(tmp_path: Path) -> None:
    out, chart = tmp_path / "claims.json", tmp_path / "forest.svg"
    words = ["claims", "check", "body-cap", "--scale", "smoke", "--json", str(out)]
    done = labkit(*words, "--chart", str(chart), store=tmp_path / "store")
    assert done.returncode == 0, done.stderr
    [row] = json.loads(out.read_text())["claims"]
    assert (row["id"], row["status"], row["n"]) == ("body-cap", "holds", 5)
    assert "body-cap" in done.stdout
    assert chart.stat().st_size > 0


def test_the_command_refuses_a_claim_that_there_is_not(tmp_path: Path) -> None:
    done = labkit("claims", "check", "body-cp", store=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'body-cap'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_claims_are_data() -> None:
    claims = ledger.parse(CLAIM)
    assert isinstance(claims, Claims)
    assert ledger.listed(claims)[0]["status"] == "not checked"
