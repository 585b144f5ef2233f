"""Study files: TOML text -> `StudyFile`, and at a scale the arms that it runs and what judges them.

A study is data: a published benchmark, the claims of tutorials, the ladder and the audit are files
in `data/studies`, and adding one takes no code. A file that is read is valid, its trials included.
Nothing is run or judged here. Only `names` and `load` read the disk.
"""

import math
import re
import shlex
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from labkit import paths, stats
from labkit.errors import BadInput
from labkit.spec import validation
from labkit.spec.plan import Coded, Work
from labkit.spec.targets import HttpServer, HttpTarget
from labkit.spec.trial import Trial
from labkit.spec.validation import check_known, refusal
from labkit.studies import parts
from labkit.studies.parts import Arm, Check, Claim, Judged, Name, Scale, Settings, Source, Text

# Each experiment in code with the figures that it gives, and its settings.
EXPERIMENTS = paths.table("experiments.toml")
# The scales of every file but the ladder's, smallest first.
SCALES = ("smoke", "workshop", "paper")
Made = TypeVar("Made")
# A folder that has the programs of then, None for the lab's own, and False for none.
Programs = Path | str | Literal[False] | None
_CORES = re.compile(r"cores\*([1-9][0-9]?)")
# Cores that a file is checked with: how many there are decides nothing about its form.
_ANY_CORES = 2
# Seconds that a program may take besides three times as long as it is asked to run.
MORE_S = 30.0


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """A study at one scale: every arm by its id, and the checks of every claim by the claim's."""

    arms: Mapping[str, Work]
    judged: Mapping[str, list[Judged]]

    def arms_of(self, claim: str) -> set[str]:
        """Return the ids of the arms that the claim's checks compare here."""
        return {arm for one in self.judged[claim] for arm in (*one.of, *one.to)} & {*self.arms}

    def groups(self, named: Iterable[str], claims: Iterable[str]) -> list[list[str]]:
        """Return ids of arms, grouped: those of one group are run near each other in time.

        The arms `named` are one group; claims that share an arm are in one. An arm in the software
        of then is in the group of the arm in today's.
        """
        found: list[set[str]] = [{*named}] if named else []
        for keys in filter(None, map(self.arms_of, claims)):
            shared = [group for group in found if group & keys]
            found = [group for group in found if group not in shared] + [keys.union(*shared)]
        return [[a for a in self.arms if a.removesuffix(parts.THEN) in group] for group in found]


