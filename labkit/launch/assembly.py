"""Records, put together of a measurement and of what the parent knows. Pure, but for their ids."""

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from labkit import paths
from labkit.record import codes, guards, stalls
from labkit.record.record import Counts, Measurement, Note, Record, Server
from labkit.spec.targets import HttpTarget
from labkit.spec.trial import Trial

# The time in the id that was made last.
_made = [datetime.min.replace(tzinfo=UTC)]
# What a target of the lab's own reports of itself.
_IN_FORCE = paths.table("tables.toml")["in_force"]

# Notes on what nobody knows of a client that was lost: how those that it was sending ended.
_UNKNOWN_OF_LOST = ("not-sent", "cancelled", "all-failed")


@dataclass(frozen=True, kw_only=True)
class StudyPosition:
    """Where a trial stands in an experiment; see `Record`."""

    study: str | None = None
    experiment: str | None = None
    axes: dict[str, Any] = field(default_factory=dict)
    arm: int = 0
    repeat: int = 0
    order: int = 0


def record(
    trial: Trial,
    position: StudyPosition,
    started_at: datetime,
    measured: Measurement | None,
    /,
    *,
    reported: Counts | None,
    stats: dict[str, Any] | None,
    window_ns: Sequence[int],
    ended: Sequence[Note],
    **known: Any,
) -> Record:
    """Return the record of a trial; `stats` is what the target reported, `ended` how it ended.

    `known` are fields of the record that the parent knows. Of a client that was lost there is no
    measurement, only what it `reported` last. `window_ns` is the start, the first send and the last
    answer, by the clock of all processes.
    """
    counted = None if trial.workload.warmup else stats  # it counts those of a warm-up, too
    notes, unknown = [*ended], tuple[str, ...]()
    if measured is None:
        taken = reported.planned if reported else 0
        counts = _least(trial.workload.requests or taken, reported, counted)
        measured, unknown = Measurement(counts=counts), _UNKNOWN_OF_LOST
        least = f"at least {counts.sent:,} of {counts.planned:,} requests were sent"
        notes = [Note(code=note.code, message=f"{note.message}; {least}") for note in ended]
    elif any(client.lost for client in measured.clients):
        counts = _least(measured.counts.planned, measured.counts, counted)
        measured = msgspec.structs.replace(measured, counts=counts)
    stats = stats or {}
    measured = _with_counts(trial, measured, stats, window_ns)
    doubts = guards.find_notes(trial, measured)
    notes += [*measured.warnings, *(note for note in doubts if note.code not in unknown)]
    # A target that counts apart reports what was in force in it under that name.
    in_force = {name: stats[name] for name in _IN_FORCE if name in stats}
    in_force |= stats.get("in_force", {})
    fields = msgspec.structs.asdict(measured) | known
    del fields["warnings"]  # they are among the notes
    fields["effective"] = {**measured.effective, "server": in_force if stats else None}
    versions = known["environment"]["versions"] | measured.effective.get("versions", {})
    fields["environment"] = known["environment"] | {"versions": versions}
    counts, wall_s, floor_s = measured.counts, measured.wall_s, known["floor_s"]
    # Nothing to be efficient against without a delay, nor where work was left undone.
    if counts.ok == counts.planned and wall_s and floor_s:
        fields["efficiency"] = floor_s / wall_s
    # Of a program whose requests nobody counted none is known.
    if counts.planned and wall_s:
        fields["throughput_rps"] = counts.ok / wall_s
    return of_run(position, started_at, notes, **fields)


def of_run(
    position: StudyPosition, started_at: datetime, notes: Sequence[Note], **known: Any
) -> Record:
    """Return the record with these fields; its verdict is that of the notes.

    Also of what is no trial of the lab's, a coded experiment or a program of others: then `trial`
    says what was asked for.
    """
    advised = codes.with_advice(notes)
    return Record(
        id=new_id(started_at),
        started_at=started_at.isoformat(timespec="milliseconds"),
        warnings=advised,
        verdict=codes.verdict(advised),
        **asdict(position),
        **known,
    )


def _least(planned: int, reported: Counts | None, stats: dict[str, Any] | None) -> Counts:
    """Return what a client that was lost did at least: its last report is up to 0.1 s old.

    What the server counted beyond it was sent as well, and how it ended is not known. Where a clock
    ends the trial, the last report plans no more than it had sent: the plan grows with what was.
    """
    known = reported or Counts(planned=planned, sent=0, not_sent=planned, ok=0)
    seen = min((stats or {}).get("requests") or 0, planned)
    more = max(seen - known.sent, 0)
    return msgspec.structs.replace(
        known,
        planned=known.planned + max(more - known.not_sent, 0),
        sent=known.sent + more,
        not_sent=max(known.not_sent - more, 0),
        cancelled=known.cancelled + more,
    )


def _with_counts(
    trial: Trial, measured: Measurement, stats: dict[str, Any], window_ns: Sequence[int]
) -> Measurement:
    """Return a measurement with what the target itself reported, and who stood still in it."""
    standstills, server = measured.stalls, measured.server
    if isinstance(trial.target, HttpTarget):
        # This server's own timers say when it stood still, and a gap may be its delays.
        standstills = [stall for stall in standstills if stall.who != "server"]
        standstills += stalls.within("server", stats.get("standstills", ()), window_ns)
    # A client that died took its window with it; what the server counted is still the truth.
    # A target counts what came before as well: nothing of its own counts is known then.
    if stats and trial.workload.warmup is None:
        counted = {name: stats[name] for name in stats.keys() & {*Server.__struct_fields__}}
        # None of them is known where no request was delayed.
        errors_s: dict[str, float | None] = stats.get("delay_error_s", {})
        late_s = {name: value for name, value in errors_s.items() if value is not None}
        counted["delay_error_s"] = late_s or None
        if "cpu_s" in counted and measured.wall_s:  # read by a worker, where the server ran
            counted["cpu_percent"] = round(100 * counted["cpu_s"] / measured.wall_s, 2)
        server = msgspec.structs.replace(server or Server(), **counted)
    whole = msgspec.structs.replace(measured, server=server, stalls=standstills)
    return msgspec.structs.replace(whole, stalls=stalls.unasked(trial, whole))


def new_id(at: datetime) -> str:
    """Return an id that sorts by time: 20261120T101500123-3f9a2c.

    A clock that is set back does not put it before the ids that this process made already.
    """
    _made[0] = at = max(at, _made[0] + timedelta(milliseconds=1))
    return f"{at:%Y%m%dT%H%M%S}{at.microsecond // 1000:03d}-{secrets.token_hex(3)}"
