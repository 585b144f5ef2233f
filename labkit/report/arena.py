"""What exams found, and `Arena`: the board, on which those that passed are ranked. Pure.

Here is decided when a fault is named; `data/exam_faults.toml` has the sentences. A fault that
another one brings with it is not named: a call in flight has a task, so that too many in flight are
no unbounded tasks as well. Thresholds are far from what a sound strategy does and from what a
broken one does, and none is a time that a busy machine could stretch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from labkit import charts, paths, stats
from labkit.record.exam import ExamResult, ScenarioResult
from labkit.record.record import Record
from labkit.report.html import Table
from labkit.report.study import Outcome
from labkit.report.tables import EFFICIENCY
from labkit.stats.comparisons import MARGIN, RANKED, BoardRow, rank_all, title

# Turns of the loop, and share of a core, from which on waiting is polling. A timer of 1 ms makes
# 1,000 turns a second, `sleep(0)` 10,000 and more even on a machine that is busy with other work.
HOT_TURNS_PER_S, HOT_CPU_SHARE = 3_000, 0.3
# How many more may be waiting, as a share of the items that there were more: if bounded, none.
MIN_GROWTH = 0.05
# Growth as a share of that of the items, and how many limits may be waiting anyway.
MIN_PROPORTION, IGNORED_LIMITS = 0.9, 2
# How long the loop may stand still in a scenario. Once may be the machine, or an import within the
# function: it takes two scenarios, or a very long one.
BLOCKED_S, BLOCKED_ONCE_S = 0.1, 10.0
# The faults by their code: what was `seen`, a sentence to fill in, and `advice`.
FAULTS: Mapping[str, Mapping[str, str]] = paths.table("exam_faults.toml")
# The faults that are there once, and the fields of a scenario that count them.
COUNTED = {code: row["counts"] for code, row in FAULTS.items() if "counts" in row}


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault by its code: what was observed, in a sentence, and what to write instead."""

    code: str
    seen: str
    advice: str

    @property
    def says(self) -> str:
        """Return what was observed and what to do, as one text."""
        return f"{self.seen} {self.advice}"


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy after its exam: and its faults."""

    name: str
    faults: Sequence[Fault]

    @property
    def passed(self) -> bool:
        """Return whether it is ranked: it has no fault."""
        return not self.faults

    @property
    def codes(self) -> list[str]:
        """Return the codes of its faults."""
        return [fault.code for fault in self.faults]


def judge(name: str, result: ExamResult) -> Examined:
    """Return the faults that the result shows, each once."""
    found: dict[str, Fault] = {}
    for code, shown in _observed(result):
        seen, advice = FAULTS[code]["seen"].format(s=shown), FAULTS[code]["advice"]
        found.setdefault(code, Fault(code=code, seen=seen, advice=advice))
    return Examined(name=name, faults=list(found.values()))


def _observed(result: ExamResult) -> Iterator[tuple[str, Any]]:
    """Yield codes of faults with what fills in their sentences; of a code the first counts."""
    runs = result.scenarios
    plain = [run for run in runs if not (run.failing or run.backlog)]
    lost, _, why = result.lost.partition(": ")
    if lost:
        code, shown = paths.table("tables.toml")["lost"][lost]
        yield code, shown.format(why=why, n=len(runs))
    for run in runs:
        if run.not_awaited:  # all that was not done follows from that
            yield "not-awaited", run
            return
    early = [run for run in plain if run.end != "returned"]
    yield from map(_ended, early[:1])
    most = max(runs, key=lambda run: (run.max_in_flight - run.limit, run.limit), default=None)
    if most and most.max_in_flight > most.limit:
        yield "over-limit", most
    # A strategy that does not come through without failing items is judged no further.
    if lost or early:
        return
    standstill_s = sorted((run.standstill_s for run in runs), reverse=True)
    if standstill_s[:1] >= [BLOCKED_ONCE_S] or standstill_s[1:2] >= [BLOCKED_S]:
        yield "blocks-the-loop", standstill_s[0]
    for code, field in COUNTED.items():
        most = max(plain, key=lambda run: int(getattr(run, field)), default=None)
        if most and getattr(most, field):
            yield code, most
    for run in runs:
        if run.failing:
            yield from _with_failures(run, loses_anyway=any(one.missing for one in plain))
    yield from _waiting(runs)


def _ended(run: ScenarioResult) -> tuple[str, Any]:
    """Return the fault of a run that did not return."""
    if run.end == "raised":
        return "raises", run
    if run.end == "endless" and not run.failing:
        return "repeats-items", run
    return ("too-slow" if run.end == "late" else "never-ends"), paths.sentence("so-far", run=run)


def _with_failures(run: ScenarioResult, *, loses_anyway: bool) -> Iterator[tuple[str, Any]]:
    """Yield the faults of a run in which items failed."""
    stopped = run.missing and not loses_anyway and run.end in ("returned", "raised", "stuck")
    if stopped:
        yield "stops-at-first-failure", run
    elif run.end not in ("returned", "raised"):
        yield _ended(run)
    if not run.failures_reported:
        yield "swallows-failures", run
    if run.end == "returned" and not stopped:
        # What it does once items have failed, and not before.
        yield from ((code, run) for code, field in COUNTED.items() if getattr(run, field))


def _waiting(runs: Sequence[ScenarioResult]) -> Iterator[tuple[str, Any]]:
    """Yield the faults that show while no call is answered."""
    # Two numbers of items, the smaller first, and how many waited behind those in flight.
    seen = [(r.planned, r.backlog.waiting) for r in runs if r.backlog and r.planned > 10 * r.limit]
    (small, few), (large, many) = sorted(seen)[:2] if len(seen) > 1 else [(0, 0), (0, 0)]
    # A window of its own, however large, is the same with more items, and one of a few limits does
    # not matter; what grows as the items do is unbounded, however small a share of them it is.
    ignored = IGNORED_LIMITS * max((run.limit for run in runs), default=0)
    in_proportion = few > ignored and many * small >= MIN_PROPORTION * few * large
    if in_proportion or many - few > MIN_GROWTH * (large - small):
        yield "unbounded-tasks", (small, large, few, many)
    for wait in (run.backlog for run in runs):
        if wait and wait.duration_s:
            turns_per_s, cpu_share = wait.turns / wait.duration_s, wait.cpu_s / wait.duration_s
            if turns_per_s >= HOT_TURNS_PER_S or cpu_share >= HOT_CPU_SHARE:
                yield "polls-hot", (turns_per_s, cpu_share)


class Arena(Outcome):
    """Who was examined, with their faults, and the board of those who passed.

    It runs nothing. It shows itself as HTML in a notebook and as text anywhere else.
    """

    def __init__(self, examined: Sequence[Examined], records: Sequence[Record] = ()) -> None:
        super().__init__(records, ["strategy"])
        self.examined = list(examined)
        self.board: list[BoardRow] = rank_all(self.records, [each.name for each in self.examined])

    @property
    def passed(self) -> list[str]:
        """Return the names of those without a fault."""
        return [each.name for each in self.examined if each.passed]

    @property
    def faults(self) -> dict[str, list[Fault]]:
        """Return the faults of each who was examined, by name; an empty list is none."""
        return {each.name: list(each.faults) for each in self.examined}

    def plot(self, kind: str = "board") -> charts.Chart:
        """Draw the `board`: each figure with its rank, and who failed the exam; or as a study."""
        if kind == "board" and self.board:
            failed = {one.name: ", ".join(one.codes) for one in self.examined if one.faults}
            return charts.board(self.board, failed)
        return super().plot("efficiency" if kind == "board" else kind)

    def table(self) -> Table:
        """Return the board: a row a strategy, each figure with its rank in brackets."""
        rows = [
            [row.name + " *" * row.is_mine, *(rank.says for rank in row.ranks)]
            for row in self.board
        ]
        says = ["In brackets the rank; * was examined here.", EFFICIENCY, *self.sentences()]
        return Table(headers=["strategy", *map(title, RANKED)], rows=rows, says="\n".join(says))

    def sentences(self) -> list[str]:
        """Return what the board means."""
        if not self.board:
            return [paths.sentence("board-empty")] if self.examined else []
        reasons, found = dict[tuple[str, str], list[str]](), list[str]()
        for row in self.board:
            for why in dict.fromkeys(rank.why for rank in row.ranks if rank.why):
                by = [RANKED[rank.metric] for rank in row.ranks if rank.why == why]
                reasons.setdefault((", ".join(by), why), []).append(row.name)
            if row.is_mine and any(rank.position for rank in row.ranks):
                places = [f"{rank.text} by {RANKED[rank.metric]}" for rank in row.ranks]
                found.append(f"{row.name} has rank {', '.join(places)}.")
        if any(rank.position for row in self.board for rank in row.ranks):
            pairs = len(RANKED) * len(self.board) * (len(self.board) - 1) // 2
            how = {"margin": MARGIN - 1, "pairs": pairs, "level": 100 * stats.LEVEL}
            found.append(paths.sentence("ranks", **how))
        each = [f"{', '.join(of)} by {by}: {why}" for (by, why), of in reasons.items()]
        return [*found, *([f"No rank for {'; '.join(each)}."] if each else [])]

    def _shown(self) -> list[Table]:
        """Return what the exams found, and the board."""
        rows = []
        for one in self.examined:
            rows += [[one.name, fault.code, fault.says] for fault in one.faults]
            rows += [[one.name, "passed", ""]] if one.passed else []
        headers = ["examined", "exam", "what was seen, and what to write instead"]
        says = "" if self.board else " ".join(self.sentences())
        exams = Table(headers=headers, rows=rows, says=says, left=3)
        return [exams, self.table()] if self.board else [exams]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: the exams, the board, the records and their summary."""
        examined = [msgspec.to_builtins(one) | {"passed": one.passed} for one in self.examined]
        found = {"examined": examined, "board": msgspec.to_builtins(self.board)}
        return found | {"says": self.sentences()} | super().to_dict()
