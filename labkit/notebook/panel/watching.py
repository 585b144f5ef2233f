"""What a panel is told while trials run: the points of each arm, the records, how far it is.

A reporter that draws nothing itself: it says that there is something new, as seldom as the eye
allows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from labkit.lab.progress import Reporter, remaining
from labkit.lab.progress.live import Arm, Pace, Points
from labkit.launch.launcher import Progress
from labkit.notebook.panel import arms
from labkit.notebook.panel.own import Versions
from labkit.record import guards
from labkit.record.record import Record
from labkit.spec.plan import Step

EVERY_S, TOLD_EVERY_S = 0.17, 0.5
"""Progress comes every 0.1 s; a drawing follows more than five times a second, and the line of
words twice."""


class Watching(Reporter):
    """The arms and records of a panel since it was last cleared."""

    def __init__(self, drawn: Callable[[], None], joined: Callable[[], None]) -> None:
        self.measured: list[tuple[Mapping[str, Any], Record]] = []
        self._versions = Versions()
        self.status = self.fault = ""
        self.trials = self.done = 0
        self._drawn, self._joined = drawn, joined
        self._seen: dict[tuple[str, ...], tuple[Mapping[str, Any], Points]] = {}
        self._running: tuple[str, ...] | None = None
        self._began = 0.0
        self._drawing, self._telling = Pace(EVERY_S), Pace(TOLD_EVERY_S)

    def clear(self) -> None:
        """Forget all arms and records."""
        self.fault = ""
        self.measured.clear()
        self._seen.clear()

    def begin(self, trials: int) -> None:
        """`trials` trials are about to run."""
        self.fault = ""
        self.trials, self.done, self._began = trials, 0, time.monotonic()
        self._say("starting")

    def started(self, step: Step) -> None:
        """Its arm is drawn anew: of several repeats the last is seen."""
        version = self._versions.of(step.trial.function)
        arm = arms.described(step.trial.to_dict(), version)
        self._running = tuple(map(str, arm.values()))
        self._seen.pop(self._running, None)
        self._seen[self._running] = (arm, Points())
        self._say(self._of_trial())

    def update(self, progress: Progress) -> None:
        """Take what is told, and draw where that is due."""
        assert self._running is not None
        self._seen[self._running][1].add(progress)
        now = time.monotonic()
        if not self._drawing.is_due(now):
            return
        if self._telling.is_due(now):
            self.status = self._how_far(progress)
        self._show(self._drawn)

    def finished(self, record: Record) -> None:
        """A trial has ended; one that was stopped half-way joins nothing."""
        assert self._running is not None
        arm, _ = self._seen[self._running]
        self._running = None
        if not guards.interrupted(record):
            self.done += 1
            self.measured.append((arm, record))
            self._show(self._joined)

    def end(self) -> None:
        """Draw what there is once more."""
        self._running = None
        self._show(self._drawn)

    def arms(self) -> list[Arm]:
        """What is drawn, the arm that runs last."""
        names = arms.differing(arm for arm, _ in self._seen.values())
        return [
            Arm(label=arms.label(arm, names), points=points, done=key != self._running)
            for key, (arm, points) in self._seen.items()
            if points or key == self._running
        ]

    def _how_far(self, progress: Progress) -> str:
        counts, planned = progress.counts, progress.counts.planned
        left = remaining(self.done + progress.done / planned, self.trials, self._began)
        return (
            f"{self._of_trial()}: {counts.ok:,} of {planned:,} ok, {counts.failures:,} failed, "
            f"{progress.in_flight:,} in flight; {left}"
        )

    def _of_trial(self) -> str:
        assert self._running is not None
        names = arms.differing(arm for arm, _ in self._seen.values())
        arm, _ = self._seen[self._running]
        return f"trial {self.done + 1} of {self.trials}, {arms.label(arm, names)}"

    def _say(self, status: str) -> None:
        self.status = status
        self._show(self._drawn)

    def _show(self, draw: Callable[[], None]) -> None:
        """Draw; whatever is wrong with a drawing, the trial is worth more."""
        try:
            draw()
        except Exception as error:  # noqa: BLE001
            self.fault = f"not all is drawn ({type(error).__name__}: {error})"
