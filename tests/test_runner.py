"""The one runner: what is kept, what is made again, and in which order records come back."""

import errno
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import labkit as lab
from labkit.errors import BadInput, TrialFailed
from labkit.lab import runner
from labkit.lab.progress import Lines, Reporter
from labkit.launch.preflight import Ready
from labkit.launch.servers import Served
from labkit.record.record import Interference, Record
from labkit.record.store import Store
from labkit.spec import plan
from labkit.spec.trial import Trial
from labkit.studies import study_file
from tests.factories import STUDIES, make_record
from tests.machines import checks

POSITION = ("study", "experiment", "axes", "arm", "repeat", "order")


class Launches:
    """Takes the place of the launcher: says of each run what the script says of its number."""

    def __init__(
        self,
        *lost: int,
        failing: int = -1,
        dying: Any = (-1, None),
        stolen: Sequence[float] = (),
        **known: Any,
    ) -> None:
        self.lost, self.failing, self.dying, self.ran = lost, failing, dying, 0
        self.stolen = stolen
        self.known = known

    async def run(self, ready: Ready, *, position: Any, keep: Any, **_: Any) -> Record:
        number, self.ran = self.ran, self.ran + 1
        codes = ["core-lost"] if number in self.lost else []
        codes += ["deadline"] if number == self.failing else []
        percent = [*self.stolen, *[0.0] * 99][number]
        codes += ["steal"] if percent else []
        record = make_record(
            id=f"20991120T000000-{number:03}",
            **{name: getattr(position, name) for name in POSITION},
            warnings=codes,
            interference=Interference(stolen_percent=percent),
            **self.known,
        )
        keep(record)
        if number == self.dying[0]:
            self.dying[1].status = -9
        if number == self.failing:
            raise TrialFailed("it failed", record)
        return record


async def run(launches: Launches, store: Store, **more: Any) -> list[Record]:
    steps = plan.interleave(plan.arms(Trial(requests=10), {"limit": [1, 2, 3, 4]}), repeats=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner.launcher, "run", launches.run)
        return await runner.run_all(steps, store=store, **{"reporter": Reporter()} | more)


def numbers(records: list[Record]) -> list[int]:
    """The numbers of the runs, in the order in which they were made."""
    return sorted(int(record.id[-3:]) for record in records)


async def test_a_run_whose_core_others_had_is_made_again_in_its_place(tmp_path: Path) -> None:
    launches, store = Launches(1, 5), Store(tmp_path)
    records = await run(launches, store, experiment="compare")

    assert numbers(records) == [0, 2, 3, 4, 6, 7, 8, 9]
    assert [record.axes["limit"] for record in records] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert sorted(record.order for record in records) == list(range(8))
    assert len({record.study for record in records}) == 1
    assert numbers(list(store.records())) == list(range(10))
    assert lab.load(records[0].study, store=store).records == records


@pytest.mark.parametrize(("stolen", "how", "made"), checks("gate.toml", "made_again"))
async def test_beside_a_baseline_what_the_host_stole_from_is_made_again_at_the_end(
    stolen: list[float], how: Any, made: list[int], tmp_path: Path
) -> None:
    beside = {"asked": {"baseline": {"of": None}}, "experiment": "compare"}
    lines, how = list[str](), beside | how
    launches = Launches(stolen=stolen, failing=how.pop("failing", -1))
    records = await run(launches, Store(tmp_path), reporter=Lines(lines.append), **how)

    assert numbers(records) == made
    assert sorted(record.order for record in records) == list(range(8))
    assert lab.load(records[0].study, store=Store(tmp_path)).records == records
    assert launches.ran <= 8 + 8
    assert (launches.ran > 8) == ("made again, as the host ran other guests" in "".join(lines))


async def test_no_run_on_a_remote_host_is_made_again(tmp_path: Path) -> None:
    remote = Trial(target="http://192.0.2.1/", allow_remote="192.0.2.1", limit=5)
    launches = Launches(1, 5, trial=remote.to_dict())

    assert numbers(await run(launches, Store(tmp_path), experiment="compare")) == list(range(8))


