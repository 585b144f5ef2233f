"""Every code of a note: when it is given, which verdict it makes, what to do; and the verdict.

`CODES` is the table of `data/codes.toml`, which `labkit doctor --guards` prints. A record has the
worst verdict of its notes. `guards` finds the notes and has the thresholds; those of an arm's
repeats are in `stats`.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Literal, cast

import msgspec

from labkit.errors import BadInput
from labkit.record import guards, stalls
from labkit.record.record import Note, Record, Verdict
from labkit.spec.trial import Trial


class Code(msgspec.Struct, frozen=True):
    """One code. `verdict` is of a record that has no other note; `do` ends each note's sentence."""

    code: str
    when: str
    verdict: Verdict | Literal["of an arm"]
    do: str


_LIMITS = {
    name: 100 * value if name.endswith("_SHARE") else value
    for name, value in {**vars(guards), **vars(stalls)}.items()
    if name.isupper()
}
# Every code by its name, those that make a record invalid first; and those of a trial that did not
# do what it was to do.
CODES = {
    code: Code(code, row["when"].format_map(_LIMITS), cast("Any", row["verdict"]), row["do"])
    for code, row in guards.ROWS.items()
}
FAILED = frozenset(guards.TABLE["failed"])
# The codes that make a record invalid.
INVALID = frozenset(name for name, code in CODES.items() if code.verdict == "invalid")
# Those that something else on the machine causes: the same run may well be valid next time.
OTHERS = ("core-lost", "server-core-lost", "stalled", "throttled")
# What the figures of a record show again; other notes are of whoever saw the run.
_OF_FIGURES = CODES.keys() - FAILED - {*guards.TABLE["seen"]}
# What spoilt an invalid record that has no code which this version knows.
UNKNOWN = "invalid"


def verdict(notes: Iterable[Note]) -> Verdict:
    """Return `invalid` if one note makes the record unusable, `warn` if one gives doubt."""
    # A code that this version does not know is of a newer one: it gives doubt.
    given = {CODES[note.code].verdict if note.code in CODES else "warn" for note in notes}
    if "invalid" in given:
        return "invalid"
    return "warn" if "warn" in given else "valid"


def judged_anew(record: Record) -> Record:
    """Return a stored record with the notes and the verdict of today's guards.

    A run that failed stays one. Of a client that was lost, and of what is no trial, the figures
    show no more than the notes say.
    """
    notes = record.warnings
    # Its server may have had another engine: no guard looks at that.
    target = {name: v for name, v in record.trial.get("target", {}).items() if name != "engine"}
    if record.client is not None and "experiment" not in record.trial:
        with suppress(BadInput):  # a setting that there is no longer
            asked = {**record.trial, "target": target}
            allowed = target.get("allow_remote")
            trial = Trial.from_dict(asked, allow_remote=allowed, allow_commands=True)
            found = with_advice(guards.find_notes(trial, record))
            again = _OF_FIGURES | {note.code for note in found}
            notes = [*(note for note in notes if note.code not in again), *found]
    return msgspec.structs.replace(record, warnings=notes, verdict=verdict(notes))


def failed(record: Record) -> bool:
    """Return True if the trial itself failed, and not only its figures are in doubt."""
    return any(note.code in FAILED for note in record.warnings)


def disturbance(record: Record) -> str:
    """Return by its codes what makes the times and CPU of a run not its own; empty for nothing.

    A core that was lost counts in a window of any length: a short one may say so wrongly, and then
    a run is made again, or not compared, in vain.
    """
    found = [note.code for note in record.warnings if note.code in INVALID]
    for side, code in ((record.client, "core-lost"), (record.server, "server-core-lost")):
        waited = side.waited_percent if side else None
        if (waited or 0.0) > guards.CORE_LOST_PERCENT:
            found.append(code)
    if record.verdict == "invalid" and not found:
        return UNKNOWN
    return ", ".join(dict.fromkeys(found))


def by_others(record: Record) -> bool:
    """Return True if a run did what it was to do, and something else on the machine spoilt it.

    A strategy that blocks its own loop does so each time.
    """
    found, blocks = disturbance(record), {one.who for one in record.stalls} == {"strategy"}
    others = [code for code in OTHERS if code != "stalled" or not blocks]
    return any(code in found for code in others) and not failed(record)


def stolen_percent(record: Record) -> float:
    """Return for how much of a run (%) a note says that the host ran other guests; 0 for none.

    It is 0 for a run that failed, whose figures are not those of others.
    """
    noted = any(note.code == "steal" for note in record.warnings) and not failed(record)
    return (record.interference.stolen_percent or 0.0) if noted and record.interference else 0.0


def preferred(record: Record) -> tuple[bool, bool, float]:
    """Return what decides which record of a run that was made again counts: the highest."""
    return not has(record, "interrupted"), not by_others(record), -stolen_percent(record)


def has(record: Record, code: str) -> bool:
    """Return True if the record has a note of this code."""
    return any(note.code == code for note in record.warnings)


def with_advice(notes: Iterable[Note]) -> list[Note]:
    """Return the notes, each with what to do about it at the end of its sentence."""
    return [
        Note(code=note.code, message=f"{note.message.rstrip('.')}; {CODES[note.code].do}")
        if note.code in CODES
        else note
        for note in notes
    ]
