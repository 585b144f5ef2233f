"""Study files: what they say is what was published or claimed, and every arm of them can be run.

The facts are written down here a second time, so that a slip in a file shows.
"""

import itertools
import math
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import checks

from labkit import stats
from labkit.errors import BadInput
from labkit.launch import preflight
from labkit.spec import delays
from labkit.spec.trial import Trial
from labkit.studies import study_file
from labkit.studies.parts import Check
from labkit.studies.study_file import EXPERIMENTS, SCALES, StudyFile
from tests.factories import STUDIES, load_study

NAMES = ["balaam-2017", "garcia-2018", "granian-2026", "httpx-3215", "miech-2016", "pythons-2026"]
NAMES += ["rloop-2026", "unlimited-2024", "uvloop-2016"]
# Requests, then KB, seconds, CPU percent and user seconds as published (None: not given).
Fact = tuple[int, int | None, float | None, int | None, float | None]
_PUBLISHED = tomllib.loads((STUDIES.parent / "facts.toml").read_text(encoding="utf-8"))
RATES = {name: arms.pop("rates", {}) for name, arms in _PUBLISHED.items()}
FACTS: dict[str, dict[str, Fact]] = {
    name: {arm: tuple(None if n == -1 else n for n in fact) for arm, fact in arms.items()}
    for name, arms in _PUBLISHED.items()
}
KIB = {"1k": 1_024, "10k": 10_240, "100k": 102_400}


def rates(name: str) -> dict[str, float]:
    """The published requests per second of each row."""
    alone = {arm: rate for arm, rate in RATES[name].items() if not isinstance(rate, dict)}
    return alone | {
        f"{style}-{size}-{loop}": rate
        for style, loops in RATES[name].items()
        if style not in alone
        for loop, rates in loops.items()
        for size, rate in zip(KIB, rates, strict=True)
    }


SMALL = (STUDIES / "small.toml").read_text(encoding="utf-8")
CLAIM = (STUDIES / "claim.toml").read_text(encoding="utf-8")


def parse(*changes: tuple[str, str], text: str = SMALL) -> StudyFile:
    """A valid study, with some of its text replaced."""
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return study_file.parse(text)


def trials(study: StudyFile, scale: str) -> dict[str, Trial]:
    """The trials of the arms that run at a scale."""
    found = study.plan(scale, cores=2).arms
    return {name: work for name, work in found.items() if isinstance(work, Trial)}


for_each_name = pytest.mark.parametrize("name", NAMES)
for_each_scale = pytest.mark.parametrize("scale", SCALES)


def mean_s(trial: Trial) -> float:
    """Mean delay of the server of a trial whose delays are fixed or drawn from a range."""
    delay = delays.parse(getattr(trial.target, "delay", "0"))
    return delay.factor * (delay.a + max(delay.a, delay.b)) / 2


# The lab's own files


def test_the_studies_are_those_whose_facts_are_known() -> None:
    assert study_file.names() == sorted(
        [*FACTS, "asyncpg-2023", "audit", "claims", "ladder", "eager-2023", "uvloop-worth-it"]
    )
    listed = [one.id for one in study_file.benchmarks() if one.chart != "ratios"]
    assert listed == NAMES == sorted(FACTS)


@pytest.mark.parametrize("name", study_file.names())
def test_every_arm_can_be_run_at_every_scale(name: str) -> None:
    study = load_study(name)
    for scale in study.scales:
        plan = study.plan(scale, cores=128)
        for arm in plan.arms.values():
            assert arm.requests > 0 if isinstance(arm, Trial) else arm.name in EXPERIMENTS
        named = [arm.id for arm in study.arms_at(scale)]
        groups = plan.groups(named, [claim.id for claim in study.claims])
        listed = [arm for group in groups for arm in group]
        assert sorted(listed) == sorted(set(listed)) == sorted(plan.arms)
        for claim in study.claims:
            assert any(plan.arms_of(claim.id) <= set(group) for group in groups)


