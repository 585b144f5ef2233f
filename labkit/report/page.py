"""Tables, verdicts and charts -> one HTML page. Pure: text in, text out.

The page stands alone: its images are inside it, and it asks for nothing from any address. All text
is escaped where it is put in, as some of it was written by servers.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jinja2

from labkit.record.record import Note
from labkit.report.tables import Table
from labkit.studies.judge import MARKS, Verdict

if TYPE_CHECKING:
    from labkit.charts import Chart


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A chart as SVG, and in words."""

    svg: str
    alt: str
    caption: str = ""

    @property
    def address(self) -> str:
        """The image itself, as an address: a page that holds it needs no other file."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg.encode()).decode("ascii")


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a report under a heading of its own; `text` is its paragraphs."""

    title: str
    text: Sequence[str] = ()
    verdicts: Sequence[Verdict] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()


def picture(chart: Chart, *, caption: str = "") -> Picture:
    """Return a chart as a report shows it."""
    return Picture(svg=chart.svg(), alt=chart.alt, caption=caption)


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
    template = _templates().get_template("report.html.j2")
    return template.render(
        title=title,
        sections=sections,
        lead=lead,
        command=command,
        environment=list(_flat(environment or {})),
        warnings=warnings,
        errors=errors,
        marks=MARKS,
    )


@functools.cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("labkit.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
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
