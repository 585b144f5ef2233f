"""A study that was interrupted goes on by its plan: the same runs in the same order, none twice."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from factories import STUDIES, make_record
from machines import checks

import labkit as lab
from labkit import cli
from labkit.errors import BadInput, LabError
from labkit.lab import runner, written_plan
from labkit.lab.progress import Lines, Reporter
from labkit.record.record import Record
from labkit.record.store import Store
from labkit.spec.trial import Trial
from tests.programs import here

TRIAL = Trial(requests=10)
_NUMBERS = itertools.count()


class Machine:
    """Takes the place of the launcher: is cut off after so many runs, and notes what it ran."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cut_at, self.ran, self.warnings = -1, list[tuple[Any, int, int]](), list[str]()
        monkeypatch.setattr(runner.launcher, "run", self.run)

    async def run(self, ready: Any, *, position: Any, keep: Any, **_: Any) -> Record:
        places = ("study", "experiment", "axes", "arm", "repeat", "order")
        known = {name: getattr(position, name) for name in places}
        known |= {"id": f"20991120T000000-{next(_NUMBERS):06}", "process.wall_s": 1.0}
        known["trial"] = ready.trial.to_dict()
        is_cut = len(self.ran) == self.cut_at
        record = make_record(**known, warnings=["interrupted"] if is_cut else self.warnings)
        keep(record)
        if is_cut:
            raise asyncio.CancelledError
        self.ran.append((position.axes, position.repeat, position.order))
        return record


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, store: Path) -> Machine:
    return Machine(monkeypatch)


async def cut(machine: Machine, at: int, work: Any) -> str:
    """Cut work off after so many runs; return the sentence with which it ends."""
    machine.cut_at = at
    with pytest.raises(asyncio.CancelledError) as caught:
        await work
    machine.cut_at = -1
    return str(caught.value)


def counted(records: list[Record]) -> list[tuple[Any, int, int]]:
    """Which run each record is, in their order."""
    return sorted([(one.axes, one.repeat, one.order) for one in records], key=lambda one: one[-1])


def test_what_is_missing_runs_in_the_order_of_the_plan_and_nothing_twice(machine: Machine) -> None:
    asked: dict[str, Any] = {"limit": [1, 2, 3], "repeats": 2, "seed": 7}
    whole = asyncio.run(lab.compare(TRIAL, **asked))
    planned, machine.ran, lines = [*machine.ran], [], list[str]()
    said = asyncio.run(cut(machine, 2, lab.compare(TRIAL, **asked)))
    study = lab.Store().plans.ids()[-1]
    how = f"await lab.resume('{study}') or labkit compare --resume {study} runs the rest"
    assert said.endswith(f"lab.load('{study}') gives them; {how}")
    assert lab.load().text().endswith(f"2 of 6 runs of study {study} are there; {how}")
    assert f"2 of 6 runs of study {study} are there" in here("results", "list").stdout

    asyncio.run(cut(machine, 5, lab.resume(study[:-1])))
    found = asyncio.run(lab.resume(reporter=Lines(lines.append)))
    assert machine.ran == planned
    assert counted(found.records) == planned
    assert (type(found), found.by, found.notes) == (type(whole), whole.by, [])
    assert [one.arm for one in found.records] == [one.arm for one in whole.records]
    assert lab.load(study).records == found.records
    assert not any("complete" in line for line in lines)

    done = here("compare", "--resume", "last")
    assert (done.returncode, len(machine.ran)) == (0, 6)
    assert f"study {study} is complete: all 6 runs are stored" in done.stderr
    assert found.table().text() in done.stdout


async def test_what_others_disturb_is_made_again_no_more_often_than_in_one_go(
    machine: Machine,
) -> None:
    machine.warnings = ["core-lost"]
    await cut(machine, 4, lab.compare(TRIAL, limit=[1, 2, 3, 4], repeats=2))
    found = await lab.resume()
    assert len(machine.ran) == 8 + 2
    assert [one[-1] for one in counted(found.records)] == list(range(8))


async def test_a_baseline_goes_on_beside_the_study(machine: Machine) -> None:
    before = await lab.compare(TRIAL, limit=[1], repeats=3)
    beside = lab.Baseline(before, unlike=True)
    await cut(machine, 4, lab.compare(TRIAL, limit=[1], repeats=3, baseline=beside))
    found = await lab.resume()
    assert found.changes.says.startswith("Beside the baseline: ")


