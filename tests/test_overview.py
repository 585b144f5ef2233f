"""Several sources of one thing, and all published benchmarks, as one table and one chart."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.text import Text

import labkit as lab
from labkit import cli
from labkit.errors import BadInput, NotInstalled
from labkit.lab import facade
from labkit.record.record import Record
from labkit.report import stored
from labkit.report.file_study import FileStudy
from labkit.studies import study_file
from labkit.studies.study_file import StudyFile
from tests.factories import STUDIES, load_study, make_record

SMALL, TWO = (load_study(str(STUDIES / f"{name}.toml")) for name in ("small", "two"))


def ran(file: StudyFile, **rps: float) -> FileStudy:
    """A study three times, each arm at a rate that its id ends with, or at 100 a second."""
    records: list[Record] = []
    for arm in file.arms_at("smoke"):
        rate = next((one for end, one in rps.items() if arm.id.endswith(end)), 100.0)
        figures = {"axes": {"arm": arm.id}, "throughput_rps": rate, "experiment": file.id}
        records += [make_record(**figures, repeat=n, wall_s=1.0) for n in range(3)]
    return stored.OF_FILE[file.chart](file, "smoke", records)


def test_what_each_source_found_of_uvloop_stands_beside_what_was_found_here() -> None:
    page = ran(load_study("uvloop-worth-it"), uvloop=120.0)
    table, chart = page.table(), page.plot()
    rows = table.rows

    assert {*table.addresses} - {""} == {source.url for source in page.file.sources.values()}
    link = f'<a href="{table.addresses[1]}" rel="noreferrer">Yury Selivanov and MagicStack, 2016<'
    assert link in table.html()
    # First the claims with a figure, then those in words.
    assert [n for n, row in enumerate(rows) if not row[1:]] == [0, 13]
    assert [row[2:] for row in rows[1:4]] == [
        ["×3.85", "×1.200", "✗ refuted"],
        ["×1.130", "×1.200", "✓ holds"],
        ["×1.131", "×1.200", "✓ holds"],
    ]
    # In the order of the layers, with what was published in each row that has a figure.
    assert [one.get_text() for one in chart.axes[0].get_yticklabels()] == [
        claim.id for claim in page.file.claims
    ]
    diamonds = [line for line in chart.axes[0].lines if line.get_marker() == "d"]
    assert len(diamonds) == sum(bool(claim.checks[0].published) for claim in page.file.claims)
    assert "published" in {text.get_text() for text in chart.findobj(Text)}


def test_all_benchmarks_run_one_after_another_and_those_that_cannot_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run_file(file: StudyFile, scale: str, **_: Any) -> FileStudy:
        if file is TWO:
            raise NotInstalled("transport is 'x'", "x", "clients")
        return ran(file, asyncio=80.0)

    monkeypatch.setattr(facade, "run_file", run_file)
    files = [SMALL, TWO, load_study("rloop-2026")]
    known = {file.id: file for file in files}
    monkeypatch.setattr(study_file, "benchmarks", lambda: files)
    monkeypatch.setattr(study_file, "load", lambda name: known[name])
    monkeypatch.chdir(tmp_path)
    line = "labkit reproduce all --scale smoke --json all.json --out page"
    monkeypatch.setattr(sys, "argv", line.split())
    with pytest.raises(SystemExit) as ended:
        cli.main()
    shown, found = capsys.readouterr(), json.loads(Path("all.json").read_text())

    assert not ended.value.code
    assert [f"{file.id}: {file.title}" in shown.err for file in files] == [True] * 3
    assert "rloop-2026, rloop-sockets-1k: An" in shown.out
    assert "two was not run: transport is 'x': the package x is not installed" in shown.out
    assert {one["study"] for one in found["verdicts"]} == {"small", "rloop-2026"}
    assert [*found["not_run"]] == ["two"]
    assert "cannot decide it, because arm sockets-10k-rloop" in " ".join(shown.out.split())
    assert found["verdicts"][1]["verdict"] == "holds"
    page = Path("page/report.html").read_text()
    assert "An echo of 1 KiB over raw sockets" in page
    assert "not run" in page
    # Nothing of these ran in the software of then, so that there is no column for it.
    assert "then here" not in shown.out + page


async def test_what_is_of_one_benchmark_is_refused_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="a baseline is of one benchmark: name it in place of 'all'"):
        await lab.reproduce("all", baseline="x.json")
    with pytest.raises(BadInput, match="scale is 'small': it must be one of smoke"):
        await lab.reproduce("all", scale="small")
