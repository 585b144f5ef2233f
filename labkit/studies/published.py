"""Published benchmarks: TOML text -> `Benchmark`, and a scale -> the trials that run it again.

A benchmark is data: adding one takes a file in `data/published` and no code. Here are the format
and its checks; a benchmark that exists is valid, trials included. Nothing is run here, and nothing
judged (that is in `claims`). Only `names` and `named` read the disk.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta

from labkit import paths
from labkit.errors import BadInput
from labkit.spec import validation
from labkit.spec.trial import Trial

SCALES = ("smoke", "workshop", "paper")
MIN_REPEATS = 3
"""Repeats, of fresh processes each, below which no relation is decided."""

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]
Text = Annotated[str, Meta(min_length=1)]
Positive = Annotated[float, Meta(gt=0, le=1e15)]
ScaleName = Annotated[str, Meta(pattern=f"^({'|'.join(SCALES)})$")]
Settings = dict[str, str | int | float | bool]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what a file consists of."""


class Relation(_Part, frozen=True, kw_only=True):
    """What a source states, as a number and the band in which it counts as true.

    The number is the metric `measure` (a name of `stats`) of row `of`; with `to` its ratio to that
    of row `to`; with a list in `of` what `take` makes of it: the smallest, the largest, or the
    spread (largest over smallest). `published` is the source's own figure, in the metric's base
    unit. `undecidable` says, by scale, why that scale cannot decide it. Raises `BadInput`.
    """

    id: Name
    says: Text
    measure: Text
    of: Name | list[Name]
    to: Name | None = None
    take: Literal["smallest", "largest", "spread"] | None = None
    published: Positive | None = None
    at_least: float | None = None
    at_most: float | None = None
    undecidable: dict[ScaleName, Text] = {}

    def __post_init__(self) -> None:
        several = not isinstance(self.of, str)
        least = 2 if several or self.to is not None else 1
        if several != (self.take is not None) or (several and self.to is not None):
            raise BadInput(
                f"of of {self.id} is {self.of!r}, with to {self.to!r} and take {self.take!r}: name "
                "one row (and another in to, for a ratio), or a list of rows and what to take of it"
            )
        if not least <= len(self.rows) == len(set(self.rows)):
            raise BadInput(f"of of {self.id} names {self.rows!r}: name different rows, each once")
        self._check_band()

    def _check_band(self) -> None:
        ends = [end for end in (self.at_least, self.at_most) if end is not None]
        if not ends or not all(map(math.isfinite, ends)) or ends != sorted(ends):
            raise BadInput(
                f"the band of {self.id} is {self.at_least!r} to {self.at_most!r}: set at_least, "
                "at_most or both, to finite numbers, the lower one first"
            )
        low, high = self.band
        if self.published is not None and not low <= self.published <= high:
            raise BadInput(
                f"published of {self.id} is {self.published!r}, outside its band of {low} to "
                f"{high}: the source's own figure must agree with it; widen the band"
            )

    @property
    def rows(self) -> list[str]:
        """The rows that are compared."""
        of = [self.of] if isinstance(self.of, str) else list(self.of)
        return of if self.to is None else [*of, self.to]

    @property
    def band(self) -> tuple[float, float]:
        """The lowest and the highest value that agree."""
        low = -math.inf if self.at_least is None else self.at_least
        return low, math.inf if self.at_most is None else self.at_most

    @property
    def is_ratio(self) -> bool:
        """Whether one value is divided by another."""
        return self.to is not None or self.take == "spread"


class Source(_Part, frozen=True, kw_only=True):
    """Who published it, when and where; `code` is the address of the programs, where known."""

    author: Text
    year: Annotated[int, Meta(ge=1990, le=2100)]
    url: Text
    code: str | None = None


class Scale(_Part, frozen=True, kw_only=True):
    """How much of the published run is repeated, and what that takes: `minutes` for all of it.

    `time_factor` multiplies the server's delays, `requests_factor` the requests. `settings` hold
    for every row that does not set its own.
    """

    about: Text
    repeats: Annotated[int, Meta(ge=MIN_REPEATS, le=1_000)]
    minutes: Positive
    time_factor: Annotated[float, Meta(gt=0, le=1)] = 1.0
    requests_factor: Annotated[float, Meta(gt=0, le=1)] = 1.0
    settings: Settings = {}


class Scales(_Part, frozen=True, kw_only=True):
    """Every benchmark has all three; `paper` is the published run, as far as it can be repeated."""

    smoke: Scale
    workshop: Scale
    paper: Scale


