"""Completion in IPython of what its own matchers cannot know: kinds of charts in `plot("`.

IPython is not imported: the shell that is given is asked, by its public names.
"""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

_PLOT = re.compile(r"\.plot\(\s*(?:kind\s*=\s*)?[\"'](?P<begun>\w*)$")


def kinds(context: Any) -> dict[str, Any]:
    """Return the kinds of charts that complete what stands before the cursor (a matcher)."""
    match = _PLOT.search(context.text_until_cursor)
    if match is None:
        return {"completions": []}
    from labkit.charts.kinds import KINDS  # takes a while

    found = [kind for kind in dict.fromkeys(KINDS) if kind.startswith(match["begun"])]
    named = [SimpleNamespace(text=kind, type="text") for kind in found]
    return {"completions": named, "suppress": True, "ordered": True}


kinds.matcher_api_version = 2  # type: ignore[attr-defined]  # so IPython knows what it returns
kinds.matcher_identifier = "labkit.kinds"  # type: ignore[attr-defined]


def register(shell: Any) -> None:
    """Let the shell complete the kinds; a second call changes nothing."""
    completer = getattr(shell, "Completer", None)
    if completer is not None and kinds not in completer.custom_matchers:
        completer.custom_matchers.append(kinds)
