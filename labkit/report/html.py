"""Tables, sentences and charts -> HTML: pieces for a notebook, and whole pages. Pure.

A notebook's page styles bare tables itself, in light and dark. Where a page takes away what it does
not know (GitHub drops `style` and pictures that are part of a page) words and tables remain, so
there is no text but in cells and sentences. A whole page (`page`) stands alone: its images are
inside it, and it asks for nothing from any address. All text is escaped: servers wrote some of it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from labkit.errors import LabError
from labkit.record.record import Note
from labkit.report.tables import Table
from labkit.studies.verdicts import MARKS, Verdict

if TYPE_CHECKING:
    from labkit.charts import Chart

MAX_BYTES = 140_000
"""Of a picture; a larger one is drawn with fewer pixels. In the page it is a third larger."""
_DPI = (160, 110, 80)
_CODE = re.compile(r"`([^`]+)`")
_MAX_WHOLE = 20
"""Letters of a cell that stays on one line: a figure with its range, a mark with its word."""


def table(shown: Table) -> str:
    """Return the table, and what it says as a paragraph for each line."""
    head = _row("th", shown.headers, shown.left)
    body = "".join([_row("td", row, shown.left) for row in shown.rows])
    grid = f'<table class="dataframe"><thead>{head}</thead><tbody>{body}</tbody></table>'
    return grid + sentences(shown.says.splitlines())


def _row(tag: str, words: Sequence[str], left: int) -> str:
    cells = []
    for at, word in enumerate(words):
        side = "left" if at < left else "right"
        # The side is there twice: a notebook's style is stronger than `align`, and GitHub knows no
        # `style`.
        whole = ";white-space:nowrap" if tag == "td" and len(word) <= _MAX_WHOLE else ""
        style = f'align="{side}" style="text-align:{side}{whole}"'
        cells.append(f"<{tag} {style}>{escape(word)}</{tag}>")
    return f"<tr>{''.join(cells)}</tr>"


def prose(text: str) -> str:
    """Return a sentence as HTML, with text between backticks as code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def sentences(texts: Iterable[str]) -> str:
    """Return a paragraph for each text that is not empty."""
    return "".join([f"<p>{prose(text)}</p>" for text in texts if text])


def listed(texts: Sequence[str]) -> str:
    """Return a list with a point for each text; nothing where there is none."""
    return f"<ul>{''.join([f'<li>{prose(text)}</li>' for text in texts])}</ul>" if texts else ""


def heading(text: str) -> str:
    """Return a line in bold: it is no heading of the notebook."""
    return f"<p><b>{escape(text)}</b></p>"


def folded(summary: str, inner: str) -> str:
    """Return HTML that is shown on a click."""
    return f"<details><summary>{escape(summary)}</summary>{inner}</details>"


def picture(draw: Callable[[], Chart]) -> str:
    """Return the chart as part of the page, for light and dark; nothing where there is none."""
    try:
        chart = draw()
    except LabError:
        return ""
    width = round(chart.get_figwidth() * _DPI[-1])
    images = (chart.png_transparent(dpi) for dpi in _DPI)
    image = next((one for one in images if len(one) <= MAX_BYTES), b"")
    return (
        f'<p><img alt="{escape(chart.alt)}" width="{width}" '
        f'src="data:image/png;base64,{base64.b64encode(image).decode("ascii")}"></p>'
        if image
        else sentences([chart.alt])
    )


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a page under a heading of its own; `text` is its paragraphs, `charts` by caption.

    The chart of the caption '' has none.
    """

    title: str
    text: Sequence[str] = ()
    verdicts: Sequence[Verdict] = ()
    table: Table | None = None
    charts: Mapping[str, Chart] = field(default_factory=dict)


def page(
    title: str,
    sections: Sequence[Section],
    *,
    lead: str = "",
    command: str = "",
    environment: Mapping[str, Any] | None = None,
    warnings: Sequence[Note] = (),
    errors: Sequence[str] = (),
) -> str:
    """Return a whole HTML page, light or dark as its reader prefers.

    `command` is what repeats the measurement, `environment` nested plain data, `errors` the first
    errors of the requests, in the words of servers and libraries.
    """
    import jinja2  # here: few who show a table write a page

    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("labkit.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["base64"] = lambda text: base64.b64encode(text.encode()).decode("ascii")
    return templates.get_template("report.html.j2").render(
        title=title,
        sections=sections,
        lead=lead,
        command=command,
        environment=list(_flat(environment or {})),
        warnings=warnings,
        errors=errors,
        marks=MARKS,
    )


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested plain data as dotted names and text."""
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{name}", ", ".join(map(str, value))
        else:
            yield f"{prefix}{name}", "not known" if value is None else str(value)
