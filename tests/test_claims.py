"""Checking claims, whole: what is run and kept, what is left out, what is shown, the commands."""

import asyncio
import json
from pathlib import Path

import msgspec
import pytest
from factories import STUDIES, make_record
from machines import checks
from programs import here

import labkit as lab
from labkit.charts import forest
from labkit.errors import BadInput, NotInstalled
from labkit.launch import experiment, preflight
from labkit.record.store import Store
from labkit.report.file_study import Ledger
from labkit.spec.trial import Trial
from labkit.studies import judge, study_file
from labkit.studies.parts import Check, Judged
from labkit.studies.verdicts import Verdict

MINE = study_file.load(str(STUDIES / "mine.toml"))


def verdict(*ratios: float) -> Verdict:
    check = Check(says="It is so", measure="wall_s", of="a", to="b", at_least=0.001)
    found = [judge.decide(Judged(check=check, of=("a",), to=("b",)), ratios)] if ratios else []
    return Verdict.of(found, id="a", source="", says="It is so", scale="smoke")


def ledger() -> Ledger:
    """What records that nobody measured make of these claims."""
    more = {"experiment": "mine", "server.max_in_flight": 2, "client.waited_percent": 0.0}
    arms = MINE.plan("smoke", 2).arms
    records = [
        make_record(axes={"arm": arm}, repeat=repeat, trial=work.to_dict(), wall_s=wall_s, **more)
        for arm, wall_s in (("mine/1/of", 1.0), ("slow/1/of", 2.0))
        for repeat in range(5)
        if isinstance(work := arms[arm], Trial)
    ]
    return Ledger(MINE, "smoke", records)


def test_a_ledger_shows_every_claim_in_every_form() -> None:
    book = ledger()
    assert [one.verdict for one in book.verdicts] == ["holds", "holds", "inconclusive"]
    data = json.loads(msgspec.json.encode(book.to_dict()))
    assert [row["id"] for row in data["verdicts"]] == ["mine", "slow", "later"]
    assert len(data["records"]) == len(book.records) == 10
    for shown in (book.text(), book.html()):
        assert all(one.id in shown for one in book.verdicts)
        assert "not testable here: it needs a moon" in shown
    assert list(book.findings()["claim"]) == ["mine", "slow"]
    assert book["later"].deciding is None
    assert "3 claims: 2 holds, 1 not testable here." in book.sentences()[0]


def test_the_forest_names_every_claim_and_is_the_same_twice() -> None:
    first, second = ledger().plot(), ledger().plot()
    assert all(name in first.alt for name in ("mine holds", "slow holds", "later inconclusive"))
    assert first.svg() == second.svg()
    assert first.notes[-1] == "Not drawn, as nothing was measured: later."
    assert "inconclusive" in forest([verdict()]).alt  # nothing measured, and yet a picture
    with pytest.raises(BadInput, match="no claims"):
        forest([])


@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.6, 0.97, 1.0, 1.06, 1.4, 1.95, 8, 40, 2_000])
def test_the_axis_of_the_forest_has_two_ticks_or_more(ratio: float) -> None:
    chart = forest([verdict(*[ratio] * 5)], title="Mine")
    (marks,) = [ax for ax in chart.axes if ax.get_xscale() == "log"]
    low, high = marks.get_xlim()
    assert 2 <= sum(low <= tick <= high for tick in marks.get_xticks()) <= 9


# Runs


async def test_a_small_check_keeps_a_record_of_every_run_and_is_loaded_again(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path)
    book = await lab.check_claims(["pool-limit", "body-cap"], scale="smoke", repeats=1, store=store)
    verdicts = {one.id: one.verdict for one in book.verdicts}
    assert verdicts == {"pool-limit": "inconclusive", "body-cap": "inconclusive"}
    assert book["pool-limit"].measured == 10
    assert book["body-cap"] is book["body-cap/announced"]
    assert book["body-cap/in chunks"].measured == 413
    assert {record.experiment for record in store.records()} == {"claims"}
    assert len({record.study for record in store.records()}) == 1
    again = lab.load(book.records[0].study, store=store)
    assert isinstance(again, Ledger)
    assert [one.to_dict() for one in again.verdicts] == [one.to_dict() for one in book.verdicts]


async def test_claims_of_ones_own_are_checked_in_place_of_the_labs(tmp_path: Path) -> None:
    book = await lab.check_claims(["mine"], scale="smoke", claims=MINE, store=Store(tmp_path))
    [one] = book.verdicts
    assert (one.id, one.source, one.verdict) == ("mine", "a guess", "holds")
    # An arm that another claim of the file has too is run once.
    assert len({record.axes["arm"] for record in book.records}) == 1
    with pytest.raises(BadInput, match="claim"):
        await lab.check_claims(["body-cap"], claims=MINE, store=Store(tmp_path))


async def test_a_claim_waits_for_a_package_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "find_spec", lambda name: None if name == "redis" else name)
    study = study_file.load(str(STUDIES / "pooled.toml"))
    book = await lab.check_claims(scale="smoke", claims=study, store=Store(tmp_path))
    assert book["pooled"].verdict == "inconclusive"
    assert book["pooled"].reason == "not testable here: it needs the package redis"
    with pytest.raises(NotInstalled, match="install it with"):
        await lab.check_claims(["pooled"], scale="smoke", claims=study, store=Store(tmp_path))


async def test_an_experiment_that_fails_decides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "DEADLINE_S", 0.0)
    book = await lab.check_claims(["body-cap"], scale="smoke", store=Store(tmp_path))
    assert book["body-cap"].verdict == "inconclusive"
    assert "a run failed (program-failed): 5" in book["body-cap"].reason


def test_bad_input_is_refused(tmp_path: Path) -> None:
    for given, message in checks("claims.toml", "refused"):
        with pytest.raises(BadInput, match=message):
            asyncio.run(lab.check_claims(**given, store=Store(tmp_path)))
    assert not list(tmp_path.iterdir())


# Commands


@pytest.mark.usefixtures("store")
def test_the_command_lists_every_claim_and_refuses_one_that_there_is_not() -> None:
    ids = sorted(claim.id for claim in study_file.load("claims").claims)
    rows = json.loads(here("claims", "list", "--json", "-").stdout)["claims"]
    assert sorted(row["id"] for row in rows) == ids
    assert len(ids) >= 38
    untested = {row["id"] for row in rows if row["status"] == "not testable here"}
    assert untested == {row["id"] for row in rows if row["not_testable"]}
    assert {"pipelining", "cleanup-closed"} <= untested < {*ids}
    shown = here("claims", "list")
    assert all(name in shown.stdout for name in ids)
    refused = here("claims", "check", "body-cp")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "did you mean 'body-cap'" in refused.stderr


@pytest.mark.usefixtures("store")
def test_the_command_checks_draws_and_writes(tmp_path: Path) -> None:
    out, chart = tmp_path / "claims.json", tmp_path / "forest.svg"
    words = ["claims", "check", "default-100", "--scale", "smoke", "--repeats", 1]
    done = here(*words, "--json", out, "--chart", chart)
    assert done.returncode == 0, done.stderr
    [row] = json.loads(out.read_text())["verdicts"]
    assert (row["id"], row["verdict"]) == ("default-100", "inconclusive")  # by one repeat
    assert "default-100" in done.stdout
    assert chart.stat().st_size > 0
