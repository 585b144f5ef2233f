"""The faults that an exam finds: a table of codes, when each is named, what is said, what to do.

Pure: an `ExamResult` in, faults and remarks out. A fault that another one brings with it is not
named: a call in flight has a task, so that too many in flight are no unbounded tasks as well.
Thresholds are far from what a sound strategy does and from what a broken one does, and none is a
time that a busy machine could stretch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from labkit.record.exam import AT_SERVER, Backlog, ExamResult, ScenarioResult

HOT_TURNS_PER_S, HOT_CPU_SHARE = 3_000, 0.3
"""Turns of the loop, and share of a core, from which on waiting is polling. A timer of 1 ms makes
1,000 turns a second, `sleep(0)` 10,000 and more even on a machine that is busy with other work."""
WAKING_TURNS_PER_S = 60
"""From here on it is worth a remark."""
MIN_GROWTH = 0.05
"""How many more may be waiting, as a share of the items that there were more: if bounded, none."""
MIN_PROPORTION, IGNORED_LIMITS = 0.9, 2
"""Growth as a share of that of the items, and how many limits may be waiting anyway."""
BLOCKED_S, BLOCKED_ONCE_S = 0.1, 10.0
"""How long the loop may stand still in a scenario. Once may be the machine, or an import within the
function: it takes two scenarios, or a very long one."""
REFERENCED_SHARE = 0.9


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault by its code: what was observed, in a sentence, and what to write instead."""

    code: str
    seen: str
    advice: str

    @property
    def says(self) -> str:
        """What was observed and what to do, as one text."""
        return f"{self.seen} {self.advice}"


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy after its exam: its faults, and `remarks` on what is no fault."""

    name: str
    faults: Sequence[Fault]
    remarks: Sequence[str] = ()

    @property
    def passed(self) -> bool:
        """Whether it is ranked: it has no fault."""
        return not self.faults

    @property
    def codes(self) -> list[str]:
        """The codes of its faults."""
        return [fault.code for fault in self.faults]


class Observed:
    """The results of an exam by what they are good for."""

    def __init__(self, result: ExamResult) -> None:
        self.scenarios = result.scenarios
        self.lost, _, self.lost_why = result.lost.partition(": ")
        self.failing = next((each for each in self.scenarios if each.failing), None)
        # At the server, whose time is real, a strategy is not waited for long.
        self.plain = [
            each
            for each in self.scenarios
            if not each.failing
            and each.backlog is None
            and (each.name != AT_SERVER or each.end == "returned")
        ]
        self.came_through = not self.lost and all(each.end == "returned" for each in self.plain)
        backlogs = [(each, each.backlog) for each in self.scenarios if each.backlog is not None]
        self.waits = [backlog for _, backlog in backlogs if backlog.duration_s]
        many = sorted(
            (pair for pair in backlogs if pair[0].planned > 10 * pair[0].limit),
            key=lambda pair: pair[0].planned,
        )
        self.growth = _Growth(*many[0], *many[1]) if len(many) > 1 else None

    def ended(self, *ends: str) -> ScenarioResult | None:
        """Return the first scenario without failing items that ended in one of these ways."""
        return next((each for each in self.plain if each.end in ends), None)

    def failing_ended(self, *ends: str) -> ScenarioResult | None:
        """Return the scenario of failing items if it ended in one of these ways."""
        return self.failing if self.failing and self.failing.end in ends else None


class _Growth(NamedTuple):
    """The two scenarios of many items in which no call was answered, the smaller first."""

    small: ScenarioResult
    few: Backlog
    large: ScenarioResult
    many: Backlog

    def grew(self, few: int, many: int) -> bool:
        """Return True if more was waiting, or read, with more items."""
        return many - few > MIN_GROWTH * (self.large.planned - self.small.planned)

    def is_unbounded(self) -> bool:
        """Return True if what waits grew, or grew in proportion, however small its share.

        A window of its own, however large, is the same with more items, and one of a few limits is
        no matter.
        """
        few, many = self.few.waiting, self.many.waiting
        proportional = MIN_PROPORTION * few * self.large.planned / self.small.planned
        ignored = IGNORED_LIMITS * self.large.limit
        return self.grew(few, many) or (few > ignored and many >= proportional)


class Rule(NamedTuple):
    """When a fault is named, and how; `always` also for a strategy that did not come through.

    `when` returns what shows the fault, which is `s` in the sentence, or None.
    """

    code: str
    when: Callable[[Observed], Any]
    sentence: str
    advice: str
    always: bool = False


def _most(scenarios: Iterable[ScenarioResult], field: str) -> ScenarioResult | None:
    """Return the scenario with the most of something, None where all have none of it."""
    found = max(scenarios, key=lambda each: getattr(each, field), default=None)
    return found if found is not None and getattr(found, field) else None


def _stopped(seen: Observed) -> ScenarioResult | None:
    """Return the scenario of failing items if others were lost in it that are not lost anyway."""
    failing = seen.failing_ended("returned", "raised", "stuck", "slow")
    return failing if failing and failing.missing and not _most(seen.plain, "missing") else None


def _most_in_any(seen: Observed, field: str) -> ScenarioResult | None:
    """Return the scenario with the most of something; of failing items only if no other has any."""
    if not seen.came_through:
        return None
    failing = None if _stopped(seen) else seen.failing_ended("returned")
    return _most(seen.plain, field) or (_most([failing], field) if failing else None)


def _never_ends(seen: Observed) -> ScenarioResult | None:
    ends = ("endless",) if _stopped(seen) else ("endless", "stuck", "slow")
    return seen.ended("stuck", "slow") or (seen.came_through and seen.failing_ended(*ends)) or None


def _blocks(seen: Observed) -> str:
    worst_s = sorted((each.standstill_s for each in seen.scenarios), reverse=True)
    twice = len(worst_s) > 1 and worst_s[1] >= BLOCKED_S
    return f"{worst_s[0]:.1f}" if twice or (worst_s and worst_s[0] >= BLOCKED_ONCE_S) else ""


def _over_limit(seen: Observed) -> tuple[int, str, int] | None:
    """Return the limit, and by whom how many calls in flight were counted: best by the server."""
    own = [(each.max_in_flight, each.limit, "the exam") for each in seen.scenarios]
    server = [(each.at_server or 0, each.limit, "the server") for each in seen.scenarios]
    for counts in (server, own):
        most, limit, who = max(
            counts, key=lambda each: (each[0] - each[1], each[1]), default=(0, 0, "")
        )
        if most > limit:
            return limit, who, most
    return None


def _polls(seen: Observed) -> tuple[float, float] | None:
    """Return turns a second and share of a core of the first wait that used too much."""
    for wait in seen.waits:
        turns, cpu = wait.turns / wait.duration_s, wait.cpu_s / wait.duration_s
        if turns >= HOT_TURNS_PER_S or cpu >= HOT_CPU_SHARE:
            return turns, cpu
    return None


_PACE = (
    "Pace it by asyncio.sleep, the loop's time or time.monotonic: an exam lets these pass quickly, "
    "and for any other clock it can only wait."
)

RULES = (
    Rule(
        "not-loaded",
        lambda seen: seen.lost == "not-loaded" and seen.lost_why,
        "It could not be loaded in a process of its own: {s}.",
        "It runs in a process of its own: import what it needs inside of it, and let it use "
        "nothing that exists only in this notebook's process.",
        always=True,
    ),
    Rule(
        "ends-its-process",
        lambda seen: seen.lost == "ended" and seen.lost_why,
        "The process in which it ran ended: {s}.",
        "A strategy returns; it neither exits nor kills the process it is in.",
        always=True,
    ),
    Rule(
        "never-ends",
        lambda seen: seen.lost == "never-ends",
        "It kept the event loop to itself and never gave it back.",
        "Look for a loop without an await, or with one that never waits.",
        always=True,
    ),
    Rule(
        "too-slow",
        lambda seen: seen.lost == "too-slow",
        "It was still running when the time of its exam was over.",
        _PACE,
        always=True,
    ),
    Rule(
        "raises",
        lambda seen: seen.ended("raised"),
        "With {s.planned} items and a limit of {s.limit}, none of which failed, it raised "
        "{s.raised}.",
        "Run it on a few items with a fetch of your own, such as `async def fetch(item): "
        "print(item)`, until it comes through.",
        always=True,
    ),
    Rule(
        "never-ends",
        _never_ends,
        "With {s.planned} items, of which {s.failing} failed, it did not return: after {s.calls:,} "
        "calls {s.missing} items were not fetched.",
        "Look at what it waits for at its end: a queue that nobody fills or acknowledges any more, "
        "a worker that was never told to stop, or an item that fails each time it is tried.",
        always=True,
    ),
    Rule(
        "too-slow",
        lambda seen: seen.ended("late") or (seen.came_through and seen.failing_ended("late")),
        "With {s.planned} items, of which {s.failing} failed, it was still running when the time "
        "of an exam was over, and {s.missing} items were not fetched.",
        _PACE,
        always=True,
    ),
    Rule(
        "blocks-the-loop",
        _blocks,
        "It blocked the event loop for {s} s in a single run on a few items.",
        "Write `await asyncio.sleep(...)` for time.sleep, and hand what computes for long to "
        "asyncio.to_thread: meanwhile no other call goes on.",
    ),
    Rule(
        "over-limit",
        _over_limit,
        "With a limit of {s[0]} {s[1]} counted {s[2]:,} calls in flight at once.",
        "Take a slot before a call is made, and give it back when the call has ended: one "
        "semaphore for all calls, or `limit` workers.",
        always=True,
    ),
    Rule(
        "loses-items",
        lambda seen: _most(seen.plain, "missing"),
        "With a limit of {s.limit} it never fetched {s.missing} of {s.planned} items, such as item "
        "{s.missing_item}.",
        "Look at the end of the loop: a last round that is not full, and a queue that is left "
        "before it is empty, are the usual places.",
    ),
    Rule(
        "repeats-items",
        lambda seen: seen.ended("endless") or _most_in_any(seen, "repeated"),
        "It made {s.calls:,} calls for {s.planned} items, of which {s.failing} failed: it fetched "
        "{s.repeated} of the others more than once, and item {s.most_fetched_item} "
        "{s.most_fetched_times} times.",
        "Let all workers take from one and the same iterator, `source = iter(items)`, so that each "
        "item is handed out once.",
        always=True,
    ),
    Rule(
        "leaves-tasks-behind",
        lambda seen: _most_in_any(seen, "tasks_left"),
        "With {s.planned} items, of which {s.failing} failed, it returned while tasks of its own "
        "were still running: {s.tasks_left:,}.",
        "Wait for every task before you return; cancel those that would never end, and wait for "
        "them as well. A TaskGroup does both.",
    ),
    Rule(
        "stops-at-first-failure",
        _stopped,
        "{s.failing} of {s.planned} items failed, and {s.missing} items were not fetched any more: "
        "it {s.ending}.",
        "Catch the exception around each call, keep it, and go on; or write @lab.strategy above "
        "the function, which does that for every call.",
    ),
    Rule(
        "swallows-failures",
        lambda seen: seen.failing if seen.failing and not seen.failing.failures_reported else None,
        "{s.failing} of {s.planned} items failed, and its caller cannot know: it raised nothing, "
        "and what it returned holds no exception and counts neither {s.failing} failures nor "
        "{s.succeeding} successes.",
        "Count the failures and return the count, return the exceptions, or raise them at the end; "
        "the decorator @lab.strategy returns a Tally that counts them.",
    ),
    Rule(
        "unbounded-tasks",
        lambda seen: seen.growth if seen.growth and seen.growth.is_unbounded() else None,
        "With a limit of {s.large.limit} and {s.large.planned:,} items {s.many.waiting:,} tasks or "
        "calls stood waiting behind those in flight, with {s.small.planned:,} items "
        "{s.few.waiting:,}: memory grows with the number of items.",
        "Wait for a free slot before a task is made, and not inside the task: then there are never "
        "more tasks than slots.",
    ),
    Rule(
        "polls-hot",
        _polls,
        "While every call was waiting for its answer it ran {s[0]:,.0f} turns of the event loop a "
        "second and used {s[1]:.0%} of a core, to find out that nothing had happened.",
        "Wait for what you are waiting for: await the task, a semaphore, or "
        "asyncio.wait(..., return_when=asyncio.FIRST_COMPLETED), instead of looking again and "
        "again.",
    ),
)
"""The faults, in the order in which they are named. Of a code the first rule that fits names it."""


def _remarks(seen: Observed) -> Iterator[str]:
    turns = max((wait.turns / wait.duration_s for wait in seen.waits), default=0.0)
    if turns >= WAKING_TURNS_PER_S:
        yield f"It wakes up {turns:,.0f} times a second while nothing happens: await what it polls."
    growth = seen.growth
    if growth and growth.grew(growth.few.items_read, growth.many.items_read):
        yield (
            f"It read {growth.many.items_read:,} items before the first was done, into a list or a "
            "queue: some tens of bytes for each number, and whatever it is for larger items. Take "
            "them one by one from the iterator."
        )
    elif any(
        each.tasks_referenced >= REFERENCED_SHARE * each.planned > 10 * each.limit
        for each in seen.scenarios
    ):
        yield (
            "It keeps every task to the end, also those that are done: a few hundred bytes for "
            "each item. Keep those that run, in a set, and discard each when it is done."
        )


def judge(name: str, result: ExamResult) -> Examined:
    """Return the faults that the result shows, each once; where there is none, remarks."""
    seen, faults = Observed(result), dict[str, Fault]()
    for rule in RULES:
        if rule.code in faults or not (seen.came_through or rule.always):
            continue
        if shown := rule.when(seen):
            text = rule.sentence.format(s=shown)
            faults[rule.code] = Fault(code=rule.code, seen=text, advice=rule.advice)
    remarks = [] if faults else list(_remarks(seen))
    return Examined(name=name, faults=list(faults.values()), remarks=remarks)
