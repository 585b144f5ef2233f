"""What holds for every test: figures need no display, and slowness alone fails no property.

Fixtures are in the test modules that use them.
"""

from __future__ import annotations

import os

from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")

settings.register_profile("labkit", deadline=None)
settings.load_profile("labkit")
