"""What a study file consists of: its sources, scales, arms, checks and claims. Values only.

`study_file` puts them together. What is read is valid in itself: a band has its lower end first,
and a check names different arms.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from labkit.spec import validation

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]
Text = Annotated[str, Meta(min_length=1)]
Positive = Annotated[float, Meta(gt=0, le=1e15)]
Share = Annotated[float, Meta(gt=0, le=1)]
Seconds = Annotated[float, Meta(ge=0.01, le=60)]
Settings = dict[str, str | int | float | bool]
# One side of a check: the id of an arm, several, or the settings of one.
#
# Without a pattern: msgspec 0.22 may crash at exit where a union holds a text with one.
Side = str | list[str] | Settings
Take = Literal["smallest", "largest", "spread", "slope"]
# How the id of an arm ends that runs in the software of then.
THEN = "@then"
# A measure that starts so is a setting as it was in force; true counts as 1.
EFFECTIVE = "effective."


class StudyPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what a file consists of."""


class Source(StudyPart, frozen=True, kw_only=True):
    """Who published it, when and where; `code` is the address of the programs, where known."""

    author: Text
    year: Annotated[int, Meta(ge=1990, le=2100)] | None = None
    url: Text | None = None
    code: Text | None = None

    @property
    def short(self) -> str:
        """Author and year, as far as they are known."""
        return ", ".join(str(one) for one in (self.author, self.year) if one)

    @property
    def text(self) -> str:
        """Author, year and address, as far as they are known."""
        return f"{self.short}: {self.url}" if self.url else self.short


class Scale(StudyPart, frozen=True, kw_only=True):
    """How much is run, and that it takes about so many `minutes`.

    `time_factor` multiplies the server's delays, `requests_factor` the requests. An arm with a rate
    (`rps`) is sized to last `seconds`. `settings` hold for every arm that does not set its own.
    """

    about: Text = "The study as its file says."
    repeats: validation.Repeats
    minutes: Positive | None = None
    seconds: Seconds | None = None
    time_factor: Share = 1.0
    requests_factor: Share = 1.0
    settings: Settings = {}


class Environment(StudyPart, frozen=True, kw_only=True):
    """The software of the source's year: its Python (the lab's own, where not given), its packages.

    `programs` is the folder of `data/programs` that has the clients of then, written for them.
    `originals` are settings that the source's own programs need: what is written into these.
    """

    python: Text | None = None
    packages: tuple[Text, ...] = ()
    programs: Name
    originals: Settings = {}


class Figures(StudyPart, frozen=True, kw_only=True, omit_defaults=True):
    """Published figures of one arm; None where the source gives none.

    `peak_rss_kb` is in KB as `/usr/bin/time` prints them, 1,024 bytes each; CPU is of one core;
    `rps` is requests per second.
    """

    peak_rss_kb: Positive | None = None
    wall_s: Positive | None = None
    cpu_percent: Positive | None = None
    cpu_user_s: Positive | None = None
    rps: Positive | None = None


class Spot(StudyPart, frozen=True, kw_only=True):
    """Where a chart of throughput shows an arm: its panel, its group there, its colour."""

    panel: Text
    group: Text
    bar: Text


