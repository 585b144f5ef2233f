"""Evidence of an examination -> the faults of a strategy, each named once. Pure.

A fault that another one brings with it is not named: a call that is in flight has a task, so that
too many in flight are no unbounded tasks as well. Thresholds are far from what a sound strategy
does and from what a broken one does, and none is a time that a busy machine could stretch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from labkit.record.exam import AT_SERVER, Evidence, Held, Sitting
from labkit.report.arena.faults import Examined, Fault

HOT_TURNS_PER_S, HOT_CPU_SHARE = 3_000, 0.3
"""Turns of the loop, and share of a core, from which on waiting is polling. A timer of 1 ms makes
1,000 turns a second, `sleep(0)` 10,000 and more even on a machine that is busy with other work."""
WAKING_TURNS_PER_S = 60
"""From here on it is worth a remark."""
GROWTH_SHARE = 0.05
"""Of the items that there were more, how many more may be waiting: bounded is none at all."""
PROPORTION, NO_MATTER_LIMITS = 0.9, 2
"""Of what twice the items would bring, and how many limits may be waiting anyway."""
BLOCKED_S, BLOCKED_LONG_S = 0.1, 10.0
"""How long the loop may stand still in a sitting. Once may be the machine, or an import within the
function: it takes two of them, or a very long one."""
KEPT_SHARE = 0.9
_NEVER = ("stuck", "slow")


def judged(name: str, evidence: Evidence) -> Examined:
    """The faults that the evidence shows, and what else there is to say."""
    faults = list(_faults(evidence))
    remarks = [] if faults else list(_remarks(evidence.sittings))
    return Examined(name=name, faults=faults, remarks=remarks)


def _faults(evidence: Evidence) -> Iterator[Fault]:
    sittings = evidence.sittings
    plain = [one for one in sittings if not one.failing and one.held is None and _whole(one)]
    broken = [*_lost(evidence), *_broken(plain)]
    blocked = [] if broken else list(_blocked(sittings))
    yield from broken or blocked
    yield from _over_limit(sittings)
    if not broken:
        usual = [*_missing(plain), *_repeated(plain), *_left(plain)]
        yield from usual
        yield from _failing(sittings, {fault.code for fault in usual})
        yield from _growing(sittings)
        yield from _hot(sittings)


def _whole(one: Sitting) -> bool:
    """Whether it was waited for: at the server, whose time is real, it is not for long."""
    return one.name != AT_SERVER or one.end == "returned"


def _fault(code: str, seen: str) -> Fault:
    return Fault(code=code, seen=seen)


def _lost(evidence: Evidence) -> Iterator[Fault]:
    kind, _, why = evidence.lost.partition(": ")
    if kind == "not-loaded":
        yield _fault("not-loaded", f"It could not be loaded in a process of its own: {why}.")
    elif kind == "never-ends":
        yield _fault(
            "never-ends",
            "It kept the event loop to itself and never gave it back: there is a loop in it "
            "without an await, or with one that never waits.",
        )
    elif kind == "too-slow":
        yield _fault("too-slow", "It was still at it when the time of its examination was up.")
    elif kind:
        yield _fault("ends-its-process", f"The process in which it ran ended: {why}.")


def _broken(plain: Sequence[Sitting]) -> Iterator[Fault]:
    """What ends an examination early; of several sittings the first says it."""
    for one in plain:
        on = f"With {_items(one.planned)} and a limit of {one.limit}"
        if one.end == "raised":
            yield _fault("raises", f"{on}, none of which failed, it raised {one.raised}.")
            return
        if one.end in _NEVER:
            yield _fault("never-ends", f"{on} it did not return: {_stuck(one)}.")
            return
        if one.end == "late":
            yield _late(one, on)
            return
        if one.end == "endless":
            said = f"{on} it made more than thirty calls for each item and was ended."
            yield _fault("repeats-items", said)
            return


def _late(one: Sitting, on: str) -> Fault:
    return _fault(
        "too-slow",
        f"{on} it was still at it when the time of an examination was up, "
        f"{one.planned - one.missing} of the items fetched.",
    )


def _stuck(one: Sitting) -> str:
    if one.end == "slow" and one.missing:
        return f"it was busy for seconds, and none of {_items(one.missing)} was fetched any more"
    if not one.missing:
        return "every item had been fetched, and it went on waiting"
    return f"{_items(one.missing)} were not fetched, and nothing happened any more"


def _items(number: int) -> str:
    return f"{number:,} item{'' if number == 1 else 's'}"


def _blocked(sittings: Iterable[Sitting]) -> Iterator[Fault]:
    worst_s = sorted((one.still_s for one in sittings), reverse=True)
    twice = len(worst_s) > 1 and worst_s[1] >= BLOCKED_S
    if twice or (worst_s and worst_s[0] >= BLOCKED_LONG_S):
        yield _fault(
            "blocks-the-loop",
            f"It held the event loop up for {worst_s[0]:.1f} s in a single run on a few items.",
        )


def _over_limit(sittings: Sequence[Sitting]) -> Iterator[Fault]:
    for one in sittings:
        if one.at_server is not None and one.at_server > one.limit:
            seen = f"the server saw {one.at_server:,} requests at once"
            yield _fault("over-limit", f"With a limit of {one.limit} {seen}.")
            return
    excess = [(one.most_in_flight - one.limit, one.limit, one) for one in sittings]
    over = max(excess, key=lambda each: each[:2], default=(0, 0, None))[2]
    if over is not None and over.most_in_flight > over.limit:
        seen = f"it had {over.most_in_flight:,} calls in flight at once"
        yield _fault("over-limit", f"With a limit of {over.limit} {seen}.")


def _missing(plain: Iterable[Sitting]) -> Iterator[Fault]:
    worst = max((one for one in plain if one.missing), key=lambda one: one.missing, default=None)
    if worst is not None:
        some = _some([item for item, times in worst.examples.items() if not times])
        was = "was" if worst.missing == 1 else "were"
        yield _fault(
            "loses-items",
            f"With a limit of {worst.limit} {worst.missing} of {worst.planned} items {was} never "
            f"fetched: {some}.",
        )


def _some(items: Sequence[int]) -> str:
    named = ", ".join(map(str, items))
    return f"item{'s' if len(items) > 1 else ''} {named} among them" if items else "some of them"


def _repeated(sittings: Iterable[Sitting], when: str = "") -> Iterator[Fault]:
    found = [one for one in sittings if one.repeated]
    if not found:
        return
    worst = max(found, key=lambda one: one.repeated)
    often = next(((i, times) for i, times in worst.examples.items() if times > 1), None)
    so = f": item {often[0]} was fetched {often[1]} times" if often else ""
    yield _fault(
        "repeats-items",
        f"{worst.repeated} of {worst.planned} items came more than once{when}{so}.",
    )


def _left(plain: Iterable[Sitting], when: str = "") -> Iterator[Fault]:
    left = max((one.left for one in plain), default=0)
    if left:
        tasks = "1 task of its own was" if left == 1 else f"{left:,} tasks of its own were"
        yield _fault("leaves-tasks-behind", f"It returned while {tasks} still running{when}.")


def _failing(sittings: Iterable[Sitting], known: set[str]) -> Iterator[Fault]:
    """What it does when calls raise, unless it does that anyway: such faults are `known`."""
    for one in sittings:
        if not one.failing:
            continue
        stopped = bool(one.missing) and "loses-items" not in known
        if one.end == "endless":
            said = "An item that failed was tried again and again, without an end."
            yield _fault("never-ends", said)
        elif one.end == "late":
            yield _late(one, f"With {_items(one.planned)}, of which {one.failing} failed,")
        elif stopped:
            yield _stopped(one)
        elif one.end in _NEVER:
            yield _fault("never-ends", f"Where items failed it did not return: {_stuck(one)}.")
        if not one.told:
            yield _swallowed(one)
        if one.end == "returned" and not stopped:
            yield from _later(one, known)


def _later(one: Sitting, known: set[str]) -> Iterator[Fault]:
    """What it does once items have failed, and not before."""
    if "repeats-items" not in known:
        yield from _repeated([one], " once others had failed")
    if "leaves-tasks-behind" not in known:
        yield from _left([one], " once items had failed")


def _stopped(one: Sitting) -> Fault:
    how = f"it ended with {one.raised}" if one.end == "raised" else "it gave up"
    how = "it never returned" if one.end in _NEVER else how
    return _fault(
        "stops-at-first-failure",
        f"{one.failing} of {one.planned} items failed, and {how} before {one.missing} of the "
        "items had been fetched.",
    )


def _swallowed(one: Sitting) -> Fault:
    return _fault(
        "swallows-failures",
        f"{one.failing} of {one.planned} items failed, and its caller cannot know: nothing was "
        "raised, and nothing that it returned tells of it.",
    )


def _growing(sittings: Iterable[Sitting]) -> Iterator[Fault]:
    pair = _pair(sittings)
    if pair is None:
        return
    (small, few), (large, many) = pair
    waited = (few.waiting, many.waiting, small, large)
    if _grew(*waited) or _in_proportion(*waited):
        yield _fault(
            "unbounded-tasks",
            f"With a limit of {large.limit} and {large.planned:,} items {many.waiting:,} tasks or "
            f"calls stood waiting behind those in flight, with {small.planned:,} items "
            f"{few.waiting:,}: memory grows with the number of items.",
        )


def _pair(
    sittings: Iterable[Sitting],
) -> tuple[tuple[Sitting, Held], tuple[Sitting, Held]] | None:
    """The two sittings of many items in which no call was answered, the smaller first."""
    held = [(one, one.held) for one in sittings if one.held is not None]
    held = [(one, what) for one, what in held if one.planned > 10 * one.limit]
    if len(held) < 2:
        return None
    first, second = sorted(held, key=lambda both: both[0].planned)[:2]
    return first, second


def _grew(few: int, many: int, small: Sitting, large: Sitting) -> bool:
    return many - few > GROWTH_SHARE * (large.planned - small.planned)


def _in_proportion(few: int, many: int, small: Sitting, large: Sitting) -> bool:
    """Whether it grew as the items did, however small a share of them it is.

    A window of its own, however large, is the same with more items, and one of a few limits is no
    matter.
    """
    least = NO_MATTER_LIMITS * large.limit
    return few > least and many >= PROPORTION * few * large.planned / small.planned


def _hot(sittings: Iterable[Sitting]) -> Iterator[Fault]:
    for one in sittings:
        held = one.held
        if held is None or not held.held_s:
            continue
        turns, cpu = held.turns / held.held_s, held.cpu_s / held.held_s
        if turns >= HOT_TURNS_PER_S or cpu >= HOT_CPU_SHARE:
            yield _fault(
                "polls-hot",
                f"While every call was waiting for its answer it ran {turns:,.0f} turns of the "
                f"event loop a second and used {cpu:.0%} of a core, to find out that nothing had "
                "happened.",
            )
            return


def _remarks(sittings: Sequence[Sitting]) -> Iterator[str]:
    held = [one.held for one in sittings if one.held is not None and one.held.held_s]
    turns = max((one.turns / one.held_s for one in held), default=0.0)
    if turns >= WAKING_TURNS_PER_S:
        yield f"It wakes up {turns:,.0f} times a second while nothing happens: await what it polls."
    pair = _pair(sittings)
    if pair is not None and _grew(pair[0][1].read, pair[1][1].read, pair[0][0], pair[1][0]):
        yield (
            f"It read {pair[1][1].read:,} items before the first was done, into a list or a queue: "
            "some tens of bytes for each number, and whatever it is for larger items. Take them "
            "one by one from the iterator."
        )
    elif any(one.kept >= KEPT_SHARE * one.planned > 10 * one.limit for one in sittings):
        yield (
            "It keeps every task to the end, also those that are done: a few hundred bytes for "
            "each item. Keep those that run, in a set, and discard each when it is done."
        )