async def test_retries_end_for_a_run_and_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    always, alone, once = (Launches(*range(100)) for _ in range(3))

    assert len(await run(always, Store(tmp_path), experiment="compare")) == 8
    assert always.ran == 8 + 2  # a quarter of eight
    await run(alone, Store(tmp_path / "alone"))
    assert alone.ran == 8  # no study, nothing to compare
    monkeypatch.setenv("LABKIT_RETRY", "0")
    await run(once, Store(tmp_path / "once"), experiment="compare")
    assert once.ran == 8


async def test_a_shared_server_that_died_is_started_again_on_its_port(tmp_path: Path) -> None:
    children, asked = [SimpleNamespace(status=None) for _ in range(2)], list[tuple[int, int]]()

    async def serve(port: int) -> Served:
        asked.append((launches.ran, port))
        return Served("http://127.0.0.1:4711", None, child=children[len(asked) - 1])

    launches = Launches(dying=(3, children[0]))
    records = await run(launches, Store(tmp_path), experiment="a file", serve=serve)

    assert asked == [(0, 0), (4, 4711)]
    assert numbers(records) == list(range(8))


async def test_a_failed_run_is_kept_and_not_made_again(tmp_path: Path) -> None:
    records = await run(Launches(failing=3), Store(tmp_path), experiment="compare")
    assert numbers(records) == list(range(8))

    with pytest.raises(TrialFailed):
        await run(Launches(failing=3), Store(tmp_path / "alone"), stop_at_failure=True)


@pytest.mark.parametrize("has_room", [True, False])
async def test_a_full_disk_ends_no_study(
    tmp_path: Path, monkeypatch: Any, capsys: Any, has_room: bool
) -> None:
    launches, store, elsewhere = Launches(), Store(tmp_path / "a"), Store(tmp_path / "b")
    fsync, full = os.fsync, store.folder if has_room else tmp_path

    def no_space(fd: int) -> None:
        if launches.ran > 3 and Path(f"/proc/self/fd/{fd}").resolve().is_relative_to(full):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", no_space)
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **_: str(elsewhere.folder))
    records = await run(launches, store, experiment="compare")

    assert numbers(records) == list(range(8))
    assert numbers(list(store.records())) == [0, 1, 2]
    assert numbers(list(elsewhere.records())) == ([3, 4, 5, 6, 7] if has_room else [])
    late = sorted(records, key=lambda record: record.order)[3:]
    for record, line in zip(late, capsys.readouterr().err.splitlines(), strict=True):
        [note] = record.warnings
        assert (note.code, record.verdict) == ("not-stored", "valid")
        path = elsewhere.folder / f"{record.id}.json"
        where = f"the record is in {path if has_room else 'this result only'};"
        why = f"the store {store.folder} cannot be written (No space left on device)"
        assert (note.message in line, why in line, where in line) == (True, True, True)


async def test_each_trial_is_checked_once_before_any_runs(tmp_path: Path, monkeypatch: Any) -> None:
    checked: list[Trial] = []
    monkeypatch.setattr(runner.preflight, "check", checked.append)
    await run(Launches(), Store(tmp_path))
    assert sorted(trial.limit for trial in checked) == [1, 2, 3, 4]


async def test_arms_that_cannot_run_here_are_left_out_with_the_reason(tmp_path: Path) -> None:
    text = (STUDIES / "small.toml").read_text(encoding="utf-8")
    text = re.sub(r"delay = .*|scales = .*", "", text)
    missing = '"target.command" = "no-such-server {port}"'
    one = study_file.parse(text.replace('strategy = "semaphore"', missing))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner.launcher, "run", Launches().run)
        found = await runner.run_file(one, "smoke", store=Store(tmp_path), reporter=Reporter())
    assert {record.axes["arm"] for record in found.records} == {"other"}
    why = "target.command is 'no-such-server {port}': there is no program 'no-such-server'"
    assert found["slower"].reason.startswith(f"not testable here: arm one was not run: {why}")
    assert f"one was not run: {why}" in found.table().says

    neither = study_file.parse(re.sub(r'strategy = "\w+"(, maxsize = 7)?', missing, text))
    with pytest.raises(BadInput, match=r"^small has no arm that can run here: target"):
        await runner.run_file(neither, "smoke")
