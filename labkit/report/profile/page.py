"""A profile as a page of HTML of its own, and as a frame that holds it. All text is escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from labkit.report.profile.profile import ROWS, Profile
from labkit.report.tables import Table

_LINE_PX, _ROW_PX, _MARGIN_PX = 16, 21, 8
_LETTERS = 100
"""In a line of the sentence, where the notebook is narrow."""
# A frame is not told the notebook's theme: it has no ground, and a grey that both themes bear.
_STYLE = f"""
body {{ font: 12px/{_LINE_PX}px system-ui, sans-serif; color: #797979; }}
body {{ margin: {_MARGIN_PX}px; background: transparent; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: right; padding: 2px 6px; white-space: nowrap; }}
th, td {{ border-bottom: 1px solid #8884; }}
th.word, td.word {{ text-align: left; }}
p, pre {{ margin: {_MARGIN_PX}px 0 0; }}
pre {{ font-size: 12px; white-space: pre-wrap; }}
"""


def page(profile: Profile, sort: str = "self", rows: int = ROWS) -> str:
    """The whole document; it loads nothing and runs nothing."""
    table = profile.text_table(sort, rows)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Profile</title>'
        f"<style>{_STYLE}</style></head><body>{_table(table)}<p>{html.escape(table.says)}</p>"
        f"<pre>{html.escape(profile.slow_text())}</pre></body></html>"
    )


def iframe(profile: Profile, sort: str = "self", rows: int = ROWS) -> str:
    """The page in a frame: its style does not reach the notebook, nor the notebook's the page.

    The frame is as high as the page; nothing in it may run that could tell its height.
    """
    source = html.escape(page(profile, sort, rows), quote=True)
    height_px = _height_px(profile, sort, rows)
    # An empty `sandbox` allows nothing: no script runs in it, whatever a name may hold.
    return (
        f'<iframe srcdoc="{source}" sandbox="" width="100%" height="{height_px}" '
        # Of another scheme than its page, a frame is given a ground of its own.
        'style="border: 0; resize: vertical; color-scheme: light"></iframe>'
    )


def _height_px(profile: Profile, sort: str, rows: int) -> int:
    table = profile.text_table(sort, rows)
    said = [table.says, *profile.slow_text().splitlines()]
    lines = sum(math.ceil(len(one) / _LETTERS) for one in said)
    grid_px = _ROW_PX * (1 + len(table.rows))
    # One line more than there is, for the bar by which a wide table is moved.
    return grid_px + _LINE_PX * (lines + 1) + 4 * _MARGIN_PX


def _table(table: Table) -> str:
    head = _line(table.headers, "th", table.left)
    body = "".join(_line(row, "td", table.left) for row in table.rows)
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def _line(words: Sequence[str], tag: str, left: int) -> str:
    cells = [
        f"<{tag}{' class=word' if column < left else ''}>{html.escape(word)}</{tag}>"
        for column, word in enumerate(words)
    ]
    return f"<tr>{''.join(cells)}</tr>"
