"""Start processes and surely end them: here, each on a core of its own."""

from __future__ import annotations