class StudyFile(parts.StudyPart, frozen=True, kw_only=True):
    """A study as its file states it.

    `settings` are those that all its trials share, in the names that `Trial` takes. `chart` is what
    its table and its picture show. `min_repeats` is from how many repeats on something is decided:
    from 3, where all of them lie on one side of the band (published benchmarks), else from 5, by
    the 95 % interval. With `server`, one server with these settings serves all arms.
    """

    id: Name
    title: Text
    about: Text
    notes: list[Text] = msgspec.field(default_factory=list)
    chart: Literal["triptych", "throughput", "forest", "ratios", "ladder", "audit"] = "triptych"
    min_repeats: Literal[3, 5] = 5
    sources: dict[str, Source | Text] = msgspec.field(name="source", default_factory=dict)
    settings: Settings = msgspec.field(default_factory=dict)
    server: Settings | None = None
    environment: dict[str, parts.Environment] = msgspec.field(default_factory=dict)
    scales: dict[Name, Scale] = msgspec.field(name="scale")
    arms: list[Arm] = msgspec.field(name="arm", default_factory=list)
    claims: list[Claim] = msgspec.field(name="claim", default_factory=list)

    def __post_init__(self) -> None:
        ids = [arm.id for arm in self.arms]
        if not self.arms and not self.claims:
            raise BadInput(f"study {self.id!r} has no arm and no claim: give it one")
        for what, listed in (("arm", ids), ("claim", [claim.id for claim in self.claims])):
            twice = sorted({name for name in listed if listed.count(name) > 1})
            if twice:
                raise refusal("twice", what=what, name=twice[0])
        for claim in self.claims:
            for name in self.sources_of(claim):
                check_known(f"source of claim {claim.id!r}", name, self.sources)
        _check_server("server", self.server)
        for arm in self.arms:
            self._check_arm(arm, ids)
        for name, scale_here in self.scales.items():
            if scale_here.repeats < self.min_repeats:
                raise refusal("repeats", name=name, scale=scale_here, least=self.min_repeats)
            self.plan(name, _ANY_CORES)

    def _check_arm(self, arm: Arm, ids: Sequence[str]) -> None:
        for scale in arm.scales:
            self.scale(scale)
        if arm.against is not None:
            check_known(f"against of arm {arm.id!r}", arm.against, ids)
        if arm.program is not None and self.server is None:
            raise refusal("no-server", arm=arm)
        if arm.then and not self.environment:
            raise refusal("then-environment", arm=arm)
        if (arm.spot is not None) != (self.chart == "throughput"):
            raise refusal("spot", arm=arm, chart=self.chart)

    def scale(self, name: str) -> Scale:
        """Return the scale called `name`; raises `BadInput`."""
        check_known("scale", name, self.scales)
        return self.scales[name]

    def sources_of(self, claim: Claim) -> list[str]:
        """Return the names of the sources of a claim."""
        return claim.source.split(", ") if claim.source else list(self.sources)

    def source_text(self, names: Iterable[str] | None = None) -> str:
        """Return where something is published: by these sources, or all."""
        found = [self.sources[name] for name in (self.sources if names is None else names)]
        return "; ".join(one.text if isinstance(one, Source) else one for one in found)

    def cited(self, names: Iterable[str] | None = None) -> list[Source]:
        """Return these sources, or all; of one that is a text its beginning is the author."""
        found = [self.sources[name] for name in (self.sources if names is None else names)]
        return [Source(author=s.partition(":")[0]) if isinstance(s, str) else s for s in found]

    def chosen(self, ids: Sequence[str] | None = None) -> list[Claim]:
        """Return the claims with these ids, or all; in the order of the file. Raises `BadInput`."""
        known = [claim.id for claim in self.claims]
        validation.check_once("claims", ids or ())
        for one in ids or ():
            check_known("claim", one, known)
        return [claim for claim in self.claims if not ids or claim.id in ids]

    def arms_at(self, scale: str) -> list[Arm]:
        """Return the arms that run at `scale`, in the order of the file."""
        self.scale(scale)
        return [arm for arm in self.arms if arm.runs_at(scale)]

    def published(self) -> list[dict[str, Any]]:
        """Return the published figures: arm, label, requests then, and each figure."""
        return [
            {"arm": arm.id, "label": arm.label, "requests": self._trial(arm, "paper").requests}
            | msgspec.to_builtins(arm.published)
            for arm in self.arms
            if arm.published is not None
        ]

    def plan(
        self, scale: str, cores: int, seconds: float | None = None, programs: Programs = None
    ) -> StudyPlan:
        """Return what runs at `scale` on so many cores, and what judges it. Raises `BadInput`.

        Settings written in a claim become arms too, named by claim, check and side. Those that are
        written alike are one arm, so they run once. In the software of then run the source's own
        programs, where `programs` is a folder that has them, else those that the lab has written;
        with False nothing does.
        """
        arms = dict[str, Work]()
        for arm in self.arms_at(scale):
            arms[arm.id] = self._work(arm, scale, seconds)
            if arm.then and programs is not False:
                arms[arm.id + parts.THEN] = self._then(arm, scale, programs)
        inline: dict[bytes, str] = {}
        judged: dict[str, list[Judged]] = {claim.id: [] for claim in self.claims}

        def named(check: Check, side: str, name: str) -> tuple[str, ...]:
            value = getattr(check, side)
            if not isinstance(value, dict):
                return (value,) if isinstance(value, str) else tuple(value or ())
            work = self._inline(check, side, value, scale, cores)
            plain = work.to_dict() if isinstance(work, Trial) else work
            name = inline.setdefault(msgspec.json.encode(plain, order="sorted"), name)
            arms.setdefault(name, work)
            return (name,)

        for claim in self.claims:
            for number, check in enumerate(claim.checks, start=1):
                if check.not_testable:
                    judged[claim.id].append(Judged(check=check))
                    continue
                here = check.at_scale(scale)
                of, to = (named(here, side, f"{claim.id}/{number}/{side}") for side in ("of", "to"))
                if of == to:
                    raise refusal("same-sides", check=check, scale=scale)
                why = self._undecidable(check, here, scale, claim.id)
                sides: dict[str, Any] = {"of": of, "to": to, "instead": here is not check}
                judged[claim.id].append(Judged(check=here, undecidable=why, **sides))
        return StudyPlan(arms=arms, judged=judged)

    def _undecidable(self, check: Check, here: Check, scale: str, claim: str) -> str:
        """Return why a scale cannot decide a check; checks the names of arms and measure too."""
        known = {arm.id: arm for arm in self.arms}
        reason = check.at[scale].undecidable if scale in check.at else None
        for name in check.at:
            self.scale(name)
        for name in here.arms:
            check_known(f"an arm of claim {claim}", name, known)
            _check_measure(here, known[name].experiment)
            if not known[name].runs_at(scale) and reason is None:
                reason = f"arm {name} runs only at scale {', '.join(known[name].scales)}"
        if not here.arms:
            _check_measure(here, here.experiment)
        return f"scale {scale} cannot decide it, because {reason}" if reason else ""

    def _work(self, arm: Arm, scale: str, seconds: float | None) -> Work:
        if arm.experiment is not None:
            return _coded(f"arm {arm.id!r}", arm.experiment, arm.settings, arm.server)
        trial = self._trial(arm, scale, seconds)
        if arm.program is None:
            return trial
        for_s = seconds or self.scale(scale).seconds or 1.0
        known = paths.table("programs.toml")
        check_known(f"program of arm {arm.id!r}", arm.program, known)
        words = known[arm.program]["words"].replace("{whole_seconds}", str(math.ceil(for_s)))
        words = words.replace("{milliseconds}", str(round(1e3 * for_s)))
        return trial.replace(program=f"{arm.program} {words}", deadline_s=MORE_S + 3 * for_s)

    def _then(self, arm: Arm, scale: str, programs: Programs) -> Trial:
        """Return the trial of an arm in the software of then: the same work, by a program."""
        of = self.environment["then"]
        name, _, arguments = ((arm.original if programs else arm.then) or "").partition(" ")
        folder = Path(programs) if programs else paths.data("programs") / of.programs
        where = folder.expanduser().resolve() / name
        if not where.is_file():
            raise refusal("no-program", folder=folder, name=name, arm=arm)
        today = self._trial(arm, scale)
        # A program that calls no HTTP server has a server of its own.
        target = today.target if isinstance(today.target, HttpTarget) else "none"
        settings: dict[str, Any] = {"target": target, "workload": today.workload}
        settings |= {"program": f"python {shlex.quote(str(where))} {arguments}"}
        settings |= {"python": of.python, "packages": " ".join(of.packages)} if of.python else {}
        trial = _made(f"{arm.id}{parts.THEN}", Trial, settings)
        return trial.replace(**of.originals) if programs else trial

    def _trial(self, arm: Arm, scale: str, seconds: float | None = None) -> Trial:
        """Return the trial of an arm: its own settings come before the scale's, then the base's."""
        chosen = self.scale(scale)
        settings: dict[str, Any] = {**self.settings, **chosen.settings, **arm.settings}
        for name in ("delay", "target.delay"):
            if name in settings and chosen.time_factor != 1:
                settings[name] = f"{settings[name]}*{chosen.time_factor:g}"
        for name in ("requests", "workload.requests"):
            if isinstance(settings.get(name), int):
                settings[name] = max(round(settings[name] * chosen.requests_factor), 1)
        if arm.rps is not None:
            # About as long as the scale says, and at least one request in each place.
            wanted = math.ceil(arm.rps * (seconds or chosen.seconds or 1.0))
            wanted = max(wanted, int(settings.get("limit", 1)))
            settings["requests"] = min(wanted, arm.max_requests or wanted)
        if self.server is not None:
            settings["target"] = "http://127.0.0.1/{item}"  # the study's server, once it runs
        return _made(f"arm {arm.id!r} at scale {scale}", Trial, settings)

    def _inline(self, check: Check, side: str, own: Settings, scale: str, cores: int) -> Work:
        """Return the arm whose settings stand in a check."""
        given = check.at[scale].settings if scale in check.at else {}
        for name in given:
            start, dot, _ = name.partition(".")
            if dot and start in ("of", "to") and not isinstance(getattr(check, start), dict):
                raise BadInput(f"{name!r} of {check.name!r} at {scale}: there is no such arm")
        both = {name: value for name, value in given.items() if name[:3] not in ("of.", "to.")}
        alone = {name[3:]: value for name, value in given.items() if name[:3] == f"{side}."}
        settings: dict[str, Any] = {**self.settings, **check.shared, **both, **own, **alone}
        for name, value in settings.items():
            if isinstance(value, str) and (found := _CORES.fullmatch(value)):
                settings[name] = int(found[1]) * cores
        if check.experiment is None:
            return _made(f"{side} of {check.name!r} at {scale}", Trial, settings)
        return _coded(f"{check.name!r}", check.experiment, settings, check.server)


