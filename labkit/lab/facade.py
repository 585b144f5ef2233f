"""The facade: run, compare, sweep, reproduce, check, audit: what a front asks for, put together.

Everything here is async because a notebook awaits it; in a script, `asyncio.run(lab.run(trial))`.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import msgspec

from labkit import stats
from labkit.errors import BadInput, NotAwaited, NotInstalled, TrialFailed
from labkit.lab import progress, written_plan
from labkit.lab.awaiting import awaited
from labkit.lab.runner import Where, run_all, run_file
from labkit.launch import launcher, preflight, pythons, servers
from labkit.profiler.callgraph import Clock, ProfileOptions
from labkit.profiler.slow_callbacks import SLOW_S
from labkit.record.record import Record
from labkit.record.store import Store, readable
from labkit.report import gate
from labkit.report.study import Outcome, Run, Study, Sweep, Timed
from labkit.spec import plan, validation
from labkit.spec.parts import DEFAULT_REQUESTS
from labkit.spec.targets import HttpServer
from labkit.spec.trial import Trial

if TYPE_CHECKING:  # what one trial needs none of is imported where it is used
    from labkit.report.file_study import Audit, FileStudy, Overview
    from labkit.report.ladder import Ladder
    from labkit.report.profile import Profile
    from labkit.studies.study_file import Programs, StudyFile

Compared = TypeVar("Compared", bound=Outcome)
# Of a sweep of rates by itself: the first and the highest, how near it goes to the highest that is
# sustained (as a ratio), and how many seconds each run takes.
FIRST_RPS, MAX_RPS, MAX_STEP, RATE_S = 64.0, 1e6, 1.1, 2.0


def default_scale() -> str:
    """Return the size that notebooks run at: `LABKIT_SCALE`, smoke where it is not set."""
    from labkit.studies.study_file import SCALES

    named = os.environ.get("LABKIT_SCALE", "smoke")
    validation.check_known("LABKIT_SCALE", named, SCALES)
    return named


@awaited
async def run(trial: Trial, **where: Unpack[Where]) -> Run:
    """Run one trial in fresh processes and store its record.

    Raises `BadInput` before anything is started, `TrialFailed` where it could not be finished. To
    set it beside an earlier result, `compare` it with a `baseline`: one run shows no difference.
    """
    steps = [plan.Step(work=plan.checked(trial), axes={}, repeat=0, order=0)]
    (record,) = await run_all(steps, **where, stop_at_failure=True)
    return Run(record)


@awaited
async def profile(
    trial: Trial | None = None,
    *,
    clock: Clock = "wall",
    slow_s: float = SLOW_S,
    memory: bool = False,
    reporter: progress.Reporter | None = None,
) -> Profile:
    """Run a trial under the profiler yappi, in processes that nothing is measured in.

    By the clock `wall` a coroutine's waiting is its time, by `cpu` it is not. `slow_s`: from how
    long on a callback that blocks the event loop is named. With `memory` it runs under the tracer
    memray instead, and a `MemoryProfile` is returned. The record of the run is stored nowhere.
    Raises `BadInput` before anything is started, `NotInstalled` without memray, `TrialFailed` where
    it could not be finished.
    """
    from labkit.report.profile import MemoryProfile, Profile

    chosen = plan.checked(trial or Trial())
    request = launcher.ProfileRequest(ProfileOptions(clock=clock, slow_s=slow_s, memory=memory))
    if chosen.program:
        raise validation.refusal("beside-program", name="profile", trial=chosen)
    if chosen.clients > 1:
        raise validation.refusal("clients-profile", clients=chosen.clients)
    show, ready = reporter or progress.default(), preflight.prepare(chosen)
    if memory and ready.environment is None and find_spec("memray") is None:
        raise NotInstalled("memory is True", "memray", "profile")
    with progress.reporting(show, 1, lambda: "interrupted: a profile is stored nowhere"):
        if ready.environment is not None:
            await ready.environment.build(show.announce)
        show.started(plan.Step(work=chosen, axes={}, repeat=0, order=0))
        record = await launcher.run(ready, watch=show.update, keep=lambda _: None, profile=request)
    if request.result is None:
        raise TrialFailed("the profiled process ended without a profile", record)
    if memory:
        return MemoryProfile(request.result, record, f"{chosen.strategy}: what has the memory")
    return Profile(request.result, record, f"{chosen.strategy}: where the time went")


class Serving:
    """A synthetic server that runs in an `async with` block; see `serving`."""

    url: str

    def __init__(self, settings: HttpServer) -> None:
        self._running = servers.serving(settings)

    async def __aenter__(self) -> Serving:
        self.url = (await self._running.__aenter__()).url
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._running.__aexit__(*error)

    def _refuse(self, *_: Any) -> Any:
        call = "lab.serving(...)"
        raise NotAwaited(f"{call} was not entered: write `async with {call} as server:`")

    __enter__ = __exit__ = __await__ = _refuse

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # IPython's questions
            raise AttributeError(name)
        return self._refuse()

    async def stats(self) -> dict[str, Any]:
        """Return what it counted, as `/-/stats` does."""
        return await self._asked("/-/stats")

    async def log(self) -> list[dict[str, Any]]:
        """Return the last requests in the order in which they were served, as `/-/log` does."""
        return list((await self._asked("/-/log"))["requests"])

    async def _asked(self, path: str) -> dict[str, Any]:
        answer = await asyncio.to_thread(servers.asked, self.url, path)
        if answer is None:
            raise TrialFailed(f"the synthetic server at {self.url} no longer answers")
        return answer


def serving(**settings: Any) -> Serving:
    """Start a synthetic server in a process of its own, as `labkit serve` does; end it at the end.

    It listens on loopback, or on the one other address that `allow_remote` repeats.

    For a look at what a client does, where no figure is taken: `async with lab.serving(
    delay="0.1", keep_log=100) as server`, then `server.url`, `await server.log()`.
    """
    for name in settings:
        validation.check_known("a setting of serve", name, validation.types_of(HttpServer))
    return Serving(HttpServer(**settings))


@awaited
async def compare(
    trial: Trial | None = None,
    axes: Mapping[str, Sequence[Any]] | None = None,
    *,
    repeats: int = 5,
    seed: int = 0,
    baseline: Any = None,
    store: Store | None = None,
    reporter: progress.Reporter | None = None,
    on: Any = None,
    **more_axes: Sequence[Any],
) -> Study:
    """Run every combination of the axes' values, `repeats` times each, interleaved at random.

    An axis is named as `Trial.replace` names a setting: `strategy=["gather", "queue"]`, or in
    `axes` where the name is dotted, as in `{"transport.limit": [10, 30]}`. A trial that fails is
    stored as invalid and the others go on. Without an axis there is one arm.

    `baseline` is an earlier result to compare with, arm by arm: a file that `study.save` wrote, the
    id of a study or a record, or a `lab.Baseline` of either; the answer is `study.changes`. With
    one, runs that the host stole from are made again at the end, at most as many as there are; so
    they are with `lab.Baseline(None)`, for a result that is to be a baseline itself. Raises
    `BadInput` before anything is started, also for a baseline of other arms or another machine.
    """
    validation.check_once("axes", [*(axes or {}), *more_axes])
    varied = {**(axes or {}), **more_axes}
    arms = plan.arms(plan.checked(trial or Trial()), varied)
    where = Where(store=store, reporter=reporter, on=on)
    make = partial(Study, by=list(varied))
    return await _compared(make, "compare", arms, baseline, where, repeats=repeats, seed=seed)


@awaited
async def time(
    program: str,
    *,
    against: str | None = None,
    repeats: int | None = None,
    store: Store | None = None,
    reporter: progress.Reporter | None = None,
    **settings: Any,
) -> Timed:
    """Measure a command line from outside: memory, time and CPU, as `/usr/bin/time` does.

    `settings` are those of `Trial(program=...)`. With a `delay`, or a `port` that is written into
    the program, the synthetic server answers meanwhile; `requests` and `limit` say what the program
    asks for, where it has no such fields. `against` is another one to compare it with, in five
    repeats. Raises `BadInput` before anything is started.
    """
    alone = {} if settings.keys() & {"delay", "port", "target"} else {"target": "none"}
    trial, others = Trial(program=program, **alone, **settings), [against] if against else []
    arms = plan.arms(trial, {"program": [program, *others]})
    times = repeats or (stats.MIN_REPEATS if others else 1)
    make, where = partial(Timed, by=["program"]), Where(store=store, reporter=reporter)
    return await _compared(make, "time", arms, None, where, repeats=times)


@awaited
async def sweep(
    trial: Trial | None = None,
    limit: Sequence[int] | None = None,
    *,
    rates: Sequence[float] | str | None = None,
    repeats: int = 5,
    seed: int = 0,
    baseline: Any = None,
    **where: Unpack[Where],
) -> Study:
    """Run the trial at each limit, `repeats` times each, interleaved, and find the knee.

    Without `limit`: powers of two from 1 up to the number of requests, or to as many connections as
    a process may open. Raises `BadInput` for a strategy that heeds no limit, and for a rate.
    `baseline` is as of `compare`.

    With `rates`, in requests a second, it finds the highest that is sustained instead: of those
    given, or by 'auto', which doubles the rate until one is not and then looks between. There each
    rate depends on the one before, so that only its own repeats are close in time. A run takes 2 s,
    unless the trial says how long.
    """
    how: dict[str, Any] = {"repeats": repeats, "seed": seed}
    Sweep.check(base := plan.checked(trial or Trial()))
    if rates is not None:
        is_auto = rates == "auto" and baseline in (None, gate.Baseline(None))
        if limit is not None or (isinstance(rates, str) and not is_auto):
            raise validation.refusal("rates", rates=rates)
        if not base.workload.seconds and base.workload.requests == DEFAULT_REQUESTS:
            base = base.replace(seconds=RATE_S)
        if is_auto:
            return await _sweep_rates(base, partial(run_all, **where, experiment="sweep"), **how)
        arms, make = plan.arms(base, {"rate": rates}), partial(Study, by=["rate"])
        return await _compared(make, "sweep", arms, baseline, where, **how)
    if limit is None:
        found = Sweep.limits_for(base)
        limit = [n for n in found if preflight.has_descriptors(base.replace(limit=n))]
    arms = plan.arms(base, {"limit": limit})
    return await _compared(Sweep, "sweep", arms, baseline, where, **how)


# The plan. `low` is the highest rate that was sustained, `high` the lowest that was not, or of
# which nothing is decided. The rate doubles until there is a `high`, or halves until there is a
# `low`, and then goes to the middle of both by their ratio.
async def _sweep_rates(base: Trial, run: Callable[..., Any], **how: int) -> Study:
    records, low, high, rate = list[Record](), 0.0, math.inf, FIRST_RPS
    while high > MAX_STEP * low and 1 <= rate <= MAX_RPS:
        steps = plan.interleave(plan.arms(base, {"rate": [rate]}), **how)
        records += await run(steps, study=records[0].study if records else None)
        (verdict,) = (one.verdict for one in stats.sustained(records) if one.rate_rps == rate)
        low, high = (rate, high) if verdict == "holds" else (low, rate)
        middle = 2 * low if high == math.inf else math.sqrt(low * high) or high / 2
        rate = float(round(middle))
    records.sort(key=lambda record: (record.trial["workload"]["rate"], record.repeat))
    return Study(records, ["rate"])


async def _compared(
    make: Callable[[list[Record]], Compared],
    experiment: str,
    arms: Sequence[tuple[dict[str, Any], Trial]],
    baseline: Any,
    where: Where,
    study: written_plan.Resumed | None = None,
    **how: Any,
) -> Compared:
    """Run these arms, interleaved; `make` a result of them, beside its baseline if it has one."""
    arms = [(axes, preflight.loaded(work)) for axes, work in arms]
    steps, earlier = plan.interleave(arms, **how), _earlier(baseline, where)
    notes = await _checked(earlier, arms, where)
    asked = {"how": how, "baseline": _named(baseline, earlier)}
    records = await run_all(steps, experiment=experiment, study=study, asked=asked, **where)
    result = make(records)
    result.changes = gate.changes(records, earlier, notes)
    return result


async def _checked(asked: gate.Baseline, arms: gate.Arms, where: Where) -> list[str]:
    """Return what `Baseline.check` notes; environments are built first, as they have versions."""
    show = where.get("reporter") or progress.default()
    there = [work for _, work in arms] if asked.of is not None else []
    return asked.check(arms, [await pythons.machine(work, show.announce) for work in there])


def _earlier(baseline: Any, where: Where) -> gate.Baseline:
    """Return a baseline with the result that it names, where there is one."""
    asked = baseline if isinstance(baseline, gate.Baseline) else gate.Baseline(baseline)
    is_there = asked.of is None or isinstance(asked.of, Outcome)
    return asked if is_there else replace(asked, of=load(asked.of, store=where.get("store")))


def _named(baseline: Any, asked: gate.Baseline) -> dict[str, Any] | None:
    """Return a baseline as a plan has it, by its name; None where there is none."""
    of = getattr(baseline, "of", baseline)
    of = of.records[0].study or of.records[0].id if isinstance(of, Outcome) else of
    return None if baseline is None else vars(asked) | {"of": of and str(of)}


@awaited
async def resume(
    study: str = "last",
    *,
    anyway: bool = False,
    mine: Callable[..., Any] | Sequence[Callable[..., Any]] = (),
    allow_remote: str | None = None,
    allow_commands: bool = False,
    **where: Unpack[Where],
) -> Study:
    """Run the rest of a study, as its plan says, and return the whole result.

    `study` is its id, how that begins, or 'last'. Runs that are finished stay; those that are
    missing or were interrupted are made in the plan's order, with its seeds. Functions of cells are
    given again, as `mine`; where credentials are hidden, the study is to be run anew. Another
    machine, other versions and changed code are refused, or with `anyway` noted in each
    record from then on, in tables and in verdicts. A plan may be a stranger's: `allow_remote`
    repeats its remote host, `allow_commands` lets it run commands and files of code. Raises
    `BadInput` or `RecordNotFound` before anything is started.
    """
    from labkit.report import stored
    from labkit.studies import study_file

    planned = written_plan.find(into := where.get("store") or Store(), study)
    asked, how, kind = planned.asked, planned.asked["how"], planned.experiment
    baseline = asked["baseline"] and gate.Baseline(**asked["baseline"])
    with written_plan.claimed(into, planned.study):
        resumed = written_plan.Resumed(planned, into.of_study(planned.study), anyway)
        if "file" in asked:
            # A file that comes with the lab is no stranger's: the plan's has to be the same.
            ours = asked["name"] in study_file.names() and not how["programs"]
            stated = msgspec.convert(asked["file"], study_file.StudyFile)
            file = study_file.load(asked["name"]) if ours else stated
            arms_of = file.plan(how["scale"], 1, programs=how["programs"]).arms.items()
            _check_commands(arms_of, ours or allow_commands)
            found: Study = await run_file(file, study=resumed, asked=asked, **how, **where)
            found.changes = gate.changes(found.records, _earlier(baseline, where), [])
            return found
        arms = planned.trials(mine, allow_remote=allow_remote, allow_commands=allow_commands)
        return await _compared(stored.study_of, kind, arms, baseline, where, resumed, **how)


@awaited
async def reproduce(
    name: str,
    *,
    scale: str | None = None,
    repeats: int | None = None,
    programs: Programs = None,
    allow_commands: bool = False,
    baseline: Any = None,
    **where: Unpack[Where],
) -> FileStudy | Overview:
    """Run a published benchmark again; its figures beside the measured ones, with verdicts.

    `name` is one that `labkit reproduce list` shows, or the path of a study file of your own. Such
    a file starts servers by commands, and runs strategies in files, only with `allow_commands`.
    In the software of then run the lab's programs, or the source's own where `programs` is a folder
    that has them; with False that software is left out. `baseline` is as of `compare`; it may lack
    arms that run now. With the name 'all' every one of them runs, one after another, and those that
    cannot run here say why.
    """
    from labkit.report.file_study import ARM, Overview
    from labkit.studies import study_file

    how: dict[str, Any] = {"repeats": repeats, "programs": programs, **where}
    if name == "all":
        if baseline is not None:
            raise validation.refusal("of-all", what="a baseline")
        validation.check_known("scale", scale or default_scale(), study_file.SCALES)
        how["reporter"] = show = where.get("reporter") or progress.default()
        ran, not_run = list[Any](), dict[str, str]()
        for file in study_file.benchmarks():
            show.announce(f"{file.id}: {file.title}")
            try:
                ran.append(await reproduce(file.id, scale=scale, **how))
            except (BadInput, TrialFailed) as error:
                not_run[file.id] = str(error)
        return Overview(ran, not_run)
    file, chosen = study_file.load(name), scale or default_scale()
    arms = file.plan(chosen, 1, programs=programs).arms.items()
    # Those that come with the lab are no stranger's.
    _check_commands(arms, allow_commands or not name.endswith(".toml"))
    asked = _earlier(baseline, where)
    before = [one.axes for one in asked.records]
    there = [({ARM: one}, work) for one, work in arms if {ARM: one} in before]
    notes = await _checked(asked, there, where)
    how["asked"] = {"name": name, "baseline": _named(baseline, asked)}
    found = await run_file(file, chosen, **how)
    found.changes = gate.changes(found.records, asked, notes)
    return found


def _check_commands(arms: Iterable[tuple[str, plan.Work]], allowed: bool) -> None:
    """Raise `BadInput` for code that a study file names, which may come from a stranger."""
    for arm, work in () if allowed else arms:
        for name, code in work.named_code.items() if isinstance(work, Trial) else ():
            raise validation.refusal("commands", arm=arm, name=name, code=code)


@awaited
async def ladder(
    rungs: Sequence[str] | None = None,
    *,
    short: bool = False,
    repeats: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    **where: Unpack[Where],
) -> Ladder:
    """Climb from a new session for each request to pipelining, and on to the tools of others.

    `rungs` are arms of `data/studies/ladder.toml` (all that are installed, where not given).
    `short` takes less than a minute; `repeats`, and `seconds` of measuring each time, replace the
    scale's own.
    """
    from labkit.report.ladder import Ladder
    from labkit.studies import study_file

    how: dict[str, Any] = {"repeats": repeats, "seconds": seconds, "seed": seed, **where}
    scale = "short" if short else "full"
    found = await run_file(study_file.load("ladder"), scale, only=rungs, **how)
    assert isinstance(found, Ladder)
    return found


@awaited
async def check_claims(
    ids: Sequence[str] | None = None,
    *,
    scale: str | None = None,
    claims: StudyFile | None = None,
    repeats: int | None = None,
    seed: int = 0,
    allow_commands: bool = False,
    **where: Unpack[Where],
) -> FileStudy:
    """Check what others claim: holds, refuted or inconclusive, with the effect that was measured.

    `ids` are those that `labkit claims list` shows (all, where not given). `claims` is a study of
    your own, from `labkit.studies.study_file.parse`, which runs commands and files of its own only
    with `allow_commands`. `repeats` replaces the scale's own; fewer than five decide nothing.
    """
    from labkit.studies import study_file

    file, chosen = claims or study_file.load("claims"), scale or default_scale()
    _check_commands(file.plan(chosen, 1).arms.items(), allow_commands)
    return await run_file(file, chosen, only=ids, repeats=repeats, seed=seed, **where)


@awaited
async def audit(comparisons: int = 50, **where: Unpack[Where]) -> Audit:
    """Measure the lab's own error on this machine: in about ten minutes.

    Compares a trial with itself `comparisons` times, 10 s each, takes the probes' own cost, and
    compares percentiles with delays that the server knows it gave, and CPU with a client that never
    sleeps.
    """
    from labkit.report.file_study import Audit
    from labkit.studies import study_file

    validation.check("comparisons", comparisons, validation.Repeats)
    file, scale, same = study_file.load("audit"), "full", ["same", "same-again"]
    others = [arm.id for arm in file.arms if arm.id not in same]
    repeats = comparisons * stats.MIN_REPEATS
    compared = await run_file(file, scale, only=same, repeats=repeats, **where)
    probed = await run_file(file, scale, only=others, **where)
    return Audit(file, scale, [*compared.records, *probed.records])


def results(
    store: Store | None = None,
    *,
    columns: Sequence[str] | None = None,
    study: str | None = None,
    last: int | None = None,
) -> stats.DataFrame:
    """Every readable record in the store as a tidy DataFrame, one row each, oldest first.

    With `columns` those alone, of a `study` its records, and of all that the newest `last`. A file
    that is left out, as it holds no such record, is named on standard error. Raises `BadInput` for
    a column that no record has.
    """
    validation.check("last", last, validation.AtLeastOne | None)
    return stats.stored((store or Store()).index(whole=True), columns, study=study, last=last)


def read(*files: Path | str) -> stats.DataFrame:
    """Return what Locust, k6, oha or wrk wrote, a row a file, with the columns of `lab.results()`.

    Raises `BadInput` for a file that has no such results.
    """
    from labkit.report import stored

    rows = [{"id": Path(one).name, **stored.others(Path(one))} for one in files]
    return stats.DataFrame(rows).reindex(columns=[*stats.DESCRIPTION, *stats.METRICS])


def load(name: Path | str | None = None, *, store: Store | None = None) -> Run | Study:
    """Return what was stored: a study by its id, one trial by its record's id, or a saved file.

    Without a name the last one, also where it was interrupted before its end. A file that might be
    of the study and holds no readable record is named on standard error, and in the study's report.
    Raises `RecordNotFound` or `RecordDamaged`.
    """
    from labkit.report import stored

    if name is not None and (Path(name).suffix or Path(name).is_file()):
        records = gate.saved(Path(name)).records
        return stored.study_of(records) if records[0].experiment else Run(records[0])
    where, wanted = store or Store(), str(name)
    if name is not None and wanted in where.ids():
        return Run(where.get(wanted))
    index = where.index()
    if name is None:
        (wanted,) = index.select("coalesce(study, name)", last=1) or ["none"]
    records = list(readable(where.scan(index.select("name", study=wanted))))
    if not records:
        return Run(where.get(wanted))
    result = stored.study_of(records, [one.why for one in index.damaged])
    result.unfinished = written_plan.unfinished(where, wanted, records)
    return result
