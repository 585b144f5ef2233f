"""`Climb`: what a ladder gave, with its table, its sentences and its picture. It runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from labkit import charts, stats
from labkit.record import guards
from labkit.record.record import Record
from labkit.report.study import Outcome
from labkit.report.tables import Table
from labkit.studies.ladder import Reading, Rung
from labkit.studies.standings import BOTTLENECK_PERCENT, Bound, Spread, Standing, standings

if TYPE_CHECKING:
    import pandas as pd

    from labkit.charts import Bar, Chart

_HEADERS = ("rung", "n", "requests/s", "range", "gain", "over", "CPU/request (µs)")
_YARDSTICK = "wire"
_NONE = "-"


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """Under what a ladder was climbed.

    `apart` says whether client and server had a core each, `versions` are those of the programs of
    others (None: it does not tell).
    """

    connections: int
    seconds: float
    repeats: int
    seed: int
    apart: bool
    server: dict[str, Any]
    environment: dict[str, Any]
    versions: dict[str, str | None]


class Climb(Outcome):
    """A ladder that was climbed: `standings` has a row a rung, `readings` a row a repeat of one."""

    def __init__(
        self,
        rungs: Sequence[Rung],
        readings: Sequence[Reading],
        records: Sequence[Record],
        conditions: Conditions,
        missing: Sequence[Rung] = (),
    ) -> None:
        super().__init__(records, ["rung"])
        self.conditions, self.missing = conditions, list(missing)
        places = [rung.id for rung in rungs]
        self.readings = sorted(readings, key=lambda one: (places.index(one.rung), one.order))
        self.standings = standings(rungs, self.readings)

    def frame(self) -> pd.DataFrame:
        """The tidy DataFrame: one row a rung and repeat, in base units."""
        import pandas as pd

        rows = [msgspec.to_builtins(reading) for reading in self.readings]
        return pd.DataFrame(rows, columns=list(Reading.__struct_fields__))

    def summary(self) -> pd.DataFrame:
        """One row a rung: medians, and of rate and gain the extremes too."""
        import pandas as pd

        return pd.DataFrame([_flat(one) for one in self.standings])

    def plot(self, kind: str = "ladder") -> Chart:
        """`ladder`; or, of the lab's own rungs, any kind that a study has."""
        if kind != "ladder":
            return charts.plot(kind, self.records, self.by, self._frame)
        return charts.ladder([_bar(one) for one in self.standings], notes=self.says())

    def text_table(self) -> Table:
        """One row a rung; the sentences below."""
        headers = [*_HEADERS, "server CPU (%)", "failed", "in doubt"]
        rows = [_row(one) for one in self.standings]
        return Table(headers=headers, rows=rows, says="\n".join(self.says()))

    def says(self) -> list[str]:
        """What the figures mean and how far to trust them, in sentences."""
        return [
            _conditions(self.conditions),
            f"Gain (×) is over the step before, and for what others made over {_YARDSTICK}: the "
            "median over the blocks.",
            *_yardstick(self.standings),
            *_bottleneck(self.standings),
            *_contention(self.standings),
            *_programs(self.conditions),
            *_failures(self.standings),
            *_missing(self.missing),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: conditions, a row a rung, every reading, the lab's own records."""
        return {
            "conditions": msgspec.to_builtins(self.conditions),
            "summary": [_flat(one) for one in self.standings],
            "readings": msgspec.to_builtins(self.readings),
            "missing": [{"rung": rung.id, "install": rung.install} for rung in self.missing],
            "says": self.says(),
            "records": [record.to_dict() for record in self.records],
        }


def _flat(one: Standing) -> dict[str, Any]:
    """A standing as one flat row, named as summaries of studies are."""
    data = msgspec.structs.asdict(one)
    for name in ("throughput_rps", "gain"):
        spread: Spread | None = data[name]
        data[name] = spread and spread.median
        data[f"{name}_min"] = spread and spread.least
        data[f"{name}_max"] = spread and spread.most
    return data


def _row(one: Standing) -> list[str]:
    rate, several = one.throughput_rps, one.n > 1
    return [
        one.rung,
        str(one.n),
        _NONE if rate is None else stats.number(rate.median),
        f"{_whole(rate.least)}-{_whole(rate.most)}" if rate and several else _NONE,
        gain(one.gain, spread=several),
        one.against if one.gain and one.against else _NONE,
        _NONE if one.cpu_us_per_request is None else stats.number(one.cpu_us_per_request),
        _busy(one),
        f"{one.failed:,}",
        ", ".join([one.verdict] * (one.verdict == "invalid") + one.warnings) or _NONE,
    ]


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _busy(one: Standing) -> str:
    mark = {"": "", "maybe": " (?)", "server": " (!)"}[one.bound]
    return _NONE if one.server_cpu_percent is None else f"{one.server_cpu_percent:.0f}{mark}"


def gain(ratio: Spread | None, *, spread: bool = False) -> str:
    """Such as '×2.9', with its range '×2.9 (2.7-3.1)'; a dash where it is not known."""
    if ratio is None:
        return _NONE
    # One block alone, where the others are invalid, has no range either.
    several = spread and ratio.least < ratio.most
    reach = f" ({_times(ratio.least)}-{_times(ratio.most)})" if several else ""
    return f"×{_times(ratio.median)}{reach}"


def _times(value: float) -> str:
    return f"{value:.2g}" if value < 0.1 else f"{value:.2f}" if value < 2 else f"{value:.1f}"


def _bar(one: Standing) -> Bar:
    rate = one.throughput_rps
    return charts.Bar(
        label=one.label,
        own=one.own,
        rate=rate.median if rate else None,
        reach=(rate.least, rate.most) if rate else None,
        gain=gain(one.gain) if one.gain else "",
        over="" if one.own else one.against or "",
        cpu_us=one.cpu_us_per_request,
        bound=one.bound,
    )


def _conditions(under: Conditions) -> str:
    cores = "a core each for client and server" if under.apart else "client and server on one core"
    shared = f"about {under.seconds:g} s a rung, {under.connections:,} connections, {cores}"
    if under.repeats == 1:
        return f"One run of each rung: nothing is known of the spread. {shared.capitalize()}."
    return f"Medians of {under.repeats} repeats, interleaved in random order; {shared}."


def _yardstick(rungs: Sequence[Standing]) -> Iterable[str]:
    """How the lab's own plain client stands beside each of the others."""
    beside = [
        f"×{_times(1 / one.gain.median)} of {one.rung}"
        for one in rungs
        if one.gain and not one.own and one.against == _YARDSTICK
    ]
    if beside:
        yield f"The rung {_YARDSTICK} does {_listed(beside)}."


def _bottleneck(rungs: Sequence[Standing]) -> Iterable[str]:
    for bound, least, sentence in _BOUND:
        under = [one for one in rungs if one.bound == bound]
        if under:
            most = max(one.server_cpu_percent or 0.0 for one in under)
            named = _listed([one.rung for one in under])
            yield sentence.format(named=named, least=least, most=most)
    # A server that has to wait for its core is slow without using much of it.
    idle = all(one.bound == "" and one.server_cpu_percent is not None for one in rungs)
    if idle and not _contended(rungs):
        yield (
            f"The server was never the bottleneck: it used {guards.SERVER_BUSY_PERCENT:.0f} % of "
            "its core at most."
        )


_BOUND: tuple[tuple[Bound, float, str], ...] = (
    (
        "server",
        BOTTLENECK_PERCENT,
        "(!) The server was the bottleneck under {named} (above {least:.0f} % of its core, up to "
        "{most:.0f} %): these clients could do more.",
    ),
    (
        "maybe",
        guards.SERVER_BUSY_PERCENT,
        "(?) The server may have been the bottleneck under {named} (above {least:.0f} % of its "
        "core, up to {most:.0f} %).",
    ),
)


def _contention(rungs: Sequence[Standing]) -> Iterable[str]:
    under = _contended(rungs)
    if under:
        most = max(one.server_waited_percent or 0.0 for one in under)
        named = "all rungs" if len(under) == len(rungs) > 1 else _listed([o.rung for o in under])
        yield (
            f"Other processes had the server's core for up to {most:.0f} % of the time (under "
            f"{named}): with it to itself it could have answered more."
        )


def _contended(rungs: Sequence[Standing]) -> list[Standing]:
    """The rungs under which the server had to wait for its core."""
    limit = guards.CONTENDED_PERCENT
    return [one for one in rungs if (one.server_waited_percent or 0.0) > limit]


def _programs(under: Conditions) -> Iterable[str]:
    if under.versions:
        told = [f"{name} {version or '(version not told)'}" for name, version in _sorted(under)]
        yield (
            f"Programs of others: {', '.join(told)}. Their rates are their own counts; their CPU "
            "is that of the whole process, less what it takes to start."
        )


def _sorted(under: Conditions) -> list[tuple[str, str | None]]:
    return sorted(under.versions.items())


def _failures(rungs: Sequence[Standing]) -> Iterable[str]:
    invalid, all_ = sum(one.invalid for one in rungs), sum(one.n for one in rungs)
    if invalid:
        yield (
            f"{invalid} of {all_} readings are invalid and make no gain: where it is 'core-lost', "
            "end what else runs on this machine and climb again."
        )
    for one in rungs:
        for why in one.says:
            yield f"{one.rung}: {why}."


def _missing(rungs: Sequence[Rung]) -> Iterable[str]:
    if rungs:
        named = [f"{rung.id} ({rung.install})" for rung in rungs]
        yield f"Not found, so not climbed: {', '.join(named)}."


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
