"""Whether this machine can measure, and whether it is ready for a workshop."""

from __future__ import annotations

from labkit.doctor.check import Check, Status
from labkit.doctor.machine import conclusion, examine

__all__ = ["Check", "Status", "conclusion", "examine"]
