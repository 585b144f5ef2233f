"""What a term means, or the code of a warning: of the notebooks' glossary and `data/codes.toml`."""

import re
from collections.abc import Iterable
from functools import cache

from labkit import paths
from labkit.record.codes import CODES
from labkit.record.record import Record
from labkit.spec.validation import check_known

_TERM = re.compile(r"^## ([^\n]+)\n\n(.+?)\n(?=\n## |\Z)", re.MULTILINE | re.DOTALL)


class Explained(str):
    """What a name means, in Markdown, which a notebook renders; its links as text elsewhere."""

    __slots__ = ()

    def __repr__(self) -> str:
        return re.sub(r"\[([^]]+)\]\(([^)]+)\)", r"\1 (\2)", self)

    def _repr_markdown_(self) -> str:
        return str(self)


@cache
def terms() -> dict[str, str]:
    """Return each term of the glossary with its text, in Markdown."""
    return dict(_TERM.findall((paths.notebooks() / "GLOSSARY.md").read_text(encoding="utf-8")))


def term_of(name: str) -> str:
    """Return the term that is called so, or whose text names this code; or nothing."""
    return next((one for one, text in terms().items() if name == one or f"`{name}`" in text), "")


def address(term: str) -> str:
    """Return where the glossary has a term, by the rule for anchors that GitHub has."""
    return f"GLOSSARY.md#{re.sub('[^a-z -]', '', term.lower()).replace(' ', '-')}"


def links(records: Iterable[Record]) -> str:
    """Return the codes of the records' notes as HTML, each linked to the term that explains it."""
    codes = dict.fromkeys(note.code for record in records for note in record.warnings)
    found = [f'<a href="{address(term)}">{code}</a>' for code in codes if (term := term_of(code))]
    return f"<p>Explained: {', '.join(found)}</p>" if found else ""


def explain(name: str) -> Explained:
    """Return what a term or the code of a warning means, why, and what to do about it.

    As in `lab.explain("makespan")` or `lab.explain("core-contended")`. Raises `BadInput` for a name
    that is neither.
    """
    check_known("name", name, [*terms(), *CODES])
    term, code = term_of(name), CODES.get(name)
    says = f"`{name}` ({code.verdict}): {code.when}. What to do: {code.do}.\n\n" if code else ""
    return Explained(f"{says}**[{term}]({address(term)})**: {terms()[term]}")
