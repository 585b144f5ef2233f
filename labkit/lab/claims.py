"""Checking claims: every arm in seeded random blocks, each in a fresh process, into a `Ledger`.

Arms that are the same run once, whichever claims they are of. Claims that share arms are checked
together and no others between: what is compared runs near each other in time.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from labkit.errors import NotInstalled, TrialFailed
from labkit.lab import progress
from labkit.lab.progress import Reporter
from labkit.lab.runner import shown
from labkit.launch import assembly, environment, launcher, preflight
from labkit.launch import experiment as fresh
from labkit.record.record import Record
from labkit.record.store import Store
from labkit.report.ledger import Ledger
from labkit.spec import parts, validation
from labkit.spec.plan import Step
from labkit.studies import ledger, readings, verdicts, wording
from labkit.studies.ledger import Arm, Claim, Claims
from labkit.studies.readings import Reading

AGAIN = 2
"""How often a run is made again whose core others had for too much of the time.

Its figures are not the client's, whatever they are: to leave it out favours no arm.
"""
AGAIN_SHARE = 0.25
"""How many runs are made again in all, as a share of those that are planned: it must end."""
_SHOWN = ("wall_s", "cpu_percent", "connections_opened")


async def check(
    ids: Sequence[str] | None = None,
    *,
    scale: str,
    claims: Claims | None = None,
    repeats: int | None = None,
    seed: int = 0,
    store: Store | None = None,
    reporter: Reporter | None = None,
) -> Ledger:
    """Check the claims with these ids, or all of them: of `claims`, or of the lab's own ledger.

    `repeats` replaces what the ledger says for `scale`. Raises `BadInput` before anything is
    started. A claim that needs a package which is missing waits for it, unless its id was given;
    then `NotInstalled` is raised. An arm that fails is kept as such, and what it decides is
    inconclusive.
    """
    claims = claims or ledger.load()
    chosen = [_checkable(claim, scale, named=bool(ids)) for claim in claims.chosen(ids)]
    times = claims.repeats_at(scale) if repeats is None else repeats
    validation.check("repeats", times, validation.Repeats)
    validation.check("seed", seed, validation.types_of(parts.Workload)["seed"])
    named = places(chosen, scale)
    kept = store or Store()
    kept.prepare()
    listed = turns(groups(chosen, named, scale), repeats=times, seed=seed)
    most = math.ceil(AGAIN_SHARE * len(listed))
    work = _Checking(store=kept, show=reporter or progress.default(), most_lost=most)
    before = environment.now()
    await work.take(listed)
    return _judged(claims, chosen, work, scale, before)


def _checkable(claim: Claim, scale: str, *, named: bool) -> Claim:
    """The claim; as one that waits for a package where that is missing, unless `named`."""
    try:
        for arm in [arm for sides in _arms(claim, scale) for arm in sides.values()]:
            if arm.experiment is None:
                preflight.check(arm.trial())
    except NotInstalled as missing:
        if named:
            raise
        return msgspec.structs.replace(claim, needs=f"the package {missing.package}", checks=[])
    return claim


@dataclass(frozen=True, kw_only=True)
class Place:
    """An arm, and the first claim, check (from 1) and side that it is of."""

    arm: Arm
    axes: Mapping[str, Any]


def _arms(claim: Claim, scale: str) -> list[dict[ledger.Side, Arm]]:
    cores = len(environment.usable_cores()) or 1
    return [check.arms(scale, cores) for check in claim.checks]


def places(claims: Sequence[Claim], scale: str) -> list[Place]:
    """Every arm of these claims once, in their order."""
    found: dict[str, Place] = {}
    for claim in claims:
        for number, sides in enumerate(_arms(claim, scale), 1):
            for side, arm in sides.items():
                axes = {"claim": claim.id, "check": number, "side": side}
                found.setdefault(arm.key, Place(arm=arm, axes=axes))
    return list(found.values())


def groups(claims: Sequence[Claim], named: Sequence[Place], scale: str) -> list[list[Place]]:
    """The arms in groups: claims that share one are in the same."""
    groups: list[set[str]] = []
    for claim in claims:
        keys = {arm.key for sides in _arms(claim, scale) for arm in sides.values()}
        if not keys:
            continue
        shared = [group for group in groups if group & keys]
        groups = [group for group in groups if group not in shared]
        groups.append(keys.union(*shared))
    return [[place for place in named if place.arm.key in group] for group in groups]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One run of an arm: which repeat it is of, and its place in the order of all."""

    place: Place
    repeat: int
    order: int


