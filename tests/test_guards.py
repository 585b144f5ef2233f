"""What is doubted about a measurement, and the verdict that follows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from factories import make_record
from hypothesis import given
from hypothesis import strategies as st

from labkit.record import guards
from labkit.record.codes import CODES
from labkit.record.guards import (
    FAILED,
    INVALID,
    SAID,
    advised,
    contention,
    failed,
    look_at,
    verdict,
    verdict_of,
)
from labkit.record.record import (
    Arrivals,
    Client,
    Counts,
    Interference,
    Latency,
    LoopLag,
    Measurement,
    Note,
    Server,
    Timeline,
)
from labkit.spec.trial import Trial

PACKAGE = Path(guards.__file__).parents[1]
TRIAL = Trial(requests=100, limit=10)
IN_FORCE = {
    "loop": "asyncio",
    "eager_tasks": False,
    "transport": {
        name: value for name, value in TRIAL.to_dict()["transport"].items() if name != "kind"
    },
}


def measured(trial: Trial = TRIAL, **changes: Any) -> Measurement:
    """A measurement in which all went well, but for `changes`."""
    planned = trial.requests
    fine: dict[str, Any] = {
        "counts": Counts(
            planned=planned, sent=planned, not_sent=0, ok=planned, failed={}, cancelled=0
        ),
        "wall_s": 1.0,
        "client": None,
        "server": None,
        "latency_s": None,
        "latency_hdr": None,
        "loop_lag_s": None,
        "timeline": Timeline(),
        "effective": IN_FORCE,
    }
    return Measurement(**{**fine, **changes})


def arrivals(**changes: Any) -> Arrivals:
    on_time: dict[str, Any] = {
        "rate_rps": 100.0,
        "achieved_rps": 100.0,
        "late": 0,
        "dropped": 0,
        "lateness_s": None,
        "latency_s": None,
        "latency_hdr": None,
    }
    return Arrivals(**{**on_time, **changes})


def counts(**changes: Any) -> Counts:
    whole = {"planned": 100, "sent": 100, "not_sent": 0, "ok": 100, "failed": {}, "cancelled": 0}
    return Counts(**{**whole, **changes})


def client(cpu_percent: float) -> Client:
    return Client(
        cpu_user_s=1.0,
        cpu_system_s=0.0,
        cpu_percent=cpu_percent,
        cpu_us_per_request=None,
        peak_rss_bytes=1,
        rss_before_bytes=1,
        to_first_send_s=None,
    )


def server(cpu_percent: float | None) -> Server:
    return Server(
        cpu_percent=cpu_percent,
        peak_rss_bytes=None,
        requests=None,
        max_in_flight=None,
        connections_opened=None,
    )


def codes(trial: Trial = TRIAL, **changes: Any) -> list[str]:
    return [note.code for note in look_at(trial, measured(trial, **changes))]


# Notes


def test_nothing_is_doubted_where_all_went_well() -> None:
    assert codes() == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sent": 90, "not_sent": 10, "ok": 90}, ["not-sent"]),
        ({"sent": 0, "not_sent": 100, "ok": 0}, ["not-sent"]),
        ({"ok": 90, "cancelled": 10}, ["cancelled"]),
        ({"ok": 99, "failed": {"reset": 1}}, ["failures"]),
        ({"ok": 98, "failed": {"reset": 1, "timeout": 1}}, ["failures", "failures-many"]),
        ({"ok": 90, "failed": {"reset": 7, "timeout": 3}}, ["failures", "failures-many"]),
        ({"ok": 0, "failed": {"connect": 100}}, ["all-failed", "failures"]),
        ({"ok": 0, "cancelled": 100}, ["cancelled", "all-failed"]),
        ({"ok": 99}, ["not-conserved"]),
        ({"ok": 101}, ["not-conserved"]),
        ({"sent": 90, "ok": 90}, ["not-conserved"]),
        ({"ok": 100, "failed": {"reset": 1}}, ["not-conserved", "failures"]),
    ],
)
def test_counts(changes: dict[str, Any], expected: list[str]) -> None:
    assert codes(counts=counts(**changes)) == expected


def test_notes_hold_the_numbers() -> None:
    found = counts(sent=90, not_sent=10, ok=80, failed={"timeout": 3, "reset": 7})

    messages = [note.message for note in look_at(TRIAL, measured(counts=found))]

    assert messages == [
        "10 of 100 requests were never sent",
        "10 of 90 requests failed (reset 7, timeout 3)",
        "11.1 % of the requests failed: such arms are not comparable",
    ]


@given(st.tuples(*[st.integers(0, 2)] * 6))
def test_conservation_is_two_sums(numbers: tuple[int, ...]) -> None:
    planned, sent, not_sent, ok, failed, cancelled = numbers
    found = Counts(
        planned=planned,
        sent=sent,
        not_sent=not_sent,
        ok=ok,
        failed={"reset": failed, "timeout": failed},
        cancelled=cancelled,
    )

    holds = planned == sent + not_sent and sent == ok + 2 * failed + cancelled

    assert found.failures == 2 * failed
    assert found.conserved == holds
    assert ("not-conserved" in codes(counts=found)) != holds


@pytest.mark.parametrize(
    ("cpu_percent", "expected"),
    [(None, []), (0.0, []), (70.0, []), (70.1, ["server-busy"]), (100.0, ["server-busy"])],
)
def test_a_busy_server_may_be_the_bottleneck(
    cpu_percent: float | None, expected: list[str]
) -> None:
    assert codes(server=server(cpu_percent)) == expected


@pytest.mark.parametrize(
    ("waited_percent", "expected"),
    [
        (None, []),
        (0.0, []),
        (5.0, []),
        (5.1, ["core-contended"]),
        (20.0, ["core-contended"]),
        (20.1, ["core-lost"]),
    ],
)
def test_a_client_that_waits_for_its_core(
    waited_percent: float | None, expected: list[str]
) -> None:
    client = msgspec.structs.replace(make_record().client, waited_percent=waited_percent)

    assert codes(client=client, wall_s=1.0) == expected


def test_a_moment_is_too_short_to_lose_a_core_in() -> None:
    client = msgspec.structs.replace(make_record().client, waited_percent=90.0)

    assert codes(client=client, wall_s=0.99) == ["core-contended"]


@pytest.mark.parametrize("code", sorted(INVALID))
def test_a_trial_that_was_done_has_not_failed_whatever_its_figures(code: str) -> None:
    record = make_record(warnings=[Note(code=code, message="")], verdict="invalid")

    of_its_figures = {"client-full", "core-lost", "rate-lost", "throttled", "too-late"}
    assert failed(record) == (code not in of_its_figures)
    assert not failed(make_record(warnings=[Note(code="failures", message="")]))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"transport.limit": 10}, []),
        ({"transport.limit": 9}, ["connector-limit"]),
        ({"transport.limit_per_host": 9}, ["connector-limit"]),
        ({"transport.limit": 20, "transport.limit_per_host": 9}, ["connector-limit"]),
        ({"transport.limit": 9, "session_per_request": True}, []),
        ({"transport.limit": 50, "strategy": "gather"}, ["connector-limit"]),
        ({"transport.limit": 5, "limit": 10, "requests": 5}, []),
    ],
)
def test_requests_that_wait_inside_the_connector(
    settings: dict[str, Any], expected: list[str]
) -> None:
    trial = TRIAL.replace(**settings)
    in_force = {**IN_FORCE, "transport": {}}

    assert codes(trial, effective=in_force) == expected


@pytest.mark.parametrize(
    ("settings", "effective", "sentence"),
    [
        ({"loop": "uvloop"}, {}, "loop was asked as uvloop but asyncio was in force"),
        ({}, {"eager_tasks": True}, "eager_tasks was asked as False but True was in force"),
        (
            {"enable_cleanup_closed": True},
            {"transport": {"enable_cleanup_closed": False}},
            "transport.enable_cleanup_closed was asked as True but False was in force",
        ),
        (
            {"keepalive_timeout": 5},
            {"transport": {"keepalive_timeout": 15.0}},
            "transport.keepalive_timeout was asked as 5 but 15.0 was in force",
        ),
        (
            {"accept_encoding": "br"},
            {"transport": {"accept_encoding": "gzip"}},
            "transport.accept_encoding was asked as br but gzip was in force",
        ),
    ],
)
def test_what_was_asked_and_was_not_in_force(
    settings: dict[str, Any], effective: dict[str, Any], sentence: str
) -> None:
    trial = TRIAL.replace(**settings)

    notes = look_at(trial, measured(trial, effective={**IN_FORCE, **effective}))

    assert notes == [Note(code="not-in-force", message=sentence)]


def test_what_says_nothing_about_force_is_not_doubted() -> None:
    closed = TRIAL.replace(force_close=True)
    in_force = {**IN_FORCE, "transport": {"keepalive_timeout": None, "force_close": True}}

    assert codes(closed, effective=in_force) == []
    chosen = {**IN_FORCE, "transport": {"accept_encoding": "gzip", "read_bufsize": 65_536}}
    assert codes(TRIAL, effective=chosen) == []
    assert codes(TRIAL.replace(probes="bare"), effective={}) == []


def test_of_a_lost_client_nothing_is_said_about_force() -> None:
    lost = counts(sent=0, not_sent=100, ok=0)

    assert codes(counts=lost, effective={}) == ["not-sent"]


DELAYED = TRIAL.replace(delay="0.02")


@pytest.mark.parametrize(
    ("cpu_percent", "wall_s", "expected"),
    [
        (79.9, 9.0, []),
        (80.0, 9.0, ["client-cpu"]),
        (89.9, 9.0, ["client-cpu"]),
        (90.0, 9.0, ["client-full"]),
        (90.0, 1.0, ["client-full"]),
        (99.0, 0.9, ["client-cpu"]),  # the opening of connections fills a short window
    ],
)
def test_a_client_that_should_have_cpu_to_spare(
    cpu_percent: float, wall_s: float, expected: list[str]
) -> None:
    assert codes(DELAYED, client=client(cpu_percent), wall_s=wall_s) == expected
    assert codes(DELAYED.replace(saturate=True), client=client(cpu_percent), wall_s=wall_s) == (
        ["client-saturated"] if expected else []
    )


@pytest.mark.parametrize(
    ("settings", "saturates"),
    [
        ({}, True),
        ({"delay": "randint(0,0)"}, True),
        ({"delay": "randint(0,3)*0"}, True),
        ({"delay": "0.001"}, False),
        ({"delay": "uniform(0,0.1)"}, False),
        ({"delay": "lognormal(0.01,0)"}, False),
        ({"delay": "exponential(0.01)"}, False),
        ({"path": "/delay/0.1"}, False),
        ({"path": "/bytes/10", "delay": "1"}, True),  # where that path knows no delay
        ({"target": "http://127.0.0.1:9"}, True),
        ({"target": "echo"}, True),
        ({"saturate": False}, False),
        ({"saturate": True, "delay": "1"}, True),
    ],
)
def test_a_trial_saturates_its_client_where_nothing_makes_it_wait(
    settings: dict[str, Any], saturates: bool
) -> None:
    trial = Trial(requests=100, limit=10).replace(**settings)

    assert trial.saturates == saturates
    assert Trial.from_dict(trial.to_dict()).saturates == saturates


def test_a_trial_that_is_not_meant_to_saturate_its_client_can_say_so() -> None:
    full = {"client": client(95.0), "wall_s": 2.0}

    assert codes(TRIAL, **full) == ["client-saturated"]
    assert codes(TRIAL.replace(saturate=False), **full) == ["client-full"]


def lagging(late_s: float, *, n: int | None = None, median_s: float = 0.1) -> dict[str, Any]:
    """A loop that was late by `late_s` at p99, by half of it at p90 and by a tenth at p50."""
    lag = LoopLag(p50=late_s / 10, p90=late_s / 2, p99=late_s, max=9.0, n=n)
    latency = Latency(mean=median_s, p50=median_s, p90=9.0, p99=9.0, p999=9.0, max=9.0)
    return {"loop_lag_s": lag, "latency_s": latency}


@pytest.mark.parametrize(
    ("late_s", "n", "expected"),
    [
        (0.011, 1_000, []),  # a tenth of the median, and a timer's millisecond
        (0.0111, 1_000, ["loop-lag"]),
        (0.0111, None, ["loop-lag"]),
        (0.0111, 999, []),  # p90 is half of it
        (0.0222, 100, ["loop-lag"]),
        (0.0222, 99, []),
        (0.111, 20, ["loop-lag"]),
        (9.0, 19, []),
    ],
)
def test_the_loops_lag_is_judged_at_the_percentile_that_the_timers_support(
    late_s: float, n: int | None, expected: list[str]
) -> None:
    assert codes(**lagging(late_s, n=n)) == expected


def test_the_lag_of_a_client_that_is_meant_to_be_full_is_no_news() -> None:
    late = lagging(5.0, n=1_000)

    assert codes(TRIAL, **late, client=client(99.0)) == ["client-saturated"]
    assert codes(DELAYED, **late, client=client(85.0)) == ["client-cpu", "loop-lag"]
    kept_off = msgspec.structs.replace(client(76.0), waited_percent=4.0)
    assert codes(TRIAL, **late, client=kept_off) == []
    assert codes(DELAYED, **late, client=kept_off) == ["loop-lag"]
    assert codes(TRIAL, loop_lag_s=late["loop_lag_s"]) == []  # nothing was timed to hold it against


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({}, []),
        ({"throttled_periods": 0, "throttled_s": 0.0}, []),
        ({"throttled_periods": 1, "throttled_s": 0.01}, ["throttled"]),
        ({"throttled_periods": 1}, ["throttled"]),
        ({"stolen_percent": 1.0, "stolen_s": 9.0}, []),
        ({"stolen_percent": 1.1, "stolen_s": 9.0}, ["steal"]),
        ({"stolen_percent": 9.0, "stolen_s": 0.02}, []),  # two ticks
        ({"stolen_percent": 9.0, "stolen_s": 0.03}, ["steal"]),
        ({"listen_drops": 0}, []),
        ({"listen_drops": 1}, ["backlog"]),
    ],
)
def test_what_disturbed_both_sides(found: dict[str, Any], expected: list[str]) -> None:
    assert codes(interference=Interference(**found)) == expected
    assert codes(interference=None) == []


# The table of codes


def test_each_code_says_when_and_what_to_do() -> None:
    for name, code in CODES.items():
        assert name == code.code
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name)
        assert code.when
        assert not code.when.endswith(".")
        assert re.match(r"[a-z].*[^.]$", code.do), "the end of a sentence"


def test_the_table_says_the_verdict_that_is_given() -> None:
    for code in CODES.values():
        assert code.verdict in {verdict_of([code.code]), "of an arm"}
    assert set(CODES) >= INVALID | SAID


def test_each_code_that_the_lab_gives_is_in_the_table() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    given = set(re.findall(r'Note\(code="([a-z-]+)"', sources))
    given |= set(re.findall(r'codes = \["([a-z-]+)"\]', sources))
    given |= set(re.findall(r'yield\s*\(?\s*"([a-z-]+)",', Path(guards.__file__).read_text()))

    assert {"deadline", "tasks-left-behind", "server-contended", "steal", "failures"} <= given
    assert given | {"core-lost", "core-contended"} | INVALID <= set(CODES)


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_note_ends_in_what_to_do(code: str) -> None:
    [note] = advised([Note(code=code, message="It is so.")])

    assert note.code == code
    assert note.message == f"It is so; {CODES[code].do}"


def test_a_note_of_an_unknown_code_is_left_as_it_is() -> None:
    note = Note(code="of a newer labkit", message="It is so.")

    assert advised([note]) == [note]


@pytest.mark.parametrize(
    ("code", "numbers"),
    [
        ("client-full", [guards.CLIENT_FULL_PERCENT, guards.CLIENT_FULL_FROM_S]),
        ("client-cpu", [guards.CLIENT_CPU_PERCENT]),
        ("client-saturated", [guards.CLIENT_CPU_PERCENT]),
        ("client-busy", [guards.CLIENT_BUSY_PERCENT]),
        ("core-lost", [guards.CORE_LOST_PERCENT, guards.CORE_LOST_FROM_S]),
        ("core-contended", [guards.CONTENDED_PERCENT]),
        ("server-contended", [guards.CONTENDED_PERCENT]),
        ("failures-many", [100 * guards.FAILED_MANY_SHARE]),
        ("loop-lag", [100 * guards.LAG_SHARE]),
        ("server-busy", [guards.SERVER_BUSY_PERCENT]),
        ("steal", [guards.STOLEN_PERCENT]),
    ],
)
def test_the_table_names_the_thresholds_in_force(code: str, numbers: list[float]) -> None:
    assert [float(text) for text in re.findall(r"\d+", CODES[code].when)] == numbers


# The verdict


@pytest.mark.parametrize("code", sorted(SAID))
def test_what_is_only_said_gives_no_doubt(code: str) -> None:
    assert verdict_of([code]) == "valid"
    assert verdict_of([code, "failures"]) == "warn"


def test_the_verdict_of_no_notes_is_valid() -> None:
    assert verdict([]) == "valid"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"mode": "pool", "max_connections": 2},
            [],
        ),  # a call that finds none fails, and is counted
        ({"mode": "blocking", "max_connections": 2}, ["pool-queue"]),
        ({"mode": "blocking", "max_connections": 10}, []),
        ({"mode": "pipeline", "max_connections": 2, "depth": 4}, ["pool-queue"]),
        ({"mode": "pipeline", "max_connections": 2, "depth": 5}, []),
    ],
)
def test_waiting_for_a_pool_is_said_and_no_reason_for_doubt(
    settings: dict[str, Any], expected: list[str]
) -> None:
    trial = Trial(target="valkey", limit=10, requests=100, **settings)

    assert codes(trial, effective={**IN_FORCE, "transport": {}}) == expected
    assert verdict_of(expected) == "valid"


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"min_size": 10, "max_size": 10}, []),
        ({"min_size": 10, "max_size": 5}, ["not-in-force"]),
    ],
)
def test_a_pool_is_held_to_the_sizes_that_were_asked_for(
    sizes: dict[str, int], expected: list[str]
) -> None:
    trial = Trial(target="postgres", limit=10, requests=100)

    assert codes(trial, effective={**IN_FORCE, "transport": sizes}) == expected


@pytest.mark.parametrize("code", sorted(INVALID))
def test_one_such_note_makes_a_record_invalid(code: str) -> None:
    notes = [Note(code="failures", message=""), Note(code=code, message="")]

    assert verdict(notes) == "invalid"
    assert verdict(reversed(notes)) == "invalid"


@pytest.mark.parametrize(
    "code",
    [
        "failures",
        "server-busy",
        "connector-limit",
        "not-in-force",
        "tasks-left-behind",
        "core-contended",
    ],
)
def test_any_other_note_is_a_warning(code: str) -> None:
    assert verdict([Note(code=code, message="")]) == "warn"


def test_every_code_that_the_figures_give_is_judged_on_purpose() -> None:
    assert FAILED < INVALID
    assert {"all-failed", "not-conserved", "not-sent"} <= FAILED


@pytest.mark.parametrize(
    ("of_client", "of_server", "expected"),
    [
        (99.0, 80.0, ["client-busy"]),
        (99.0, 99.5, []),  # both are busy, the server more
        (60.0, 99.0, []),  # as it is to be: the server is measured
        (60.0, 40.0, []),  # neither: something else holds them up
        (99.0, None, []),
    ],
)
def test_of_an_echo_the_server_is_to_be_the_bottleneck(
    of_client: float, of_server: float | None, expected: list[str]
) -> None:
    trial = Trial(target="echo", requests=100, limit=10)
    seen = measured(trial, client=client(of_client), server=server(of_server), effective={})

    assert [note.code for note in look_at(trial, seen)] == expected


@pytest.mark.parametrize(
    ("percent", "wall_s", "code"),
    [
        (None, 2.0, None),
        (5.0, 2.0, None),
        (5.1, 2.0, "core-contended"),
        (50.0, 0.9, "core-contended"),
        (50.0, 1.0, "core-lost"),
    ],
)
def test_a_core_that_others_had(percent: float | None, wall_s: float, code: str | None) -> None:
    assert contention(percent, wall_s) == code


@pytest.mark.parametrize(
    ("changes", "code", "found"),
    [
        ({}, None, "valid"),
        ({"late": 5}, None, "valid"),
        ({"late": 6}, "late", "warn"),
        ({"late": 20}, "late", "warn"),
        ({"late": 21}, "too-late", "invalid"),
        ({"achieved_rps": 99.0}, None, "valid"),
        ({"achieved_rps": 98.9}, "rate-missed", "warn"),
        ({"achieved_rps": 94.9}, "rate-lost", "invalid"),
        ({"achieved_rps": None}, None, "valid"),
        ({"dropped": 1}, "dropped", "warn"),
    ],
)
def test_an_open_workload_is_doubted_where_its_schedule_was_not_kept(
    changes: dict[str, Any], code: str | None, found: str
) -> None:
    trial = Trial(requests=100, limit=10, rate=100)
    notes = look_at(trial, measured(trial, arrivals=arrivals(**changes)))
    assert [note.code for note in notes] == ([code] if code else [])
    assert verdict(notes) == found


def test_what_was_dropped_is_not_also_called_not_sent() -> None:
    trial = Trial(requests=100, limit=10, rate=100, overflow="drop")
    some = counts(sent=90, not_sent=10, ok=90)
    notes = look_at(trial, measured(trial, counts=some, arrivals=arrivals(dropped=10)))
    assert [note.code for note in notes] == ["dropped"]
    notes = look_at(trial, measured(trial, counts=some, arrivals=arrivals(dropped=9)))
    assert [note.code for note in notes] == ["not-sent", "dropped"]


# Databases


def test_of_a_database_client_and_server_are_judged_together() -> None:
    trial = Trial(target="postgres", requests=100, limit=10)
    record = make_record(trial=trial.to_dict(), server=server(99.0))

    assert codes(trial, server=server(99.0), effective={}) == []
    assert guards.compared(record) == "both"
    assert not guards.held_up(record)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"transport.max_size": 9}, ["pool-queue"]),
        ({"transport.max_size": 10}, []),
        ({"transport.mode": "single"}, ["pool-queue"]),
        ({"transport.mode": "connect"}, []),
        ({"transport": "psycopg", "transport.threads": 9}, ["pool-queue"]),
        ({"transport": "psycopg", "transport.threads": 10}, []),
    ],
)
def test_a_line_for_a_connection_is_said_and_not_doubted(
    settings: dict[str, Any], expected: list[str]
) -> None:
    trial = Trial(target="postgres", requests=100, limit=10, **settings)

    assert codes(trial, effective={}) == expected
    assert verdict_of(expected) == "valid"
