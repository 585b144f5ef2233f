"""Several clients of one trial -> one measurement. Pure; takes one client after another.

Counts are added, and histograms bucket by bucket: a percentile is that of all requests, and never a
mean of percentiles. All times are put on one axis, whose 0 is the first start of a client. What
lasts is the window from the first send of any client to the last answer to any.

The plan of the timelines. Each client took its rows at moments of its own. So all are read on one
even grid, with as many rows as the longest of them has: at each moment the last row of each client
counts, and what a client uses is nothing once it has ended. Columns wait as arrays of doubles, a
fifth of what lists of numbers take, since the grid is known last.
"""

import operator
from array import array
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat, zip_longest
from typing import Any, TypeVar

import msgspec

from labkit.record import histogram
from labkit.record.guards import CONTENDED_PERCENT, noted
from labkit.record.record import Measurement, Note, OneClient, Stall, Timeline
from labkit.record.requests import PHASES, Arrivals, Phase, Phases, Spent, Staged

# Requests with their phases, and errors, that a measurement has at most.
MAX_SAMPLE, MAX_EXAMPLES = 96, 5
# How much two moments may differ that are one.
SAME_S = 1e-9
# Columns that say what is now; others say what was since the row before.
_COUNTED = ("completed", "failed", "in_flight", "received_bytes")
_LEVELS = (*_COUNTED, "client_rss_bytes", "server_rss_bytes")
_OF_SERVER = ("server_rss_bytes", "server_cpu_percent")
_COLUMNS = (*_LEVELS, "client_cpu_percent", "server_cpu_percent", "loop_lag_s")

# Of each client alone, as of all.
_OF_ONE = ("counts", "wall_s", "latency_s", "loop_lag_s")

Struct = TypeVar("Struct", bound=msgspec.Struct)


@dataclass(kw_only=True)
class Part:
    """What one of the clients measured.

    It was started `starts_s` after the first one; `with_server` says that the server was to run on
    the same core. `place` is the worker of a cluster that ran it: there it began up to `apart_s`
    later, by a clock of its own. `lost` says how it died: then only its counts are known.
    """

    measured: Measurement
    starts_s: float = 0.0
    with_server: bool = False
    place: str | None = None
    apart_s: float = 0.0
    lost: str | None = None

    @property
    def span_s(self) -> tuple[float, float] | None:
        """Return its first send and its last answer on the axis of all; None where none was."""
        client, wall_s = self.measured.client, self.measured.wall_s
        if client is None or wall_s is None:
            return None
        first_s = self.starts_s + (client.to_first_send_s or 0.0)
        return first_s, first_s + wall_s


def merged(parts: Iterable[Part], *, scheduled: bool = False) -> Measurement:
    """Return the measurement of all clients together, in the order of their shares.

    With `scheduled`, a schedule decides when each sends first: their starts show the skew then.
    """
    lines, whole = list[_Line](), list[Part]()
    sums = defaultdict[str, dict[int, int]](lambda: defaultdict(int))
    for part in parts:
        for name, counted in part.measured.histograms.items():
            total = sums[name]
            for bucket, n in counted.items():  # half of what `update` of a Counter takes
                total[bucket] += n
        if part.measured.timeline.t_s:
            lines.append(_line(part.starts_s, part.measured.timeline))
        small: dict[str, Any] = {"timeline": Timeline(), "latency_hdr": None, "histograms": {}}
        whole.append(replace(part, measured=msgspec.structs.replace(part.measured, **small)))
    measured = [one.measured for one in whole]
    longest = max(measured, key=lambda one: one.wall_s or 0.0)
    spans = [one.span_s for one in whole if one.span_s]
    first_s, last_s = min((a for a, _ in spans), default=0.0), max((b for _, b in spans), default=0)
    moments = [one.starts_s for one in whole if one.span_s] if scheduled else [a for a, _ in spans]
    clients, crowding = _by_client(whole, first_s)
    apart_s = max(one.apart_s for one in whole)
    counts, wall_s = combined([one.counts for one in measured]), last_s - first_s
    lags = [one.loop_lag_s for one in measured if one.loop_lag_s is not None]
    returned = [one.returned for one in measured]
    peaks = [one.server.peak_rss_bytes or 0 for one in measured if one.server]
    assert counts is not None
    used = [one.client for one in clients if one.client]
    cpu_s = sum(one.cpu_user_s + one.cpu_system_s for one in used)
    return Measurement(
        counts=counts,
        wall_s=wall_s or None,
        client=combined(
            used,
            waited_percent=max,
            to_first_send_s=min,
            core_idle_s=max,
            cpu_percent=lambda _: round(100 * cpu_s / wall_s, 2),
            cpu_us_per_request=lambda _: round(1e6 * cpu_s / counts.sent, 3),
        ),
        # The target as the client with the longest window saw it, its peak as any saw it.
        server=longest.server
        and msgspec.structs.replace(longest.server, peak_rss_bytes=max(peaks) or None),
        latency_s=histogram.summary(sums["latency"]),
        latency_hdr=histogram.to_hdr(sums["latency"]),
        loop_lag_s=max(lags, key=lambda lag: lag.p99, default=None),
        arrivals=_arrivals(measured, sums),
        phases=_phases([one.phases for one in measured if one.phases], sums),
        received=combined([one.received for one in measured]),
        # All have the same requests in the same order; one that was lost has none.
        requests=[
            msgspec.structs.replace(
                same[0],
                ok=sum(one.ok for one in same),
                failed=sum(one.failed for one in same),
                latency_s=histogram.summary(sums[same[0].request]),
            )
            for same in zip(*(one.requests for one in measured if one.requests), strict=True)
        ],
        warmup=combined([one.warmup for one in measured], wall_s=max),
        stages=[*map(_stage, zip_longest(*(one.stages for one in measured)))],
        timeline=_timeline(lines),
        effective=_effective([one.effective for one in measured if one.effective]),
        # They share a machine, or a core of it: the worst that one of them saw.
        interference=combined([one.interference for one in measured], max),
        stalls=[one for n, part in enumerate(whole) for one in _stalls(n, part, longest)],
        warnings=[*_warnings(measured), *crowding],
        first_errors=[*chain(*(one.first_errors for one in measured))][:MAX_EXAMPLES],
        returned=returned if any(one is not None for one in returned) else None,
        clients=clients,
        start_skew_s=max(moments) - min(moments) + apart_s if moments else None,
    )