def test_a_database_has_room_for_the_pools_of_a_machine_with_many_cores() -> None:
    arms = load_study("claims").plan("smoke", cores=128).arms.values()
    pools = [one for one in arms if isinstance(one, Trial) and one.target.kind == "postgres"]
    assert any(getattr(trial.transport, "max_size", 0) == 512 for trial in pools)
    for trial in pools:
        preflight.check(trial)


@for_each_name
def test_published_figures_are_the_facts(name: str) -> None:
    keys = ("requests", "peak_rss_kb", "wall_s", "cpu_percent", "cpu_user_s")
    listed = load_study(name).published()
    timed = [arm for arm in listed if "rps" not in arm]
    assert {arm["arm"]: tuple(arm.get(key) for key in keys) for arm in timed} == FACTS[name]
    assert {arm["arm"]: arm["rps"] for arm in listed if "rps" in arm} == rates(name)
    # An arm without figures says why, or its source gives none.
    for arm in load_study(name).arms:
        has_figures = arm.id in {*FACTS[name], *rates(name)}
        assert has_figures == (arm.published is not None)
        assert has_figures or arm.own or arm.remark or name == "balaam-2017"


@for_each_name
@for_each_scale
def test_checks_compare_metrics_that_exist_between_arms_that_run(name: str, scale: str) -> None:
    plan = load_study(name).plan(scale, cores=2)
    for claim, judged in plan.judged.items():
        for one in judged:
            assert one.check.measure in stats.METRICS
            assert {*one.of, *one.to} <= {*plan.arms} or one.undecidable, claim
            assert scale != "paper" or not one.undecidable


@for_each_scale
def test_a_percentile_of_the_ledger_has_as_many_answers_as_it_needs(scale: str) -> None:
    plan = load_study("claims").plan(scale, cores=2)
    for one in itertools.chain(*plan.judged.values()):
        needs = (
            stats.METRICS[one.check.measure].answers if one.check.measure in stats.METRICS else 0
        )
        trials = [plan.arms[arm] for arm in (*one.of, *one.to)]
        assert all(isinstance(of, Trial) and of.requests >= needs for of in trials if needs), one


def figure(name: str, arm: str, measure: str) -> float | None:
    """The published figure of an arm as the metric `measure`; None where there is none."""
    if arm in rates(name) and measure == "throughput_rps":
        return rates(name)[arm]
    if arm not in FACTS[name]:
        return None
    requests, peak_rss_kb, wall_s, cpu_percent, _ = FACTS[name][arm]
    return {
        "process_peak_rss_bytes": peak_rss_kb and peak_rss_kb * 1024.0,
        "wall_s": wall_s,
        "cpu_percent": cpu_percent,
        "busy_percent": cpu_percent,  # of one that never waits
        "cpu_us_per_request": wall_s and cpu_percent and 1e4 * cpu_percent * wall_s / requests,
        "throughput_rps": wall_s and requests / wall_s,
    }.get(measure)


def expected(name: str, check: Check) -> float | None:
    figures = [figure(name, arm, check.measure) for arm in check.arms]
    known = [value for value in figures if value is not None]
    if len(known) < len(figures):
        return None
    if check.take is not None:
        return {"spread": max(known) / min(known), "smallest": min(known)}[check.take]
    return known[0] if check.to is None else known[0] / known[1]


@for_each_name
def test_a_claim_quotes_what_its_arms_have_published(name: str) -> None:
    for claim in load_study(name).claims:
        if claim.id.startswith("rerun-"):
            continue  # it quotes someone else's figures for these arms
        [check] = claim.checks
        wanted = expected(name, check)
        assert check.published == (wanted and pytest.approx(wanted, rel=3e-3)), claim.id


