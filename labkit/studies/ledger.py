"""The ledger's claims: TOML text -> `Claims`, and a scale -> the arms that check each of them.

A claim is data: adding one takes an entry in `data/claims.toml`, and code only where no trial and
no experiment that is there fits. Here are the format and its checks; a claim that exists can be
run. Nothing is run here, and nothing judged (that is in `findings`). Only `load` reads the disk.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from labkit import paths, stats
from labkit.errors import BadInput
from labkit.spec import parts, validation
from labkit.spec.experiments import EXPERIMENTS
from labkit.spec.trial import Trial

SCALES = ("smoke", "workshop", "paper")
EFFECTIVE = "effective."
"""A measure that starts so is a setting of the transport as it was in force; true counts as 1."""

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]
Text = Annotated[str, Meta(min_length=1)]
Settings = dict[str, str | int | float | bool]
Side = Literal["of", "to"]

_CORES = re.compile(r"cores\*([1-9][0-9]?)")
_MANY = 2
"""Cores that a file is checked with; how many there are decides nothing about its form."""


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what the file consists of."""


class Arm(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """What one process measures: a trial's settings, or an experiment in code and its own.

    `server` are the settings of a synthetic server that an experiment needs.
    """

    experiment: str | None = None
    settings: Settings = {}
    server: Settings | None = None

    @property
    def key(self) -> str:
        """The same for arms that are the same, whichever claim they are of."""
        return msgspec.json.encode(self, order="sorted").decode()

    def trial(self) -> Trial:
        """The trial, where it is one. Raises `BadInput`."""
        assert self.experiment is None
        return Trial(**self.settings)


class Check(_Part, frozen=True, kw_only=True):
    """One number, and the band in which it counts for the claim; without a band it is only told.

    The number is `measure` (a metric of `stats`, a figure of the `experiment`, or `effective.` and
    a setting of the transport) of the arm `of`; with `to` its ratio to that of the arm `to`. Both
    arms have the settings `shared` and those of the scale, in which `of.` or `to.` before a name
    means one arm alone. A text 'cores*2' stands for a multiple of the cores that can be used.
    `exact`: every single run must lie in the band. Raises `BadInput`.
    """

    says: Text
    measure: Text
    experiment: Name | None = None
    server: Settings | None = None
    shared: Settings = {}
    of: Settings = {}
    to: Settings | None = None
    at_least: float | None = None
    at_most: float | None = None
    exact: bool = False
    smoke: Settings = {}
    workshop: Settings = {}
    paper: Settings = {}

    def __post_init__(self) -> None:
        self._check_measure()
        self._check_band()
        if self.server is not None:
            if self.experiment is None:
                raise BadInput(
                    f"server of {self.says!r} is set, but only an experiment in code takes one: "
                    "a trial starts its own; leave it out"
                )
            parts.Server(**dict[str, Any](self.server))
        for scale in SCALES:
            self._check_arms(scale)

    def _check_measure(self) -> None:
        if self.experiment is None:
            if not self.measure.startswith(EFFECTIVE):
                stats.metric(self.measure)
            return
        if self.experiment not in EXPERIMENTS:
            raise validation.unknown(f"experiment of {self.says!r}", self.experiment, EXPERIMENTS)
        figures = EXPERIMENTS[self.experiment]
        if self.measure not in figures:
            raise validation.unknown(f"measure of {self.says!r}", self.measure, figures)

    def _check_band(self) -> None:
        ends = [end for end in (self.at_least, self.at_most) if end is not None]
        if not all(map(math.isfinite, ends)) or ends != sorted(ends):
            raise BadInput(
                f"the band of {self.says!r} is {self.at_least!r} to {self.at_most!r}: set at_least "
                "and at_most to finite numbers, the lower one first"
            )
        if self.exact and (self.to is not None or not ends):
            raise BadInput(
                f"exact of {self.says!r} is true: it belongs to a number with a band, not to a "
                "ratio; leave out one of the two"
            )

    def _check_arms(self, scale: str) -> None:
        sides = self.arms(scale, _MANY)
        if len(sides) == 2 and sides["of"] == sides["to"]:
            raise BadInput(f"of and to of {self.says!r} are the same at {scale}: let them differ")
        for side, arm in sides.items():
            if arm.experiment is None:
                try:
                    arm.trial()
                except BadInput as error:
                    raise BadInput(f"{side} of {self.says!r} at {scale}: {error}") from None

    @property
    def is_ratio(self) -> bool:
        """Whether one arm is divided by another."""
        return self.to is not None

    @property
    def decides(self) -> bool:
        """Whether it has a band to be judged by."""
        return self.at_least is not None or self.at_most is not None

    @property
    def band(self) -> tuple[float, float]:
        """The lowest and the highest number that count for the claim."""
        low = -math.inf if self.at_least is None else self.at_least
        return low, math.inf if self.at_most is None else self.at_most

    def arms(self, scale: str, cores: int) -> dict[Side, Arm]:
        """The arms at a scale, on a machine with so many cores. Raises `BadInput`."""
        sides: dict[Side, Settings] = {"of": self.of}
        if self.to is not None:
            sides["to"] = self.to
        given: Settings = getattr(self, _scale(scale))
        for name in given:
            start, dot, _ = name.partition(".")
            if dot and start in ("of", "to") and start not in sides:
                raise BadInput(f"{name!r} of {self.says!r} at {scale}: there is no such arm")
        return {side: self._arm(own, side, given, cores) for side, own in sides.items()}

    def _arm(self, own: Settings, side: Side, given: Settings, cores: int) -> Arm:
        both = {name: value for name, value in given.items() if name[:3] not in ("of.", "to.")}
        alone = {name[3:]: value for name, value in given.items() if name[:3] == f"{side}."}
        settings = {**self.shared, **both, **own, **alone}
        return Arm(
            experiment=self.experiment,
            settings={name: _counted(value, cores) for name, value in settings.items()},
            server=self.server,
        )


def _counted(value: str | int | float | bool, cores: int) -> str | int | float | bool:
    found = _CORES.fullmatch(value) if isinstance(value, str) else None
    return int(found[1]) * cores if found else value


def _scale(name: str) -> str:
    if name not in SCALES:
        raise validation.unknown("scale", name, SCALES)
    return name


class Claim(_Part, frozen=True, kw_only=True):
    """What a seed claims, in the lab's own words, and how it is checked, or why it cannot be yet.

    It holds where all its checks do, and is refuted where one is. `remark` is how the checks are to
    be read. Raises `BadInput`.
    """

    id: Name
    seed: Text
    says: Text
    needs: Text | None = None
    remark: Text | None = None
    checks: list[Check] = msgspec.field(name="check", default_factory=list)

    def __post_init__(self) -> None:
        decided = any(check.decides for check in self.checks)
        if (self.needs is None) != decided or (self.needs and self.checks):
            raise BadInput(
                f"claim {self.id!r} has needs {self.needs!r} and {len(self.checks)} checks: give "
                "it a check with a band, or say in needs what it waits for"
            )
        said = [check.says for check in self.checks]
        if len(set(said)) < len(said):
            raise BadInput(f"claim {self.id!r} has two checks with the same says: tell them apart")


class Repeats(_Part, frozen=True, kw_only=True):
    """How often each arm runs at each scale, in fresh processes."""

    smoke: validation.Repeats
    workshop: validation.Repeats
    paper: validation.Repeats


class Claims(_Part, frozen=True, kw_only=True):
    """The whole ledger: where each seed is from, and all claims in order. Raises `BadInput`."""

    about: Text
    sources: dict[str, Text] = msgspec.field(name="source")
    repeats: Repeats
    claims: list[Claim] = msgspec.field(name="claim")

    def __post_init__(self) -> None:
        ids = [claim.id for claim in self.claims]
        twice = sorted({one for one in ids if ids.count(one) > 1})
        if twice:
            raise BadInput(f"claim id {twice[0]!r} is there twice: give each claim its own id")
        for claim in self.claims:
            for seed in claim.seed.split(", "):
                if seed not in self.sources:
                    raise validation.unknown(f"seed of claim {claim.id!r}", seed, self.sources)

    def chosen(self, ids: Sequence[str] | None = None) -> list[Claim]:
        """The claims with these ids, or all; in the order of the ledger. Raises `BadInput`."""
        known = [claim.id for claim in self.claims]
        for one in ids or ():
            if one not in known:
                raise validation.unknown("claim", one, known)
        return [claim for claim in self.claims if not ids or claim.id in ids]

    def source_of(self, claim: Claim) -> str:
        """Where a claim is made."""
        return "; ".join(self.sources[seed] for seed in claim.seed.split(", "))

    def repeats_at(self, scale: str) -> int:
        """How often each arm runs at `scale`. Raises `BadInput`."""
        times: int = getattr(self.repeats, _scale(scale))
        return times


def load() -> Claims:
    """The ledger of `data/claims.toml`."""
    return parse(paths.file("claims.toml").read_text(encoding="utf-8"))


def parse(text: str) -> Claims:
    """The ledger that this TOML describes. Raises `BadInput`, which names what is wrong."""
    try:
        return msgspec.convert(tomllib.loads(text), Claims)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadInput(f"the ledger cannot be read: {error}{_nearest(str(error))}") from None


def _nearest(message: str) -> str:
    match = re.search(r"unknown field `(.+?)`", message)
    known: list[str] = [
        name for part in (Claims, Claim, Check, Repeats) for name in part.__struct_encode_fields__
    ]
    return validation.did_you_mean(match[1], known) if match else ""


def listed(claims: Claims) -> list[dict[str, Any]]:
    """Every claim as plain data, before anything is checked."""
    return [
        {
            "id": claim.id,
            "seed": claim.seed,
            "source": claims.source_of(claim),
            "says": claim.says,
            "status": "not yet measurable" if claim.needs else "not checked",
            "needs": claim.needs,
            "checks": [check.says for check in claim.checks],
        }
        for claim in claims.claims
    ]