class Arm(StudyPart, frozen=True, kw_only=True):
    """What is run: a trial (`settings`), a coded `experiment`, or a `program` that others wrote.

    `label` is the source's name for it, `why` what it changes, `remark` what to know of it. `own`:
    the source does not have it, and `peer`: a library of others in a trial of ours. `chart` false
    leaves it out of table and chart: it is run to judge by. `scales` are those at which it runs
    (all, where not given). An arm with a guessed rate `rps` lasts the scale's `seconds`, with
    `max_requests` at most; `against` names the arm that its gain is over. Without the module or
    program `needs` it cannot run, and `install` brings it. `then` is the program of then that does
    the same, and `original` the source's own, with their arguments.
    """

    id: Name
    label: str = ""
    why: str = ""
    settings: Settings = {}
    experiment: Name | None = None
    server: Settings | None = None
    program: Name | None = None
    then: Text | None = None
    original: Text | None = None
    published: Figures | None = None
    own: bool = False
    peer: bool = False
    chart: bool = True
    remark: Text | None = None
    spot: Spot | None = None
    scales: tuple[Name, ...] = ()
    rps: Annotated[float, Meta(gt=0, le=1e8)] | None = None
    max_requests: Annotated[int, Meta(ge=1)] | None = None
    against: Name | None = None
    needs: Text | None = None
    install: Text | None = None

    def __post_init__(self) -> None:
        is_program, late = (
            self.program is not None,
            bool(self.scales) and "paper" not in self.scales,
        )
        faults = {
            "arm-runs-two": is_program and self.experiment is not None,
            "arm-rps": is_program and self.rps is None,
            "arm-published": self.published is not None and (self.own or late),
        }
        validation.refuse_first(faults, arm=self, scales=list(self.scales))

    @property
    def by_others(self) -> bool:
        """Return whether it is a program or a library that others made, in the ladder."""
        return self.peer or self.program is not None

    def runs_at(self, scale: str) -> bool:
        """Return True if it runs at this scale."""
        return not self.scales or scale in self.scales


class Criterion(StudyPart, frozen=True, kw_only=True):
    """Which number is judged, of which arms, and by which band: see `Check`."""

    says: str = ""
    measure: str = ""
    of: Side = {}
    to: Side | None = None
    take: Take | None = None
    at_least: float | None = None
    at_most: float | None = None
    published: Positive | None = None


class At(Criterion, frozen=True, kw_only=True):
    """What is different about a check at one scale.

    `settings` are those of its arms; `of.` or `to.` before a name means one side alone.
    `undecidable` says why this scale cannot decide it. The others replace what the check says: a
    small scale judges by what shows there. With `measure` or a bound both bounds are replaced, and
    with `measure` or `of` what was published too.
    """

    settings: Settings = {}
    undecidable: Text | None = None
    despite_disturbance: bool | None = None