async def test_a_study_of_a_file_goes_on_with_its_verdicts(
    machine: Machine, tmp_path: Path, monkeypatch: Any
) -> None:
    file = tmp_path / "small.toml"
    file.write_text((STUDIES / "small.toml").read_text("utf-8"))
    await cut(machine, 2, lab.reproduce(str(file), scale="workshop"))
    file.write_text(file.read_text("utf-8") + "# changed\n")
    with pytest.raises(BadInput, match=r"begun under other conditions \(.*small.toml is \w+ and"):
        await lab.resume()
    found = await lab.resume(anyway=True)

    assert (type(found).__name__, len(found.records)) == ("Reproduction", 6)
    assert {one.order for one in found.records if one.verdict == "warn"} == {2, 3, 4, 5}
    [note] = found.notes
    assert "small.toml is " in note
    assert found.verdicts[0].reason.endswith(note)
    assert all(note in text for text in (found.text(), lab.load().text()))


@pytest.mark.parametrize(("settings", "how", "why"), checks("resume.toml", "given"))
async def test_what_no_plan_has_is_given_again(
    machine: Machine, tmp_path: Path, settings: Any, how: Any, why: str
) -> None:
    async def mine(fetch: Any, items: Any, limit: int, *, size: int = 3) -> None: ...

    file = tmp_path / "mine.py"
    file.write_text("async def f(fetch, items, limit): ...")
    known = {"mine": mine, "in_file": f"{file}:f", "{}": {}}
    settings = {name: known.get(str(one), one) for name, one in settings.items()}
    how = {name: known.get(str(one), one) for name, one in how.items()}
    trial = TRIAL.replace(**settings)
    await cut(machine, 1, lab.compare(trial, limit=[1, 2], repeats=1))
    with pytest.raises(BadInput, match=why):
        await lab.resume()
    found = await lab.resume(**how)
    assert [one.trial for one in found.records] == [
        trial.replace(limit=limit).to_dict() for limit in (1, 2)
    ]


async def test_what_is_no_longer_the_study_is_refused(machine: Machine, monkeypatch: Any) -> None:
    await cut(machine, 1, lab.compare(TRIAL, limit=[1, 2], repeats=1))
    store = lab.Store()
    [study] = store.plans.ids()
    with pytest.raises(LabError, match="no record has the id 'nope'"):
        await lab.resume("nope")
    with (
        written_plan.claimed(store, study),
        pytest.raises(BadInput, match="runs in another process already"),
    ):
        await lab.resume()
    file = store.plans.folder / f"{study}.json"
    sealed = file.read_bytes()
    # An older plan had no checksum.
    plain = msgspec.json.decode(sealed)
    whole = msgspec.json.encode({name: plain[name] for name in [*plain][1:-1]})
    file.write_bytes(whole.replace(b'"steps":[[', b'"steps":[[1,0],['))
    with pytest.raises(BadInput, match="it is another plan now"):
        await lab.resume(anyway=True)
    for damaged in (whole[:-9], sealed.replace(b'"limit":1', b'"limit":3')):
        file.write_bytes(damaged)
        with pytest.raises(LabError, match=f"the plan of study {study} is damaged"):
            await lab.resume()
    file.write_bytes(whole.replace(b'"python":"3', b'"python":"2'))
    with pytest.raises(BadInput, match=r"python is 3\S+ and was 2"):
        await lab.resume()
    assert len(machine.ran) == 1
    file.unlink()
    os.mkfifo(file)  # which has no writer; what the study has is shown nevertheless
    assert "is no regular file" in lab.load(study).text()
    monkeypatch.setattr(sys, "argv", ["labkit", "results", "list"])
    with pytest.raises(SystemExit, match=r"^0?$"):
        cli.main()


# Killed for real: in the middle of the first run, and of the second.
SCRIPT = checks("resume.toml", "killer")


async def test_a_study_that_is_killed_twice_has_each_run_once(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_RETRY", "0")
    for ended in (0, 1):
        done = subprocess.run([sys.executable, "-c", SCRIPT, str(ended)], check=False)  # noqa: ASYNC221
        assert done.returncode == -signal.SIGKILL
        assert len(list(Store(store).records())) == ended

    found = await lab.resume(reporter=Reporter())
    assert {(one.axes["loop"], one.counts.ok) for one in found.records} == {
        ("asyncio", 2),
        ("uvloop", 2),
    }
    assert sorted(one.order for one in Store(store).records()) == [0, 1]
