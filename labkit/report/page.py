"""Tables, verdicts and charts -> one HTML page, or Markdown. Pure: text in, text out.

The page stands alone: its images are inside it, and it asks for nothing from any address. All text
is escaped where it is put in, for some of it was written by servers.
"""

from __future__ import annotations

import base64
import functools
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jinja2

from labkit.record.record import Note
from labkit.report.tables import Table
from labkit.studies.relations import MARKS, Verdict

if TYPE_CHECKING:
    from labkit.charts import Chart

# What Markdown, or HTML within it, would take for more than a character. An underscore within a
# word is none of that.
_MARKDOWN = re.compile(r"[\\`*\[\]<>&|#~$]|(?<![^\W_])_|_(?![^\W_])")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A chart as SVG, and in words. `file` is where Markdown finds it: it holds no images."""

    svg: str
    alt: str
    caption: str = ""
    file: str = ""

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


def picture(chart: Chart, *, caption: str = "", file: str = "") -> Picture:
    """A chart as a report shows it."""
    return Picture(svg=chart.svg(), alt=chart.alt, caption=caption, file=file)


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
    """A whole HTML page, light or dark as its reader prefers.

    `command` is what repeats the measurement, `environment` nested plain data, `errors` the first
    that the requests met, as servers and libraries worded them.
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
    """Nested plain data as dotted names and text."""
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{name}", ", ".join(map(str, value))
        else:
            yield f"{prefix}{name}", "not known" if value is None else str(value)


def markdown(
    title: str,
    sections: Sequence[Section],
    *,
    lead: str = "",
    command: str = "",
    environment: Mapping[str, Any] | None = None,
    warnings: Sequence[Note] = (),
    errors: Sequence[str] = (),
) -> str:
    """The same as `page`, as Markdown (GitHub's kind, for its tables)."""
    known = [[_cell(name), _cell(value)] for name, value in _flat(environment or {})]
    parts = [
        f"# {escape(title)}",
        escape(lead),
        *itertools.chain.from_iterable(map(_section, sections)),
        *_titled("Warnings", [f"- {escape(n.code)}: {escape(n.message)}" for n in warnings]),
        *_titled("First errors", [f"- {escape(error)}" for error in errors]),
        *_titled("Repeat it", [_fenced(command)] if command else []),
        *_titled("Environment", _grid(["name", "value"], known, left=2) if known else []),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def escape(text: str) -> str:
    """`text` as Markdown that shows it as it is, on one line."""
    plain = _MARKDOWN.sub(lambda found: _escaped(found[0]), " ".join(text.split()))
    # What would begin a list at the start of a line.
    return re.sub(r"^(\d*)([.)+-])(?=[\s+-]|$)", r"\1\\\2", plain)


def _escaped(character: str) -> str:
    return {"<": "&lt;", ">": "&gt;", "&": "&amp;"}.get(character, "\\" + character)


def _cell(text: str) -> str:
    return escape(text) or " "


def _section(section: Section) -> Iterator[str]:
    yield f"## {escape(section.title)}"
    yield from map(escape, section.text)
    yield "\n".join(map(_verdict, section.verdicts))
    for table in section.tables:
        rows = [[_cell(cell) for cell in row] for row in table.rows]
        yield "\n".join(_grid(list(map(_cell, table.headers)), rows, left=table.left))
        yield escape(table.says)
    for one in section.pictures:
        yield f"![{escape(one.alt)}](<{one.file}>)" if one.file else escape(one.alt)
        yield escape(one.caption)


def _verdict(one: Verdict) -> str:
    sentences = [escape(text.rstrip(".")) + "." for text in (one.says, one.reason)]
    return f"- {MARKS[one.verdict]} **{one.verdict}**: {' '.join(sentences)}"


def _grid(headers: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> list[str]:
    rule = [":--" if place < left else "--:" for place in range(len(headers))]
    return [f"| {' | '.join(line)} |" for line in (headers, rule, *rows)]


def _titled(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "\n".join(lines)] if lines else []


def _fenced(code: str) -> str:
    """A block of code, in a fence longer than any run of backticks in it."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", code))])
    return f"{fence}\n{code}\n{fence}"
