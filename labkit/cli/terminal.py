"""What the command line shows: tables on standard output; progress and errors on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from labkit.lab import progress as reporting
from labkit.lab.doctor import Check
from labkit.launch.launcher import Progress as TrialProgress
from labkit.record.codes import Code
from labkit.record.record import Record
from labkit.record.store import Damaged
from labkit.report import tables
from labkit.report.study import Outcome
from labkit.spec.plan import Step
from labkit.studies.ladder import Rung
from labkit.studies.published import Benchmark


def error(message: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"labkit: {message}\n")


def note(message: str) -> None:
    """One line on standard error that is no error: standard output holds results only."""
    sys.stderr.write(f"{message}\n")


def show(outcome: Outcome, *, quiet: bool = False) -> None:
    """An outcome as text, unless the JSON goes to standard output."""
    if not quiet:
        say(outcome.text())


def say(text: str) -> None:
    """Lines on standard output."""
    sys.stdout.write(text + "\n")


def reporter() -> reporting.Reporter:
    """A live line where standard error is a terminal, a line a trial where it is not."""
    console = Console(stderr=True)
    return Live(console) if console.is_terminal else Lines()


class Lines(reporting.Reporter):
    """One line for each finished trial: for logs."""

    def __init__(self) -> None:
        self._done = self._trials = 0
        self._began = 0.0

    def begin(self, trials: int) -> None:
        """Start counting."""
        self._done, self._trials, self._began = 0, trials, time.monotonic()

    def finished(self, record: Record) -> None:
        """Write the line."""
        self.passed(record.says)

    def passed(self, line: str) -> None:
        """Write the line."""
        self._done += 1
        left = reporting.remaining(self._done, self._trials, self._began)
        note(f"[{self._done}/{self._trials}] {line}; {left}")


class Live(reporting.Reporter):
    """A bar for the trial that runs, with the time left for all."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            TextColumn("{task.fields[place]}"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[counts]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._trials = self._done = 0
        self._began = 0.0

    def begin(self, trials: int) -> None:
        """Show the bar."""
        self._done, self._trials, self._began = 0, trials, time.monotonic()
        self._task = self._bar.add_task("starting", place="", counts="", left="")
        self._bar.start()

    def started(self, step: Step) -> None:
        """Name the arm."""
        arm = ", ".join(f"{name}={value}" for name, value in step.axes.items())
        self._update(
            description=escape(arm or step.trial.strategy),
            place=f"{self._done + 1}/{self._trials}",
            total=step.trial.requests,
            completed=0,
            counts="",
        )

    def update(self, progress: TrialProgress) -> None:
        """Move the bar."""
        counts = progress.counts
        failed = f", {counts.failures:,} failed" if counts.failures else ""
        share = self._done + progress.done / counts.planned
        self._update(
            completed=progress.done,
            counts=f"{counts.ok:,} ok{failed}, {progress.in_flight:,} in flight",
            left=reporting.remaining(share, self._trials, self._began),
        )

    def finished(self, record: Record) -> None:
        """Count it; where several trials run, leave a line for each."""
        self.passed(record.says)

    def passed(self, line: str) -> None:
        """Count it; where several run, leave a line for each."""
        self._done += 1
        if self._trials > 1:
            self._bar.console.print(f"[{self._done}/{self._trials}] {line}", markup=False)

    def end(self) -> None:
        """Take the bar away."""
        self._bar.stop()

    def _update(self, **fields: Any) -> None:
        assert self._task is not None
        self._bar.update(self._task, **fields)


def findings(checks: Sequence[Check], conclusion: str) -> None:
    """What the doctor found, aligned, with what to do."""
    console = Console()
    names = max(len(check.name) for check in checks)
    signs = {"ok": "green", "warn": "yellow", "bad": "red"}
    for check in checks:
        sign = f"[{signs[check.status]}]{check.status:<4}[/]"
        _line(console, f"{sign}  {check.name:<{names}}  {escape(check.found)}")
        if check.advice:
            _line(console, f"      {'':<{names}}  -> {escape(check.advice)}")
    _line(console, f"\n{escape(conclusion)}")


def codes(listed: Iterable[Code]) -> None:
    """The codes of notes: the verdict of each, when it is given, what to do."""
    console = Console()
    signs = {"valid": "green", "warn": "yellow", "invalid": "red"}
    for one in listed:
        sign = f"[{signs.get(one.verdict, 'yellow')}]{one.verdict:<9}[/]"
        _line(console, f"{sign}  {one.code:<17}  {escape(one.when)}")
        _line(console, f"{'':<28}  -> {escape(one.do)}")


def _line(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)


def records(found: Sequence[Record | Damaged], *, of: int, folder: Path) -> None:
    """A list of records; damaged files are named after it."""
    whole = [one for one in found if isinstance(one, Record)]
    if not found:
        sys.stdout.write(f"No record in {folder} yet; 'labkit run' makes one.\n")
        return
    sys.stdout.write(tables.of_records(whole).text() + "\n")
    sys.stdout.write(f"\n{len(found)} of {of} records in {folder}; 'labkit results show ID'\n")
    for one in found:
        if isinstance(one, Damaged):
            error(one.why)


def listed(found: Iterable[Record | Damaged]) -> list[dict[str, Any]]:
    """A list of records for JSON: what names each, its main figures, or what is wrong with it."""
    return [
        {"id": one.id, "damaged": one.why}
        if isinstance(one, Damaged)
        else {
            "id": one.id,
            "started_at": one.started_at,
            "experiment": one.experiment,
            "study": one.study,
            "axes": one.axes,
            "strategy": one.trial["strategy"],
            "wall_s": one.wall_s,
            "efficiency": one.efficiency,
            "verdict": one.verdict,
        }
        for one in found
    ]


def benchmarks(found: Sequence[Benchmark]) -> None:
    """The published benchmarks that can be reproduced."""
    table = tables.Table(
        headers=["benchmark", "what it is"],
        rows=[[one.id, one.title] for one in found],
        says="'labkit reproduce NAME --scale smoke' runs one again.",
        left=2,
    )
    sys.stdout.write(table.text() + "\n")


def claims(found: Sequence[Mapping[str, Any]]) -> None:
    """The ledger's claims, before they are checked."""
    table = tables.Table(
        headers=["claim", "seed", "status", "what is claimed"],
        rows=[
            [one["id"], one["seed"], one["status"], _with_need(one["says"], one["needs"])]
            for one in found
        ],
        says="'labkit claims check ID ...' checks some, 'labkit claims check' all of them.",
        left=4,
    )
    sys.stdout.write(table.text() + "\n")


def _with_need(says: str, needs: str | None) -> str:
    return f"{says} (needs {needs})" if needs else says


def rungs(found: Sequence[Rung]) -> None:
    """The rungs of the ladder, and what each step changes."""
    table = tables.Table(
        headers=["rung", "what it changes"],
        rows=[[one.id, one.why] for one in found],
        says="'labkit ladder --rungs ID,ID' climbs some, 'labkit ladder' all that are installed.",
        left=2,
    )
    sys.stdout.write(table.text() + "\n")
