"""Several clients of one trial: what each takes, how they start, what becomes of their figures."""

import random
from collections.abc import Sequence
from itertools import chain
from time import perf_counter_ns
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import checks
from servers import WORKER, ran

import labkit
from labkit.errors import BadInput
from labkit.launch import clients
from labkit.launch.cores import Cores
from labkit.measured.probes.meter import Meter, metered
from labkit.measured.probes.window import Window
from labkit.measured.strategies import strategy
from labkit.record import guards, histogram, merging
from labkit.record.merging import Part
from labkit.record.record import Client, Counts, Measurement, Note, Server, Stall, Timeline
from labkit.report import tables
from labkit.spec import delays
from labkit.spec.delays import Share
from labkit.spec.trial import Trial

# Shares


@given(st.integers(1, 64), st.integers(0, 1_000))
def test_shares_have_every_item_once_and_differ_by_one(clients: int, requests: int) -> None:
    shares = [Share(client, clients) for client in range(clients)]

    taken = [share.items(requests) for share in shares]
    assert sorted(chain(*taken)) == [*range(requests)]
    assert [share.part(requests) for share in shares] == [*map(len, taken)]
    assert max(map(len, taken)) - min(map(len, taken)) <= 1


def test_the_floor_of_clients_is_that_of_the_one_that_ends_last() -> None:
    # Client 0 has the items of 3 s and 1 s on one slot, client 1 those of 0 s.
    trial = Trial(requests=4, limit=2, delay="randint(0,3)", clients=2)
    drawn = [*delays.of_items(delays.parse(trial.target.delay), trial.seed, 4)]

    floor_s = max(sum(drawn[0::2]), sum(drawn[1::2]))
    assert (trial.floor_s, trial.bound_s) == (floor_s, max(sum(drawn) / 2, *drawn))
    assert Trial(requests=5, limit=2, delay="1", clients=2).floor_s == 3


@pytest.mark.parametrize(
    ("items", "repeated", "not_sent"),
    [([1, 4, 7], 0, 0), ([7, 1, 4], 0, 0), ([1, 5, 7], 1, 1), ([5, 1, 4, 7, 4, 10], 3, 0)],
)
async def test_a_share_counts_its_own_items_once_and_others_as_none_of_its(
    items: list[int], repeated: int, not_sent: int
) -> None:
    meter, sent = Meter(10, str, Window(None), share=Share(1, 3)), list[int]()
    assert (meter.planned, [*meter.items]) == (3, [1, 4, 7])

    async def fetch(item: int) -> None:
        sent.append(item)

    call = metered(fetch, meter)
    for item in items:
        await call(item)

    found = meter.counts()
    assert (sent, found.sent) == (items, len(items))
    assert (found.repeated, found.not_sent, found.conserved) == (repeated, not_sent, True)


async def test_a_profile_is_of_one_process() -> None:
    with pytest.raises(BadInput, match="clients is 2 in a profile"):
        await labkit.profile(Trial(clients=2))


@pytest.mark.parametrize(
    ("cores", "clients", "taken", "chosen"),
    [
        (Cores(0, 1, [], [2, 3]), 3, [], [0, 2, 3]),
        (Cores(0, 1, [], [2, 3]), 1, [], [0]),
        (Cores(0, 1, [], [2]), 5, [], [0, 2, 0, 2, 0]),  # too few: but not that of the server
        (Cores(None, None), 2, [], [None, None]),
        (Cores(0, 1, [], [2]), 2, [0], [2, 1]),
    ],
)
def test_each_client_has_a_core_of_its_own_where_there_are_enough(
    cores: Cores, clients: int, taken: list[int], chosen: list[int | None]
) -> None:
    assert cores.of_clients(clients, taken) == chosen


class Told:
    """Stands for a client's process, and keeps what it is sent."""

    def __init__(self) -> None:
        self.heard: dict[str, int] = {}

    def send(self, line: dict[str, int]) -> None:
        self.heard = line


@pytest.mark.parametrize(("scheduled", "turns"), [(False, [2, 0, 2, 2]), (True, [0, 0, 0, 0])])
def test_clients_of_one_core_begin_together_and_send_once_each_had_its_turn(
    scheduled: bool, turns: list[int]
) -> None:
    cores, told = [0, 1, 0, 0], [Told() for _ in range(4)]
    those = [clients.Client(child, core=n) for child, n in zip(told, cores, strict=True)]  # type: ignore[arg-type]
    clients.let_go(those, scheduled=scheduled)

    assert len({one.heard["at_ns"] for one in told}) == 1
    waits_ns = [one.heard["together_ns"] - one.heard["at_ns"] for one in told]
    assert waits_ns == [turn * clients.TURN_NS for turn in turns]


def test_what_is_sent_first_waits_for_the_turns_of_others() -> None:
    window = Window(None)
    window.start()
    window.together_ns = perf_counter_ns() + 30_000_000
    window.open()
    assert window.together_ns <= perf_counter_ns()


# Figures


