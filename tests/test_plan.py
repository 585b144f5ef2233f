"""Axes to arms, and arms to an interleaved list of trials."""

import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import BadInput
from labkit.spec import plan
from labkit.spec.plan import Step, arms, interleave
from labkit.spec.targets import Command, HttpTarget
from labkit.spec.transports import AiohttpTransport
from labkit.spec.trial import Trial

BASE = Trial(requests=100, delay="randint(0,3)")


def listed(count: int) -> list[Any]:
    """That many arms; planning looks at no trial, so all have the same."""
    return [({"limit": limit}, BASE) for limit in range(count)]


def blocks(steps: list[Step], repeats: int) -> list[list[Step]]:
    size = len(steps) // repeats
    return [steps[start : start + size] for start in range(0, len(steps), size)]


async def mine(fetch: Any, items: Any, limit: int) -> None:
    """A strategy of one's own."""


def mine_for(url: str) -> Any:
    """A transport of one's own."""


# Arms


def test_arms_are_every_combination_of_the_values() -> None:
    found = arms(BASE, {"strategy": ["wait", mine], "limit": [1, 2, 3]})

    assert [dict(axes) for axes, _ in found] == [
        {"strategy": name, "limit": limit} for name in ("wait", "mine") for limit in (1, 2, 3)
    ]
    for axes, trial in found:
        strategy = mine if axes["strategy"] == "mine" else axes["strategy"]
        assert trial == BASE.replace(strategy=strategy, limit=axes["limit"])
    assert arms(BASE, {}) == [({}, BASE)]


def test_dotted_axes_and_values_of_every_kind() -> None:
    axes = {"transport.keepalive_timeout": [0, 15], "deadline_s": [None, 0.5], "pin": [True, False]}

    found = arms(BASE, axes)

    assert len(found) == 8
    assert all(trial.get(name) == named[name] for named, trial in found for name in named)


LABELS = [
    ("strategy", ["wait", mine], ["wait", "mine"]),
    ("limit", [100], [100]),
    ("deadline_s", [None], [None]),
    ("pin", [True], [True]),
    ("target", [HttpTarget(), HttpTarget(delay="1")], ["http", "http delay=1"]),
    ("target", ["http://127.0.0.1:1", "http://127.0.0.1:2"], None),
    ("target", [Command("mine {port}")], ["mine {port}"]),
    ("transport", [AiohttpTransport(limit=1)], ["aiohttp limit=1"]),
    ("transport", ["wire", mine_for], ["wire", "mine_for"]),
    ("program", ["true {limit}", None], ["true {limit}", "worker_pool"]),
    ("workload", [{"limit": 7}], ["workload limit=7"]),
]


@pytest.mark.parametrize(("name", "values", "labels"), LABELS)
def test_an_arm_is_named_by_what_its_trial_holds(name: str, values: Any, labels: Any) -> None:
    found = arms(BASE, {name: values})

    assert [axes for axes, _ in found] == [{name: label} for label in labels or values]
    assert [plan.label(trial, name) for _, trial in found] == (labels or values)
    assert len(interleave(found, repeats=1)) == len(values)


def test_arms_whose_credentials_differ_are_numbered_and_do_not_show_them() -> None:
    logins = [{"Authorization": "of a"}, {"Authorization": "of b", "Cookie": "c"}, {"X-A": "1"}]
    for name, values in (("headers", logins), ("workload", [{"headers": one} for one in logins])):
        labels = [str(axes[name]) for axes, _ in arms(BASE, {name: values, "limit": [1, 2]})]
        assert [one.count('"Authorization": "*** (1)"') for one in labels] == [1, 1, 0, 0, 0, 0]
        assert [one.count('"Authorization": "*** (2)"') for one in labels] == [0, 0, 1, 1, 0, 0]
        assert [one.count('"Cookie": "***"') for one in labels] == [0, 0, 1, 1, 0, 0]
        assert not [one for one in labels if "of " in one]
    (same, _) = arms(BASE.replace(headers=logins[0]), {"limit": [1, 2]})
    assert arms(same[1], {"headers": logins[:1]})[0][0] == {"headers": '{"Authorization": "***"}'}


@pytest.mark.parametrize("values", ["semaphore", b"x", "", [], (), {}, range(0), 5, None, mine])
def test_an_axis_is_a_list_of_at_least_one_value(values: Any) -> None:
    message = re.escape(f"axis 'strategy' is {values!r}: it must be a list of ")
    with pytest.raises(BadInput, match=f"^{message}"):
        arms(BASE, {"strategy": values})