def test_what_the_smallest_garcia_judges_instead_follows_from_what_was_published() -> None:
    found = {name: one[0].check for name, one in
             load_study("garcia-2018").plan("smoke", cores=2).judged.items()}  # fmt: skip
    facts = FACTS["garcia-2018"]
    pool_bytes = facts["task_pool"][1] * 1024  # type: ignore[operator] # it is published
    more = 1024 * (facts["semaphore"][1] - facts["task_pool"][1]) / 100_000  # type: ignore[operator] # as above
    assert found["semaphore-memory"].published == pytest.approx(more, rel=1e-3)
    assert found["semaphore-memory"].at_least == pytest.approx(pool_bytes / 100_000, rel=1e-2)
    assert found["pypeln-lean"].at_most == pytest.approx(0.5 * pool_bytes / 100_000, rel=1e-2)
    for name, percent in (("task-pool-cpu", 36), ("pypeln-cpu", 37)):
        assert found[name].published == pytest.approx(percent / 100 / 1_000 * 1.5e6)
        assert found[name].at_most == pytest.approx(60 / 100 / 1_000 * 1.5e6)


@for_each_name
def test_the_paper_scale_is_the_published_run(name: str) -> None:
    ran = trials(load_study(name), "paper")
    for arm, (requests, *_) in FACTS[name].items():
        assert ran[arm].requests == requests
        if name == "httpx-3215":
            at_once = (20, 0.008) if arm.startswith("mild") else (200, 0.0)
            assert (ran[arm].limit, mean_s(ran[arm])) == at_once
            continue
        assert ran[arm].limit == (1 if ran[arm].strategy == "sequential" else 1_000)
        assert mean_s(ran[arm]) in (0.0, 1.5)
        assert ran[arm].get("transport.limit") == 0


def test_the_arms_of_uvloop_differ_in_nothing_but_the_loop() -> None:
    whole = trials(load_study("uvloop-2016"), "paper")
    ran = {arm: trial for arm, trial in whole.items() if not arm.endswith("@then")}
    assert len(ran) == 36
    then = {arm: str(whole[arm].program).split()[2:] for arm in whole.keys() - ran}
    assert then == {f"{style}-{size}-{loop}@then": [style, loop, str(KIB[size]), "{requests}"]
                    for style, loops in RATES["uvloop-2016"].items() for loop in loops
                    for size in KIB}  # fmt: skip
    for arm in [arm.removesuffix("-asyncio") for arm in ran if arm.endswith("-asyncio")]:
        slow, fast = ran[f"{arm}-asyncio"], ran[f"{arm}-uvloop"]
        http, _, size = arm.rpartition("-")
        if http.startswith("http-"):
            assert fast == slow.replace(**{"switches.loop": "uvloop"})
            assert (fast.get("target.loop"), f"http-{fast.transport.kind}") == ("uvloop", http)
            assert fast.get("body_bytes") == KIB[size]
        else:
            assert fast == slow.replace(**{"target.loop": "uvloop"})
            assert (slow.loop, slow.get("target.loop")) == ("uvloop", "asyncio")
            assert (slow.get("target.api"), slow.get("message_bytes")) == (http, KIB[size])
        assert slow.limit == 10


@for_each_scale
def test_garcia_keeps_the_published_request_rate_at_every_scale(scale: str) -> None:
    ran = trials(load_study("garcia-2018"), scale)
    for arm in ("semaphore", "as_completed", "task_pool", "pypeln"):
        assert ran[arm].limit / mean_s(ran[arm]) == pytest.approx(1_000 / 1.5)


@for_each_name
@for_each_scale
def test_the_minutes_of_a_scale_are_no_fewer_than_its_delays_take(name: str, scale: str) -> None:
    study = load_study(name)
    ran = trials(study, scale).values()
    once_s = sum(0.8 + trial.requests * mean_s(trial) / trial.limit for trial in ran)
    whole = study.scale(scale)
    assert whole.minutes is not None
    assert whole.repeats * once_s <= 60 * whole.minutes


def test_rungs_share_a_server_and_keep_their_connections() -> None:
    ladder = load_study("ladder")
    assert [arm.id for arm in ladder.arms][:2] == ["session-each", "one-session"]
    assert [arm.by_others for arm in ladder.arms] == [False] * 11 + [True] * 7
    assert {arm.chart for arm in ladder.arms} == {True}
    for arm, trial in ladder.plan("full", cores=2, seconds=0.5).arms.items():
        assert isinstance(trial, Trial)
        assert trial.url == "http://127.0.0.1/{item}"
        assert trial.transport.connections_at(trial.limit) == 100, arm
        assert trial.requests >= trial.limit
    first = ladder.arms[0]
    longest = ladder.plan("full", cores=2, seconds=60).arms[first.id]
    assert isinstance(longest, Trial)
    assert longest.requests == first.max_requests