def part(
    latencies_ns: Sequence[int] = (), *, first_s: float = 0.0, wall_s: float = 1.0, **more: Any
) -> Part:
    """A client that sent first `first_s` after it was started."""
    counts, n = histogram.empty(), len(latencies_ns)
    for latency_ns in latencies_ns:
        counts[histogram.index(latency_ns)] += 1
    of_part = {name: more.pop(name) for name in ("starts_s", "lost") if name in more}
    used = {"cpu_user_s": 0.2, "cpu_system_s": 0.1, "cpu_percent": 30.0, "peak_rss_bytes": 40}
    used |= {"to_first_send_s": first_s, "cpu_us_per_request": 3.0 if n else None} | more.pop(
        "client", {}
    )
    usual = {"counts": Counts(planned=n, done=n, sent=n, ok=n), "wall_s": wall_s}
    usual |= {"client": Client(**used), "histograms": {"latency": histogram.sparse(counts)}}
    return Part(measured=Measurement(**usual | more), **of_part)


def test_percentiles_of_clients_are_those_of_all_their_latencies() -> None:
    chance, every = random.Random(7), histogram.empty()
    # A slow client among fast ones: a mean of percentiles would be far from those of all.
    shares = [
        [round(chance.expovariate(1 / mean)) for _ in range(500)] for mean in [2e6] * 7 + [3e8]
    ]
    for latency_ns in chain(*shares):
        every[histogram.index(latency_ns)] += 1

    found = merging.merged(map(part, shares))

    assert found.latency_s == histogram.summary(every)
    assert found.latency_hdr == histogram.to_hdr(every)
    assert (found.counts.ok, found.histograms) == (4_000, {})


def test_the_window_is_from_the_first_send_of_any_to_the_last_answer_to_any() -> None:
    parts = [part([5] * 4, first_s=0.1), part([9] * 2, first_s=0.2, wall_s=3.0, starts_s=0.3)]

    found = merging.merged(parts)

    assert found.wall_s == pytest.approx(3.4)  # from 0.1 to 0.3 + 0.2 + 3
    assert found.start_skew_s == pytest.approx(0.4)
    assert merging.merged(parts, scheduled=True).start_skew_s == pytest.approx(0.3)
    assert [one.first_send_s for one in found.clients] == pytest.approx([0.0, 0.4])
    client = found.client
    assert (client.cpu_user_s, client.cpu_system_s, client.peak_rss_bytes) == (0.4, 0.2, 80)
    assert (client.cpu_percent, client.cpu_us_per_request) == (17.65, 1e5)
    assert client.to_first_send_s == 0.1


@pytest.mark.parametrize(("case", "parts", "figures"), checks("clients.json"))
def test_each_figure_of_clients_together(
    case: str, parts: Any, figures: dict[str, Any], monkeypatch: Any
) -> None:
    monkeypatch.setattr(merging, "MAX_SAMPLE", 2)

    whole = msgspec.to_builtins(merging.merged(msgspec.convert(parts, list[Part], strict=False)))

    for name, expected in figures.items():
        found = whole
        for key in name.split("."):
            found = found[int(key) if key.isdigit() else key]
        assert found == pytest.approx(expected), (case, name)


def test_a_timeline_of_clients_is_their_sum_on_one_axis() -> None:
    one = {"client_rss_bytes": [10, 20, 30], "client_cpu_percent": [None, 50.0, 50.0]}
    one |= {"t_s": [0.0, 1.0, 2.0], "completed": [0, 5, 9], "in_flight": [0, 3, 0]}
    longer = {"t_s": [0.0, 1.0, 2.0, 3.0, 4.0], "completed": [0, 1, 2, 3, 4]}
    longer |= {"in_flight": [0, 2, 2, 2, 0], "server_rss_bytes": [7] * 5}
    longer |= {"client_rss_bytes": [1] * 5, "client_cpu_percent": [None, 10.0, 10.0, 10.0, 10.0]}
    lags = {"loop_lag_s": [0.0, 0.5, 0.1]}, {"loop_lag_s": [0.0, 0.1, 0.1, 0.1, 0.1]}
    first = Timeline(**one, **lags[0], server_rss_bytes=[9] * 3)
    parts = [part(timeline=first, starts_s=1.0), part(timeline=Timeline(**longer, **lags[1]))]

    found = merging.merged(parts).timeline

    assert found.t_s == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert found.completed == [0, 1, 7, 12, 13]
    assert found.in_flight == [0, 2, 5, 2, 0]
    # A client is there before it begins, and its memory is not 0.
    assert found.client_rss_bytes == [11, 11, 21, 31, 31]
    # What is since the row before is nothing once the client has ended.
    assert found.client_cpu_percent == [0.0, 10.0, 60.0, 60.0, 10.0]
    assert found.loop_lag_s == [0.0, 0.1, 0.5, 0.1, 0.1]
    assert (found.server_rss_bytes, found.server_cpu_percent) == ([7] * 5, [None] * 5)