@pytest.mark.parametrize(
    "axes", [{"limti": [1]}, {"limit": [0]}, {"strategy": ["wait", "weight"]}, {"delay": ["x"]}]
)
def test_an_axis_that_no_trial_has_is_refused(axes: dict[str, list[Any]]) -> None:
    with pytest.raises(BadInput):
        arms(BASE, axes)


# Order


@given(st.integers(1, 12), st.integers(1, 8), st.integers(0, 99))
def test_each_block_runs_every_arm_in_the_seeds_order(count: int, repeats: int, seed: int) -> None:
    steps = interleave(listed(count), repeats=repeats, seed=seed)

    assert steps == interleave(listed(count), repeats=repeats, seed=seed)
    assert interleave(listed(9), repeats=1) == interleave(listed(9), repeats=1, seed=0)
    assert [step.order for step in steps] == list(range(count * repeats))
    for repeat, block in enumerate(blocks(steps, repeats)):
        assert sorted(step.axes["limit"] for step in block) == list(range(count))
        assert {step.repeat for step in block} == {repeat}


def test_blocks_and_seeds_differ_and_each_arm_comes_first_as_often() -> None:
    steps = interleave(listed(3), repeats=600)

    first = Counter(block[0].axes["limit"] for block in blocks(steps, 600))

    assert all(140 < first[arm] < 260 for arm in range(3))
    steps = interleave(listed(12), repeats=5, seed=1)
    orders = {tuple(step.axes["limit"] for step in block) for block in blocks(steps, 5)}
    assert len(orders) == 5
    assert steps != interleave(listed(12), repeats=5, seed=2)


def test_groups_run_one_after_another_and_a_step_carries_its_trial_and_its_name() -> None:
    found = arms(BASE, {"limit": [1, 2, 3]})

    steps = interleave(found[:2], found[2:], repeats=2)

    assert all((dict(step.axes), step.trial) in found for step in steps)
    assert [step.axes["limit"] == 3 for step in steps] == [False] * 4 + [True] * 2
    assert [step.order for step in steps] == list(range(6))


# Refusals


@pytest.mark.parametrize("repeats", [0, -1, 1_001, 1.5, True, "5", None])
def test_repeats_are_a_whole_number(repeats: Any) -> None:
    message = re.escape(f"repeats is {repeats!r}: it must be a whole number from 1 to 1,000")
    with pytest.raises(BadInput, match=f"^{message}$"):
        interleave(listed(2), repeats=repeats)


@pytest.mark.parametrize("seed", [-1, None, 1.5])
def test_a_seed_is_a_whole_number(seed: Any) -> None:
    message = f"seed is {seed!r}: it must be a whole number from 0 to 9,223,372,036,854,775,807"
    with pytest.raises(BadInput, match=f"^{re.escape(message)}$"):
        interleave(listed(2), repeats=1, seed=seed)


def test_an_experiment_has_a_bounded_number_of_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "MAX_TRIALS", 6)
    assert len(arms(BASE, {"limit": [1, 2, 3], "seed": [1, 2]})) == 6
    assert len(interleave(listed(2), repeats=3)) == 6
    assert Step(work=BASE, axes={}, repeat=0, order=0).arm == 0  # one alone is the first

    with pytest.raises(BadInput, match="7 combinations: at most 6 trials are run"):
        arms(BASE, {"limit": range(1, 8)})
    with pytest.raises(BadInput, match="4 arms of 2 repeats: at most 6 trials are run"):
        interleave(listed(4), repeats=2)


def test_the_caps_of_a_remote_host_are_of_the_whole_plan() -> None:
    remote = Trial(target="http://192.0.2.1/", allow_remote="192.0.2.1", requests=20, limit=1)
    found = arms(remote, {"limit": [1, 50, 5]})
    assert len(interleave([*found[:2], *listed(1)], repeats=167)) == 501

    says = "workload is 10,020 requests in 501 trials at limit 20 on a remote host"
    with pytest.raises(BadInput, match=says):
        interleave(found, repeats=167)


def test_axes_with_too_many_combinations_are_refused_before_any_is_made() -> None:
    axes = {"limit": range(1, 5_001), "requests": range(1, 5_001), "seed": range(5_000)}

    with pytest.raises(BadInput, match="the axes have 125,000,000,000 combinations: at most"):
        arms(BASE, axes)


@pytest.mark.parametrize(
    "axes", [{"limit": [1, 2, 1]}, {"strategy": [mine, mine]}, {"keepalive_timeout": [1, 1.0]}]
)
def test_twins_are_refused(axes: dict[str, list[Any]]) -> None:
    with pytest.raises(BadInput, match=r"hold the same arm twice .*: name each value once"):
        interleave(arms(BASE, axes), repeats=1)
