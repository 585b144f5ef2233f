"""Data -> matplotlib figures that show what was measured, how often, and how far to trust it.

Pure: a chart runs no trial and reads no file. It is written to one only by its own `save`. The
public names are in `__init__.pyi`, and each is imported when it is first used: most commands draw
nothing, and matplotlib takes its time.
"""

from labkit import attach_stub

__getattr__, __dir__ = attach_stub(__name__, __file__)
