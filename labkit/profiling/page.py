"""A profile as a page of HTML of its own, and as a frame that holds it. All text is escaped."""

from __future__ import annotations

import html
from collections.abc import Sequence

from labkit.profiling.profile import ROWS, Profile
from labkit.tables import Table

_STYLE = """
body { font: 13px system-ui, sans-serif; color: #222; margin: 8px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 2px 10px; border-bottom: 1px solid #d9d9d9; }
th.word, td.word { text-align: left; }
pre { font-size: 12px; }
"""


def page(profile: Profile, sort: str = "self", rows: int = ROWS) -> str:
    """The whole document; it loads nothing and runs nothing."""
    table = profile.text_table(sort, rows)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Profile</title>'
        f"<style>{_STYLE}</style></head><body>{_table(table)}<p>{html.escape(table.says)}</p>"
        f"<pre>{html.escape(profile.slow_text())}</pre></body></html>"
    )


def iframe(profile: Profile, sort: str = "self", rows: int = ROWS, height_px: int = 420) -> str:
    """The page in a frame: its style does not reach the notebook, nor the notebook's the page."""
    source = html.escape(page(profile, sort, rows), quote=True)
    # An empty `sandbox` allows nothing: no script runs in it, whatever a name may hold.
    return (
        f'<iframe srcdoc="{source}" sandbox="" width="100%" height="{height_px}" '
        'style="border: 0; resize: vertical"></iframe>'
    )


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
