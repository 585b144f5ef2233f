"""The arena: what an examination found, in sentences that teach, and the board of those who passed.

Pure: evidence and records in, faults, ranks, tables and charts out. `labkit.examining` runs it.
"""

from __future__ import annotations

from labkit.arenas.arena import Arena
from labkit.arenas.faults import CODES, Examined, Fault
from labkit.arenas.judging import judged
from labkit.arenas.ranking import MARGIN, METRICS, Place, Standing, ranked

__all__ = [
    "CODES",
    "MARGIN",
    "METRICS",
    "Arena",
    "Examined",
    "Fault",
    "Place",
    "Standing",
    "judged",
    "ranked",
]
