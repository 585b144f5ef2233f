"""A plugin for `make notebooks`: a kernel that dies as it starts is started again.

The ports of a kernel are looked for by one process and bound by another, a moment later. Meanwhile
a trial of the notebook that runs beside it may have taken one of them for its connections.
"""

from typing import Any

from nbval import kernel

ATTEMPTS = 3
_start = kernel.start_new_kernel


def started(**settings: Any) -> Any:
    """Start a kernel and its client, as nbval asks for them."""
    for _ in range(ATTEMPTS - 1):
        try:
            return _start(**settings)
        except RuntimeError:  # it died before it said anything
            continue
    return _start(**settings)


kernel.start_new_kernel = started
