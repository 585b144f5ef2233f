"""Records to test with: plausible, consistent in themselves, and measured by nobody."""

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from hdrh.histogram import HdrHistogram

from labkit.launch.assembly import StudyPosition
from labkit.launch.preflight import Ready
from labkit.profiler.callgraph import Call, Function
from labkit.record.record import Note, Record, Timeline
from labkit.record.requests import PHASES, Arrivals, Latency, Lateness, Phase, Phases, Spent, Traced
from labkit.spec.trial import Trial
from labkit.studies import study_file

HOUR_US = 3_600 * 10**6
REQUESTS = 100_000
# Study files to test with.
STUDIES = Path(__file__).parent / "studies"
# A record of 100,000 requests by `task_pool`; its numbers agree with each other.
RECORD = Path(__file__).parent / "data" / "record.json"


def encoded(latencies_us: Iterable[int]) -> str:
    """Encode latencies in microseconds as a record has them."""
    return histogram(latencies_us).encode().decode("ascii")


def histogram(latencies_us: Iterable[int]) -> HdrHistogram:
    """Record latencies in microseconds one by one."""
    recorded = HdrHistogram(1, HOUR_US, 3)
    for latency_us in latencies_us:
        recorded.record_value(latency_us)
    return recorded


def make_record(
    *,
    settings: Mapping[str, Any] | None = None,
    latencies_us: Iterable[int] | None = None,
    **changes: Any,
) -> Record:
    """Return a valid record of 100,000 requests, with `changes` by field name.

    A dotted name changes one field of a part (`**{"process.peak_rss_bytes": 1}`); `settings` are
    those of `Trial`; `latencies_us` fill the histogram; of a warning its code is enough.
    """
    record = _record(tuple((settings or {}).items()))
    if latencies_us is not None:
        changes["latency_hdr"] = encoded(latencies_us)
    notes = changes.pop("warnings", ())
    changes["warnings"] = [Note(code=n, message=n) if isinstance(n, str) else n for n in notes]
    whole = {name: value for name, value in changes.items() if "." not in name}
    record = msgspec.structs.replace(record, **whole)
    for dotted, value in changes.items():
        part, dot, name = dotted.partition(".")
        if dot:
            changed = msgspec.structs.replace(getattr(record, part), **{name: value})
            record = msgspec.structs.replace(record, **{part: changed})
    return record


def arrivals(**changes: Any) -> Arrivals:
    """Return what became of a schedule of 650 requests a second, with `changes`."""
    usual: dict[str, Any] = {
        "rate_rps": 650.0,
        "achieved_rps": 649.0,
        "late": 3,
        "dropped": 0,
        "lateness_s": Lateness(p50=0.0002, p99=0.0006, max=0.002),
        "latency_s": Latency(mean=1.6, p50=1.002, p90=3.1, p99=3.2, p999=3.3, max=3.4),
        "latency_hdr": encoded([1_000, 1_001_000, 2_001_000, 3_001_000]),
    }
    return Arrivals(**{**usual, **changes})


def phases(requests: int = 40, *, queue_s: float = 0.0, **changes: Any) -> Phases:
    """Return phases of requests that took 10 ms each, the first also 30 ms to connect."""
    steady_s = {"prepare": 0.0001, "queue": queue_s, "send": 0.0002, "wait": 0.009}
    steady_s |= {"read": 0.0005, "release": 0.0002}
    once_s = {"dns": 0.02, "connect": 0.01}
    spent = {name: _phase(steady_s.get(name, 0.0), requests, requests) for name in PHASES}
    spent |= {name: _phase(s, 1, requests) for name, s in once_s.items()}
    sample = [
        Traced(
            item=item,
            began_s=0.01 * item,
            spent_s=[(steady_s | ({} if item else once_s)).get(name, 0.0) for name in PHASES],
            reused=item > 0,
        )
        for item in range(requests)
    ]
    found = Phases(n=requests, spent_s=Spent(**spent), opened=1, lookups=1, sample=sample)
    return msgspec.structs.replace(found, **changes)


def _phase(seconds: float, n: int, requests: int) -> Phase:
    if not seconds:
        return Phase(n=0, mean=0.0)
    return Phase(n=n, mean=seconds * n / requests, p50=seconds, p99=seconds, max=seconds)


