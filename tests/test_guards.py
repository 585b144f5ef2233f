"""What is doubted about a measurement, and the verdict that follows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from factories import arrivals, make_record
from hypothesis import given
from hypothesis import strategies as st

import labkit
from labkit.record import codes, guards, stalls
from labkit.record import record as records
from labkit.record.codes import CODES, FAILED, INVALID, failed, interrupted, verdict, with_advice
from labkit.record.record import Counts, Note
from labkit.spec.trial import Trial

FIGURES_ALONE = {
    *("client-full", "core-lost", "rate-lost", "server-core-lost", "stalled", "throttled"),
    "too-late",
}
FOR_INFORMATION = {"client-saturated", "not-stored", "pool-queue"}
FOR_INFORMATION |= {"target-exposed", "target-not-read"}


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
    late = records.LoopLag(p50=late_s / 10, p90=late_s / 2, p99=late_s, max=9.0, n=n)
    return {"loop_lag_s": late, "latency_s": latency}


def disturbed(**found: Any) -> dict[str, Any]:
    return {"interference": records.Interference(**found)}


def waiting(server: float, wall_s: float = 1.0) -> dict[str, Any]:
    """A server that waited for its core for so many percent of the window."""
    return {"server": records.Server(waited_percent=server), "wall_s": wall_s}


def stalled(wall_s: float, *lasted_s: float, who: str = "client") -> dict[str, Any]:
    """A side that stood still for so long, once a second."""
    found = [records.Stall(who=who, at_s=float(at), lasted_s=s) for at, s in enumerate(lasted_s)]
    return {"stalls": found, "wall_s": wall_s}


def in_flight(most: int, at_server: int | None = None, **server: Any) -> dict[str, Any]:
    """So many requests in flight at a time, as the client saw it and as the server did."""
    seen = {"timeline": records.Timeline(in_flight=[0, most, 1])}
    return seen | {"server": records.Server(max_in_flight=at_server, **server)}


def schedule(**changes: Any) -> dict[str, Any]:
    """What became of a schedule of 100 requests a second."""
    return {"arrivals": arrivals(**{"rate_rps": 100.0, "achieved_rps": 100.0, **changes})}


# Notes

DELAYED = {"delay": "0.02"}
ON_PURPOSE = {"delay": "0.02", "saturate": True}
SPARED = {"saturate": False}
ECHO, DATABASE, VALKEY = {"target": "echo"}, {"target": "postgres"}, {"target": "valkey"}
BLOCKING, PIPELINE = VALKEY | {"mode": "blocking"}, VALKEY | {"mode": "pipeline"}
THREADS, OPEN = DATABASE | {"transport": "psycopg"}, {"rate": 100}
LATE, CLOCKED = lag(5.0, n=1_000), {"seconds": 5.0}


DOUBTED = [
    ({}, {}, ""),
    # Nothing is lost, and nothing counted twice.
    ({}, counts(sent=90, not_sent=10, ok=90), "not-sent"),
    ({}, counts(sent=101, ok=101, repeated=1), "items-repeated"),
    ({}, counts(not_sent=1, repeated=1), "items-repeated not-sent"),
    ({}, counts(ok=90, cancelled=10), "cancelled"),
    ({}, counts(ok=99, failed={"reset": 1}), "failures"),
    ({}, counts(ok=98, failed={"reset": 1, "timeout": 1}), "failures failures-many"),
    ({}, counts(ok=90, failed={"reset": 10}), "failures failures-many"),
    ({}, counts(ok=89, failed={"reset": 11}), "failures failures-most"),
    ({}, counts(ok=0, failed={"connect": 100}), "all-failed failures"),
    ({}, counts(ok=0, cancelled=100), "cancelled all-failed"),
    ({}, counts(ok=100, failed={"reset": 1}), "not-conserved failures"),
    # An open workload keeps its schedule; what was dropped is not also called not sent.
    (OPEN, schedule(dropped=1), "dropped"),
    (OPEN, counts(sent=90, not_sent=10, ok=90) | schedule(dropped=10), "dropped"),
    (OPEN, counts(sent=90, not_sent=10, ok=90) | schedule(dropped=9), "not-sent dropped"),
    (DATABASE, cpu(0, 99.0), ""),  # client and server are measured together
    # A full client is late; where the trial means it to be full, that is no news.
    ({}, {"loop_lag_s": LATE["loop_lag_s"]}, ""),  # no latency was measured
    ({}, LATE | cpu(99.0), "client-saturated"),
    ({}, LATE | cpu(76.0, waited=4.0), ""),
    ({}, LATE | cpu(79.5), "loop-lag"),
    (DELAYED, LATE | cpu(85.0), "client-cpu loop-lag"),
    (DELAYED, LATE | cpu(76.0, waited=4.0), "loop-lag"),
    # The limit is 10, as the client and as the server see it; what clients have given up, a server
    # may still work at, and a large body may be read before the server has counted it out.
    ({}, in_flight(10, 10), ""),
    ({}, in_flight(11, 10), "over-limit"),
    ({}, in_flight(10, 11), "over-limit"),
    ({}, in_flight(10, 11, bytes_out=100 << 15), ""),
    ({}, in_flight(10, 11, bytes_out=(100 << 15) - 1), "over-limit"),
    ({"strategy": "gather"}, in_flight(100, 100), ""),
    ({}, in_flight(10, 11) | counts(ok=99, failed={"timeout": 1}), "failures"),
    ({}, in_flight(10, 11) | counts(ok=99, cancelled=1), "cancelled"),
    # What failed took no time, and one query for many rows waits once.
    (DELAYED, {"wall_s": 0.1} | counts(ok=99, failed={"reset": 1}), "failures"),
    (DATABASE | {"query_s": 0.02, "batch": 10}, {"wall_s": 0.1}, ""),
    # Others disturbed both sides.
    ({}, disturbed(), ""),
    ({}, disturbed(core_shared=True), "core-shared"),
    ({}, disturbed(suspended_s=0.05), ""),
    ({}, disturbed(suspended_s=0.1), "stalled"),
]


@pytest.mark.parametrize(("settings", "changes", "expected"), DOUBTED)
def test_what_is_doubted(settings: Any, changes: dict[str, Any], expected: str) -> None:
    assert [note.code for note in doubts(settings, **changes)] == expected.split()


@pytest.mark.parametrize(("settings", "measured", "expected"), [
    (OPEN, lambda n: schedule(late=n), {0: "", 5: "", 6: "late", 20: "late", 21: "too-late"}),
    (OPEN, lambda rps: schedule(achieved_rps=rps), {
        None: "", 99.0: "", 98.9: "rate-missed", 95.0: "rate-missed", 94.9: "rate-lost",
    }),
    # The client is measured: the server is to have time to spare, and the core is the client's.
    ({}, lambda server: cpu(0, server), {None: "", 70.0: "", 70.1: "server-busy"}),
    ({}, lambda waited: cpu(40, waited=waited, wall_s=1.0), {
        0.0: "", 5.0: "", 5.1: "core-contended", 20.0: "core-contended", 20.1: "core-lost",
    }),
    # A side that is seldom busy cannot wait for long.
    ({}, lambda waited: cpu(10, waited=waited, wall_s=1.0), {2.4: "", 2.6: "core-contended"}),
    ({}, lambda waited: cpu(2, waited=waited, wall_s=1.0), {0.9: "", 1.1: "core-contended"}),
    ({}, lambda waited: cpu(2, waited=waited, wall_s=0.9), {5.0: "", 5.1: "core-contended"}),
    ({}, waiting, {
        5.0: "", 5.1: "server-contended", 20.0: "server-contended", 20.1: "server-core-lost",
    }),
    # A clock ends what is in flight and what is taken; a schedule may be behind.
    (CLOCKED, unsent, {11: "", 12: "not-sent"}),
    (CLOCKED | {"strategy": "chunked", "chunk_size": 50}, unsent, {51: "", 52: "not-sent"}),
    (CLOCKED | OPEN, lambda n: unsent(n) | schedule(late=0), {60: ""}),
    # No order of its delays takes less; a window opens late where the first request was late.
    (DELAYED, lambda wall_s: {"wall_s": wall_s}, {0.198: "too-fast", 0.199: "", None: ""}),
    (OPEN, lambda wall_s: schedule() | {"wall_s": wall_s}, {0.978: "too-fast", 0.9785: ""}),
    # A hundredth of the window, but at least 0.25 s and at most 1 s; or a twentieth, in several.
    ({}, lambda found: stalled(*found), {
        (2.0, 0.24): "", (2.0, 0.25): "stalled", (40.0, 0.24): "", (40.0, 0.39): "stalled-briefly",
        (40.0, 0.4): "stalled", (900.0, 0.99): "stalled-briefly", (900.0, 1.0): "stalled",
        (2.0, 0.1, 0.1): "", (2.0, 0.1, 0.15): "stalled", (9.0, *[0.16] * 2): "",
        (9.0, *[0.16] * 3): "stalled",
    }),
    # Too short to lose a core in.
    ({}, lambda wall_s: cpu(0, waited=90.0, wall_s=wall_s), {
        0.99: "core-contended", None: "core-contended",
    }),
    # A client that waits for delays is to have time to spare, unless the trial says otherwise;
    # opening connections fills a window of less than a second.
    (DELAYED, lambda client: cpu(client, wall_s=1.0), {
        79.9: "", 80.0: "client-cpu", 89.9: "client-cpu", 90.0: "client-full",
    }),
    (DELAYED, lambda wall_s: cpu(99.0, wall_s=wall_s), {0.9: "client-cpu", None: "client-cpu"}),
    (ON_PURPOSE, cpu, {79.9: "", 80.0: "client-saturated"}),
    (ON_PURPOSE, lambda client: cpu(client, wall_s=0.9), {99.0: "client-saturated"}),
    ({}, cpu, {95.0: "client-saturated"}),
    (SPARED, cpu, {95.0: "client-full"}),
    # Of an echo the server is measured, so it is to be the bottleneck.
    (ECHO, lambda both: cpu(*both), {
        (90.1, 80.0): "client-busy", (90.0, 80.0): "", (99.0, 99.5): "", (60.0, 99.0): "",
        (60.0, 40.0): "", (99.0, None): "",
    }),
    # The loop's lag is judged at the highest percentile that enough timers support. Free are
    # a tenth of the median, and a timer's millisecond.
    ({}, lambda late: lag(*late), {
        (0.011, 1_000): "", (0.0111, 1_000): "loop-lag", (0.0111, None): "loop-lag",
        (0.0111, 999): "", (0.0222, 100): "loop-lag", (0.0222, 99): "",
        (0.111, 20): "loop-lag", (9.0, 19): "",
    }),
    ({}, lambda stolen: disturbed(stolen_percent=stolen[0], stolen_s=stolen[1]), {
        (1.0, 9.0): "", (1.1, 9.0): "steal", (9.0, 0.02): "", (9.0, 0.03): "steal",
        (9.0, None): "",
    }),
    ({}, lambda found: disturbed(throttled_periods=found[0], throttled_s=found[1]), {
        (0, 0.0): "", (1, 0.01): "throttled", (1, None): "throttled",
    }),
    ({}, lambda drops: disturbed(listen_drops=drops), {0: "", 1: "backlog"}),
])  # fmt: skip
def test_a_doubt_begins_at_a_value(settings: Any, measured: Any, expected: dict[Any, str]) -> None:
    found = {value: doubts(settings, **measured(value)) for value in expected}

    assert {value: " ".join(note.code for note in found[value]) for value in found} == expected


def test_of_a_machine_is_noted_what_kept_its_sides_from_running() -> None:
    found = disturbed(suspended_s=0.1) | cpu(99.0, waited=30.0) | counts(ok=0)
    codes_found = [note.code for note in guards.of_machine(records.Measurement(**found))]
    assert codes_found == ["stalled", "core-lost"]


def test_what_a_latency_means_and_how_late_a_loop_was_are_said() -> None:
    closed, opened = make_record(), make_record(arrivals=arrivals())
    both = [guards.SERVICE_TIME, guards.FELT_TIME]
    found = [guards.of_latency(one) for one in ([closed], [opened, closed], [])]
    assert found == [both[:1], both, []]
    (late,) = doubts({}, **lag(0.0999))
    assert "was 99.9 ms late (p99), over 10 % of the median latency of 100 ms" in late.message


@pytest.mark.parametrize(("expected", "waiting"), [
    ("connector-limit", [
        {"transport.limit": 9}, {"transport.limit_per_host": 9},
        {"transport.limit": 20, "transport.limit_per_host": 9},
        {"transport.limit": 50, "strategy": "gather"},
    ]),
    ("pool-queue", [
        BLOCKING | {"max_connections": 2}, PIPELINE | {"max_connections": 2, "depth": 4},
        DATABASE | {"max_size": 9}, DATABASE | {"mode": "single"}, THREADS | {"threads": 9},
    ]),
    # A pool is meant to make its callers wait; one that raises makes nobody wait.
    ("", [
        {"transport.limit": 10}, {"transport.limit": 9, "session_per_request": True},
        {"transport.limit": 5, "requests": 5}, VALKEY | {"mode": "pool", "max_connections": 2},
        BLOCKING | {"max_connections": 10}, PIPELINE | {"max_connections": 2, "depth": 5},
        DATABASE | {"max_size": 10}, DATABASE | {"mode": "connect"}, THREADS | {"threads": 10},
    ]),
])  # fmt: skip
def test_of_ten_requests_some_wait_inside_the_transport(expected: str, waiting: Any) -> None:
    for settings in waiting:
        assert [note.code for note in doubts(settings)] == expected.split()


@pytest.mark.parametrize(("settings", "expected"), [
    # Its own timers say when it stood still; it may be asked to.
    ({"delay": "9"}, {(5.0, 0.1): 5.0, (0.09, 9.0): None}),
    ({"stall_at": 1, "stall_s": 0.5}, {(0.5, 0.1): None, (0.7, 0.1): 0.2}),
    ({"path": "/fault/stall?seconds=5"}, {(5.0, 0.1): None}),
    # The others show it by gaps, which a database fills with what each query waits.
    ({"target": "echo"}, {(0.3, 9.0): 0.3}),
    ({"target": "postgres", "query_s": 2.0}, {(2.0, 2.0): None, (2.5, 2.0): 0.5}),
    # One of its processes alone shows it by a long request; queued for, no request takes longer
    # than three times the median, and a client that stood still has done so for all.
    ({"target": "postgres"}, {(0.0, 0.9): 0.57, (0.0, 0.4): None}),
    # What a server of the user's own takes is its own affair, up to a second.
    ({"target": "http://127.0.0.1:9"}, {(0.99, 0.9): None, (1.01, 0.9): 1.01}),
])  # fmt: skip
def test_a_stall_is_what_was_not_asked_for(settings: Any, expected: dict[Any, Any]) -> None:
    for (gap_s, longest_s), left_s in expected.items():
        latency = records.Latency(mean=0.1, p50=0.1, p90=0.1, p99=0.1, p999=0.1, max=longest_s)
        found = stalled(9.0, gap_s, who="server") | {"latency_s": latency}
        if settings == {"target": "postgres"}:
            latency = msgspec.structs.replace(latency, p50=0.01)
            found = stalled(9.0, 0.3) | {"latency_s": latency}
        measured = records.Measurement(counts=counts()["counts"], **found)

        left = stalls.unasked(Trial(requests=100, limit=10, **settings), measured)

        assert [one.lasted_s for one in left if one.who == "server"] == (
            [pytest.approx(left_s)] if left_s else []
        )


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
    found = stalled(9.0, 0.5, 2.0, who="server")
    assert [note.message for note in doubts({}, **found)] == [
        "the server stood still for 2 s, 1 s after the start, and 1 times more: 2.5 s in all"
    ]


@pytest.mark.parametrize("kind", [*guards.CAUSES, "reset"])
def test_where_all_failed_the_cause_of_most_is_looked_for_first(kind: str) -> None:
    first, _ = doubts({}, **counts(ok=0, failed={"timeout": 30, kind: 70}))

    assert first.message.startswith(f"none of 100 requests succeeded ({kind}: 70, timeout: 30): ")
    assert guards.CAUSES.get(kind, "there is no latency") in first.message


NAMES = ("planned", "sent", "not_sent", "repeated", "ok", "cancelled")


@given(st.fixed_dictionaries(dict.fromkeys(NAMES, st.integers(0, 2))), st.integers(0, 2))
def test_conservation_is_two_sums(numbers: dict[str, int], each: int) -> None:
    found = Counts(**numbers, failed={"reset": each, "timeout": each})

    of_items = found.planned == found.sent - found.repeated + found.not_sent
    of_attempts = found.sent == found.ok + 2 * each + found.cancelled

    assert found.failures == 2 * each
    assert found.failed_share == (2 * each / found.sent if found.sent else 0)
    assert found.conserved == (of_items and of_attempts)
    given_codes = {note.code for note in doubts({}, counts=found)}
    assert ("not-conserved" in given_codes) != found.conserved


IN_FORCE = {"loop": "asyncio", "eager_tasks": False}


def transport(**settings: Any) -> dict[str, Any]:
    return IN_FORCE | {"transport": settings}


EFFECTIVE = [
    ({}, IN_FORCE, None),
    ({"loop": "uvloop"}, IN_FORCE, "loop was asked as uvloop but asyncio"),
    ({}, IN_FORCE | {"eager_tasks": True}, "eager_tasks was asked as False but True"),
    (
        {"keepalive_timeout": 5},
        transport(keepalive_timeout=15.0),
        "transport.keepalive_timeout was asked as 5 but 15.0",
    ),
    (DATABASE, transport(min_size=10, max_size=5), "transport.max_size was asked as 10 but 5"),
    (DATABASE, transport(min_size=10, max_size=10), None),
    (DATABASE | {"min_size": 2}, transport(min_size=3), "transport.min_size was asked as 2 but 3"),
    ({"probes": "bare"}, {"loop": "another"}, None),
    ({"loop": "uvloop"}, {}, None),  # a client that was lost reported nothing
    # None is whatever the library chooses; a connection that is closed has no such timeout.
    ({}, transport(accept_encoding="gzip", read_bufsize=65_536), None),
    ({"force_close": True}, transport(keepalive_timeout=None), None),
]


@pytest.mark.parametrize(("settings", "effective", "doubt"), EFFECTIVE)
def test_what_was_not_in_force(settings: Any, effective: Any, doubt: str | None) -> None:
    expected = [Note(code="not-in-force", message=f"{doubt} was in force")] if doubt else []

    assert doubts(settings, effective=effective) == expected


@pytest.mark.parametrize(("saturates", "trials"), [
    (True, [
        {}, {"delay": "randint(0,0)"}, {"delay": "randint(0,3)*0"}, {"target": "echo"},
        {"path": "/bytes/10", "delay": "1"},  # that path has no delay
        {"target": "http://127.0.0.1:9"}, {"saturate": True, "delay": "1"},
    ]),
    (False, [
        {"delay": "0.001"}, {"delay": "uniform(0,0.1)"}, {"delay": "lognormal(0.01,0)"},
        {"delay": "exponential(0.01)"}, {"path": "/delay/0.1"}, {"saturate": False},
    ]),
])  # fmt: skip
def test_a_trial_saturates_where_nothing_makes_it_wait(saturates: bool, trials: Any) -> None:
    for settings in trials:
        trial = Trial(requests=100, limit=10, **settings)
        assert (settings, trial.saturates) == (settings, saturates)
        assert Trial.from_dict(trial.to_dict()).saturates == saturates


@pytest.mark.parametrize(("kind", "compared", "expected"), [
    ("http", "client", {
        (95.0, 80.0): False,  # the client is full, and fuller
        (50.0, 80.0): True, (85.0, 80.0): True, (50.0, 70.0): False, (95.0, 96.0): True,
        (95.0, None): False, (90.0, 80.0): False, (95.0, 95.0): True,
    }),
    ("echo", "server", {(80.0, 50.0): True, (80.0, 95.0): False}),
    ("postgres", "both", {(10.0, 99.0): False}),
])  # fmt: skip
def test_the_other_side_may_have_set_the_rate(kind: str, compared: str, expected: Any) -> None:
    for (client, server), other in expected.items():
        changes = {"client.cpu_percent": client, "server.cpu_percent": server}
        record = make_record(trial=Trial(target=kind).to_dict(), **changes)

        assert guards.other_side_is_bottleneck(record) == other
        assert guards.compared(record) == compared


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
    assert interrupted(record) == (code == "interrupted")
    assert codes.not_stored(record) == (code == "not-stored")
    assert codes.disturbance(record) == code * (code in INVALID)
    assert codes.by_others(record) == (code in codes.OTHERS)
    # A strategy that blocks its own loop was disturbed by nobody.
    blocked = make_record(warnings=[note], **stalled(9.0, 0.5, who="strategy"))
    assert codes.by_others(blocked) == (code in codes.OTHERS and code != "stalled")


@pytest.mark.parametrize(("changes", "found"), [
    ({"client": None, "server": None}, ""),
    ({"client.waited_percent": 20.0, "server.waited_percent": 20.0}, ""),
    ({"client.waited_percent": 20.1}, "core-lost"),
    ({"server.waited_percent": 20.1}, "server-core-lost"),
    ({"verdict": "invalid"}, codes.UNKNOWN),
])  # fmt: skip
def test_a_core_that_was_lost_disturbs_a_run_of_any_length(changes: Any, found: str) -> None:
    record = make_record(**changes)
    assert codes.disturbance(record) == found
    assert codes.by_others(record) == ("core-lost" in found)


def test_which_codes_give_no_doubt_and_which_spoil_the_figures_alone() -> None:
    assert {code for code in CODES if CODES[code].verdict == "valid"} == FOR_INFORMATION
    assert INVALID - FAILED == FIGURES_ALONE
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
