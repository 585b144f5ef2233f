"""Tab after `%lab`: what `cli.commands.completing` finds, as IPython's completer takes it."""

from __future__ import annotations

import re
from typing import Any

_LINE = re.compile(r"(?:^|=)\s*%lab\s+(?P<typed>.*)$")


def load(shell: Any) -> None:
    """Add the matcher to the shell's completer; a second time changes nothing."""
    completer = getattr(shell, "Completer", None)
    if completer is not None and matched not in completer.custom_matchers:
        completer.custom_matchers.append(matched)


def matched(context: Any) -> dict[str, Any]:
    """Completions in a line of `%lab`; none in any other, where those of others are left alone."""
    line = _LINE.search(context.text_until_cursor)
    if line is None:
        return {"completions": [], "suppress": False}
    from IPython.core.completer import SimpleCompletion

    from labkit.cli.commands.completing import completions
    from labkit.notebook.magics.line import parser

    fragment, words = completions(line["typed"], parser())
    return {
        # IPython would offer Python's own names where nothing is offered: so what is typed stays.
        "completions": [SimpleCompletion(text=word, type="labkit") for word in words or [fragment]],
        "matched_fragment": fragment,
        "suppress": True,
        "ordered": True,
    }


matched.matcher_api_version = 2  # type: ignore[attr-defined] # IPython's way to mark one
matched.matcher_identifier = "labkit"  # type: ignore[attr-defined] # and to name it