# Settings of which a file may have none: it may come from a stranger.
_OF_A_PERSON = ("allow_remote", "counters_folder")


def _made(what: str, make: Callable[..., Made], settings: Mapping[str, Any]) -> Made:
    """Return what `make` makes of settings that stand in a file."""
    for name in settings:
        if name.rpartition(".")[2] in _OF_A_PERSON:
            raise refusal("of-a-person", what=what, name=name)
    try:
        return make(**settings)
    except (BadInput, TypeError) as error:
        raise BadInput(f"{what}: {error}") from None


def _check_server(what: str, settings: Settings | None) -> None:
    _made(what, HttpServer, settings or {})


def _check_measure(check: Check, experiment: str | None) -> None:
    if experiment is None:
        if not check.measure.startswith(parts.EFFECTIVE):
            stats.metric(check.measure)
        return
    check_known(f"experiment of {check.name!r}", experiment, EXPERIMENTS)
    check_known(f"measure of {check.name!r}", check.measure, EXPERIMENTS[experiment]["figures"])


def _coded(what: str, experiment: str, settings: Settings, server: Settings | None) -> Coded:
    """Return a coded experiment; raises `BadInput` for a setting that it has not, or misses."""
    _check_server(f"server of {what}", server)
    check_known("experiment", experiment, EXPERIMENTS)
    takes = EXPERIMENTS[experiment]["settings"]
    for name in settings:
        check_known(f"a setting of experiment {experiment!r}", name, [n.strip("?") for n in takes])
    for name in takes:
        if not name.endswith("?") and name not in settings:
            raise BadInput(f"experiment {experiment!r} is called without {name!r}: set it")
    return Coded(name=experiment, settings=settings, server=server)


