"""What `lab.check` hands back: right or not, and a sentence. It shows itself in both themes."""

from __future__ import annotations

from html import escape
from typing import Any

import msgspec

from labkit.report.html import prose

_COLOURS = {
    True: "var(--jp-success-color1, #388e3c)",
    False: "var(--jp-error-color1, #d32f2f)",
}
_MARKS = {True: "\N{HEAVY CHECK MARK}", False: "\N{HEAVY BALLOT X}"}


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an answer is right, which is also its truth value, and what is to be said of it."""

    exercise: str
    right: bool
    says: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return f"{'PASS' if self.right else 'FAIL'} {self.exercise}: {self.says}"

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._html()}

    def _html(self) -> str:
        # The text takes the page's own colour; only the mark and the bar have one of their own.
        colour = _COLOURS[self.right]
        return (
            f'<div role="status" style="border-left: 4px solid {colour}; padding: 2px 10px;">'
            f'<b style="color: {colour};">{_MARKS[self.right]} {escape(self.exercise)}</b> '
            f"{prose(self.says)}</div>"
        )
