"""The report as a browser takes it: whole, escaped, and standing alone."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from labkit import charts, stats
from labkit.record.record import Note
from labkit.report import page as report
from labkit.report.page import Picture, Section
from labkit.report.tables import Table
from labkit.studies.judge import Verdict
from tests.factories import make_record

EVIL = "<script>alert('&amp;')</script> | `x` *y* [z](http://127.0.0.1:9/)"
TABLE = Table(
    headers=["client", "memory then (MB)", "memory now (MB)"],
    rows=[["client-async-sem", "361.1", "380"], ["client-task-pool", "59.6", "54"]],
    says="Medians of 5 repeats.",
)


def verdict(answer: Any = "holds", **changes: Any) -> Verdict:
    settings = {
        "id": "sem-memory",
        "says": "the semaphore needs many times the memory",
        "source": "Garcia 2018",
        "verdict": answer,
        "reason": "The ratio was 6.8 to 7.1 in 5 repeats",
        "scale": "paper",
    }
    return Verdict(**{**settings, **changes})


def whole(**changes: Any) -> dict[str, Any]:
    """The arguments of a report with something in every place."""
    chart = charts.bars(stats.frame([make_record()]), "memory", ["strategy"])
    section = Section(
        title="Published beside measured",
        text=["Two clients.", "Each five times."],
        verdicts=[verdict(one) for one in report.MARKS if one != "informational"],
        tables=[TABLE],
        pictures=[report.picture(chart, caption="Memory of one client.")],
    )
    return {
        "title": "Garcia 2018",
        "sections": [section],
        "lead": "The published run, here.",
        "command": "labkit reproduce garcia-2018 --scale paper",
        "environment": {"machine": {"cores": 2, "cpus": [0, 1]}, "turbo": None},
        "warnings": [Note(code="server-busy", message="the server used 75 % of its core")],
        "errors": ["timeout: TimeoutError: "],
    } | changes


def evil() -> dict[str, Any]:
    """A report in which every text is from a server that means harm."""
    section = Section(
        title=EVIL,
        text=[EVIL],
        verdicts=[verdict(says=EVIL, reason=EVIL)],
        tables=[Table(headers=[EVIL, EVIL], rows=[[EVIL, EVIL]], says=EVIL)],
        pictures=[Picture(svg=f"<svg>{EVIL}</svg>", alt=EVIL, caption=EVIL)],
    )
    return {
        "title": EVIL,
        "sections": [section],
        "lead": EVIL,
        "command": EVIL,
        "environment": {EVIL: EVIL, "nested": {EVIL: [EVIL]}},
        "warnings": [Note(code=EVIL, message=EVIL)],
        "errors": [EVIL],
    }


class Page(HTMLParser):
    """Elements with their attributes, texts, and rows of cells, as a browser would see them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_page_is_well_formed_and_complete() -> None:
    html = report.page(**whole())

    page = Page(html)
    assert page.open == []
    assert html.startswith("<!doctype html>")
    assert [one.get("lang") for one in page.of("html")] == ["en"]
    for text in (
        "Garcia 2018",
        "The published run, here.",
        "Published beside measured",
        "Two clients.",
        "Each five times.",
        "Medians of 5 repeats.",
        "Memory of one client.",
        "labkit reproduce garcia-2018 --scale paper",
        "timeout: TimeoutError: ",
    ):
        assert text in page.texts


def test_table_of_the_page_has_the_cells_of_the_table() -> None:
    page = Page(report.page(**whole()))

    assert page.rows[:3] == [list(TABLE.headers), *(list(row) for row in TABLE.rows)]
    assert [one.get("class") for one in page.of("th")[:3]] == [None, "number", "number"]
    assert [one.get("class") for one in page.of("td")[:4]] == ["number"] * 4
    assert [one["scope"] for one in page.of("th")[:5]] == ["col"] * 3 + ["row"] * 2


def test_environment_is_flat() -> None:
    page = Page(report.page(**whole()))

    assert page.rows[3:] == [
        ["machine.cores", "2"],
        ["machine.cpus", "0, 1"],
        ["turbo", "not known"],
    ]


@pytest.mark.parametrize("answer", report.MARKS)
def test_verdict_is_a_word_and_a_sign_with_its_reason(answer: str) -> None:
    section = Section(title="Verdicts", verdicts=[verdict(answer)])

    page = Page(report.page("t", [section]))

    assert f"{report.MARKS[answer]} {answer}" in page.texts
    assert "The ratio was 6.8 to 7.1 in 5 repeats" in page.texts


def test_image_is_within_the_page_and_described() -> None:
    given_ = whole()
    picture = given_["sections"][0].pictures[0]

    (image,) = Page(report.page(**given_)).of("img")

    kind, data = str(image["src"]).split(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(data).decode() == picture.svg
    assert image["alt"] == picture.alt


def test_page_asks_for_nothing_from_any_address() -> None:
    html = report.page(**evil())

    page = Page(html)
    asked = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data")
    ]
    assert asked
    assert all(str(value).startswith("data:") for value in asked)
    assert not re.search(r"url\(|@import", html)
    assert "default-src 'none'" in html


def test_text_from_a_server_is_shown_and_never_run() -> None:
    page = Page(report.page(**evil()))

    assert page.of("script") == []
    assert page.of("a") == []
    assert sum(EVIL in text for text in page.texts) >= 14
    (image,) = page.of("img")
    assert image["alt"] == EVIL
    assert all(not name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_page_is_readable_in_the_light_and_in_the_dark() -> None:
    html = report.page("t", [])

    assert "prefers-color-scheme: dark" in html
    assert {"name": "color-scheme", "content": "light dark"} in Page(html).of("meta")


def test_page_of_nothing_has_no_empty_sections() -> None:
    page = Page(report.page("Nothing yet", []))

    assert page.of("h2") == page.of("table") == page.of("ul") == []
    assert page.open == []


def test_same_data_give_the_same_report() -> None:
    assert report.page(**whole()) == report.page(**whole())
