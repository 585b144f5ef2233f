"""A benchmark of rates, run for real and small: its table, its chart, its report.

Structure only: how fast anything is depends on the machine.
"""

import asyncio
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest

import labkit as lab
from labkit import cli
from labkit.errors import BadInput
from labkit.lab import facade, progress
from labkit.record.store import Store
from labkit.report.reproduction import Reproduction
from tests.factories import STUDIES


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Reproduction:
    """The benchmark of `rates.toml`, at its smallest."""
    study, quiet = str(STUDIES / "rates.toml"), progress.Reporter()
    store = Store(tmp_path_factory.mktemp("rates") / "runs")
    return asyncio.run(facade.reproduce(study, scale="smoke", store=store, reporter=quiet))


def test_every_arm_ran_its_repeats_and_the_table_has_rates_then_and_now(
    again: Reproduction,
) -> None:
    table = again.table()

    assert [record.axes["arm"] for record in again.records] == ["slow"] * 3 + ["fast"] * 3
    assert all(record.counts.ok == record.counts.planned == 50 for record in again.records)
    assert [row[:3] for row in table.rows] == [
        ["echo on asyncio", "slow", "43,000"],
        ["echo on uvloop", "fast", "106,000"],
    ]
    assert all(len(row) == len(table.headers) for row in table.rows)
    assert table.says.startswith("Few messages.\n1 arm runs only at a larger scale.")
    assert f"labkit {version('labkit')}" in table.says


def test_published_and_measured_are_data_and_what_cannot_be_decided_is_said_once(
    again: Reproduction,
) -> None:
    data, text = json.loads(msgspec.json.encode(again.to_dict())), again.text()

    assert [row["arm"] for row in data["published"]] == ["slow", "fast", "large"]
    assert data["published"][0]["published"]["rps"] == 43_000
    assert data["published"][2]["measured"] is None
    for row in data["published"][:2]:
        now = row["measured"]
        assert 0 < now["throughput_rps_min"] <= now["throughput_rps"] <= now["throughput_rps_max"]
    assert [verdict["id"] for verdict in data["verdicts"]] == ["faster", "larger"]
    assert text.count("uvloop serves more.") == 1
    assert text.count("A large echo is slower.") == 1
    assert text.count("arm large runs only at scale") == 1


def test_its_own_chart_shows_rates_and_others_can_be_asked_for(again: Reproduction) -> None:
    chart = again.plot()

    [panel] = chart.axes
    assert panel.get_title(loc="left") == "echo"
    assert again.plot("throughput").alt == chart.alt
    assert "echo, 1 KiB, asyncio " in chart.alt
    assert "(published 106,000 requests/s)" in chart.alt
    assert again.plot("memory").alt.startswith("Peak memory")
    with pytest.raises(BadInput, match="plot is 'triptych'"):
        again.plot("triptych")
    assert len(again.plot(reference=again).axes[0].patches) == len(panel.patches) + 2


def test_it_is_set_beside_a_baseline_in_the_terminal_and_on_its_page(
    again: Reproduction, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    quiet = {"warnings": [], "verdict": "valid", "wall_s": 1.0, "client": None, "server": None}
    before, now = (
        [
            msgspec.structs.replace(one, **quiet, throughput_rps=90.0 if one.arm else slow)
            for one in again.records
        ]
        for slow in (100.0, 50.0)
    )
    lab.Study(before).save(tmp_path / "base.json")
    line = f"reproduce {STUDIES / 'rates.toml'} --baseline base.json --by rps --out out --scale"
    with mock.patch("labkit.lab.runner.run_all", mock.AsyncMock(return_value=now)) as ran:
        for scale in ("smoke", "paper"):
            monkeypatch.setattr(sys, "argv", ["labkit", *line.split(), scale])
            with pytest.raises(SystemExit) as end:
                cli.main()
            shown, said = capsys.readouterr()
            if scale == "smoke":
                assert end.value.code == ran.call_count == 1
                assert "Beside the baseline: 1 regression" in shown
                assert "worse than the baseline: throughput_rps, slow" in said
                files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
                assert {*files} > {"throughput.png", "throughput.svg"}
                assert b"regression" in files["result.json"]
                page = files["report.html"].decode()
                assert "regression" in page
                assert "echo on uvloop" in page
                # Rates are measured without timelines: there is nothing to show of single runs.
                assert "The first run of each" not in page
    assert (end.value.code, ran.call_count) == (2, 1)
    assert "requests is 100 and was 50" in said
    assert lab.load(tmp_path / "out" / "result.json").records == now