@functools.cache  # records are frozen, and properties make many
def _record(settings: tuple[tuple[str, Any], ...]) -> Record:
    usual = {"strategy": "task_pool", "limit": 1_000, "delay": "randint(0,3)"}
    trial = Trial(**{**usual, "requests": REQUESTS, **dict(settings)})
    record = msgspec.json.decode(RECORD.read_bytes(), type=Record)
    n, slots = trial.requests, trial.slots
    changed = msgspec.structs.replace
    counts = changed(record.counts, planned=n, sent=n, ok=n)
    seen = {"max_in_flight": slots, "connections_opened": slots, "bytes_out": 94 * n}
    received = changed(record.received, bodies=n, wire_bytes=94 * n, decoded_bytes=13 * n)
    return changed(
        record,
        trial=trial.to_dict(),
        effective={"python": "3.13.1", "loop": trial.loop},
        counts=counts,
        throughput_rps=n / 153.0,
        client=changed(record.client, cpu_us_per_request=50e6 / n),
        server=changed(record.server, requests=n, **seen),
        received=received,
        timeline=timeline(trial, wall_s=153.0),
    )


def timeline(trial: Trial, *, wall_s: float, rows: int = 120) -> Timeline:
    """Return a steady run: memory rises and levels off, requests complete at an even pace."""
    t_s = [wall_s * row / (rows - 1) for row in range(rows)]
    slots = min(trial.slots, trial.requests)
    shares = [row / (rows - 1) for row in range(rows)]
    return Timeline(
        t_s=t_s,
        completed=[round(trial.requests * share) for share in shares],
        in_flight=[0 if share in (0, 1) else slots for share in shares],
        client_rss_bytes=[round(58e6 - 20e6 * 0.8**row) for row in range(rows)],
        client_cpu_percent=[None, *(30.0 + row % 7 for row in range(1, rows))],
        server_rss_bytes=[round(61e6 - 15e6 * 0.9**row) for row in range(rows)],
        server_cpu_percent=[None, *(20.0 + row % 5 for row in range(1, rows))],
        loop_lag_s=[0.001 + 0.002 * (row % 11 == 0) for row in range(rows)],
    )


def make_study(
    arms: Mapping[str, Mapping[str, float]], *, repeats: int = 5, spread: float = 0.02
) -> list[Record]:
    """Return `repeats` interleaved records of each strategy in `arms`, changed by dotted name.

    Repeat k of a number is it times 1 + `spread` * (k - middle) / middle.
    """
    records = []
    for repeat in range(repeats):
        middle = max((repeats - 1) / 2, 0.5)
        factor = 1 + spread * (repeat - (repeats - 1) / 2) / middle
        for strategy, changes in arms.items():
            scaled = {name: type(value)(value * factor) for name, value in changes.items()}
            records.append(
                make_record(
                    settings={"strategy": strategy},
                    id=f"20261120-120000-{len(records):06}",
                    study="20261120-120000-study",
                    axes={"strategy": strategy},
                    repeat=repeat,
                    order=len(records),
                    **scaled,
                )
            )
    return records


_NUMBERS = itertools.count()


async def recorded(
    ready: Ready, *, position: StudyPosition, keep: Callable[[Record], object], **_: Any
) -> Record:
    """Stand in for `launcher.run`: a study's trials are checked, and their records made up."""
    placed = {name: getattr(position, name) for name in ("study", "axes", "arm", "repeat", "order")}
    number = f"20261120T120000-{next(_NUMBERS):06}"
    record = make_record(id=number, trial=ready.trial.to_dict(), phases=phases(), **placed)
    keep(record)
    return record


load_study = functools.cache(study_file.load)  # that of the claims takes most of a second to read


def make_function(
    name: str, total_s: float, *called: Call, coroutine: bool = True, **changes: Any
) -> Function:
    """Return a function of a call graph, of which the own time is what the called ones leave."""
    function = Function(
        name=name,
        file=f"/x/site-packages/{name}.py",
        line=7,
        coroutine=coroutine,
        calls=4,
        total_s=total_s,
        self_s=total_s - sum(one.total_s for one in called),
        called=called,
    )
    return msgspec.structs.replace(function, **changes)


def call(callee: int, total_s: float, self_s: float = 0.0, calls: int = 1) -> Call:
    """Return the calls of a function of a call graph by another."""
    return Call(callee=callee, calls=calls, total_s=total_s, self_s=self_s)
