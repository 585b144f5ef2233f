"""Text from outside, made harmless where it is shown: in a terminal, on a page, in a spreadsheet.

A server, a study file, a certificate or a stranger's record wrote some of what the lab shows. It is
stored as it came, and escaped where it leaves the lab, and nowhere before.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

# What a spreadsheet takes for the beginning of a formula, in either width.
_FORMULA = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
# Before the value of a setting that follows others in the label of an arm.
_LINKS = {"loop": " on ", "python": " on Python ", "transport": " over "}


def visible(text: str, *, lines: bool = True) -> str:
    """Return `text` with what a terminal obeys, or does not show, written as an escape.

    Those are control characters, marks that turn the direction of writing, spaces of no width, and
    ends of lines too unless `lines` may end.
    """
    if text.isprintable():
        return text
    kept = "\n" if lines else ""
    return "".join(
        one if one.isprintable() or one in kept else one.encode("unicode_escape").decode()
        for one in text
    )


def aligned(lines: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Return lines of words in columns: the first `left` of them are words, the others numbers."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = []
    for line in lines:
        pairs = enumerate(zip(line, widths, strict=True))
        cells = [one.ljust(wide) if at < left else one.rjust(wide) for at, (one, wide) in pairs]
        shown.append("  ".join(cells).rstrip())
    return shown


def brief(text: str, most: int = 50) -> str:
    """Return a long text, such as a command, without its middle: both ends tell it from others."""
    ends = text[: most // 2 - 1], text[-(most // 2) :]
    return text if len(text) <= most else "\N{HORIZONTAL ELLIPSIS}".join(ends)


def arm_label(settings: Mapping[str, Any], *, in_line: bool = False) -> str:
    """Return the settings of an arm in words, such as 'semaphore on uvloop, limit 10'.

    A lone number has its name only `in_line`, where no heading says what it is; long words are cut
    there. Without any settings it is 'all', and nothing in a line.
    """
    label = ""
    for name, value in settings.items():
        if isinstance(value, bool):
            word = f"{'' if value else 'not '}{name.rpartition('.')[2].replace('_', ' ')}"
        elif isinstance(value, str) and not value[:1].isdigit():
            word = brief(value) if in_line else value
        else:
            word = f"{value:,}" if isinstance(value, int | float) else str(value).lower()
            if in_line or value is None or len(settings) > 1:
                unit = " s" if name.endswith("_s") and value is not None else ""
                words = name.removesuffix("_s").replace(".", " ").replace("_", " ")
                word = f"{words} {word}{unit}"
        label += (_LINKS.get(name, ", ") if label else "") + word
    return visible(label, lines=False) or ("" if in_line else "all")


def escape(text: str) -> str:
    """Return `text` for HTML, in an element or between quotes."""
    from html import escape as escaped  # here: a measured process never makes any

    return escaped(visible(text))


def cell(value: Any) -> Any:
    """Return the value of a cell that no spreadsheet runs; what is no text, or a number, stays."""
    if not isinstance(value, str):
        return value
    shown = visible(value, lines=False)
    with suppress(ValueError):  # a number, such as -1, is no formula
        float(value)
        return shown
    return f"'{shown}" if _FORMULA.match(value) else shown
