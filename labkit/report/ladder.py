"""`Ladder`: what the ladder gave: a row a rung with its gain, sentences, and a picture.

A gain is taken block by block, a block being one repeat of every rung, and invalid records are left
out of it: a machine that drifts then drifts under both of its sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from statistics import median
from typing import Any, Literal

import msgspec

from labkit import charts, paths, stats
from labkit.record import guards
from labkit.report.file_study import ARM, FileStudy
from labkit.report.html import Table
from labkit.stats import metrics
from labkit.stats.comparisons import times

# Server CPU above which it was the bottleneck; above `guards.SERVER_BUSY_PERCENT` maybe.
BOTTLENECK_PERCENT = 90.0
# The rung that what others made is compared with.
YARDSTICK = "wire"
# Warnings that have a column of their own, or that a rung is there to show.
_SHOWN_ELSEWHERE = ("server-busy", "connector-limit", "client-saturated", "pool-queue")
_MARKS = {"": "", "maybe": "(?)", "server": "(!)"}
_NONE = "-"
# What a rung takes from the row of its arm in the summary.
_OF_SUMMARY = ("n", "verdict", "throughput_rps", "throughput_rps_min", "throughput_rps_max",
               "cpu_us_per_request", "cpu_us_in_kernel", "server_cpu_percent")  # fmt: skip


def bound(server_cpu_percent: float | None) -> Literal["", "maybe", "server"]:
    """Return whether a server that used so much of its core was the bottleneck."""
    busy = server_cpu_percent or 0.0
    if busy > BOTTLENECK_PERCENT:
        return "server"
    return "maybe" if busy > guards.SERVER_BUSY_PERCENT else ""


class Ladder(FileStudy):
    """A ladder that was climbed: `rungs` has a row a rung; `absent` says what brings the others."""

    @cached_property
    def rungs(self) -> list[charts.Rung]:
        """Every rung that ran, in the order of the file."""
        rows = {row[ARM]: row for row in stats.summary_rows(self._summary)}
        by_arm = stats.by_axis(self.records, ARM)
        rates = {arm: metrics.rates(runs) for arm, runs in by_arm.items()}
        found: list[charts.Rung] = []
        for arm in self.file.arms:
            if arm.id not in rows:
                continue
            row, mine = rows[arm.id], by_arm[arm.id]
            against = arm.against or (found[-1].arm if found else "")
            below = rates.get(against, {})
            pairs = [(rate, below.get(block)) for block, rate in rates[arm.id].items()]
            gains = [rate / base for rate, base in pairs if rate and base]
            servers = [one.server for one in mine if one.server]
            failures = [one.warnings[0].message for one in mine if one.throughput_rps is None]
            found.append(
                charts.Rung(
                    arm=arm.id,
                    label=arm.label,
                    why=arm.why,
                    own=not arm.by_others,
                    invalid=sum(one.verdict == "invalid" for one in mine),
                    server_waited_percent=_median(one.waited_percent for one in servers),
                    bound=bound(row["server_cpu_percent"]),
                    against=against if against in rates else None,
                    gain=_median(gains),
                    gain_min=min(gains, default=None),
                    gain_max=max(gains, default=None),
                    failed=sum(one.counts.failures for one in mine),
                    warnings=[code for code in row["warnings"] if code not in _SHOWN_ELSEWHERE],
                    failures=list(dict.fromkeys(failures)),
                    **{name: row[name] for name in _OF_SUMMARY},
                )
            )
        return found

    def summary(self) -> stats.DataFrame:
        """Return one row a rung: medians, and of rate and gain the extremes too."""
        return stats.DataFrame(msgspec.to_builtins(self.rungs))

    def plot(self, kind: str = "ladder") -> charts.Chart:
        """Draw the `ladder`; or, of the lab's own rungs, any kind that a study has."""
        if kind != "ladder":
            own = [one for one in self.records if not one.trial.get("program")]
            return charts.plot(kind, own, self.by)
        return charts.ladder(self.rungs, notes=self.sentences())

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: as a study, with a row a rung and what was missing."""
        missing = [{ARM: name, "install": how} for name, how in self.absent.items()]
        found = {"summary": msgspec.to_builtins(self.rungs), "missing": missing}
        return super().to_dict() | found | {"says": self.sentences()}

    def table(self) -> Table:
        """Return one row a rung; the sentences below."""
        rows = [[cell(one) for cell in _COLUMNS.values()] for one in self.rungs]
        return Table(headers=list(_COLUMNS), rows=rows, says="\n".join(self.sentences()))

    def sentences(self) -> list[str]:
        """Return what the figures mean and how far to trust them."""
        apart = int(self.environment.get("cores_usable") or 0) > 1
        cores = "a core each for client and server" if apart else "client and server on one core"
        took = _median(one.wall_s for one in self.records)
        lasts = f"about {took:.2g} s a run, " if took else ""
        shared = f"{lasts}{self.file.settings.get('limit')} connections, {cores}"
        repeats = max((one.n for one in self.rungs), default=0)
        how = {"n": repeats, "shared": shared if repeats > 1 else shared.capitalize()}
        found = [paths.sentence("rungs" if repeats > 1 else "rungs-once", **how)]
        found.append(paths.sentence("gain", yardstick=YARDSTICK))
        peers = [one for one in self.rungs if not one.own and one.against == YARDSTICK]
        beside = [f"{times(1 / one.gain)} of {one.arm}" for one in peers if one.gain]
        if beside:
            found.append(f"The rung {YARDSTICK} does {_listed(beside)}.")
        for one in self.rungs:
            if one.arm == YARDSTICK and one.cpu_us_per_request and one.cpu_us_in_kernel:
                gain = times(one.cpu_us_per_request / one.cpu_us_in_kernel)
                found.append(paths.sentence("cpu-left", yardstick=YARDSTICK, gain=gain))
        found += self._bottleneck()
        programs = [one.effective.get("program", {}) for one in self.records]
        versions = {one["name"]: one["version"] for one in programs if one}
        if versions:
            named = sorted(versions.items())
            names = [f"{name} {version or '(version not known)'}" for name, version in named]
            found.append(paths.sentence("programs", names=", ".join(names)))
        invalid, runs = sum(one.invalid for one in self.rungs), sum(one.n for one in self.rungs)
        if invalid:
            found.append(paths.sentence("rungs-invalid", n=invalid, of=runs))
        found += [f"{one.arm}: {why.rstrip('.')}." for one in self.rungs for why in one.failures]
        missing = [f"{name} ({install})" for name, install in self.absent.items()]
        return [*found, *([f"Not found, so not run: {', '.join(missing)}."] if missing else [])]

    def _bottleneck(self) -> Iterator[str]:
        """Yield whether the server, or who had its core, may have set some of the rates."""
        busy = guards.SERVER_BUSY_PERCENT
        for which, above in (("server", BOTTLENECK_PERCENT), ("maybe", busy)):
            under = [one for one in self.rungs if one.bound == which]
            if under:
                most = max(one.server_cpu_percent or 0.0 for one in under)
                named = _listed([one.arm for one in under])
                what = paths.sentence(f"bound-{which}", under=named, above=above, most=most)
                yield f"{_MARKS[which]} {what}"
        limit = guards.CONTENDED_PERCENT
        waited = [one for one in self.rungs if (one.server_waited_percent or 0.0) > limit]
        idle = all(one.bound == "" and one.server_cpu_percent is not None for one in self.rungs)
        # A server that has to wait for its core is slow without using much of it.
        if idle and not waited:
            yield paths.sentence("bound-never", most=busy)
        if waited:
            most = max(one.server_waited_percent or 0.0 for one in waited)
            every = len(waited) == len(self.rungs) > 1
            named = "all rungs" if every else _listed([one.arm for one in waited])
            yield paths.sentence("server-waited", under=named, most=most)


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _number(value: float | None) -> str:
    return _NONE if value is None else stats.number(value)


def _range_text(one: charts.Rung, name: str, form: Callable[[float], str]) -> str:
    """Return the range of a figure over the repeats; nothing where there is none."""
    low, high = (getattr(one, f"{name}_{end}") for end in ("min", "max"))
    return f"{form(low)}-{form(high)}" if one.n > 1 and low is not None else ""


def _gain_text(one: charts.Rung) -> str:
    if one.gain is None:
        return _NONE
    # One block alone, where the others are invalid, has no range either.
    several = one.gain_min != one.gain_max
    reach = _range_text(one, "gain", lambda ratio: times(ratio)[1:]) if several else ""
    return f"{times(one.gain)} ({reach})" if reach else times(one.gain)


def _server_text(one: charts.Rung) -> str:
    busy = one.server_cpu_percent
    return _NONE if busy is None else f"{busy:.0f} {_MARKS[one.bound]}".rstrip()


# The table of a ladder: each header, and what makes its cell of a rung.
_COLUMNS: Mapping[str, Callable[[charts.Rung], str]] = {
    "rung": lambda one: one.arm,
    "n": lambda one: str(one.n),
    "requests/s": lambda one: _number(one.throughput_rps),
    "range": lambda one: _range_text(one, "throughput_rps", "{:,.0f}".format) or _NONE,
    "gain": _gain_text,
    "over": lambda one: one.against if one.gain and one.against else _NONE,
    "CPU/request (µs)": lambda one: _number(one.cpu_us_per_request),
    "own + kernel": lambda one: one.cpu_text or _NONE,
    "server CPU (%)": _server_text,
    "failed": lambda one: f"{one.failed:,}",
    "in doubt": lambda one: (
        ", ".join(["invalid"] * (one.verdict == "invalid") + one.warnings) or _NONE
    ),
}
