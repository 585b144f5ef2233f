"""The examination of a strategy: it is run a few times on calls that note what it does.

The calls of most sittings are the examiner's own, and take turns of the loop instead of time: what
is seen does not depend on how busy the machine is. In one sitting they go to a synthetic server,
which counts for itself. Nothing is judged here. `python -m labkit.measured.exam` is a process
that examines one strategy.
"""

from __future__ import annotations

from labkit.measured.exam.scenarios import HELD_S, examine

__all__ = ["HELD_S", "examine"]
