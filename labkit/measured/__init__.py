"""All that runs inside a measured process, and nothing else. Nobody around it imports it."""

from __future__ import annotations
