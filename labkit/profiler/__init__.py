"""Profile with yappi: call graphs and slow callbacks, in the worker and in the kernel."""

from __future__ import annotations
