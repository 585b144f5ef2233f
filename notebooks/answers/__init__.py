"""Exercises: a module for each notebook, a function for each; and what these are written with."""

from __future__ import annotations
