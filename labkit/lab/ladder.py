"""Climbing: every rung against one server, in seeded random blocks, each in a fresh process.

A rung of the lab's own is a trial, and its record is kept like any other; of a program of others
there is a reading only, made of what it says of itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import msgspec
import psutil

from labkit.errors import BadInput, TrialFailed
from labkit.lab import progress
from labkit.lab.progress import Reporter
from labkit.lab.runner import shown
from labkit.launch import assembly, environment, launcher, load_generators, preflight
from labkit.launch.launcher import Served
from labkit.launch.load_generators import Known, Load
from labkit.record import guards
from labkit.record.record import Record
from labkit.record.store import Store
from labkit.report.ladder import Climb, Conditions
from labkit.spec import parts, plan, validation
from labkit.spec.plan import Step
from labkit.studies.ladder import Reading, Rung, Seconds, load, of_record


async def climb(
    rungs: Sequence[str] | None = None,
    *,
    short: bool = False,
    repeats: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    store: Store | None = None,
    reporter: Reporter | None = None,
) -> Climb:
    """Climb the rungs with these ids, or all that can be climbed here.

    `short` takes the smaller size; `repeats` and `seconds` (of measuring, each time) replace what
    the size says. Raises `BadInput` before anything is started. A rung that fails is kept as such.
    """
    ladder = load()
    size = ladder.size.short if short else ladder.size.full
    times = size.repeats if repeats is None else repeats
    for_s = size.seconds if seconds is None else seconds
    validation.check("seconds", for_s, Seconds)
    chosen = ladder.chosen(rungs)
    found = [rung for rung in chosen if _is_here(rung)]
    missing = [rung for rung in chosen if rung not in found]
    if not found:
        raise BadInput(f"rungs has none that is installed: {missing[0].install}")
    trials = [rung.trial(for_s, ladder.connections) for rung in found]
    arms = [({"rung": rung.id}, trial) for rung, trial in zip(found, trials, strict=True)]
    steps = plan.interleave(arms, repeats=times, seed=seed)
    for trial in trials:
        preflight.check(trial)
    kept = store or Store()
    kept.prepare()
    cores = environment.core_each()
    server = parts.Server(engine="wire", core=cores[1])
    async with launcher.serving(server) as served:
        work = _Climbing(
            rungs={rung.id: rung for rung in found},
            connections=ladder.connections,
            seconds=for_s,
            core=cores[0],
            served=served,
            store=kept,
            show=reporter or progress.default(),
        )
        await work.climb(steps)
    conditions = Conditions(
        connections=ladder.connections,
        seconds=for_s,
        repeats=times,
        seed=seed,
        apart=cores[0] is not None,
        server={"engine": server.engine, "loop": server.loop, "delay": server.delay},
        environment=environment.now(),
        versions={name: program.version for name, program in work.programs.items()},
    )
    return Climb(found, work.readings, work.records, conditions, missing)


def _is_here(rung: Rung) -> bool:
    if rung.program is not None:
        return load_generators.find(rung.program) is not None
    return rung.needs is None or find_spec(rung.needs) is not None


@dataclass(kw_only=True)
class _Climbing:
    """One climb under way: what it runs on, and what it has found."""

    rungs: dict[str, Rung]
    connections: int
    seconds: float
    core: int | None
    served: Served
    store: Store
    show: Reporter
    readings: list[Reading] = dataclasses.field(default_factory=list)
    records: list[Record] = dataclasses.field(default_factory=list)
    programs: dict[str, Known] = dataclasses.field(default_factory=dict)
    waited_s: float | None = None
    """How long the server had waited for its core when the step began."""

    async def climb(self, steps: Sequence[Step]) -> None:
        """Take the steps one after another."""
        study = assembly.new_id(datetime.now(UTC))
        with shown(self.show, len(steps), self.records, study):
            for step in steps:
                self.show.started(step)
                rung = self.rungs[step.axes["rung"]]
                if rung.program is None:
                    await self._own(step, study)
                else:
                    await self._rival(step, rung, rung.program)

    async def _own(self, step: Step, study: str) -> None:
        place = assembly.Place(
            study=study,
            experiment="ladder",
            axes=dict(step.axes),
            repeat=step.repeat,
            order=step.order,
        )
        trial = step.trial.replace(target=f"{self.served.url}/{{item}}")
        self.waited_s = self._server_waited_s()
        try:
            await launcher.run(
                trial, place=place, watch=self.show.update, keep=self._keep, served=self.served
            )
        except TrialFailed as error:
            # The record says what happened; the other rungs are still worth having.
            if error.record is None:
                raise

    def _keep(self, record: Record) -> None:
        self.store.add(record)
        self.records.append(record)
        self.readings.append(self._with_wait(of_record(record)))
        self.show.finished(record)

    async def _rival(self, step: Step, rung: Rung, name: str) -> None:
        reading = Reading(rung=rung.id, repeat=step.repeat, order=step.order)
        work = Load(
            url=f"{self.served.url}/x",
            connections=self.connections,
            seconds=self.seconds,
            requests=step.trial.requests,
        )
        before_s, self.waited_s = self._server_cpu_s(), self._server_waited_s()
        try:
            program = await self._known(name)
            result = await load_generators.measured(name, program, work, self.core)
        except TrialFailed as error:
            reading = msgspec.structs.replace(
                reading, verdict="invalid", warnings=["program-failed"], says=str(error)
            )
        else:
            reading = _read(reading, result, self._server_cpu_s() - before_s)
            reading = self._with_wait(reading)
        self.readings.append(reading)
        self.show.passed(_line(rung, reading))

    async def _known(self, name: str) -> Known:
        if name not in self.programs:
            path = load_generators.find(name)
            assert path is not None
            self.programs[name] = await load_generators.known(name, path, self.core)
        return self.programs[name]

    def _with_wait(self, reading: Reading) -> Reading:
        """The reading, with the share of its time in which others had the server's core."""
        before_s, now_s = self.waited_s, self._server_waited_s()
        if before_s is None or now_s is None or not reading.wall_s:
            return reading
        share = 100 * (now_s - before_s) / reading.wall_s
        codes = ["server-contended"] if share > guards.CONTENDED_PERCENT else []
        return msgspec.structs.replace(
            reading,
            server_waited_percent=share,
            warnings=[*reading.warnings, *codes],
            verdict="warn" if codes and reading.verdict == "valid" else reading.verdict,
        )

    def _server_waited_s(self) -> float | None:
        """Seconds that the server was ready to run so far and had no core; None outside Linux."""
        try:
            return int(Path(f"/proc/{self.served.pid}/schedstat").read_text().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            return None

    def _server_cpu_s(self) -> float:
        """CPU seconds of the server so far."""
        try:
            times = psutil.Process(self.served.pid).cpu_times()
        except psutil.NoSuchProcess:
            raise TrialFailed("the synthetic server died") from None
        return float(times.user + times.system)


def _read(reading: Reading, result: load_generators.Result, server_cpu_s: float) -> Reading:
    counted = result.counted
    codes = ["failures"] if counted.failed else []
    codes += filter(None, [guards.contention(result.others_percent, counted.wall_s)])
    return msgspec.structs.replace(
        reading,
        requests=counted.ok,
        failed=counted.failed,
        wall_s=counted.wall_s,
        throughput_rps=counted.throughput_rps,
        cpu_us_per_request=1e6 * result.cpu_s / (counted.ok + counted.failed),
        server_cpu_percent=100 * server_cpu_s / counted.wall_s,
        verdict=guards.verdict_of(codes),
        warnings=codes,
    )


def _line(rung: Rung, reading: Reading) -> str:
    if reading.throughput_rps is None:
        return f"rung={rung.id}: {reading.says}"
    return (
        f"rung={rung.id}: {reading.requests:,} ok, {reading.failed:,} failed, "
        f"{reading.wall_s:.2f} s, {reading.verdict}"
    )
