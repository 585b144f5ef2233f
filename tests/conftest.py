"""What holds for every test: figures need no display, and slowness alone fails no property.

Fixtures are in the test modules that use them.
"""

from __future__ import annotations

import os
import signal

from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")

# A run in the background of a shell inherits that Ctrl-C is ignored, and so would what it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("labkit", deadline=None)
settings.load_profile("labkit")