class Check(Criterion, frozen=True, kw_only=True):
    """One number, and the band in which it counts for the claim; without a band it only informs.

    Each check of a claim with a band is a `regime`, with a verdict of its own: the setting in which
    the sentence is looked at ('the server waits 20 ms'). `not_testable` stands in place of all else
    and says why it cannot be looked at here.

    The number is `measure` (a metric, a figure of the experiment, or `effective.` and a setting) of
    the arm `of`, with `to` its ratio to that of the arm `to`. A side is the id of an arm or the
    settings of one; both sides then share `shared`, `experiment` and `server`, and a text 'cores*2'
    is a multiple of the cores that can be used. With a list in `of`, `take` says what is made of
    the arms: the smallest, the largest, the spread (largest over smallest), or of two arms the
    slope, the difference of the measure for each further request; with `to`, less the slope of
    those. Between two arms that are written as settings it is the slope from `of` to `to`. `exact`:
    every run must lie in the band. `published` is the source's own figure in the metric's base
    unit. `despite_disturbance` says that others on the client's core can only move the number out
    of the band: then a disturbed run inside of it counts. `at` holds what is
    different at a scale. Raises `BadInput`.
    """

    regime: str = ""
    not_testable: str = ""
    experiment: Name | None = None
    server: Settings | None = None
    shared: Settings = {}
    exact: bool = False
    despite_disturbance: bool = False
    at: dict[Name, At] = {}

    def __post_init__(self) -> None:
        ends = [end for end in (self.at_least, self.at_most) if end is not None]
        low, high = self.band
        # With a list, `take` says what is made of it: a slope of two arms, the rest of one list.
        sides = [side for side in (self.of, self.to) if side]
        lists = [side for side in sides if isinstance(side, list)]
        if self.take == "slope":
            written = isinstance(self.of, dict) and isinstance(self.to, dict)
            fits = written or (len(lists) == len(sides) and {*map(len, lists)} == {2})
        elif self.take is None:
            fits = not lists
        else:
            fits = self.to is None and len(lists) == 1 and len(lists[0]) > 1
        faults = {
            "check-measure": bool(self.measure) == bool(self.not_testable),
            "check-band": not all(map(math.isfinite, ends)) or ends != sorted(ends),
            "check-exact": self.exact and (self.is_ratio or not ends),
            "check-published": self.published is not None and not low <= self.published <= high,
            "check-sides": not fits,
            "check-arms": len(set(self.arms)) < len(self.arms),
            "check-server": self.server is not None and self.experiment is None,
        }
        validation.refuse_first(faults, check=self, low=low, high=high)

    @property
    def name(self) -> str:
        """Return what the check is called in an error."""
        return self.says or self.measure or self.regime

    @property
    def arms(self) -> list[str]:
        """Return the ids of the arms that it names."""
        sides = [[side] if isinstance(side, str) else side for side in (self.of, self.to)]
        return [name for side in sides if isinstance(side, list) for name in side]

    @property
    def decides(self) -> bool:
        """Return whether a verdict follows from it: it has a band, or says why there is none."""
        return bool(self.not_testable) or self.at_least is not None or self.at_most is not None

    @property
    def band(self) -> tuple[float, float]:
        """Return the lowest and the highest number that count for the claim."""
        low = -math.inf if self.at_least is None else self.at_least
        return low, math.inf if self.at_most is None else self.at_most

    @property
    def is_ratio(self) -> bool:
        """Return whether one value is divided by another."""
        return self.take == "spread" or (self.to is not None and self.take != "slope")

    def at_scale(self, scale: str) -> Check:
        """Return the check as it is judged at this scale."""
        here, usual = self.at.get(scale, At()), At()
        names = {*At.__struct_fields__} - {"settings", "undecidable"}
        given = {n: value for n in names if (value := getattr(here, n)) != getattr(usual, n)}
        if not given:
            return self
        if here.of:
            given = {"to": None, "take": None} | given
        if here.measure or here.at_least is not None or here.at_most is not None:
            given |= {"at_least": here.at_least, "at_most": here.at_most}
        if here.measure or here.of:
            given["published"] = here.published
        return msgspec.structs.replace(self, **given)


class Claim(StudyPart, frozen=True, kw_only=True):
    """What a source claims, in the lab's own words, and how it is checked.

    A claim is one sentence, so it has one measure and one band. Its first check is the source's own
    regime and the claim's verdict; each further regime has a verdict of its own, and states only
    what differs from the first. A claim of a single check may hold the fields of the check itself.
    `source` names one source or more, comma between (all, where not given), `remark` says how its
    checks are to be read. Raises `BadInput`.
    """

    id: Name
    says: Text
    source: Text | None = None
    remark: Text | None = None
    checks: list[Check] = msgspec.field(name="check", default_factory=list)

    def __post_init__(self) -> None:
        decisive = [check for check in self.checks if check.decides]
        names = [check.regime for check in decisive]
        measured = [one for one in decisive if one.measure]
        faults = {
            "claim-check": not any(check.decides for check in self.checks[:1]),
            "claim-regimes": len(names) > 1 and (len(names) > len({*names}) or not all(names)),
            "claim-bands": len({(one.measure, one.take, one.band, one.exact) for one in measured})
            > 1,
            "claim-says": len({(one.says, one.regime) for one in self.checks}) < len(self.checks),
        }
        validation.refuse_first(faults, claim=self, names=names)


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A check at one scale, with the ids of the arms that it compares.

    `undecidable` is why this scale cannot decide it; empty where it can. `instead` says that the
    scale has a measure or a band of its own.
    """

    check: Check
    instead: bool = False
    of: tuple[str, ...] = ()
    to: tuple[str, ...] = ()
    undecidable: str = ""
