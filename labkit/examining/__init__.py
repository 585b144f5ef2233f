"""Examining strategies, each in a process of its own, and ranking those that pass."""

from __future__ import annotations

from labkit.examining.contest import AMONG, arena, default_trial

__all__ = ["AMONG", "arena", "default_trial"]
