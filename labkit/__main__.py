"""`python -m labkit`: the command line."""

from __future__ import annotations

from labkit.cli import main

main()