def test_the_stall_of_the_audit_is_as_late_as_its_arithmetic_supposes() -> None:
    stalled = trials(load_study("audit"), "full")["stalled"]
    rate, stall_s = stalled.workload.rate, stalled.get("stall_s")
    assert rate
    assert 0.01 < stall_s * rate / stalled.requests < 0.2  # within p99, and what a guard allows
    [claim] = load_study("audit").chosen(["stall"])
    low, high = claim.checks[0].band
    assert (low + high) / 2 == pytest.approx(stall_s - 0.01 * stalled.requests / rate)


# The format


def test_settings_of_an_arm_come_first_and_a_scale_shrinks_delays_and_requests() -> None:
    one, other = trials(parse(), "paper").values()
    assert (one.requests, one.limit, one.strategy) == (100, 20, "semaphore")
    assert (other.limit, other.options) == (30, {"maxsize": 7})
    assert [trial.limit for trial in trials(parse(), "smoke").values()] == [10]
    shown = [trials(parse(), scale)["one"].get("delay") for scale in SCALES]
    assert shown == ["randint(0,3)*0.1", "randint(0,3)", "randint(0,3)"]
    names = [("delay =", '"target.delay" ='), ("{ requests = 50", '{ "workload.requests" = 50')]
    dotted = parse(*names)
    for scale in SCALES:
        assert trials(dotted, scale) == trials(parse(), scale)
    assert trials(parse(('delay = "randint(0,3)"', "")), "smoke")["one"].get("delay") == "0"
    fewer = ("settings = { requests = 50 }", "settings = { requests = 50 }\nrequests_factor = 0.3")
    assert [trial.requests for trial in trials(parse(fewer), "workshop").values()] == [15, 15]
    one = ("settings = { requests = 10 }", "settings = { requests = 10 }\nrequests_factor = 0.01")
    usual = ("settings = { requests = 10 }", "requests_factor = 0.5")
    assert [trials(parse(new), "smoke")["one"].requests for new in (one, usual)] == [1, 1_000]


@pytest.mark.parametrize(
    ("name", "words"),
    [("wrk", "-t1 -c{{limit}} -d{s}s"), ("hey", "-cpus 1 -c {{limit}} -z {ms}ms")],
)
@pytest.mark.parametrize(
    ("rps", "scale", "seconds", "lasts_s", "requests"),
    [(200, "", None, 1.0, 200), (200, "seconds = 0.25", None, 0.25, 50), (200, "", 0.5, 0.5, 100),
     (0.5, "settings.limit = 7", None, 1.0, 7), (0.5, "", None, 1.0, 1), (9e6, "", 9.0, 9.0, 900)],
)  # fmt: skip
def test_an_arm_with_a_rate_lasts_as_long_as_is_asked_for_and_fills_its_places(
    rps: float,
    scale: str,
    seconds: float | None,
    lasts_s: float,
    requests: int,
    name: str,
    words: str,
) -> None:
    study = parse(
        (
            'settings = { strategy = "semaphore" }',
            f'program = "{name}"\nrps = {rps}\nmax_requests = 900',
        ),
        ('delay = "randint(0,3)"\nlimit = 10\n', ""),
        ("min_repeats = 3", "min_repeats = 3\nserver = {}"),
        ("settings = { requests = 10 }", scale),
        ("published = { wall_s = 2 }", ""),
    )
    assert [(arm.peer, arm.chart) for arm in study.arms] == [(False, True)] * len(study.arms)
    program = study.plan("smoke", cores=2, seconds=seconds).arms["one"]
    assert isinstance(program, Trial)
    assert (program.deadline_s, program.requests) == (30 + 3 * lasts_s, requests)
    words = words.format(s=math.ceil(lasts_s), ms=round(1e3 * lasts_s))
    assert program.program == f"{name} {words} {{url}}"


