"""The report as a browser takes it: whole, escaped, and standing alone."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import labkit as lab
from labkit import charts, stats
from labkit.record.record import Note, Timeline
from labkit.report import html as report
from labkit.report import study as report_study
from labkit.report.file_study import Ledger
from labkit.report.html import Table
from labkit.report.study import Study, Sweep
from labkit.stats import frames
from labkit.studies.verdicts import MARKS, Verdict
from tests.factories import load_study, make_record, make_study

EVIL = "<script>alert('&amp;')</script> | `x` *y* [z](http://127.0.0.1:9/)"
DATA = Path(__file__).parent / "data"
SHOWN = re.sub("`", "", EVIL)
TABLE = Table(
    headers=["client", "memory then (MB)", "memory now (MB)"],
    rows=[["client-async-sem", "361.1", "380"], ["client-task-pool", "59.6", "54"]],
    says="Medians of 5 repeats.",
)


def verdict(answer: Any = "holds", says: str = "it needs more", reason: str = "why") -> Verdict:
    return Verdict(id="a", says=says, source="b", verdict=answer, reason=reason, scale="paper")


class Drawn:
    """A chart whose every text is from a server that means harm."""

    alt = EVIL

    def svg(self) -> str:
        return f"<svg>{EVIL}</svg>"


def written(**changes: Any) -> Page:
    """The page of a study with something in every place; a run of it failed."""
    record = make_record(
        axes={"arm": "one"},
        first_errors=["timeout: TimeoutError: "],
        warnings=[Note(code="server-busy", message="it used 75 % of its core")],
        **changes,
    )
    study = Ledger(load_study("claims"), "smoke", [record], claims=["body-cap"])
    study.left_out = ["record x is damaged"]
    return Page(study.report())


@pytest.fixture(scope="module")
def evil() -> Page:
    drawn: Any = Drawn()
    table = Table(headers=[EVIL] * 2, rows=[[EVIL] * 2], says=EVIL)
    parts = [
        *(report.sentences([EVIL]), report.listed([EVIL]), table.html(), report.heading(EVIL)),
        *(verdict(says=EVIL, reason=EVIL).html(), report.figure(drawn, EVIL)),
        report.folded(EVIL, ""),
    ]
    return Page(report.page(EVIL, EVIL, report.section(EVIL, *parts)))


class Page(HTMLParser):
    """Elements with their attributes, texts, and rows of cells, as a browser would see them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.tags.append(tag)
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_page_of_a_study_is_well_formed_and_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_study, "MAX_TIMELINES", 1)
    two = [make_record(id=one, axes={"arm": one}) for one in ("first", "second")]
    assert "1 more have a timeline, too: <code>labkit results show second" in Study(two).report()
    page = written()

    assert page.open == []
    assert page.html.startswith("<!doctype html>")
    assert [one.get("lang") for one in page.of("html")] == ["en"]
    assert [one.get("name") for one in page.of("meta")] == [None, "viewport", "color-scheme", None]
    text = "".join(page.texts)
    words = ["What others claim", " inconclusive.", "A verdict needs 5 repeats"]
    words += ["The first run of each", "server-busy", "one (1 of 1)", "it used 75 % of its core"]
    words += [
        "timeout: TimeoutError: ",
        "record x is damaged",
        "labkit reproduce claims --scale smoke",
    ]
    assert [each for each in words if each not in text] == []
    # The lead and the table of claims stand there once.
    assert [text.count(once) for once in ("Measured on", "1 claim", "body-cap/announced: ")] == [
        1,
        1,
        1,
    ]
    # The forest, and the timeline of the first run of the arm.
    assert len(page.of("img")) == 2
    assert page.html == written().html


def test_a_chart_is_drawn_again_only_where_it_changed() -> None:
    chart = Sweep([make_record(settings={"limit": n}, axes={"limit": n}) for n in (1, 2)]).plot()
    first = chart.svg()
    assert chart.svg() is first
    assert chart.guess(3).svg() != first


def test_environment_is_flat_and_a_table_has_its_cells() -> None:
    environment = {"machine": {"cores": 2, "cpus": [0, 1]}, "turbo": None}
    page = Page(TABLE.html())

    assert written(environment=environment).rows[-3:] == [
        ["machine.cores", "2"],
        ["machine.cpus", "0, 1"],
        ["turbo", "not known"],
    ]
    assert page.rows == [list(TABLE.headers), *(list(row) for row in TABLE.rows)]
    assert [one["align"] for one in page.of("td")[:3]] == ["left", "right", "right"]
    assert page.texts[-1] == TABLE.says


@pytest.mark.parametrize("answer", [word for word in MARKS if word != "informational"])
def test_verdict_is_a_word_and_a_sign_with_its_reason(answer: str) -> None:
    page = Page(verdict(answer, reason="The ratio was 6.8").html())

    assert "".join(page.texts) == f"{MARKS[answer]} {answer}: it needs more. The ratio was 6.8."
    assert page.of("p") == [{"class": f"verdict {answer}"}]


