"""What a profiled run found, as a person looks at it: tables, a flame chart, files for viewers.

It runs nothing. Profiles are kept apart from records: none is stored, and none is compared.
"""

from __future__ import annotations

from labkit.report.profile.page import iframe
from labkit.report.profile.profile import COLUMNS, ROWS, Profile, check_view

__all__ = ["COLUMNS", "ROWS", "Profile", "check_view", "iframe"]
