"""What is doubted about a measurement, and the verdict that follows."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from factories import arrivals, make_record
from hypothesis import given
from hypothesis import strategies as st
from machines import checks

import labkit
from labkit.record import codes, guards, stalls
from labkit.record import record as records
from labkit.record.codes import CODES, FAILED, INVALID, failed, verdict, with_advice
from labkit.record.record import Counts, Note
from labkit.record.requests import Lateness, Staged
from labkit.spec.trial import Trial


def doubts(settings: dict[str, Any], **changes: Any) -> list[Note]:
    """The notes on a measurement of 100 requests in which all went well, but for `changes`."""
    trial = Trial(**({"requests": 100, "limit": 10} | settings))
    requests = trial.requests
    fine = {"counts": Counts(planned=requests, sent=requests, ok=requests), "wall_s": 1.0}
    notes = guards.find_notes(trial, records.Measurement(**{**fine, **changes}))
    assert CODES.keys() >= {note.code for note in notes}
    return notes


def counts(**changes: Any) -> dict[str, Any]:
    return {"counts": Counts(**{"planned": 100, "sent": 100, "ok": 100, **changes})}


def unsent(n: int) -> dict[str, Any]:
    return counts(sent=100 - n, ok=100 - n, not_sent=n)


def cpu(
    client: float, server: float | None = None, *, waited: float | None = None, wall_s: Any = 9.0
) -> dict[str, Any]:
    """Both processes over a window of `wall_s` seconds, in percent of a core."""
    changes = {"client.cpu_percent": client, "client.waited_percent": waited}
    of_server = records.Server(cpu_percent=server)
    return {"client": make_record(**changes).client, "server": of_server, "wall_s": wall_s}


def lag(late_s: float, n: int | None = None) -> dict[str, Any]:
    """A loop that was late by `late_s` at p99, by half of it at p90 and by a tenth at p50."""
    latency = records.Latency(mean=0.1, p50=0.1, p90=9.0, p99=9.0, p999=9.0, max=9.0)
    late = Lateness(p50=late_s / 10, p90=late_s / 2, p99=late_s, max=9.0, n=n)
    return {"loop_lag_s": late, "latency_s": latency}


def disturbed(**found: Any) -> dict[str, Any]:
    return {"interference": records.Interference(**found)}


def waiting(server: float, wall_s: float = 1.0) -> dict[str, Any]:
    """A server that waited for its core for so many percent of the window."""
    return {"server": records.Server(waited_percent=server), "wall_s": wall_s}


def stalled(wall_s: float, lasted_s: Sequence[float], who: str = "client") -> dict[str, Any]:
    """A side that stood still for so long, once a second."""
    found = [records.Stall(who=who, at_s=float(at), lasted_s=s) for at, s in enumerate(lasted_s)]
    return {"stalls": found, "wall_s": wall_s}


def in_flight(most: int, at_server: int | None = None, **server: Any) -> dict[str, Any]:
    """So many requests in flight at a time, as the client saw it and as the server did."""
    seen = {"timeline": records.Timeline(in_flight=[0, most, 1])}
    return seen | {"server": records.Server(max_in_flight=at_server, **server)}


def schedule(sent: Sequence[int] = (), due: int = 100, **changes: Any) -> dict[str, Any]:
    """What became of a schedule of 100 requests a second, and of stages of `due` each."""
    met = {"name": "", "asked": 100.0, "due": due}
    stages = [Staged(**met, sent=n, achieved_rps=float(n)) for n in sent]
    found = arrivals(**{"rate_rps": 100.0, "achieved_rps": 100.0, **changes})
    return {"arrivals": found, "stages": stages}


def together(
    sent: Sequence[int] = (1, 1),
    took_s: Sequence[float | None] = (1.0, 1.0),
    cpu: Sequence[float] = (1.0, 1.0),
    waited: Sequence[float | None] = (None, None),
    lost: str | None = None,
    **whole: Any,
) -> dict[str, Any]:
    """Clients that sent so many, took so long, used and waited so many percent; one may be lost."""
    found = []
    for n, wall_s, percent, late in zip(sent, took_s, cpu, waited, strict=True):
        used = {"client.cpu_percent": percent, "client.waited_percent": late}
        known = {"wall_s": wall_s, "client": make_record(**used).client}
        found.append(records.OneClient(counts=Counts(planned=n, sent=n, ok=n), **known))
    found[0] = msgspec.structs.replace(found[0], lost=lost)
    return {"clients": found, "wall_s": 9.0} | whole


# Notes

DATABASE = {"target": "postgres"}
MADE = {
    one.__name__: one
    for one in (
        counts,
        unsent,
        cpu,
        lag,
        disturbed,
        waiting,
        stalled,
        in_flight,
        schedule,
        together,
    )
}


def made(changes: dict[str, Any]) -> dict[str, Any]:
    """What was measured, of which some is given as what a function is to make."""
    found: dict[str, Any] = {}
    for name, value in changes.items():
        found |= MADE[name](**value) if name in MADE else {name: value}
    return found


DOUBTED: dict[str, Any] = dict(checks("guards.toml", "doubted"))


@pytest.mark.parametrize("rows", DOUBTED.values(), ids=DOUBTED)
def test_what_is_doubted_and_from_which_value_on(rows: Any) -> None:
    found = [doubts(settings, **made(changes)) for settings, changes, _ in rows]

    assert [" ".join(note.code for note in notes) for notes in found] == [row[-1] for row in rows]


def test_of_a_machine_is_noted_what_kept_its_sides_from_running() -> None:
    found = disturbed(suspended_s=0.1) | cpu(99.0, waited=30.0) | counts(ok=0)
    codes_found = [note.code for note in guards.of_machine(records.Measurement(**found))]
    assert codes_found == ["stalled", "core-lost"]


def test_what_a_latency_means_and_how_late_a_loop_was_are_said() -> None:
    closed, opened = make_record(), make_record(arrivals=arrivals())
    both = [guards.LATENCY[kind] for kind in ("closed", "open")]
    found = [guards.of_latency(one) for one in ([closed], [opened, closed], [])]
    assert found == [both[:1], both, []]
    (late,) = doubts({}, **lag(0.0999))
    assert "was 99.9 ms late (p99), over 10 % of the median latency of 100 ms" in late.message


STALLS = checks("guards.toml", "unasked")["stalls"]


@pytest.mark.parametrize(("settings", "gap_s", "longest_s", "left"), STALLS)
def test_a_stall_is_what_was_not_asked_for(
    settings: Any, gap_s: float, longest_s: float, left: dict[str, float]
) -> None:
    latency = records.Latency(mean=0.1, p50=0.03, p90=0.1, p99=0.1, p999=0.1, max=longest_s)
    stood = stalled(9.0, [0.3]) if settings == DATABASE else stalled(9.0, [gap_s], who="server")
    measured = records.Measurement(counts=counts()["counts"], latency_s=latency, **stood)

    found = stalls.unasked(Trial(requests=100, limit=10, **settings), measured)

    assert {one.who: one.lasted_s for one in found if one.who != "client"} == pytest.approx(left)


def test_a_stall_is_what_lies_in_the_window() -> None:
    s, window = 10**9, (0, 2 * 10**9, 6 * 10**9)
    found = [(0, 2 * s, 2 * s), (1 * s, 3 * s, 2 * s), (3 * s, 5 * s, s), (5 * s, 9 * s, 3 * s)]

    in_window = stalls.within("client", found, window)

    assert [(one.at_s, one.lasted_s) for one in in_window] == [(2.0, 1.0), (3.0, 1.0), (5.0, 1.0)]
    assert stalls.within("client", found, (0, 0, 0)) == []


def test_notes_hold_the_numbers() -> None:
    failed = {"timeout": 1, "reset": 2, "status": 7}
    found = counts(sent=90, not_sent=10, ok=80, failed=failed, statuses={503: 6, 404: 1})

    assert [note.message for note in doubts({}, **found)] == [
        "10 of 100 requests were never sent",
        "10 of 90 requests failed (503: 6, reset: 2, 404: 1, timeout: 1)",
        "11.1 % of the requests failed",
    ]
    (missed,) = doubts({"stages": "2s:100"}, **schedule([100, 95]))
    assert missed.message == ("95 requests a second were sent in stage 2 where 100 were asked for")
    found = stalled(9.0, [0.5, 2.0], who="server")
    assert [note.message for note in doubts({}, **found)] == [
        "the server stood still for 2 s, 1 s after the start, and 1 times more: 2.5 s in all"
    ]


@pytest.mark.parametrize("kind", sorted(guards.FAILURES.keys() - {"other"}))
def test_where_all_failed_the_cause_of_most_is_looked_for_first(kind: str) -> None:
    first, _ = doubts({}, **counts(ok=0, failed={"other": 30, kind: 70}))

    assert first.message.startswith(f"none of 100 requests succeeded ({kind}: 70, other: 30): ")
    assert (guards.FAILURES[kind] or "there is no latency") in first.message
    _, none, *_ = doubts({}, **counts(ok=0, cancelled=100))
    assert none.message.endswith("succeeded (cancelled): " + guards.FAILURES["cancelled"])


NAMES = ("planned", "sent", "not_sent", "repeated", "ok", "cancelled")


@given(st.fixed_dictionaries(dict.fromkeys(NAMES, st.integers(0, 2))), st.integers(0, 2))
def test_conservation_is_two_sums(numbers: dict[str, int], each: int) -> None:
    found = Counts(**numbers, failed={"reset": each, "timeout": each})

    of_items = found.planned == found.sent - found.repeated + found.not_sent
    of_attempts = found.sent == found.ok + 2 * each + found.cancelled

    assert found.failures == 2 * each
    assert found.failed_share == (2 * each / found.sent if found.sent else 0)
    assert found.conserved == (of_items and of_attempts)
    assert ("not-conserved" in {note.code for note in doubts({}, counts=found)}) != found.conserved


EFFECTIVE = checks("guards.toml", "effective")


@pytest.mark.parametrize(("settings", "effective", "doubt"), EFFECTIVE)
def test_what_was_not_in_force(settings: Any, effective: Any, doubt: str | None) -> None:
    expected = [Note(code="not-in-force", message=f"{doubt} was in force")] if doubt else []

    assert doubts(settings, effective=effective) == expected


@pytest.mark.parametrize("saturates", [True, False])
def test_a_trial_saturates_where_nothing_makes_it_wait(saturates: bool) -> None:
    for settings in checks("guards.toml", "saturates")["yes" if saturates else "no"]:
        trial = Trial(requests=100, limit=10, **settings)
        assert (settings, trial.saturates) == (settings, saturates)
        assert Trial.from_dict(trial.to_dict()).saturates == saturates


@pytest.mark.parametrize("kind", ["http", "echo", "postgres"])
def test_the_other_side_may_have_set_the_rate(kind: str) -> None:
    compared, rows = checks("guards.toml", "compared")[kind]
    for client, server, other in rows:
        changes = {"client.cpu_percent": client, "server.cpu_percent": server}
        record = make_record(trial=Trial(target=kind).to_dict(), **changes)

        assert guards.other_side_is_bottleneck(record) == other
        assert guards.compared(record) == compared
    assert guards.compared(make_record(trial={})) == "client"
    changes = {"server.cpu_percent": 95.0, "client.cpu_percent": 50.0}
    full = make_record(**together(cpu=[50.0, 99.0]), **changes)
    assert not guards.other_side_is_bottleneck(full)
    assert guards.other_side_is_bottleneck(msgspec.structs.replace(full, clients=[]))


# Codes and the verdict


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_code_has_its_verdict_and_ends_its_note_in_what_to_do(code: str) -> None:
    one, note = CODES[code], Note(code=code, message="It is so.")
    record = make_record(warnings=[note, Note(code="failures", message="")])

    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
    assert re.fullmatch(r"(?s)\S.*[^.]", one.when)
    assert re.fullmatch(r"[a-z].*[^.]", one.do), "the end of a sentence"
    assert with_advice([note]) == [Note(code=code, message=f"It is so; {one.do}")]
    if one.verdict != "of an arm":
        assert verdict([note]) == one.verdict
        assert verdict(record.warnings) == ("invalid" if one.verdict == "invalid" else "warn")
        assert verdict(reversed(record.warnings)) == verdict(record.warnings)
    assert (code in INVALID) == (one.verdict == "invalid")
    assert failed(record) == (code in FAILED)
    assert {one for one in CODES if codes.has(record, one)} == {code, "failures"}
    assert codes.disturbance(record) == code * (code in INVALID)
    assert codes.by_others(record) == (code in codes.OTHERS)
    # A strategy that blocks its own loop was disturbed by nobody.
    blocked = make_record(warnings=[note], **stalled(9.0, [0.5], who="strategy"))
    assert codes.by_others(blocked) == (code in codes.OTHERS and code != "stalled")


@pytest.mark.parametrize(("changes", "found"), checks("guards.toml", "cores"))
def test_a_core_that_was_lost_disturbs_a_run_of_any_length(changes: Any, found: str) -> None:
    record = make_record(**changes)
    assert codes.disturbance(record) == found
    assert codes.by_others(record) == ("core-lost" in found)


def test_a_whole_run_is_preferred_then_one_that_nobody_spoilt_then_less_steal() -> None:
    def of(percent: float | None, *notes: str) -> Any:
        found = None if percent is None else records.Interference(stolen_percent=percent)
        return make_record(interference=found, warnings=notes)

    runs = [of(0.0, "server-busy"), of(2.0, "server-busy", "steal"), of(9.0, "steal"), of(None)]
    others = [of(9.0), of(None, "steal"), of(9.0, "steal", "worker-lost")]
    unknown = make_record(interference=records.Interference(), warnings=["steal"])
    stolen = [codes.stolen_percent(one) for one in (*runs, *others, unknown)]
    assert stolen == [0, 2, 9, 0, 0, 0, 0, 0]
    stopped, spoilt, (quiet, little, much, _) = of(0.0, "interrupted"), of(0.0, "core-lost"), runs
    found = sorted([much, spoilt, stopped, quiet, little], key=codes.preferred)
    assert [found.index(one) for one in (stopped, spoilt, much, little, quiet)] == [0, 1, 2, 3, 4]


def test_which_codes_give_no_doubt_and_which_spoil_the_figures_alone() -> None:
    listed = checks("guards.toml", "listed")
    assert {code for code in CODES if CODES[code].verdict == "valid"} == {*listed["valid"]}
    assert {*listed["figures_alone"]} == INVALID - FAILED
    assert CODES["rate-missed"].when == "under 99 % of the rate was sent"
    assert "stood still for 0.25 s or more" in CODES["stalled-briefly"].when
    assert verdict([]) == "valid"
    # A code of a newer labkit gives doubt and is left as it is.
    note = Note(code="of-a-newer-labkit", message="It is so.")
    assert (with_advice([note]), verdict([note])) == ([note], "warn")


def test_a_stored_record_is_judged_by_what_its_figures_show_today() -> None:
    lost, left = (Note(code=code, message="-") for code in ("core-lost", "tasks-left-behind"))
    own = {"trial": Trial(target={"kind": "command", "command": "mine {port}"}).to_dict()}
    stored = [make_record(warnings=[lost, left]), make_record(client=None, warnings=[left])]
    old = {"trial": {**stored[0].trial, "target": {"engine": "aiohttp"}}}
    stored += [make_record(**{"client.waited_percent": 60.0}, **more) for more in (old, own)]

    quiet, ended, *waited = (
        {note.code for note in codes.judged_anew(one).warnings} for one in stored
    )
    assert left.code in quiet
    assert lost.code not in quiet
    assert ended == {left.code}
    assert all(lost.code in one for one in waited)


def test_each_code_that_is_written_in_the_package_is_in_the_table() -> None:
    sources = (path.read_text("utf-8") for path in Path(labkit.__file__).parent.rglob("*.py"))
    given = {code for text in sources for code in re.findall(r'Note\(code="([a-z-]+)"', text)}

    assert {"deadline", "tasks-left-behind", "core-shared"} <= given <= set(CODES)
