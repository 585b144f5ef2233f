"""Charts of single lessons."""

from __future__ import annotations
