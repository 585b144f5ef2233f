"""Whether this machine can measure, and whether it is ready for a workshop."""

from __future__ import annotations

from labkit.lab.doctor.check import Check, Status
from labkit.lab.doctor.machine import conclusion, examine

__all__ = ["Check", "Status", "conclusion", "examine"]
