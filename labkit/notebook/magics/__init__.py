"""What `%load_ext labkit` gives a shell: `%lab`, its completions, `%%labprof`. Thin.

IPython is not imported: the shell that is given is asked, by its public names.
"""

from __future__ import annotations

from typing import Any

from labkit.notebook.magics import completer, labprof, line


def load(shell: Any) -> None:
    """Give `shell` the magics; a second time changes nothing."""
    labprof.load(shell)
    line.load(shell)
    completer.load(shell)
