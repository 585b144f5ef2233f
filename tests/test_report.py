"""The report as a browser takes it: whole, escaped, and standing alone."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from labkit import charts, stats
from labkit.record.record import Note
from labkit.report import html as report
from labkit.report.html import Section
from labkit.report.tables import Table
from labkit.studies.verdicts import MARKS, Verdict
from tests.factories import make_record

EVIL = "<script>alert('&amp;')</script> | `x` *y* [z](http://127.0.0.1:9/)"
TABLE = Table(
    headers=["client", "memory then (MB)", "memory now (MB)"],
    rows=[["client-async-sem", "361.1", "380"], ["client-task-pool", "59.6", "54"]],
    says="Medians of 5 repeats.",
)


def verdict(answer: Any = "holds", says: str = "it needs more", reason: str = "why") -> Verdict:
    return Verdict(id="a", says=says, source="b", verdict=answer, reason=reason, scale="paper")


def whole(text: str = "", chart: Any = None) -> dict[str, Any]:
    """The arguments of a page with something in every place, or with this text in each."""
    drawn = chart or charts.bars(stats.frame([make_record()]), "memory", ["strategy"])
    words = [word for word in MARKS if word != "informational"]
    section = Section(
        title=text or "Published beside measured",
        text=[text] if text else ["Two clients.", "Each five times."],
        verdicts=[verdict(word, says=text or "it needs more", reason=text) for word in words],
        table=Table(headers=[text] * 2, rows=[[text] * 2], says=text) if text else TABLE,
        charts={text or "Memory of one client.": drawn},
    )
    environment = {"machine": {"cores": 2, "cpus": [0, 1]}, "turbo": None}
    return {
        "title": text or "Garcia 2018",
        "sections": [section],
        "lead": text or "The published run, here.",
        "command": text or "labkit reproduce garcia-2018 --scale paper",
        "environment": {text: text, "nested": {text: [text]}} if text else environment,
        "warnings": [Note(code=text or "server-busy", message=text or "it used 75 % of its core")],
        "errors": [text or "timeout: TimeoutError: "],
    }


class Drawn:
    """A chart whose every text is from a server that means harm."""

    alt = EVIL

    def svg(self) -> str:
        return f"<svg>{EVIL}</svg>"


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(report.page(**whole()))


@pytest.fixture(scope="module")
def evil() -> Page:
    return Page(report.page(**whole(EVIL, Drawn())))


class Page(HTMLParser):
    """Elements with their attributes, texts, and rows of cells, as a browser would see them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
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


def test_page_is_well_formed_and_complete(page: Page) -> None:
    assert page.open == []
    assert page.html.startswith("<!doctype html>")
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
        f"{MARKS['refuted']} refuted",
    ):
        assert text in page.texts
    assert page.html == report.page(**whole())


def test_tables_have_their_cells_and_the_environment_is_flat(page: Page) -> None:
    assert page.rows == [
        list(TABLE.headers),
        *(list(row) for row in TABLE.rows),
        ["machine.cores", "2"],
        ["machine.cpus", "0, 1"],
        ["turbo", "not known"],
    ]
    assert [one.get("class") for one in page.of("th")[:3]] == [None, "number", "number"]
    assert [one.get("class") for one in page.of("td")[:4]] == ["number"] * 4
    assert [one["scope"] for one in page.of("th")[:5]] == ["col"] * 3 + ["row"] * 2


@pytest.mark.parametrize("answer", MARKS)
def test_verdict_is_a_word_and_a_sign_with_its_reason(answer: str) -> None:
    section = Section(title="Verdicts", verdicts=[verdict(answer, reason="The ratio was 6.8")])

    page = Page(report.page("t", [section]))

    assert f"{MARKS[answer]} {answer}" in page.texts
    assert "The ratio was 6.8" in page.texts


def test_image_is_within_the_page_and_described() -> None:
    given = whole()
    (chart,) = given["sections"][0].charts.values()

    (image,) = Page(report.page(**given)).of("img")

    kind, data = str(image["src"]).split(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(data).decode() == chart.svg()
    assert image["alt"] == chart.alt


def test_page_asks_for_nothing_from_any_address(evil: Page) -> None:
    asked = [
        value
        for _, attributes in evil.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data")
    ]
    assert asked
    assert all(str(value).startswith("data:") for value in asked)
    assert not re.search(r"url\(|@import", evil.html)
    assert "default-src 'none'" in evil.html


def test_text_from_a_server_is_shown_and_never_run(evil: Page) -> None:
    assert evil.of("script") == []
    assert evil.of("a") == []
    assert sum(EVIL in text for text in evil.texts) >= 14
    (image,) = evil.of("img")
    assert image["alt"] == EVIL
    assert all(not name.startswith("on") for _, attributes in evil.elements for name in attributes)


def test_page_of_nothing_has_no_empty_sections_and_is_readable_in_light_and_dark() -> None:
    page = Page(report.page("Nothing yet", []))

    assert page.of("h2") == page.of("table") == page.of("ul") == []
    assert page.open == []
    assert "prefers-color-scheme: dark" in page.html
    assert {"name": "color-scheme", "content": "light dark"} in page.of("meta")
