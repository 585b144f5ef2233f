"""The one runner: it checks all before anything starts, stores each run as it ends, shows all.

Whatever an arm is (a trial, a coded experiment, a program of others), a run of it leaves a record.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import wraps
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import urlsplit

import msgspec

from labkit import paths
from labkit.errors import BadInput, NotInstalled, TrialFailed
from labkit.lab import progress, written_plan
from labkit.lab.progress import Reporter
from labkit.lab.written_plan import Resumed, finished
from labkit.launch import cluster, cores, launcher, preflight, process, pythons, servers
from labkit.launch.assembly import StudyPosition, new_id
from labkit.launch.environment import usable_cores
from labkit.launch.experiment import run as run_coded
from labkit.launch.preflight import Ready
from labkit.launch.servers import Served
from labkit.record import codec, codes
from labkit.record.record import Note, Record
from labkit.record.store import Store
from labkit.spec import plan, validation
from labkit.spec.addresses import MAX_REMOTE_S
from labkit.spec.plan import Coded, Step, Work
from labkit.spec.targets import HttpServer
from labkit.spec.trial import Trial

if TYPE_CHECKING:
    from labkit.report.file_study import FileStudy
    from labkit.studies.study_file import Programs, StudyFile

# Retries of a run that something else on the machine spoilt. Its figures are not the client's,
# whatever they are: to replace it favours no arm.
MAX_RETRIES = 2
# Retries in all, as a share of the runs that are planned: it must end.
MAX_RETRY_SHARE = 0.25


class Where(TypedDict, total=False):
    """Where records are stored (the usual store), and who shows progress, if not as usual.

    `on` is a cluster whose workers run the clients: a Dask client, an address, or 'local:N'.
    """

    store: Store | None
    reporter: Reporter | None
    on: Any


def _joining(run: Callable[..., Awaitable[list[Record]]]) -> Callable[..., Awaitable[list[Record]]]:
    """Let clients run on a cluster's workers, if asked for; coded experiments run here.

    What was started ahead of a run that is never made is gone when this returns.
    """

    @wraps(run)
    async def joining(steps: Sequence[Step], *, on: Any = None, **how: Any) -> list[Record]:
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(process.stop_ahead)
            if on is not None:
                await stack.enter_async_context(cluster.joined(on))
            return await run(steps, **how)

    return joining


@_joining
async def run_all(
    steps: Sequence[Step],
    *,
    store: Store | None = None,
    reporter: Reporter | None = None,
    experiment: str | None = None,
    study: str | Resumed | None = None,
    asked: dict[str, Any] | None = None,
    stop_at_failure: bool = False,
    serve: Callable[[int], Awaitable[Served]] | None = None,
) -> list[Record]:
    """Run the steps one after another; return their records arm by arm, as the arms were named.

    `experiment` names the study that the records are of, `study` is the id of one that goes on, or
    one that is resumed: then only what is missing runs. A plan is written of what is `asked` for.
    Only those of a study are retried, where something else on the machine spoilt them; where it has
    a baseline or is to be one, also where the host stole from them. The store keeps every record,
    the list has the one of each step that counts. With `serve`, trials and programs are sent to the
    server that it starts, on a port: once more where that one died. Raises `BadInput` before
    anything is started. A run that fails is stored as invalid and the others go on, unless
    `stop_at_failure`: then `TrialFailed` is raised.
    """
    into, show = store or Store(), reporter or progress.default()
    resumed, study = (study, study.plan.study) if isinstance(study, Resumed) else (None, study)
    before = finished(resumed.before if resumed else ())
    records = _by_step(steps, before)
    todo = [n for n in range(len(steps)) if n not in records]
    again = len(before) - len(records)
    if resumed and not todo and len(steps) == len(resumed.plan.steps):
        show.announce(paths.sentence("complete", plan=resumed.plan, n=len(steps)))
        return sorted(records.values(), key=lambda record: (record.arm, record.order))
    into.prepare()
    study = study or (new_id(datetime.now(UTC)) if experiment else None)
    now = written_plan.draw_up(steps, f"{study}", f"{experiment}", asked) if asked else None
    unlike = resumed.unlike(now) if resumed and now else []
    served = await serve(0) if serve else None
    target = {"target": f"{served.url}/{{item}}"} if served else {}
    ready = dict[int, Ready]()
    for work in {id(step.work): step.work for step in steps}.values():
        if isinstance(work, Trial):
            ready[id(work)] = preflight.prepare(work.replace(**target) if target else work)
    may_retry = experiment and os.environ.get("LABKIT_RETRY", "1") != "0"
    left = math.ceil(MAX_RETRY_SHARE * len(steps)) - again if may_retry else 0
    runs = _Runs(ready, into, show, left, stop_at_failure, serve, served, unlike, before)
    # How many runs that the host stole from may be made again, beside a baseline.
    stolen_left = 0
    is_remote = any(one.trial.is_remote for one in ready.values())
    if may_retry and asked and asked["baseline"] and not is_remote:
        stolen_left = max(len(steps) - again, 0)

    def stored_now() -> str:
        there = [record for record in runs.every if not codes.has(record, "not-stored")]
        rest = paths.sentence("resumes", how=now.resumes) if now else ""
        return stored_so_far(there, len(steps), study) + rest

    reporting = progress.reporting(show, len(todo), stored_now)
    clients = max((one.trial.clients for one in ready.values()), default=1)
    with reporting, process.WATCH, cores.reserved(clients=clients), contextlib.ExitStack() as stack:
        for there in [one.environment for one in ready.values() if one.environment]:
            await there.build(show.announce)
        if now and not resumed:
            into.plans.put(now.study, codec.sealed(msgspec.json.encode(now)))
            stack.enter_context(written_plan.claimed(into, now.study))
        # A host runs other guests for half a minute at a time or so, and a baseline is not
        # interleaved with what stands beside it. So runs that it stole from are made again at the
        # end, as many as were planned in all, and of both the one counts that it stole less from.
        # No value decides that. What was measured is in `report/gate`.
        while todo:
            for n, later in zip(todo, [*todo[1:], None], strict=True):
                step = steps[n]
                runs.following = None if later is None else ready.get(id(steps[later].work))
                where = {name: getattr(step, name) for name in ("axes", "arm", "repeat", "order")}
                position = StudyPosition(study=study, experiment=experiment, **where)
                record = await runs.undisturbed(step, position)
                show.finished(record)
                records[n] = max(record, records.get(n, record), key=codes.preferred)
            todo = [n for n, one in records.items() if codes.stolen_percent(one)][:stolen_left]
            stolen_left -= len(todo)
            if todo:
                show.again(len(todo))
    return sorted(records.values(), key=lambda record: (record.arm, record.order))


def _by_step(steps: Sequence[Step], before: Sequence[Record]) -> dict[int, Record]:
    """Return, by its number, the record that counts of each step that ran before."""
    places = {(str(step.axes), step.repeat): n for n, step in enumerate(steps)}
    found = dict[int, Record]()
    for one in before:
        if (n := places.get((str(one.axes), one.repeat))) is not None:
            found[n] = max(one, found.get(n, one), key=codes.preferred)
    return found


@dataclass
class _Runs:
    """Makes the runs of a study: stores every record, and makes again what others spoilt.

    `ready` are its trials as they were prepared, by the id of each, `left` is how many runs may be
    made again. `served` is the server that they share, which `serve` starts anew where it died.
    `unlike` is added to each record's notes. `every` has all of the study, those from before first.
    `following` is what is run next, where that is a trial.
    """

    ready: Mapping[int, Ready]
    into: Store
    show: Reporter
    left: int
    stop_at_failure: bool
    serve: Callable[[int], Awaitable[Served]] | None
    served: Served | None
    unlike: list[Note]
    every: list[Record]
    following: Ready | None = None

    async def undisturbed(self, step: Step, position: StudyPosition) -> Record:
        """Run a step, and again where something else spoilt it; return the record that counts."""
        served, first = self.served, len(self.every)
        if self.serve and served and served.child and served.child.status is not None:
            self.served = await self.serve(urlsplit(served.url).port or 0)
        for _ in range(1 + MAX_RETRIES):
            if not isinstance(step.work, Coded):
                # Each run begins anew what is shown of it, also one that is made again.
                self.show.started(step)
            try:
                await self._once(step.work, position)
            except TrialFailed as error:
                # The record has what happened; the other arms are still worth having.
                if self.stop_at_failure or error.record is None:
                    raise
            last = self.every[-1]
            if self.left <= 0 or _is_remote(last) or not codes.by_others(last):
                break
            self.left -= 1
        return sorted(self.every[first:], key=codes.preferred)[-1]

    async def _once(self, work: Work, position: StudyPosition) -> None:
        if isinstance(work, Coded):
            self._keep(await run_coded(work, position))
        else:
            await launcher.run(
                in_time(self.ready[id(work)], self.every),
                position=position,
                watch=self.show.update,
                keep=self._keep,
                served=self.served,
                following=self.following,
            )

    def _keep(self, record: Record) -> None:
        notes = [*record.warnings, *self.unlike]
        verdict = codes.verdict(notes) if self.unlike else record.verdict
        record = msgspec.structs.replace(record, warnings=notes, verdict=verdict)
        self.every.append(self.into.keep(record))


def in_time(ready: Ready, before: Sequence[Record]) -> Ready:
    """Return a trial that ends when its study has loaded a remote host for `MAX_REMOTE_S`.

    Raises `TrialFailed` where the records `before` it leave no time.
    """
    if not ready.trial.is_remote:
        return ready
    used_s = sum(one.process.wall_s for one in before if one.process and _is_remote(one))
    if used_s >= MAX_REMOTE_S:
        raise TrialFailed(paths.sentence("remote-over", most_s=MAX_REMOTE_S, runs=len(before)))
    return replace(ready, within_s=MAX_REMOTE_S - used_s)


def _is_remote(record: Record) -> bool:
    return record.trial.get("target", {}).get("allow_remote") is not None


def stored_so_far(records: Sequence[Record], trials: int, study: str | None) -> str:
    """Return in a sentence what is stored of work that was interrupted, and how to load it."""
    # A run that others disturbed was made again: both records are of one trial.
    whole = {record.order for record in records if not codes.has(record, "interrupted")}
    if study is not None:
        how = {"n": len(whole), "of": trials, "were": "was" if len(whole) == 1 else "were"}
        return paths.sentence("interrupted-study", study=study, **how)
    if not records:
        return "interrupted: no trial was finished, so nothing is stored"
    return paths.sentence("interrupted-trial", record=records[-1])


async def run_file(
    file: StudyFile,
    scale: str,
    *,
    only: Sequence[str] | None = None,
    repeats: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    programs: Programs = None,
    asked: Mapping[str, Any] | None = None,
    **how: Any,
) -> FileStudy:
    """Run a study that a file states, or of it `only` these arms; of one without arms, claims.

    `repeats`, and `seconds` of each run where an arm has a guessed rate, replace the scale's own.
    `programs` is as of `reproduce`; the plan has what else is `asked`, the `name` of the file and
    the `baseline`. `how` is what else `run_all` takes. What misses a package or a program is left
    out, as is the software of then where it cannot be had, and the result lists it; where a claim
    was named, `NotInstalled` is raised. Raises `BadInput` before anything is started.
    """
    from labkit.report import stored  # here: one trial needs none of it
    from labkit.report.file_study import ARM
    from labkit.studies.parts import THEN, Seconds

    given: dict[str, Any] = {"scale": scale, "only": only, "repeats": repeats}
    given |= {"seconds": seconds, "seed": seed, "programs": programs and str(programs)}
    usual: dict[str, Any] = {"name": file.id, "baseline": None} | dict(asked or {})
    how["asked"] = usual | {"file": msgspec.to_builtins(file), "how": given}
    arms, claims = (only, None) if file.arms else (None, only)
    if seconds is not None:
        validation.check("seconds", seconds, Seconds)
    times = file.scale(scale).repeats if repeats is None else repeats
    usable = len(usable_cores()) or 1
    plan_here = file.plan(scale, usable, seconds, programs)
    chosen, absent = file.chosen(claims), dict[str, str]()
    show = how.get("reporter") or progress.default()
    try:
        for arm, work in plan_here.arms.items():
            if arm.endswith(THEN):
                await pythons.machine(work, show.announce)
    except BadInput as missing:
        absent["then"] = f"The software of then is left out: {missing}."
        plan_here = file.plan(scale, usable, seconds, False)
    for claim in chosen:
        try:
            for arm in plan_here.arms_of(claim.id) - {arm.id for arm in file.arms}:
                work = plan_here.arms[arm]
                if isinstance(work, Trial):
                    preflight.check(work)
        except NotInstalled as missing:
            if claims:
                raise
            absent[claim.id] = f"the package {missing.package}"
    named = [] if claims else _arms_here(file, scale, arms, plan_here.arms, absent)
    lacking = [one.id for one in chosen if {one.id, *plan_here.arms_of(one.id)} & {*absent}]
    judged = [] if arms else [one.id for one in chosen if one.id not in lacking]
    groups = [
        [({ARM: arm}, plan_here.arms[arm]) for arm in group]
        for group in plan_here.groups(named, judged)
    ]
    steps = plan.interleave(*groups, repeats=times, seed=seed)
    async with contextlib.AsyncExitStack() as stack:
        mine = stack.enter_context(cores.reserved()) if file.server is not None else None
        settings: dict[str, Any] = {"core": mine and mine.server, **(file.server or {})}

        async def serve(port: int) -> Served:
            server = HttpServer(**{"port": port, **settings})
            with contextlib.suppress(TrialFailed):  # one may die at its start, and not the next
                return await stack.enter_async_context(servers.serving(server))
            return await stack.enter_async_context(servers.serving(server))

        how["serve"] = serve if file.server is not None else None
        records = await run_all(steps, experiment=file.id, **how)
    return stored.OF_FILE[file.chart](file, scale, records, claims=claims, absent=absent)


def _arms_here(
    file: StudyFile, scale: str, arms: Sequence[str] | None, works: Any, absent: dict[str, str]
) -> list[str]:
    """Return the ids of the named arms, or all, that can run here; the others go to `absent`.

    Raises `BadInput` where none can.
    """
    listed = file.arms_at(scale)
    names = [arm.id for arm in listed]
    validation.check_once("arms", arms or ())
    for one in arms or ():
        validation.check_known("arms", one, names)
    if arms is not None and not arms:
        raise BadInput(f"arms is empty: name at least one of {', '.join(names)}")
    here: list[str] = []
    for arm in [arm for arm in listed if arms is None or arm.id in arms]:
        found = process.find(arm.program) if arm.program else None
        if not found and (arm.program or (arm.needs and not _is_here(arm.needs))):
            absent[arm.id] = arm.install or f"needs {arm.needs or arm.program}"
            continue
        try:
            if isinstance(work := works[arm.id], Trial):
                preflight.check(work)
            here.append(arm.id)
        except BadInput as refused:
            absent[arm.id] = str(refused)
    if listed and not here:
        raise BadInput(f"{file.id} has no arm that can run here: {next(iter(absent.values()))}")
    return here


def _is_here(needs: str) -> bool:
    """Return whether a module can be imported here, or this Python is new enough."""
    module, _, version = needs.partition(">=")
    if version:
        return sys.version_info >= tuple(map(int, version.split(".")))
    return find_spec(module) is not None