def parse(text: str, name: str | None = None) -> StudyFile:
    """Return the study that this TOML states; `name` is that of its file, without .toml.

    Raises `BadInput`, which names the place in the file and what is wrong there.
    """
    where = f"{name}.toml" if name else "the study"
    try:
        data = tomllib.loads(text)
        claims = data.get("claim")
        for claim in claims if isinstance(claims, list) else ():
            checks = claim.get("check", [{}]) if isinstance(claim, dict) else None
            if not isinstance(checks, list) or not all(isinstance(one, dict) for one in checks):
                continue  # it is refused below, with its place
            # The fields of a claim's only check may stand in the claim itself, and a further regime
            # states what differs from the first that is measured; what is published is of that one.
            own = {*Claim.__struct_encode_fields__}
            whole = {name: claim.pop(name) for name in [*claim] if name not in own}
            first: dict[str, Any] = next((one for one in checks if "not_testable" not in one), {})
            same = {name: value for name, value in first.items() if name != "published"}
            claim["check"] = [
                whole | (same if "regime" in one and "not_testable" not in one else {}) | one
                for one in checks
            ]
        study = msgspec.convert(data, StudyFile)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        unknown = re.search(r"unknown field `(.+?)`", str(error))
        every = [*parts.StudyPart.__subclasses__(), *parts.Criterion.__subclasses__()]
        known = [name for part in every for name in part.__struct_encode_fields__]
        nearest = validation.did_you_mean(unknown[1], known) if unknown else ""
        raise BadInput(f"{where} cannot be read: {error}{nearest}") from None
    if name is not None and study.id != name:
        raise BadInput(f"id of {name}.toml is {study.id!r}: it must be {name!r}, as the file")
    return study


def folder() -> Path:
    """Return the folder of the lab's own study files."""
    return paths.data("studies")


def names(where: Path | None = None) -> list[str]:
    """Return the names of the study files in a folder, in order."""
    return sorted(path.stem for path in (where or folder()).glob("*.toml"))


def benchmarks() -> list[StudyFile]:
    """Return the studies that run a published benchmark again."""
    return [one for one in map(load, names()) if one.chart in ("triptych", "throughput", "ratios")]


def load(name: str, where: Path | None = None) -> StudyFile:
    """Return the study called `name`, or in the TOML file of that path.

    Raises `BadInput`, which names the nearest where there is none.
    """
    path = Path(name) if name.endswith(".toml") else (where or folder()) / f"{name}.toml"
    if not path.is_file():
        raise validation.unknown("study", name, names(where))
    return parse(path.read_text(encoding="utf-8"), path.stem)