class Figures(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """Published figures of one row; None where the source gives none.

    `peak_rss_kb` is in KB as `/usr/bin/time` prints them, 1,024 bytes each; CPU is of one core;
    `rps` is requests per second.
    """

    peak_rss_kb: Positive | None = None
    wall_s: Positive | None = None
    cpu_percent: Positive | None = None
    cpu_user_s: Positive | None = None
    rps: Positive | None = None


class Spot(_Part, frozen=True, kw_only=True):
    """Where the bar of a row stands in a chart of throughput: the panel, the group, its colour."""

    panel: Text
    group: Text
    bar: Text


class Row(_Part, frozen=True, kw_only=True):
    """One published client, or with `own` one that the source does not have.

    `label` is the source's name for it. `scales` are those at which it runs. `spot` is where a
    chart of throughput shows it.
    """

    id: Name
    label: Text
    settings: Settings
    published: Figures | None = None
    own: bool = False
    remark: str | None = None
    spot: Spot | None = None
    scales: Annotated[tuple[ScaleName, ...], Meta(min_length=1)] = SCALES

    def __post_init__(self) -> None:
        if self.published is not None and (self.own or "paper" not in self.scales):
            raise BadInput(
                f"row {self.id!r} has published figures with own {self.own!r} and scales "
                f"{list(self.scales)!r}: such a row is the source's, and runs at scale paper"
            )


class Benchmark(_Part, frozen=True, kw_only=True):
    """A published benchmark: where it stands, the trials that run it again, and what it claims.

    `base` are the settings that all rows share, in the names that `Trial` takes. `chart` is what
    its chart and its table show: triptych (memory, time and CPU) or throughput (requests per
    second, for which every row has a `spot`). Raises `BadInput`.
    """

    id: Name
    title: Text
    about: Text
    source: Source
    notes: list[Text]
    chart: Literal["triptych", "throughput"] = "triptych"
    base: Settings = msgspec.field(name="trial")
    scales: Scales = msgspec.field(name="scale")
    all_rows: list[Row] = msgspec.field(name="row")
    relations: list[Relation] = msgspec.field(name="relation")

    def __post_init__(self) -> None:
        _check_once("row", [row.id for row in self.all_rows])
        _check_once("relation", [relation.id for relation in self.relations])
        ids = [row.id for row in self.all_rows]
        for name, row in [(one.id, row) for one in self.relations for row in one.rows]:
            if row not in ids:
                raise validation.unknown(f"a row of relation {name}", row, ids)
        self._check_spots()
        for scale in SCALES:
            self.arms(scale)

    def _check_spots(self) -> None:
        for row in self.all_rows:
            if (row.spot is not None) != (self.chart == "throughput"):
                raise BadInput(
                    f"row {row.id!r} has the spot {row.spot!r} with chart {self.chart!r}: every "
                    "row has one where chart is 'throughput', and none elsewhere"
                )

    def scale(self, name: str) -> Scale:
        """The scale called `name`; raises `BadInput`."""
        if name not in SCALES:
            raise validation.unknown("scale", name, SCALES)
        return cast("Scale", getattr(self.scales, name))

    def repeats(self, scale: str) -> int:
        """How often each row runs."""
        return self.scale(scale).repeats

    def rows(self, scale: str) -> list[Row]:
        """The rows that run at `scale`, in the order of the file."""
        self.scale(scale)
        return [row for row in self.all_rows if scale in row.scales]

    def arms(self, scale: str) -> list[tuple[dict[str, Any], Trial]]:
        """What `plan.interleave` takes: the axes that name each row, and its trial."""
        return [({"row": row.id}, self.trial(row, scale)) for row in self.rows(scale)]

    def trial(self, row: Row, scale: str) -> Trial:
        """The trial of a row; its own settings come before the scale's, those before the base's."""
        chosen = self.scale(scale)
        settings = {**self.base, **chosen.settings, **row.settings}
        if "delay" in settings and chosen.time_factor != 1:
            settings["delay"] = f"{settings['delay']}*{chosen.time_factor:g}"
        requests = settings.get("requests")
        if isinstance(requests, int) and chosen.requests_factor != 1:
            settings["requests"] = max(round(requests * chosen.requests_factor), 1)
        try:
            return Trial(**settings)
        except BadInput as error:
            raise BadInput(f"row {row.id!r} at scale {scale}: {error}") from None

    def relations_at(self, scale: str) -> list[Relation]:
        """The relations, with the reason where one needs a row that does not run at `scale`."""
        absent = {row.id: row for row in self.all_rows if row not in self.rows(scale)}
        return [_explained(relation, scale, absent) for relation in self.relations]

    def published(self) -> list[dict[str, Any]]:
        """The published figures as plain data: row, label, requests then, and each figure."""
        return [
            {"row": row.id, "label": row.label, "requests": self.trial(row, "paper").requests}
            | msgspec.to_builtins(row.published)
            for row in self.all_rows
            if row.published is not None
        ]


def _check_once(what: str, ids: list[str]) -> None:
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise BadInput(f"{what} id {twice[0]!r} is there twice: give each {what} its own id")


def _explained(relation: Relation, scale: str, absent: Mapping[str, Row]) -> Relation:
    missing = [absent[row] for row in relation.rows if row in absent]
    if not missing:
        return relation
    reason = f"row {missing[0].id} runs only at scale {', '.join(missing[0].scales)}"
    return msgspec.structs.replace(relation, undecidable={scale: reason} | relation.undecidable)


def load(text: str, name: str) -> Benchmark:
    """The benchmark in the TOML `text` of the file `name`.toml.

    Raises `BadInput`, which names the place in the file and what is wrong there.
    """
    try:
        benchmark = msgspec.convert(tomllib.loads(text), Benchmark)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadInput(f"{name}.toml is no benchmark: {error}{_nearest(str(error))}") from None
    if benchmark.id != name:
        raise BadInput(f"id of {name}.toml is {benchmark.id!r}: it must be {name!r}, as the file")
    return benchmark


def _nearest(message: str) -> str:
    match = re.search(r"unknown field `(.+?)`", message)
    parts = (Benchmark, Source, Scale, Scales, Figures, Spot, Row, Relation)
    known = [name for part in parts for name in part.__struct_encode_fields__]
    return validation.did_you_mean(match[1], known) if match else ""


def folder() -> Path:
    """Where the files lie."""
    return paths.data("published")


def names(where: Path | None = None) -> list[str]:
    """The benchmarks that there are, in order; `where` is another folder than `folder()`."""
    return sorted(path.stem for path in (where or folder()).glob("*.toml"))


def named(name: str, where: Path | None = None) -> Benchmark:
    """The benchmark called `name`, or in the TOML file of that path.

    Raises `BadInput`, which names the nearest where there is none.
    """
    path = Path(name) if name.endswith(".toml") else (where or folder()) / f"{name}.toml"
    if not path.is_file():
        raise validation.unknown("benchmark", name, names(where))
    return load(path.read_text(encoding="utf-8"), path.stem)