def turns(grouped: Sequence[Sequence[Place]], *, repeats: int, seed: int) -> list[Turn]:
    """Group after group, each in `repeats` blocks; within a block in an order drawn from `seed`."""
    chance = random.Random(seed)
    listed: list[Turn] = []
    for group in grouped:
        for repeat in range(repeats):
            for place in chance.sample(list(group), len(group)):
                listed.append(Turn(place=place, repeat=repeat, order=len(listed)))
    return listed


@dataclass(kw_only=True)
class _Checking:
    """A check under way: what it has read."""

    store: Store
    show: Reporter
    readings: dict[str, list[Reading]] = field(default_factory=dict)
    lost: int = 0
    """Runs that were made again, because others had the client's core."""
    most_lost: int
    records: list[Record] = field(default_factory=list)

    async def take(self, listed: Sequence[Turn]) -> None:
        """Take the turns one after another."""
        study = assembly.new_id(datetime.now(UTC))
        with shown(self.show, len(listed), self.records, study):
            for turn in listed:
                if turn.place.arm.experiment is None:
                    await self._trial(turn, study)
                else:
                    await self._experiment(turn)

    async def _trial(self, turn: Turn, study: str) -> None:
        arm, axes = turn.place.arm, dict(turn.place.axes)
        place = assembly.Place(
            study=study, experiment="claims", axes=axes, repeat=turn.repeat, order=turn.order
        )

        reading = await self._measured(arm, place)
        for _ in range(AGAIN):
            if not reading.lost_core or self.lost >= self.most_lost:
                break
            self.lost += 1
            reading = await self._measured(arm, place)
        self._read(arm, reading)
        self.show.passed(_line(turn, reading))

    async def _measured(self, arm: Arm, place: assembly.Place) -> Reading:
        """One run of a trial. Its record is kept, whatever comes of it."""
        kept: list[Record] = []
        trial, axes = arm.trial(), dict(place.axes or {})
        # Each run begins anew what is shown of it, also one that is made again.
        self.show.started(Step(trial=trial, axes=axes, repeat=place.repeat, order=place.order))

        def keep(record: Record) -> None:
            self.store.add(record)
            kept.append(record)

        try:
            await launcher.run(trial, place=place, watch=self.show.update, keep=keep)
        except TrialFailed as error:
            # The record says what happened; the other arms are still worth having.
            if not kept:
                return Reading(arm=arm.key, repeat=place.repeat, why=str(error))
        self.records += kept
        return readings.of_record(kept[-1], arm.key)

    async def _experiment(self, turn: Turn) -> None:
        arm = turn.place.arm
        try:
            figures = await fresh.measured(str(arm.experiment), arm.settings, arm.server)
            reading = Reading(arm=arm.key, repeat=turn.repeat, figures=figures)
        except TrialFailed as error:
            reading = Reading(arm=arm.key, repeat=turn.repeat, why=str(error))
        self._read(arm, reading)
        self.show.passed(_line(turn, reading))

    def _read(self, arm: Arm, reading: Reading) -> None:
        self.readings.setdefault(arm.key, []).append(reading)


def _line(turn: Turn, reading: Reading) -> str:
    arm = ", ".join(f"{name}={value}" for name, value in turn.place.axes.items())
    shown = [name for name in reading.figures if reading.record is None or name in _SHOWN]
    said = [f"{name} {wording.said_of(name, reading.figures[name])}" for name in shown]
    return f"{arm}: {reading.why or ', '.join(said)}"


def _judged(
    claims: Claims,
    chosen: Sequence[Claim],
    work: _Checking,
    scale: str,
    before: Mapping[str, Any],
) -> Ledger:
    results = [
        verdicts.judge(
            claim,
            claims.source_of(claim),
            [
                {side: work.readings.get(arm.key, []) for side, arm in sides.items()}
                for sides in _arms(claim, scale)
            ],
            scale,
        )
        for claim in chosen
    ]
    readings = [one for listed in work.readings.values() for one in listed]
    return Ledger(results, readings, work.records, scale, before, lost=work.lost)