def combined(
    found: Iterable[Struct | None],
    how: Callable[[list[Any]], Any] | None = None,
    /,
    **fields: Callable[[list[Any]], Any],
) -> Struct | None:
    """Return a struct of which each field is the sum of that of all, what `how` or its own makes.

    Numbers by name are added name by name. What is None of all stays that. None of none.
    """
    known = [one for one in found if one is not None]
    values = dict[str, Any]()
    for name in known[0].__struct_fields__ if known else ():
        of_all = [value for one in known if (value := getattr(one, name)) is not None]
        values[name] = fields.get(name, how or _sum)(of_all) if of_all else None
    return type(known[0])(**values) if known else None


def _sum(values: list[Any]) -> Any:
    if not isinstance(values[0], dict):
        return sum(values)
    return dict(sum(map(Counter, values), Counter[Any]()))


def _by_client(parts: Sequence[Part], first_s: float) -> tuple[list[OneClient], list[Note]]:
    """Return each client for the record, and a note where they waited for each other's core.

    Of those on one core no more of the waiting is called that of others than others have used of
    the core: its time, without its idle time and the CPU of those that are measured.
    """
    used_s = defaultdict[tuple[int, ...], float](float)
    for part in parts:
        if client := part.measured.client:
            on = tuple(part.measured.effective.get("cores") or ())
            used_s[on] += client.cpu_user_s + client.cpu_system_s
    found, waited = list[OneClient](), 0.0
    for part in parts:
        one, client, span_s = part.measured, part.measured.client, part.span_s
        cores = one.effective.get("cores")
        if client and client.core_idle_s is not None and one.wall_s and cores:
            server = one.server if part.with_server else None
            known_s = client.core_idle_s + used_s[tuple(cores)] + ((server and server.cpu_s) or 0.0)
            others = max(round(100 * (len(cores) - known_s / one.wall_s), 2), 0.0)
            of_others = min(client.waited_percent or 0.0, others)
            waited = max(waited, (client.waited_percent or 0.0) - of_others)
            client = msgspec.structs.replace(client, waited_percent=of_others)
        same = {name: getattr(one, name) for name in _OF_ONE}
        first = span_s[0] - first_s if span_s else None
        same |= {"cores": cores, "place": part.place, "lost": part.lost}
        found.append(OneClient(**same, client=client, first_send_s=first))
    cores = ", ".join(map(str, sorted({core for one in found for core in one.cores or ()})))
    note = noted("clients-crowded", clients=len(parts), cores=cores, percent=waited)
    return found, [note] if waited > CONTENDED_PERCENT else []


def _arrivals(
    measured: Sequence[Measurement], sums: Mapping[str, Mapping[int, int]]
) -> Arrivals | None:
    # Each compares its own sends with its own part of the schedule.
    rates = [(one.arrivals.achieved_rps, one.counts.sent) for one in measured if one.arrivals]
    met = [(rate * sent, sent) for rate, sent in rates if rate is not None]
    return combined(
        [one.arrivals for one in measured],
        rate_rps=max,
        achieved_rps=lambda _: sum(one for one, _ in met) / sum(sent for _, sent in met),
        lateness_s=lambda _: histogram.lateness(sums["late"]),
        latency_s=lambda _: histogram.summary(sums["due"]),
        latency_hdr=lambda _: histogram.to_hdr(sums["due"]),
    )


