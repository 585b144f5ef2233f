"""Whether this machine can measure, and whether it is ready for a workshop."""

from __future__ import annotations

from labkit.lab.doctor.machine import Examination, Machine, MachineCheck, Status, examine, read

__all__ = ["Examination", "Machine", "MachineCheck", "Status", "examine", "read"]
