"""Reference results: all that was run is in the file, and judged by the guards of today."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from labkit import paths
from labkit.launch import environment
from labkit.record.record import Record, Stall
from labkit.record.store import Store
from labkit.report import stored
from labkit.report.reproduction import Reproduction
from labkit.studies import study_file
from tests.factories import make_record

ENV = environment.machine() | {"commit": "6d62d9c5fc"}
NOTHING = dict.fromkeys(("client", "process", "wall_s", "throughput_rps", "efficiency"))
# Each of them says that it is valid.
SPOILT: dict[tuple[str, int], dict[str, Any]] = {
    ("task_pool", 1): {"stalls": [Stall(who="client", at_s=3.0, lasted_s=20.0)]},
    ("pypeln", 3): {**NOTHING, "warnings": ["worker-lost"]},
}


def run(arm: str, repeat: int, **changes: Any) -> Record:
    known = {"id": f"{arm}-{repeat}", "study": "again", "environment": ENV} | changes
    return make_record(axes={"arm": arm}, repeat=repeat, **known)


def test_a_reference_keeps_every_run_and_its_picture_says_which_no_figure_is_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_STORE", str(tmp_path / "runs"))
    arms = ("semaphore", "as_completed", "task_pool", "pypeln")
    records = [run(arm, n, **SPOILT.get((arm, n), {})) for arm in arms for n in range(5)]
    for record in (run("semaphore", 2, **{"client.waited_percent": 60.0, "id": "first"}), *records):
        Store().add(record)

    study = Reproduction(study_file.load("garcia-2018"), "paper", records)
    stored.save_reference(study, tmp_path / "mine.json")
    found, kept = stored.reference(f"{tmp_path}/mine.json"), (tmp_path / "mine.json").read_bytes()

    ids = {
        name: [one["id"] for one in json.loads(kept)[name]] for name in ("records", "made_again")
    }
    assert ids == {"records": [record.id for record in records], "made_again": ["first"]}
    invalid = [record.id for record in found.records if record.verdict == "invalid"]
    assert invalid == ["task_pool-1", "pypeln-3"]
    assert list(found.summary()["n"]) == [5, 5, 4, 4]
    assert found.omissions() == [
        "2 of 20 runs left out (crosses): stalled (task_pool); worker-lost (pypeln).",
        "1 of 20 runs made again: core-lost (semaphore).",
    ]
    assert {found.measured_on(), *found.omissions()} <= {*found.plot().notes}
    named = ("labkit", "6d62d9c5fc", "aiohttp", ENV["python"], ENV["cpu"], "engine wire", "seed 0")
    assert all(part in found.measured_on() for part in named)


def test_a_row_without_a_good_run_and_one_that_was_not_run_say_why() -> None:
    lost = run("sync-100", 0, verdict="invalid", warnings=["stalled"])
    found = Reproduction(study_file.load("miech-2016"), "workshop", [lost]).omissions()
    assert found[0] == "1 of 1 runs invalid, as all of their row: stalled (sync-100)."
    assert "52 minutes" in next(one for one in found if one.startswith("each-1m "))


# The stored references: five repeats a row, and what they were measured with

STORED = sorted(paths.data("reference").glob("*.json"))


@pytest.mark.parametrize("path", STORED, ids=[path.stem for path in STORED])
def test_stored_reference_has_five_repeats_a_row_and_names_what_it_was_measured_with(
    path: Path,
) -> None:
    found = stored.reference(str(path))

    repeats = Counter(record.axes["arm"] for record in found.records)
    ran = {arm.id for arm in found.file.arms_at(found.scale)} - {*found.absent}
    assert dict.fromkeys(ran, 5) == repeats
    assert path.with_suffix(".png").is_file()
    for record in found.records:
        env = record.environment
        assert all(env["versions"][name] for name in ("labkit", "aiohttp", "uvloop"))
        assert all(env[name] for name in ("commit", "python", "system", "cpu", "cores"))
        assert record.trial["target"]["engine"]
    assert "changed since" not in found.measured_on()
    # Each row that was not measured says why.
    missing = {arm.id for arm in found.file.arms if arm.chart} - ran
    assert all(any(one.startswith(f"{arm} ") for one in found.omissions()) for arm in missing)
