"""Tables, sentences and charts -> HTML: pieces for a notebook, and whole pages. Pure.

A notebook's page styles bare tables itself, in light and dark. Where a page takes away what it does
not know (GitHub drops `style` and pictures that are part of a page) words and tables remain, so
there is no text but in cells and sentences. A whole page (`page`) stands alone: its images are
inside it, and it asks for nothing from any address. All text is escaped: servers wrote some of it.
"""

from __future__ import annotations

import base64
import re
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from string import Template
from typing import Any

from labkit import charts
from labkit.errors import LabError
from labkit.escaping import aligned, escape, visible
from labkit.record import index

# Of a picture; a larger one is drawn with fewer pixels. In the page it is a third larger.
MAX_BYTES = 140_000
_DPI = (160, 110, 80, 64)
_CODE = re.compile(r"`([^`]+)`")
# What Markdown obeys.
_MARKS = re.compile(r"([\\|`*_\[\]])")
# Letters of a cell that stays on one line: a figure with its range, a mark with its word.
_MAX_WHOLE = 20


class Shown:
    """What shows itself in one bundle: HTML in a notebook, text in a terminal and a REPL."""

    def text(self) -> str:
        """Return the whole of it as a terminal shows it."""
        raise NotImplementedError

    def html(self) -> str:
        """Return the same as HTML, escaped."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return visible(self.text())

    def _repr_html_(self) -> str:
        return self.html()

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": repr(self)}


@dataclass(frozen=True, kw_only=True, repr=False)
class Table(Shown):
    """Headers, rows of text (of one cell: a heading), and the sentences that explain them."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    says: str = ""
    # How many columns, from the left, are words; the others are numbers.
    left: int = 1
    # Letters of each column in a terminal, where a longer cell goes on in the next line.
    widths: Sequence[int] = ()

    def text(self) -> str:
        """Return aligned plain text, the sentences below."""
        lines = list[Sequence[str]]()
        for row in (self.headers, *self.rows):
            words = [visible(word, lines=False) for word in row]
            words += [""] * (len(self.headers) - len(words))
            if self.widths:
                cells = (textwrap.wrap(*of) or [""] for of in zip(words, self.widths, strict=True))
                lines += [*zip_longest(*cells, fillvalue=""), [""] * len(words)]
            else:
                lines.append(words)
        said = ["", visible(self.says)] if self.says else []
        return "\n".join([*aligned(lines, self.left), *said])

    def html(self, without: Collection[str] = ()) -> str:
        """Return the table, and a paragraph for each line of what it says, but for some lines."""
        head = self._row("th", [*map(escape, self.headers)]) if any(self.headers) else ""
        body = "".join([self._row("td", cells) for cells in self._cells()])
        grid = f'<table class="dataframe"><thead>{head}</thead><tbody>{body}</tbody></table>'
        return grid + sentences(line for line in self.says.splitlines() if line not in without)

    def markdown(self) -> str:
        """Return the table and what it says as Markdown, with nothing in it that is obeyed."""
        ruler = ["---"] * self.left + ["---:"] * (len(self.headers) - self.left)
        lines = [[_plain(word) for word in line] for line in (self.headers, *self.rows)]
        rows = [f"| {' | '.join(line)} |" for line in (lines[0], ruler, *lines[1:])]
        return "\n".join([*rows, *(f"\n{_plain(one)}" for one in self.says.splitlines())])

    def _cells(self) -> Iterable[Sequence[str]]:
        """Return the cells of each row as HTML."""
        return ([*map(escape, row)] for row in self.rows)

    def _row(self, tag: str, words: Sequence[str]) -> str:
        if len(words) == 1 < len(self.headers):
            across = f'colspan="{len(self.headers)}" align="left" style="text-align:left"'
            return f"<tr><th {across}>{words[0]}</th></tr>"
        cells = []
        for at, word in enumerate(words):
            side = "left" if at < self.left else "right"
            # The side is there twice: a notebook's style is stronger than `align`, and GitHub knows
            # no `style`.
            whole = ";white-space:nowrap" if tag == "td" and len(word) <= _MAX_WHOLE else ""
            of = f' data-of="{escape(self.headers[at])}"' if tag == "td" else ""
            style = f'align="{side}" style="text-align:{side}{whole}"{of}'
            cells.append(f"<{tag} {style}>{word}</{tag}>")
        return f"<tr>{''.join(cells)}</tr>"


def _plain(text: str) -> str:
    # An apostrophe does nothing outside of a tag, and the text is also read as it stands.
    return _MARKS.sub(r"\\\1", escape(visible(text, lines=False)).replace("&#x27;", "'"))


def prose(text: str) -> str:
    """Return a sentence as HTML, with text between backticks as code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def sentences(texts: Iterable[str]) -> str:
    """Return a paragraph for each text that is not empty."""
    return "".join([f"<p>{prose(text)}</p>" for text in texts if text])


def listed(texts: Sequence[str]) -> str:
    """Return a list with a point for each text; nothing where there is none."""
    return f"<ul>{''.join([f'<li>{prose(text)}</li>' for text in texts])}</ul>" if texts else ""


def link(text: str, address: str) -> str:
    """Return a link to another page; the text alone where the address is none of the web."""
    if not address.startswith(("https://", "http://")):
        return escape(text)
    return f'<a href="{escape(address)}" rel="noreferrer">{escape(text)}</a>'


def heading(text: str) -> str:
    """Return a line in bold: it is no heading of the notebook."""
    return f"<p><b>{escape(text)}</b></p>"


def folded(summary: str, inner: str) -> str:
    """Return HTML that is shown on a click."""
    return f"<details><summary>{escape(summary)}</summary>{inner}</details>"


def picture(draw: Callable[[], charts.Chart]) -> str:
    """Return the chart as part of the page, for light and dark; nothing where there is none."""
    try:
        chart = draw()
    except LabError:
        return ""
    width = round(chart.get_figwidth() * _DPI[2])
    images = (chart.png_transparent(dpi) for dpi in _DPI)
    image = next((one for one in images if len(one) <= MAX_BYTES), b"")
    if not image:
        return sentences([chart.alt])
    alt, data = escape(chart.alt), base64.b64encode(image).decode("ascii")
    from labkit.charts.style import GROUND  # with matplotlib, which is here by now

    shown = f'alt="{alt}" width="{width}" style="{GROUND}" src="data:image/png;base64,{data}"'
    return f"<p><img {shown}></p>{chart.below}"


def figure(chart: charts.Chart, caption: str = "") -> str:
    """Return the chart as SVG within a page, which needs no other file, and its caption."""
    data = base64.b64encode(chart.svg().encode()).decode("ascii")
    image = f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(chart.alt)}">'
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{image}{below}</figure>"


def section(title: str, *parts: str) -> str:
    """Return a part of a page under a heading of its own; nothing where it is empty."""
    inner = "".join(parts)
    return f"<section><h2>{escape(title)}</h2>{inner}</section>" if inner else ""


def page(title: str, lead: str, *sections: str) -> str:
    """Return a whole HTML page, light or dark as its reader prefers."""
    shell = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    body = "".join(sections)
    return Template(shell).substitute(title=escape(title), lead=escape(lead), body=body)


def flat(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield nested plain data as dotted names and text."""
    for name, value in index.flat(data):
        yield name, "not known" if value is None else str(value)
