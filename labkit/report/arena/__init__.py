"""The arena: what an examination found, in sentences that teach, and the board of those who passed.

Pure: evidence and records in, faults, ranks, tables and charts out. `labkit.lab.arena` runs it.
"""

from __future__ import annotations

from labkit.report.arena.arena import Arena
from labkit.report.arena.faults import CODES, Examined, Fault
from labkit.report.arena.judging import judged
from labkit.report.arena.ranking import MARGIN, METRICS, Place, Standing, ranked

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