def test_image_is_within_the_page_and_described() -> None:
    chart = charts.bars(stats.frame([make_record()]), "memory", ["strategy"])

    (image,) = Page(report.figure(chart)).of("img")

    kind, data = str(image["src"]).split(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(data).decode() == chart.svg()
    assert image["alt"] == chart.alt


def test_page_asks_for_nothing_from_any_address(evil: Page) -> None:
    attributes = [item for _, listed in evil.elements for item in listed.items()]
    addresses = ("src", "href", "srcset", "action", "data")
    asked = [str(value) for name, value in attributes if name in addresses]
    assert asked
    assert all(value.startswith("data:") for value in asked)
    assert not re.search(r"url\(|@import", evil.html)
    assert "default-src 'none'" in evil.html
    assert not any(name.startswith("on") for name, _ in attributes)


def test_text_from_a_server_is_shown_and_never_run(evil: Page) -> None:
    assert evil.of("script") == evil.of("a") == []
    assert "".join(evil.texts).replace("`", "").count(SHOWN) == 16
    (image,) = evil.of("img")
    assert image["alt"] == EVIL


def test_a_part_of_nothing_is_none_and_a_page_is_readable_in_light_and_dark() -> None:
    page = Page(report.page("Nothing yet", "", report.section("Empty"), report.listed([])))

    assert page.of("h2") == page.of("table") == page.of("ul") == []
    assert "prefers-color-scheme: dark" in page.html
    assert {"name": "color-scheme", "content": "light dark"} in page.of("meta")


# Out of the lab, and into it


def test_figures_as_openmetrics_are_valid_and_in_base_units() -> None:
    records = make_study({"queue": {"throughput_rps": 600.0, "server.cpu_percent": 20.0}})
    evil = [msgspec.structs.replace(one, axes={"transport.x": 'a"b\n\\'}) for one in records]
    text = Study(evil, ["transport.x"]).openmetrics()

    found = {one.name: one.samples[0] for one in text_string_to_metric_families(text)}
    named = ("throughput_requests_per_second", "server_cpu_ratio", "process_peak_rss_bytes")
    values = {
        name: found[f"labkit_{name}"].value for name in (*named, "valid", "latency_p50_seconds")
    }
    assert list(values.values()) == pytest.approx([600, 0.2, 58_188_000, 1, 1.001], rel=1e-3)
    labels = {"strategy": "queue", "called": "http", "transport_x": 'a"b\n\\'}
    assert found["labkit_valid"].labels == labels
    assert {*map(float, re.findall(r" ([\d.e-]+)$", text, re.MULTILINE))} >= {600.0}


def test_any_result_is_written_as_a_page_with_its_chart_and_json(tmp_path: Path) -> None:
    study = Study([make_record(timeline=Timeline(), axes={"called": EVIL})], ["called"])
    page = Page(study.write(tmp_path / "new").read_text())

    assert (page.open, len(page.of("img"))) == ([], 1)
    assert {one.name for one in (tmp_path / "new").iterdir()} == {
        *("chart.png", "chart.svg", "report.html", "result.json")
    }
    text = "".join(page.texts)
    for word in ("Settings of the first arm", "workload.requests", "Machine and versions"):
        assert word in text


@pytest.mark.parametrize("name", ["k6.json", "oha.json", "locust_stats.csv", "wrk_latency.txt"])
def test_results_of_other_tools_are_read_beside_the_labs_own(name: str) -> None:
    found = lab.read(DATA / name)

    assert list(found) == [*stats.DESCRIPTION, *stats.METRICS]
    (row,) = found.dropna(axis=1).to_dict("records")
    assert row.pop("id") == name
    assert row.pop("strategy") in name
    row.pop("latency_p999_s", None)
    assert row == pytest.approx(
        {"ok": 1470, "failures": 30, "wall_s": 5.0, "throughput_rps": 294.0}
        | {"latency_mean_s": 0.0125, "latency_p50_s": 0.011, "latency_p90_s": 0.017}
        | {"latency_p99_s": 0.04, "latency_max_s": 0.091}
    )


def test_a_file_without_results_is_refused() -> None:
    for name in ("record.json", "mutants.toml", "none.csv"):
        with pytest.raises(lab.BadInput, match=f"{name} (has no results|cannot be read)"):
            lab.read(DATA / name)


def test_an_export_has_url_path_and_every_setting() -> None:
    trial = lab.Trial(target="http://127.0.0.1:9/a", limit=7).to_dict()
    table = frames.export([make_record(), make_record(trial=trial, axes={"limit": 7})])

    assert table["url"].tolist() == [None, "http://127.0.0.1:9/a"]
    assert table["path"].tolist() == ["/{item}", "/a"]
    assert table["workload.limit"].tolist() == [1_000, 7]
    assert table["transport.force_close"].tolist() == [False, False]
    about = [*frames.DESCRIPTION, "url", "path"]
    assert list(table)[: len(about)] == about
    assert list(table)[-len(stats.METRICS) :] == [*stats.METRICS]