def test_settings_of_one_side_come_before_those_of_the_scale_before_the_shared_ones() -> None:
    at = 'at.smoke.settings = { requests = 7, limit = 2, "to.requests" = 9 }'
    study = parse(
        ('of = { strategy = "task_pool" }', "shared = { limit = 1, requests = 1 }\nof.limit = 5"),
        ('to = { strategy = "semaphore" }', "to = {}"),
        ("at_most = 0.5", f"at_most = 0.5\n{at}"),
        text=CLAIM,
    )
    of, to = trials(study, "smoke").values()
    assert [(one.limit, one.requests) for one in (of, to)] == [(5, 7), (2, 9)]


def test_a_limit_may_be_a_multiple_of_the_cores() -> None:
    study = parse(('strategy = "task_pool"', 'limit = "cores*2"'), text=CLAIM)
    assert trials(study, "smoke")["lean/1/of"].limit == 4


def test_arms_that_are_written_alike_run_once_and_bring_their_claims_together() -> None:
    claim = CLAIM[CLAIM.index("[[claim]]") :]
    other = claim.replace('"lean"', '"also"').replace("rss_growth_bytes", "wall_s")
    third = claim.replace('"lean"', '"apart"').replace("task_pool", "queue")
    third = third.replace("semaphore", "gather")
    plan = study_file.parse(CLAIM + other + third).plan("smoke", cores=2)
    assert list(plan.arms) == ["lean/1/of", "lean/1/to", "apart/1/of", "apart/1/to"]
    groups = plan.groups([], ["lean", "also", "apart"])
    assert groups == [["lean/1/of", "lean/1/to"], ["apart/1/of", "apart/1/to"]]


def test_a_claim_whose_arm_does_not_run_is_undecidable_there() -> None:
    (smoke,) = parse().plan("smoke", cores=2).judged["slower"]
    assert "arm other runs only at scale workshop, paper" in smoke.undecidable
    assert not parse().plan("paper", cores=2).judged["slower"][0].undecidable
    own = parse(("at_least = 1", 'at_least = 1\nat.smoke.undecidable = "too short"'))
    (smoke,) = own.plan("smoke", cores=2).judged["slower"]
    assert smoke.undecidable == "scale smoke cannot decide it, because too short"


@pytest.mark.parametrize(("changes", "scale", "wanted"), checks("at_scale.toml", "judged"))
def test_a_scale_may_judge_by_another_measure_another_band_or_other_arms(
    changes: list[tuple[str, str]], scale: str, wanted: dict[str, Any]
) -> None:
    [judged] = parse(*changes).plan(scale, cores=2).judged["slower"]
    found = msgspec.structs.asdict(judged.check) | {"of": [*judged.of], "to": [*judged.to]}
    found |= {"instead": judged.instead}
    assert {name: found[name] for name in wanted} == wanted


