"""How work under way and its results show themselves: data -> HTML, SVG, text. It runs nothing.

What is drawn while a trial runs needs the standard library alone.
"""

from __future__ import annotations
