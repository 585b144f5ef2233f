"""Study files, claims and verdicts. Pure but for reading a file."""

from __future__ import annotations
