"""The software of then beside today's: its programs, and what is told from both about a claim."""

import ast
import asyncio
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from machines import checks
from matplotlib.text import Text

from labkit import paths
from labkit.errors import BadInput
from labkit.lab import facade, progress
from labkit.lab.runner import run_file
from labkit.record.store import Store
from labkit.report.reproduction import Reproduction
from labkit.spec.trial import Trial
from labkit.studies import study_file
from labkit.studies.verdicts import what_changed
from tests.factories import STUDIES, make_record

TEXT = (STUDIES / "then.toml").read_text(encoding="utf-8")
SMALL = study_file.parse(TEXT)


def reproduced(**wall_s: list[float]) -> Reproduction:
    """The study with runs of its arms, and of those in the software of then, that took so long."""
    records = [
        make_record(axes={"arm": arm.replace("_then", "@then")}, repeat=repeat, wall_s=one)
        for arm, values in wall_s.items()
        for repeat, one in enumerate(values)
    ]
    return Reproduction(SMALL, "smoke", records)


@pytest.mark.parametrize(("then", "now", "says"), checks("then.toml", "changed"))
def test_the_software_of_then_tells_what_changed(
    then: list[float], now: list[float], says: str
) -> None:
    ones = [1.0, 1.0, 1.0]
    found = reproduced(one=now, other=ones, one_then=then, other_then=ones)
    verdict = found["slower"]
    assert verdict.then is not None
    assert says in verdict.changed
    table, why = found.verdict_table(), f"then: {verdict.then.marked}. {verdict.changed}."
    assert [why in one for one in table.why if one] == [True]
    # Where it holds the table says all; HTML unfolds the reason in any case.
    assert (why in " ".join(found.text().split())) == (verdict.verdict != "holds")
    assert table.html().count("<details>") == 1
    assert verdict.to_dict()["then"]["verdict"] == verdict.then.verdict
    assert f"In the software of then: 1 {verdict.then.verdict}" in found.tally()
    assert verdict.deciding is not None
    no_figure = msgspec.structs.replace(verdict.deciding, published=None, said="at most ×2")
    assert "at most ×2 holds, " in what_changed(verdict.then, no_figure)
    alone = reproduced(one=now, other=ones, one_then=then)["slower"]
    assert (alone.then, alone.changed, alone.verdict) == (None, "", verdict.verdict)
    # The software of then is that of the first source: what another has found later is not of it.
    later = TEXT.replace("[settings]", '[source.later]\nauthor = "B"\n[settings]')
    first, *_ = SMALL.sources
    for source, is_of_then in (("later", False), (first, True), (f"{first}, later", True)):
        named = later.replace('measure = "wall_s"', f'source = "{source}"\nmeasure = "wall_s"')
        other = Reproduction(study_file.parse(named), "smoke", found.records)["slower"]
        assert (other.then is not None) == is_of_then


def test_table_and_chart_show_published_then_and_now_apart() -> None:
    found = reproduced(one=[2], other=[1], one_then=[3], extra=[9], extra_then=[9])
    assert [row[:2] for row in found.table().rows] == [
        ["client-one", "one"],
        ["client-one, software of then", "one@then"],
        ["client-other", "other"],
    ]
    chart = found.plot()
    words = {text.get_text() for text in chart.findobj(Text)}
    assert {"today's software, here", "software of 2018, here", "published 2018"} <= words
    assert len(chart.axes[0].patches) == 3
    assert chart.alt.count("in the software of then") == 1


def test_programs_of_then_are_for_the_python_of_then_and_each_is_of_a_study() -> None:
    used = set[Path]()
    for study in study_file.benchmarks():
        for name, trial in study.plan("paper", 1).arms.items():
            if name.endswith("@then"):
                assert isinstance(trial, Trial)
                path = Path(trial.words("http://127.0.0.1:80/{item}")[1])
                version = tuple(map(int, re.findall(r"\d+", trial.get("python"))))
                ast.parse(path.read_text(encoding="utf-8"), feature_version=version[:2])
                used.add(path)
    assert used == {*paths.data("programs").rglob("*.py")}


def test_the_sources_own_programs_take_the_place_of_the_labs(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="it has no program 'old-one' for arm 'one'"):
        SMALL.plan("smoke", 1, programs=tmp_path)
    (tmp_path / "old-one").touch()
    plan = SMALL.plan("smoke", 1, programs=tmp_path)
    theirs: Any = plan.arms["one@then"]
    assert theirs.words("http://127.0.0.1:80/{item}")[1:] == [str(tmp_path / "old-one"), "20"]
    assert (theirs.limit, theirs.target.port, plan.arms["one"].limit) == (7, 8_080, 5)
    assert [*plan.groups(["one"], [])] == [["one", "one@then"]]
    assert [*SMALL.plan("smoke", 1, programs=False).arms] == ["one", "other", "extra"]
    dated = TEXT.replace("# python", 'python = "3.6"\npackages = ["aiohttp==3.4.4", "a==1"]')
    of_then: Any = study_file.parse(dated).plan("smoke", 1).arms["one@then"]
    assert (of_then.get("python"), of_then.get("packages")) == ("3.6", "aiohttp==3.4.4 a==1")


def test_an_arm_runs_in_both_by_any_programs_and_a_strangers_file_only_where_allowed(
    tmp_path: Path,
) -> None:
    how: dict[str, Any] = {"store": Store(tmp_path / "runs"), "reporter": progress.Reporter()}
    with pytest.raises(BadInput, match="allow_commands"):
        asyncio.run(facade.reproduce(str(STUDIES / "then.toml"), scale="smoke", **how))
    program = shutil.copy(paths.data("programs") / "2018" / "semaphore.py", tmp_path / "old-one")
    asked = ("old-one {requests}", "old-one http://127.0.0.1:{port} {requests} {limit}")
    theirs = study_file.parse(TEXT.replace('"target.port" = 8_080, ', "").replace(*asked))
    how |= {"only": ["one"], "repeats": 1, "programs": tmp_path}
    found = asyncio.run(run_file(theirs, "smoke", **how))
    ran = {record.axes["arm"]: record for record in found.records}
    assert f"python {program} http" in str(ran["one@then"].trial)
    assert {*ran} == {"one", "one@then"}
    assert ran["one@then"].counts.ok == 20
    assert "left out" not in found.text()


@pytest.mark.parametrize("measure", ["wall_s", "cpu_us_per_request"])
def test_a_reference_that_was_judged_by_another_measure_says_so(measure: str) -> None:
    smaller = f'{TEXT}[claim.at.smoke]\nmeasure = "{measure}"\nat_least = 2\n'
    file, records = study_file.parse(smaller), reproduced(one=[2.0] * 3, other=[1.0] * 3).records
    here, there = (Reproduction(file, scale, records) for scale in ("smoke", "paper"))

    ((*_, reference, _),) = here.verdict_table(there).rows
    assert reference.endswith("holds, by another measure") == (measure != "wall_s")
