"""Tables, sentences and charts -> HTML that reads well with or without a style. Pure.

A notebook's page styles bare tables itself, in light and dark. Where a page takes away what it does
not know (GitHub drops `style` and pictures that are part of a page) words and tables remain, so
there is no text but in cells and sentences. All text is escaped.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from labkit.errors import LabError
from labkit.report.tables import Table

if TYPE_CHECKING:
    from labkit.charts import Chart

MOST_BYTES = 140_000
"""Of a picture; a larger one is drawn coarser. A third more than that goes into the page."""
_DPI = (160, 110, 80)
_CODE = re.compile(r"`([^`]+)`")
_WHOLE = 20
"""Letters of a cell that stays on one line: a figure with its range, a mark with its word."""


def table(shown: Table) -> str:
    """The table, and what it says as a paragraph for each line."""
    head = _line("th", shown.headers, shown.left)
    body = "".join(_line("td", row, shown.left) for row in shown.rows)
    grid = f'<table class="dataframe"><thead>{head}</thead><tbody>{body}</tbody></table>'
    return grid + sentences(shown.says.splitlines())


def _line(tag: str, words: Sequence[str], left: int) -> str:
    cells = [_cell(tag, word, "left" if at < left else "right") for at, word in enumerate(words)]
    return f"<tr>{''.join(cells)}</tr>"


def _cell(tag: str, word: str, side: str) -> str:
    # Said twice: a notebook's own style is stronger than `align`, GitHub knows no `style`.
    whole = ";white-space:nowrap" if tag == "td" and len(word) <= _WHOLE else ""
    return f'<{tag} align="{side}" style="text-align:{side}{whole}">{escape(word)}</{tag}>'


def prose(said: str) -> str:
    """A sentence, with what stands between backticks as code."""
    return _CODE.sub(r"<code>\1</code>", escape(said))


def sentences(said: Iterable[str]) -> str:
    """A paragraph for each."""
    return "".join(f"<p>{prose(one)}</p>" for one in said if one)


def listed(said: Sequence[str]) -> str:
    """A list with a point for each; nothing where there is none."""
    return f"<ul>{''.join(f'<li>{prose(one)}</li>' for one in said)}</ul>" if said else ""


def heading(said: str) -> str:
    """A line that stands out, and is no heading of the notebook."""
    return f"<p><b>{escape(said)}</b></p>"


def verdict(mark: str, word: str, *said: str) -> str:
    """A paragraph: mark and word, then the sentences."""
    rest = " ".join(f"{one.rstrip('.')}." for one in said if one)
    return f"<p>{escape(mark)} <b>{escape(word)}</b>: {escape(rest)}</p>"


def folded(summary: str, inner: str) -> str:
    """What is shown on a click."""
    return f"<details><summary>{escape(summary)}</summary>{inner}</details>"


def picture(draw: Callable[[], Chart]) -> str:
    """The chart as part of the page, readable on light and on dark; nothing where there is none."""
    try:
        chart = draw()
    except LabError:
        return ""
    width = round(chart.get_figwidth() * _DPI[-1])
    images = (chart.png_transparent(dpi) for dpi in _DPI)
    image = next((one for one in images if len(one) <= MOST_BYTES), b"")
    return (
        f'<p><img alt="{escape(chart.alt)}" width="{width}" '
        f'src="data:image/png;base64,{base64.b64encode(image).decode("ascii")}"></p>'
        if image
        else sentences([chart.alt])
    )
