"""Reference results: all that was run is in the file, and judged by the guards of today."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from labkit.launch import environment
from labkit.record.record import Note, Stall
from labkit.record.store import Store
from labkit.report import stored
from labkit.report.reproduction import Reproduction
from labkit.studies import study_file
from tests.factories import make_record

STALLED = {"stalls": [Stall(who="client", at_s=3.0, lasted_s=20.0)]}
LOST: dict[str, Any] = {
    **dict.fromkeys(("client", "process", "wall_s", "throughput_rps", "efficiency")),
    "warnings": [Note(code="worker-lost", message="it died")],
}
SPOILT = {("task_pool", 1): STALLED, ("pypeln", 3): LOST}
"""All of them say that they are valid."""


def test_a_reference_keeps_every_run_and_its_picture_says_which_no_figure_is_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_STORE", str(tmp_path / "runs"))
    env = environment.machine() | {"commit": "6d62d9c5fc"}
    of: dict[str, Any] = {"study": "again", "effective": {}, "environment": env}
    records = [
        make_record(id=f"{arm}-{n}", axes={"arm": arm}, repeat=n, **of, **SPOILT.get((arm, n), {}))
        for arm in ("semaphore", "as_completed", "task_pool", "pypeln")
        for n in range(5)
    ]
    waited = {"client.waited_percent": 60.0}
    first = make_record(id="first", axes={"arm": "semaphore"}, repeat=2, **of, **waited)
    for record in (first, *records):
        Store().add(record)
    study = Reproduction(study_file.load("garcia-2018"), "paper", records)

    stored.save_reference(study, tmp_path / "mine.json")
    found = stored.reference(str(tmp_path / "mine.json"))

    kept = json.loads((tmp_path / "mine.json").read_bytes())
    assert [one["id"] for one in kept["records"]] == [record.id for record in records]
    assert [one["id"] for one in kept["made_again"]] == ["first"]
    assert {path.name for path in tmp_path.glob("mine*")} == {"mine.json", "mine.png"}
    invalid = [record.id for record in found.records if record.verdict == "invalid"]
    assert invalid == ["task_pool-1", "pypeln-3"]
    assert list(found.summary()["n"]) == [5, 5, 4, 4]
    omitted = [
        "2 of 20 runs left out (crosses): stalled (task_pool); worker-lost (pypeln).",
        "1 of 20 runs made again: core-lost (semaphore).",
    ]
    assert found.omissions() == omitted
    assert {found.measured_on(), *omitted} <= {*found.plot().notes}
    named = ("labkit", "6d62d9c5fc", "aiohttp", env["python"], env["cpu"], "engine wire", "seed 0")
    assert all(part in found.measured_on() for part in named)


def test_a_run_that_is_not_there_says_why_and_older_records_are_judged_too() -> None:
    named = study_file.load("miech-2016")
    found = Reproduction(named, "workshop", [make_record(axes={"arm": "sync-100"})])
    assert "52 minutes" in next(one for one in found.omissions() if one.startswith("each-1m "))
    for name in ("garcia-2018", "miech-2016"):
        assert {one.verdict for one in stored.reference(name).records} <= {"valid", "invalid"}