def test_clients_on_one_core_wait_for_each_other_and_nobody_else_is_blamed() -> None:
    # Two clients ran for 0.3 s each in a second in which their core was idle for 0.3 s.
    on = {"waited_percent": 25.0, "core_idle_s": 0.3}
    crowded = [part([1] * 9, client=on, effective={"cores": [0]}) for _ in range(2)]

    found = merging.merged(crowded)

    assert [one.client.waited_percent for one in found.clients] == [pytest.approx(10)] * 2
    assert [note.code for note in found.warnings] == ["clients-crowded"]
    assert "2 clients ran on the cores 0" in found.warnings[0].message
    alone = [part([1], client={"waited_percent": 25.0}) for _ in range(2)]
    assert merging.merged(alone).client.waited_percent == 25
    assert merging.merged(alone).warnings == []


def test_what_one_client_noted_or_stood_still_for_is_its_own() -> None:
    same, own = Note(code="not-returned", message="x"), Note(code="strategy-failed", message="y")
    still, slow = Stall(who="client", at_s=0.5, lasted_s=0.4), Stall(who="server", lasted_s=0.3)
    parts = [
        part(warnings=[same], stalls=[slow], server=Server(peak_rss_bytes=9), returned=[0, 2]),
        part(warnings=[same, own], stalls=[still], starts_s=1.0, lost="died"),
    ]

    found = merging.merged(parts)

    assert [one.message for one in found.warnings] == ["client 0: x", "client 1: y"]
    assert [(one.who, one.client, one.at_s) for one in found.stalls] == [
        *(("server", 0, None), ("client", 1, 1.5))
    ]
    assert (found.server.peak_rss_bytes, found.returned) == (9, [[0, 2], None])
    assert [one.lost for one in found.clients] == [None, "died"]


@pytest.mark.parametrize(
    ("parts", "code", "says"),
    [
        ([part([1]), part([1], first_s=0.05)], "clients-skewed", "0.05 s apart"),
        (
            [part([1] * 9), part([1] * 2), part([1] * 5)],
            "clients-uneven",
            "client 1 sent 2, client 0 sent 9",
        ),
        ([part([1]), part([1], wall_s=2.0)], "clients-uneven", "client 0 took 1 s"),
        ([part([1]), part([1], client={"cpu_percent": 95.0}, wall_s=1.2)], "client-full", "95 %"),
        ([part([1]), part([1], client={"waited_percent": 30.0})], "core-lost", "30 %"),
    ],
)
def test_what_spoils_one_of_the_clients_spoils_the_record(
    parts: list[Part], code: str, says: str
) -> None:
    trial = Trial(requests=2, limit=2, delay="1", clients=2)

    notes = guards.find_notes(trial, merging.merged(parts))

    assert [note.message for note in notes if note.code == code and says in note.message]
    fine = guards.find_notes(trial, merging.merged([part([1]), part([1])]))
    assert code not in [note.code for note in fine]


# Runs


@strategy
async def noting(fetch: Any, items: Any, limit: int) -> list[int]:
    for item in items:
        await fetch(item)
    return [*items]


async def test_clients_do_the_work_of_one_and_give_one_record() -> None:
    trial = Trial(strategy=noting, requests=31, limit=3, clients=3, warmup="6 requests", trace=True)

    record = (await ran(trial)).record

    assert record.returned == [[*range(client, 31, 3)] for client in range(3)]
    assert (record.counts.planned, record.counts.ok, record.counts.not_sent) == (31, 31, 0)
    assert [one.counts.ok for one in record.clients] == [11, 10, 10]
    assert record.warmup.requests == 6
    assert (record.phases.n, len(record.phases.sample), record.received.bodies) == (31, 31, 31)
    assert (record.timeline.completed[0], record.timeline.completed[-1]) == (0, 31)
    assert 0 <= record.start_skew_s <= record.wall_s
    assert record.client.peak_rss_bytes == sum(one.client.peak_rss_bytes for one in record.clients)
    assert record.latency_s.max >= max(one.latency_s.p50 for one in record.clients)
    assert record.process.cpu_user_s > record.client.cpu_user_s


async def test_of_a_trial_by_the_clock_a_lost_client_planned_what_it_sent() -> None:
    trial = Trial(requests=100_000, seconds=20, limit=10, delay="0.002")

    counts = (await ran(trial, killing=WORKER)).record.counts

    # It sent on after its last report, which is what is known of its plan.
    assert counts.planned >= counts.sent > counts.ok > 0
    assert counts.not_sent >= 0


async def test_a_client_that_dies_takes_its_items_with_it_and_no_others() -> None:

    found = await ran(Trial(requests=300, limit=3, delay="0.02", clients=3), killing=WORKER)

    record, (*others, lost) = found.record, found.record.clients
    assert "client 2 of 3 died, and with it its items 2, 5, ..." in str(found.error)
    assert (record.warnings[0].code, record.verdict) == ("worker-lost", "invalid")
    assert [(one.counts.ok, one.lost) for one in others] == [(100, None)] * 2
    assert "exit status -9" in lost.lost
    assert 200 <= record.counts.ok < 300
    # What the server saw beyond that client's last report was sent, and ended nobody knows how.
    assert record.counts.sent >= record.server.requests >= record.counts.ok
    shown = tables.of_run(record).text()
    assert "client 2 of 3 died" in shown
    assert "at least " in shown
