"""Records and code as HTML for the tabs of a panel, and for where no widget lives. Pure.

Colours are those of the page's theme. All text is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from labkit.lab.progress.live import Arm, strips
from labkit.notebook.panel import arms
from labkit.report import tables
from labkit.report.study import Study
from labkit.report.tables import Table

_COLUMNS = {
    "ok": "ok",
    "failures": "failed",
    **{
        name: tables.SHOWN[name]
        for name in (
            *("wall_s", "efficiency", "throughput_rps", "cpu_us_per_request"),
            *("process_peak_rss_bytes", "latency_p50_s", "latency_p99_s"),
        )
    },
}
NOTHING = "Nothing was measured yet: press Run."


def table_of(study: Study) -> Table:
    """One row an arm, medians where it was run several times."""
    summary = study.summary()
    words = tables.words(summary, study.by, _COLUMNS, ranged="wall_s")
    return Table(
        headers=words.headers,
        rows=words.rows,
        says=tables.meaning(study.records, study.by, summary),
        left=words.left,
    )


def table(study: Study) -> str:
    """The table as HTML: each code with its sentence as a tooltip, and the sentences below."""
    if not study.records:
        return f"<p>{NOTHING}</p>"
    shown, notes = table_of(study), _notes(study)
    head = "".join(_cell("th", word, place, shown) for place, word in enumerate(shown.headers))
    rows = "".join(
        _row(row, shown, of_arm) for row, of_arm in zip(shown.rows, notes.values(), strict=True)
    )
    return (
        f'<div class="labkit-scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div><p>{escape(shown.says)}</p>{_below(notes)}"
    )


Notes = dict[str, str]
"""What each code says: the sentence of the record that had it first."""


def _notes(study: Study) -> dict[str, Notes]:
    """The notes of each arm, in the order of the table."""
    found: dict[str, Notes] = {}
    for record in study.records:
        of_arm = found.setdefault(arms.label(record.axes, study.by), {})
        for note in record.warnings:
            of_arm.setdefault(note.code, note.message)
    return found


def _below(notes: dict[str, Notes]) -> str:
    """Each code once, with what it says of the arm that had it first."""
    first: dict[str, str] = {}
    for arm, of_arm in notes.items():
        for code, said in of_arm.items():
            first.setdefault(
                code, f"<li><b>{escape(code)}</b> ({escape(arm)}): {escape(said)}</li>"
            )
    return f"<ul>{''.join(first.values())}</ul>" if first else ""


def _row(row: Sequence[str], of: Table, notes: Notes) -> str:
    *figures, verdict = row
    cells = "".join(_cell("td", word, place, of) for place, word in enumerate(figures))
    codes = re.sub(r"[a-z][a-z-]+", lambda match: _code(match[0], notes), escape(verdict))
    return f'<tr>{cells}<td class="word">{codes}</td></tr>'


def _code(word: str, notes: Notes) -> str:
    if word not in notes:
        return word
    return f'<abbr title="{escape(notes[word])}" tabindex="0">{word}</abbr>'


def _cell(tag: str, word: str, place: int, of: Table) -> str:
    words = place < of.left or place == len(of.headers) - 1
    kind = ' class="word"' if words else ""
    return f"<{tag}{kind}>{escape(word)}</{tag}>"


_COPY = """(button => {
  const text = button.parentNode.querySelector('pre');
  const say = (said, forMs) => {
    button.innerText = said; setTimeout(() => button.innerText = 'copy', forMs);
  };
  const select = () => {
    getSelection().selectAllChildren(text); say('selected: now press Ctrl+C or Cmd+C', 5000);
  };
  if (!navigator.clipboard) return select();
  navigator.clipboard.writeText(text.innerText).then(() => say('copied', 1500), select);
})(this)"""
"""A page that came by plain HTTP from another host has no clipboard, and any may refuse it."""


def code(text: str) -> str:
    """The code, with a button that copies it, or where it may not selects it."""
    return (
        '<div class="labkit-code-block"><button type="button" class="labkit-copy" '
        f'onclick="{escape(_COPY)}">copy</button><pre>{escape(text)}</pre></div>'
    )


def chart(drawn: Sequence[Arm]) -> str:
    """The arms on the same axes, or what to do where there are none."""
    return strips(drawn) if drawn else f"<p>{NOTHING}</p>"


def message(text: str, *, wrong: bool = False) -> str:
    """A sentence; what is wrong is read out."""
    role = ' role="alert"' if wrong else ""
    return f'<span class="{"labkit-wrong" if wrong else "labkit-said"}"{role}>{escape(text)}</span>'


def page(drawn: Sequence[Arm], study: Study, text: str) -> str:
    """All of it at once, for where nothing can be clicked."""
    return (
        f'{STYLE}<div class="labkit-panel"><p><b>lab.panel()</b></p>'
        f"{strips(drawn) if drawn else ''}{table(study)}<pre>{escape(text)}</pre></div>"
    )


def plain(study: Study, text: str) -> str:
    """The same as text."""
    measured = table_of(study).text() if study.records else NOTHING
    return f"lab.panel()\n\n{measured}\n\n{text}"


STYLE = """<style>
.labkit-panel { color: var(--jp-ui-font-color1, inherit); max-width: 1500px; }
.labkit-panel .labkit-row { flex-flow: row wrap; align-items: flex-start; gap: 4px 14px; }
.labkit-panel .labkit-field { width: 130px; }
.labkit-panel .labkit-field.labkit-wide { width: 205px; }
.labkit-panel .labkit-entry { flex-direction: column; align-items: stretch; height: auto;
  width: auto; margin: 2px 0; }