def test_a_new_study_takes_a_file_and_no_code(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(SMALL)
    assert study_file.names(tmp_path) == ["small"]
    assert study_file.load("small", tmp_path) == study_file.parse(SMALL)
    assert study_file.load(str(tmp_path / "small.toml")) == study_file.parse(SMALL)


def test_a_sentence_has_one_measure_and_one_band_in_the_ledger_and_in_its_own_study() -> None:
    ledger, garcia = (
        {claim.id: claim.checks for claim in load_study(name).claims}
        for name in ("claims", "garcia-2018")
    )
    same = {"semaphore-memory": "sem-memory", "semaphore-growth": "sem-growth"}
    shared = {name: ledger.get(same.get(name, name)) for name in garcia}
    assert len([name for name, ones in shared.items() if ones]) == 9
    for name, ones in shared.items():
        for here, there in zip((ones or ())[:1], garcia[name], strict=False):
            low = 0.9 if there.take == "spread" else there.at_least
            assert (here.measure, here.at_least, here.at_most) == (
                there.measure,
                low,
                there.at_most,
            )
    # What was published is of the source's own regime.
    assert not any(one.published for ones in ledger.values() for one in ones[1:])


def test_chosen_claims_keep_the_order_of_the_file_and_name_their_sources() -> None:
    claims = load_study("claims")
    chosen = claims.chosen(["dns-cache", "pool-limit"])
    assert [claim.id for claim in chosen] == ["pool-limit", "dns-cache"]
    assert claims.chosen() == claims.chosen([]) == claims.claims
    [pool] = claims.chosen(["db-pool"])
    both = [claims.source_text([name]) for name in ("000", "003")]
    assert claims.source_text(claims.sources_of(pool)) == "; ".join(both)
    assert parse().source_text() == "Somebody, 2020: https://example.org/"
    told = parse(("[source.somebody]", '[source]\nother = "Else: a text"\n[source.somebody]'))
    assert [one.author for one in told.cited()] == ["Else", "Somebody"]
    assert [one.author for one in told.cited(["somebody"])] == ["Somebody"]


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    served = ('delay = "randint(0,3)"\n', ""), ("min_repeats = 3", "min_repeats = 3\nserver = {}")
    program = ('settings = { strategy = "semaphore" }', 'program = "wrrk"\nrps = 1')
    refused: list[tuple[Any, Any, str]] = [
        (lambda changes: parse(*changes), [*served, program], "did you mean 'wrk'"),
        (study_file.load, "garcia-2017", "did you mean 'garcia-2018'"),
        (lambda name: parse().plan(name, cores=2), "smok", "did you mean 'smoke'"),
        (parse().arms_at, "smok", "did you mean 'smoke'"),
        (load_study("claims").chosen, ["dns-cahce"], "did you mean 'dns-cache'"),
        (load_study("claims").chosen, ["dns-cache"] * 2, "twice"),
        (study_file.load, "nowhere/absent.toml", r"absent\.toml"),
    ]
    for call, name, message in refused:
        with pytest.raises(BadInput, match=message):
            call(name)


REFUSED = tomllib.loads((STUDIES.parent / "faulty_studies.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("text", "old", "new", "message"),
    [(SMALL, *one) for one in REFUSED["small"]] + [(CLAIM, *one) for one in REFUSED["claim"]],
)
def test_a_faulty_file_is_refused_with_the_place_and_the_reason(
    text: str, old: str, new: str, message: str
) -> None:
    faulty = text.replace(old, new, 1)
    assert faulty != text
    with pytest.raises(BadInput, match=re.escape(message)):
        study_file.parse(faulty, "small" if text is SMALL else None)


def test_a_side_that_is_not_there_and_a_claim_that_is_there_twice_are_refused() -> None:
    alone = CLAIM.replace('to = { strategy = "semaphore" }\n', "")
    with pytest.raises(BadInput, match=r"'to\.limit'.*no such arm"):
        study_file.parse(f'{alone}at.smoke.settings = {{ "to.limit" = 3 }}\n')
    with pytest.raises(BadInput, match="study 'mine' has no arm and no claim"):
        study_file.parse(CLAIM[: CLAIM.index("[[claim]]")])
    with pytest.raises(BadInput, match="claim id 'slower' is there twice"):
        study_file.parse(SMALL + SMALL[SMALL.index("[[claim]]") :])


VALUES: Any = st.one_of(st.integers(), st.floats(), st.text(max_size=5), st.booleans())


@given(
    st.sampled_from(["of", "to", "take", "published", "at_least", "at_most", "exact"]),
    st.one_of(VALUES, st.lists(VALUES, max_size=3)),
)
def test_a_check_is_accepted_only_with_different_arms_and_a_band_that_holds_its_figure(
    name: str, value: object
) -> None:
    given_: dict[str, object] = {"measure": "wall_s", "of": "a", "to": "b", "at_least": 1.0}
    try:
        check = msgspec.convert(given_ | {"published": 2.0} | {name: value}, Check)
    except (msgspec.ValidationError, BadInput):
        return
    low, high = check.band
    assert low <= high
    assert check.published is None or low <= check.published <= high
    assert len(check.arms) == len(set(check.arms))


@given(st.text())
def test_any_other_text_is_refused_as_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match=r"small\.toml"):
        study_file.parse(text, "small")
