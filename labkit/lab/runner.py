"""Trials one after another: checked before the first starts, kept as each ends, always shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

from labkit.errors import TrialFailed
from labkit.lab import progress
from labkit.lab.progress import Reporter
from labkit.launch import assembly, launcher, preflight
from labkit.record import guards
from labkit.record.record import Record
from labkit.record.store import Store
from labkit.spec.plan import Step
from labkit.spec.trial import Trial


async def run_all(
    steps: Sequence[Step],
    *,
    store: Store | None,
    reporter: Reporter | None,
    experiment: str | None = None,
    stop_at_failure: bool = False,
) -> list[Record]:
    """The records of the trials, in the order of `steps`; `experiment` names what they are of.

    Raises `BadInput` before anything is started. A trial that fails is kept as invalid and the
    others go on, unless `stop_at_failure`: then `TrialFailed` is raised.
    """
    kept, show = store or Store(), reporter or progress.default()
    for step in steps:
        preflight.check(step.trial)
    kept.prepare()
    study = assembly.new_id(datetime.now(UTC)) if experiment else None
    records: list[Record] = []

    def keep(record: Record) -> None:
        kept.add(record)
        records.append(record)
        show.finished(record)

    with shown(show, len(steps), records, study):
        for step in steps:
            show.started(step)
            place = assembly.Place(
                study=study,
                experiment=experiment,
                axes=dict(step.axes),
                repeat=step.repeat,
                order=step.order,
            )
            try:
                await launcher.run(step.trial, place=place, watch=show.update, keep=keep)
            except TrialFailed as error:
                # The record says what happened; the other arms are still worth having.
                if stop_at_failure or error.record is None:
                    raise
    return records


@contextmanager
def shown(
    show: Reporter, trials: int, records: Sequence[Record], study: str | None
) -> Iterator[None]:
    """Around so many trials, of which `records` are kept: the reporter is told what happens."""
    show.begin(trials)
    try:
        with progress.report_cancellation(show, partial(kept_of, records, trials, study)):
            yield
    finally:
        show.end()


def kept_of(records: Sequence[Record], trials: int, study: str | None) -> str:
    """What is kept of work that was interrupted, and how to get at it, in a sentence."""
    whole = [record for record in records if not guards.interrupted(record)]
    if study is not None:
        were = "was" if len(whole) == 1 else "were"
        return (
            f"interrupted: {len(whole)} of {trials} trials {were} finished and kept; "
            f"lab.kept({study!r}) gives what there is"
        )
    if not records:
        return "interrupted: no trial was finished, so nothing is kept"
    counts = records[-1].counts
    return (
        f"interrupted after {counts.ok:,} of {counts.planned:,} requests: the record is kept, as "
        f"invalid; lab.kept({records[-1].id!r}) gives it"
    )


async def profiled(trial: Trial, look: launcher.Look, reporter: Reporter | None) -> Record:
    """The record of a trial under the profiler: neither stored nor shown among those measured."""
    show = reporter or progress.default()
    preflight.check(trial)
    show.begin(1)
    try:
        with progress.report_cancellation(show, lambda: "interrupted: a profile is kept nowhere"):
            show.started(Step(trial=trial, axes={}, repeat=0, order=0))
            return await launcher.run(trial, watch=show.update, keep=lambda record: None, look=look)
    finally:
        show.end()