.labkit-panel .labkit-entry > .widget-label, .labkit-panel .labkit-legend { text-align: left;
  width: auto; max-width: none; font-weight: 600; font-size: 12px; height: auto;
  line-height: 18px; }
.labkit-panel .labkit-entry > input, .labkit-panel .labkit-entry > select {
  width: 100%; flex: 0 0 28px; }
.labkit-panel .labkit-entry > select { appearance: auto; background-image: none;
  padding-right: 4px; }
.labkit-panel .labkit-invalid > input, .labkit-panel .labkit-invalid > select {
  border-color: var(--jp-error-color1, #d32f2f); }
.labkit-panel .labkit-ticks { flex-flow: row wrap; gap: 0 14px; }
.labkit-panel .labkit-ticks .widget-checkbox { width: auto; margin: 0; }
.labkit-panel .labkit-ticks .widget-label-basic { align-items: center; gap: 5px; }
.labkit-panel .labkit-ticks input { margin: 0 5px 0 0; align-self: center; }
.labkit-panel .labkit-wrong { color: var(--jp-error-color1, #d32f2f); font-size: 12px;
  line-height: 1.3; display: block; overflow-wrap: anywhere; }
.labkit-panel .labkit-buttons .widget-button { width: 110px; margin: 4px 8px 4px 0; }
.labkit-panel .labkit-chart { contain: layout paint; }
.labkit-panel .labkit-status { min-height: 28px; }
.labkit-panel .labkit-said { line-height: 28px; font-variant-numeric: tabular-nums; }
.labkit-panel .widget-html, .labkit-panel .widget-html-content { width: auto; height: auto;
  margin: 0; min-width: 0; font-size: 13px; }
.labkit-panel .labkit-scroll { overflow-x: auto; }
.labkit-panel table { border-collapse: collapse; font-size: 12px;
  font-variant-numeric: tabular-nums; }
.labkit-panel th, .labkit-panel td { text-align: right; padding: 3px 5px; white-space: nowrap;
  border-bottom: 1px solid var(--jp-border-color2, #ccc); line-height: 1.4; }
.labkit-panel th { white-space: normal; vertical-align: bottom; }
.labkit-panel .word { text-align: left; }
.labkit-panel td.word:last-child { white-space: normal; min-width: 12ch; }
.labkit-panel p, .labkit-panel ul { margin: 8px 0; line-height: 1.4; max-width: 90ch; }
.labkit-panel .labkit-code-block { position: relative; }
.labkit-panel pre { padding: 10px; margin: 0; overflow-x: auto; font-size: 13px; line-height: 1.45;
  font-family: var(--jp-code-font-family, monospace);
  background: var(--jp-layout-color2, transparent); color: inherit; }
.labkit-panel .labkit-copy { position: absolute; top: 6px; right: 6px; cursor: pointer;
  color: inherit; background: var(--jp-layout-color1, transparent); padding: 2px 10px;
  border: 1px solid var(--jp-border-color1, #999); border-radius: 3px; }
.labkit-panel .widget-tab > .widget-tab-contents { padding: 10px 0 0; border-width: 1px 0 0;
  background: transparent; color: inherit; }
</style>"""
"""What ipywidgets has no setting for: labels over fields, and colours of the theme."""
