"""Work under way as a card: a line, a bar, the arms so far. And the one line that it leaves. Pure.

Colours are those of the page; JupyterLab's where it has some.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from labkit.lab.progress.live import Arm, strips

Bundle = dict[str, str]
"""MIME type to text, the same said in each."""
NOTHING: Bundle = {"text/html": "", "text/plain": ""}
_SMALL = "font-size:0.9em;opacity:0.8"


def of(
    *,
    place: str,
    label: str,
    said: str,
    share: float,
    arms: Sequence[Arm],
    recent: Sequence[str] = (),
) -> Bundle:
    """The card: which trial of how many, of which arm, how far, and the last that ended."""
    named = [f"trial {place}"] if place else []
    words = ", ".join([*named, *([label] if label else [])])
    ended = "".join(f"<div>{escape(line)}</div>" for line in recent)
    whose = f"<b>{escape(label)}</b>" if label else ""
    head = ", ".join(filter(None, [*named, whose]))
    drawn = strips(arms) if any(len(arm.points) for arm in arms) else ""
    return {
        "text/html": (
            f"<div>{head}{': ' if head else ''}{escape(said)}</div>{_bar(share)}{drawn}"
            f'<div style="{_SMALL}">{ended}</div>'
        ),
        "text/plain": f"{words}{': ' if words else ''}{said}",
    }


def _bar(share: float) -> str:
    percent = 100 * min(max(share, 0.0), 1.0)
    return (
        f'<div role="progressbar" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{percent:.0f}" style="max-width:1030px;height:6px;margin:4px 0 8px;'
        'border-radius:3px;background:var(--jp-layout-color3,#bdbdbd)">'
        f'<div style="width:{percent:.1f}%;height:6px;border-radius:3px;'
        'background:var(--jp-brand-color1,#0072b2)"></div></div>'
    )


def quiet(line: str) -> Bundle:
    """The line that is left behind."""
    return {"text/html": f'<div style="{_SMALL}">{escape(line)}</div>', "text/plain": line}


def closing(lines: Sequence[str], verdicts: Mapping[str, int], took_s: float) -> str:
    """What was measured, in a line; empty where nothing was."""
    if len(lines) < 2:
        return "".join(lines)
    told = [f"{verdicts[name]} {name}" for name in ("valid", "warn", "invalid") if verdicts[name]]
    of_each = f", {', '.join(told)}" if told else ""
    return f"{len(lines):,} trials in {took_s:,.1f} s{of_each}"
