"""The facade, the one runner, progress, doctor: what a front calls."""

from __future__ import annotations
