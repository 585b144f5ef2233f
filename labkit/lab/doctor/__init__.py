"""Whether this machine can measure, and whether it is ready for a workshop."""

from __future__ import annotations

from labkit.lab.doctor.machine import Check, Examination, Machine, Status, examine, read

__all__ = ["Check", "Examination", "Machine", "Status", "examine", "read"]