def _phases(found: Sequence[Phases], sums: Mapping[str, Mapping[int, int]]) -> Phases | None:
    def phase(name: str) -> Phase:
        of_each = [(getattr(one.spent_s, name), one.n) for one in found]
        sum_s, longest_s = sum(a.mean * n for a, n in of_each), max(a.max or 0 for a, _ in of_each)
        of = sum(n for _, n in of_each)
        return histogram.phase(sums[name], sum_s=sum_s, longest_s=longest_s, of=of)

    def sample(samples: list[Any]) -> Any:
        listed = sorted(chain(*samples), key=lambda one: one.began_s)
        return listed[:: -(-len(listed) // MAX_SAMPLE) or 1]

    return combined(found, spent_s=lambda _: Spent(**{n: phase(n) for n in PHASES}), sample=sample)


def _stage(of_all: Iterable[Staged | None]) -> Staged:
    """Return one stage of the schedule, in which those clients are that came to it."""
    same = [one for one in of_all if one is not None]
    due, sent, asked = sum(one.due for one in same), sum(one.sent for one in same), same[0].asked
    rps = asked * sent / due if due else sum(one.achieved_rps for one in same)
    return msgspec.structs.replace(same[0], due=due, sent=sent, achieved_rps=rps)


def _effective(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what was in force in the first, with the cores and the connections of all."""
    cores = sorted({core for one in found for core in one.get("cores") or ()})
    first = found[0] if found else {}
    transport = {**first.get("transport", {})}
    for name in {"connections_opened", "lookups"} & transport.keys():
        transport[name] = sum(one["transport"][name] for one in found)
    return {**first, "cores": cores or None, "transport": transport}


def _stalls(number: int, part: Part, longest: Measurement) -> Iterator[Stall]:
    """Yield who stood still of one client; its server as the one with the longest window saw it."""
    for one in part.measured.stalls:
        if one.who != "server" or part.measured is longest:
            at_s = None if one.at_s is None else one.at_s + part.starts_s
            yield msgspec.structs.replace(one, client=number, at_s=at_s)


def _warnings(measured: Sequence[Measurement]) -> list[Note]:
    """Return the notes of the clients, each once, with the first client that has it."""
    first = dict[Note, int]()
    for number, one in enumerate(measured):
        for note in one.warnings:
            first.setdefault(note, number)
    return [Note(code=one.code, message=f"client {n}: {one.message}") for one, n in first.items()]


# When the rows of a timeline were taken, and its columns, each behind a 0.
_Line = tuple["array[float]", dict[str, "array[float]"]]


def _line(starts_s: float, found: Timeline) -> _Line:
    values: dict[str, list[Any]] = {name: getattr(found, name) for name in _COLUMNS}
    columns = {
        name: array("d", [0, *(of if None not in of else [one or 0 for one in of])])
        for name, of in values.items()
        if any(one is not None for one in of)
    }
    return array("d", [starts_s + at - SAME_S for at in found.t_s]), columns


def _timeline(lines: Sequence[_Line]) -> Timeline:
    """Return one timeline of all; see the plan above."""
    if not lines:
        return Timeline()
    longest, rows = max(lines, key=lambda one: one[0][-1]), max(len(t_s) for t_s, _ in lines)
    grid = [(longest[0][-1] + SAME_S) * row / max(rows - 1, 1) for row in range(rows)]
    total, known = {name: [0.0] * rows for name in _COLUMNS}, {*_COLUMNS}
    for t_s, columns in lines:
        known &= columns.keys()
        # Place 0 is the 0: of what is no level, before the first row and behind the last one.
        # Before its first row a level is that row's: the process is there, and waits to begin.
        now = [*map(bisect_right, repeat(t_s), grid)]
        end = bisect_right(grid, t_s[-1] + 2 * SAME_S)
        used = now[:end] + [0] * (rows - end)
        there = [max(one, 1) for one in now]
        levels, others = (operator.itemgetter(*at, 0) for at in (there, used))
        for name in columns if t_s is longest[0] else columns.keys() - _OF_SERVER:
            seen = (levels if name in _LEVELS else others)(columns[name])
            add = max if name == "loop_lag_s" else operator.add
            total[name] = list(map(add, total[name], seen))
    found: dict[str, list[Any]] = {name: [None] * rows for name in _COLUMNS}
    found |= {n: [round(one, None if n in _LEVELS else 6) for one in total[n]] for n in known}
    return Timeline(t_s=[round(at, 4) for at in grid], **found)
