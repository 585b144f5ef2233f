"""What a result must meet: thresholds, and a baseline that it is compared with."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest
from factories import encoded, make_record, make_study
from machines import checks

import labkit as lab
from labkit import cli
from labkit.launch import environment
from labkit.record import codes
from labkit.record.record import Interference, Note, Record

SETTINGS = {"strategy": "task_pool", "limit": 1_000, "requests": 100_000}
COMMAND = "--strategy task_pool --limit 1000 --requests 100000 --delay 'randint(0,3)'"


def measured(
    times: float = 1.0,
    *,
    repeats: int = 5,
    spread: float = 0.002,
    notes: Sequence[str] = (),
    **changes: Any,
) -> list[Record]:
    """Return repeats of one arm whose rate is so many times the usual, and whose latency less.

    `notes` are codes of each.
    """
    figures = {"throughput_rps": 650.0 * times, "latency_s.p50": 1.0 / times}
    records = make_study({"task_pool": figures}, repeats=repeats, spread=spread)
    warnings = [Note(code=code, message="it was") for code in notes]
    known = {"warnings": warnings, "verdict": codes.verdict(warnings)}
    known |= {"environment": environment.machine(), "experiment": "compare"} | changes
    here = {"interference": Interference(stolen_percent=9.0)} | known
    return [msgspec.structs.replace(one, **here) for one in records]


async def compared(now: list[Record], before: Any, **how: Any) -> lab.Study:
    """Return the comparison of a trial that measures `now` with what was measured before."""
    delay, of = (
        how.pop("delay", "randint(0,3)"),
        before if isinstance(before, str) else lab.Study(before),
    )
    with mock.patch("labkit.lab.facade.run_all", mock.AsyncMock(return_value=now)) as ran:
        try:
            trial = lab.Trial(**SETTINGS, delay=delay)
            return await lab.compare(trial, baseline=lab.Baseline(of, **how))
        except lab.BadInput:
            assert not ran.called
            raise


async def words(*sides: list[Record], **how: Any) -> dict[str, str]:
    """Return the word for each metric, by its first letters."""
    study = await compared(*sides, **how)
    assert study.changes is not None
    undecided = [one for one in study.changes.changes if one.word == "inconclusive"]
    assert all("%" in one.reason if one.ratio else one.reason for one in undecided)
    return {one.metric[:11]: one.word for one in study.changes.changes}


SAME = "no difference shown"


@pytest.mark.parametrize(("now", "then", "how", "rate"), checks("gate.toml", "judged"))
async def test_a_metric_is_worse_or_better_where_its_interval_is_wholly_beyond(
    now: Any, then: Any, how: Any, rate: str
) -> None:
    sides = [
        [
            msgspec.structs.replace(one, id=f"{one.id}-{n}-{part}")
            for part, (times, changes) in enumerate(side)
            for one in measured(times, **changes)
        ]
        for n, side in enumerate((now, then))
    ]
    found = await words(*sides, **how)

    assert found["throughput_"] == found["latency_p50"] == rate
    assert found["process_pea"] in (SAME, rate)
    assert list(await words(*sides, metrics=["rps"])) == ["throughput_"]


@pytest.mark.parametrize(
    ("before", "how", "says"),
    [
        (measured(), {"metrics": ["p98"]}, "did you mean 'p99'"),
        (measured(), {"metrics": ["floor_s"]}, "neither more nor less of it is better"),
        (measured(), {"tolerance": -1}, "tolerance is -1"),
        # A study that was resumed elsewhere: most of it is of this machine.
        (measured(environment=environment.machine() | {"cpu": "Z80"}) + measured(), {}, "was Z80"),
        (make_study({"queue": {}, "task_pool": {}}), {}, "the arms queue and task_pool; here"),
        (make_study({"queue": {}}), {}, "(strategy is task_pool and was queue)"),
        (None, {}, "no record has the id"),
    ],
)  # fmt: skip
async def test_a_baseline_of_something_else_is_refused_before_anything_starts(
    before: Any, how: Any, says: str, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setenv("LABKIT_STORE", str(tmp_path))
    with pytest.raises(lab.BadInput, match=says.replace("(", r"\(").replace(")", r"\)")):
        await compared(measured(), before or "none-such", **how)


async def test_what_differs_and_may_is_named() -> None:
    other = environment.machine() | {"kernel": "2.6", "python": "2.7"}
    study = await compared(measured(), measured(environment=other), delay="0", unlike=True)

    assert study.changes is not None
    with mock.patch.object(lab.Study, "plot", side_effect=lab.LabError):
        html = study.html()
    for text in (study.text(), html, study.changes.markdown()):
        assert "Beside the baseline: 4 no difference shown" in text
        assert "target.delay is 0 and was randint(0,3)." in text.replace("\\", "")
        assert "kernel is" in text
        assert "and was 2.7." in text


async def test_how_many_runs_the_host_stole_from_and_what_becomes_of_them_is_said() -> None:
    many = [*measured(0.9, repeats=2, notes=["steal"]), *measured()]
    study = await compared(many, measured(notes=["steal"]))

    assert "\n2 of 7 runs now are left out of times and CPU, as the host ran other" in study.text()
    assert "\n5 of 5 runs then count, though the host ran other guests (steal)" in study.text()
    assert (await compared(many, many)).changes.says.count(
        "2 of 7 runs now and 2 of 7 runs th"
    ) == 1
    assert "steal" not in (await compared(measured(), measured())).changes.says


def test_markdown_obeys_nothing_in_a_table() -> None:
    table = lab.Study(make_study({"queue": {}}), ["strategy"]).table()
    evil = type(table)(headers=["a|b"], rows=[["<b>[x](y)`c`\n# d"]], says="*e*")
    assert evil.markdown() == (
        "| a\\|b |\n| --- |\n| &lt;b&gt;\\[x\\](y)\\`c\\`\\\\n# d |\n\n\\*e\\*"
    )


def test_a_result_is_saved_and_loaded(tmp_path: Path) -> None:
    study, run = lab.Study(measured()), lab.Run(make_record())
    there = study.save(tmp_path / "base.json")

    found = lab.load(there)
    assert [one.id for one in found.records] == [one.id for one in study.records]
    assert found.records[0] == study.records[0]
    assert (found.records[1].timeline.t_s, list(tmp_path.iterdir())) == ([], [there])
    assert json.loads(there.read_text())["environment"] == environment.machine()
    assert lab.load(run.save(tmp_path / "run.json")).record == run.record
    whole = there.read_text()
    newer = json.dumps({"records": [study.records[0].to_dict() | {"schema_version": 2}]})
    changed = whole.replace('"limit": 1', '"limit": 3')
    for damaged in (whole[:-9], changed, newer, '{"records": []}'):
        there.write_text(damaged)
        with pytest.raises(lab.RecordDamaged, match=r"base\.json is damaged"):
            lab.load(there)
    with pytest.raises(lab.BadInput, match="No such file"):
        lab.load(tmp_path / "none.json")
    with pytest.raises(lab.LabError, match=r"none\.json is not written: every run .*core-lost\)"):
        lab.Study(measured(notes=["core-lost"])).save(tmp_path / "none.json")
    with pytest.raises(lab.LabError, match="cannot be written"):
        study.save(tmp_path / "none" / "base.json")


# Thresholds


@pytest.mark.parametrize(("text", "figure"), checks("gate.toml", "thresholds"))
def test_a_threshold_is_missed_by_a_figure_beyond_it_or_unknown(text: str, figure: str) -> None:
    answers = encoded([1_000_000] * 25)
    missed = lab.Study(measured(latency_hdr=answers, loop_lag_s=None)).missed(text)

    assert bool(missed) == bool(figure), missed
    assert all(f"threshold '{text}' is missed: " in one and figure in one for one in missed)
    assert lab.Study(measured(notes=["core-lost"])).missed("p50 > 9")
    assert lab.Run(make_record(warnings=["deadline"])).missed("failures > 0")


def test_a_threshold_names_the_arms_that_miss_it() -> None:
    arms = {"queue": {"throughput_rps": 600.0}, "task_pool": {"throughput_rps": 700.0}}
    (missed,) = lab.Study(make_study(arms), ["strategy"]).missed("rps < 650", "rps < 500")
    assert missed == (
        "threshold 'rps < 650' is missed: throughput, queue, is 600 requests/s, not to be < 650 "
        "requests/s"
    )


@pytest.mark.parametrize(("text", "says"), checks("gate.toml", "refused"))
def test_what_is_no_threshold_is_refused(text: str, says: str) -> None:
    with pytest.raises(lab.BadInput, match=says):
        lab.Study([]).missed(text)


# In the terminal


def ended(line: str, monkeypatch: Any, capsys: Any) -> tuple[int, str, str]:
    """Return how a command ends, and what it writes."""
    monkeypatch.setattr(sys, "argv", ["labkit", *shlex.split(line)])
    with (
        mock.patch("labkit.lab.facade.run_all", mock.AsyncMock(return_value=measured(1 / 1.1))),
        pytest.raises(SystemExit) as end,
    ):
        cli.main()
    return int(end.value.code or 0), *capsys.readouterr()


def test_a_command_ends_with_1_where_it_is_worse_than_its_baseline_or_misses_a_threshold(
    monkeypatch: Any, capsys: Any, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    lab.Study(measured()).save(tmp_path / "base.json")
    same = f"run {COMMAND} --save now.json"
    status, shown, said = ended(f"{same} --baseline base.json", monkeypatch, capsys)

    assert (status, "Beside the baseline: 2 regression, 2 no diff" in shown) == (1, True)
    assert "labkit: worse than the baseline: throughput_rps, all\n" in said
    worse = f"run {COMMAND} --baseline now.json --markdown - --json out.json"
    status, shown, said = ended(worse, monkeypatch, capsys)
    assert (status, said, shown.startswith("|  | arm |")) == (0, "", True)
    changes = json.loads(Path("out.json").read_text())["baseline"]
    assert {one["word"] for one in changes} == {SAME}
    line = f"run {COMMAND} --repeats 5 --fail-if 'rps < 600' --fail-if 'rps<9' --json out.json"
    line += " --openmetrics figures.txt"
    status, _, said = ended(line, monkeypatch, capsys)
    assert (status, said.count("\n")) == (1, 1)
    assert json.loads(Path("out.json").read_text())["missed"] == [said[8:-1]]
    assert Path("figures.txt").read_text().endswith("# EOF\n")
