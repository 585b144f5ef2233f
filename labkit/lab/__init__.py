"""The facade, the one runner, progress, doctor."""

from __future__ import annotations
