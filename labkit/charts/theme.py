"""A chart that is drawn for white paper, shown on a page of any ground: its colours, lifted off it.

White becomes transparent, and grey ink one grey that stands out from white and from black. Colours
stay. Ink on a filled bar (`style.ON_FILL`) stays too, as does white on one: its ground does not go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import Collection
from matplotlib.colors import same_color, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

from labkit.charts import style

GREY = 0x79 / 0xFF
"""Of grey ink: a contrast of 4.35 to white and to JupyterLab's dark ground alike."""
_COLOURED, _WHITE = 0.1, 0.98

Colour = tuple[float, float, float, float]
Undo = Callable[[], object]


@contextmanager
def lifted(figure: Figure) -> Iterator[None]:
    """The figure without its ground, within a `with` block."""
    # Ticks are made as it is drawn.
    figure.draw_without_rendering()
    undo = [one for artist in figure.findobj() for one in _lifted(artist)]
    try:
        yield
    finally:
        for back in reversed(undo):
            back()


def off_ground(colour: Any) -> Colour:
    """The colour that looks on white as this one does, and stands out from a dark page too."""
    red, green, blue, alpha = to_rgba(colour)
    if max(red, green, blue) - min(red, green, blue) > _COLOURED:
        return red, green, blue, alpha
    light = (red + green + blue) / 3
    if light > _WHITE:
        return GREY, GREY, GREY, 0.0
    return GREY, GREY, GREY, alpha * min(1.0, (1 - light) / (1 - GREY))


def _lifted(artist: Artist) -> Iterator[Undo]:
    """Change what the artist is drawn in; what puts it back, change by change."""
    yield from _alpha(artist)
    if isinstance(artist, Text):
        yield from _text(artist)
    elif isinstance(artist, Line2D):
        yield _changed(artist, "color")
        yield _changed(artist, "markeredgecolor")
    elif isinstance(artist, Patch):
        yield from _patch(artist)
    elif isinstance(artist, Collection):
        yield _changed(artist, "facecolor", many=True)
        yield _changed(artist, "edgecolor", many=True)


def _alpha(artist: Artist) -> Iterator[Undo]:
    """An opacity that is set for the whole artist would hide those of its colours."""
    alpha = artist.get_alpha()
    if isinstance(artist, Line2D) and alpha is not None:
        yield partial(artist.set_alpha, alpha)
        yield partial(artist.set_color, artist.get_color())
        artist.set_color(to_rgba(artist.get_color(), alpha))
        artist.set_alpha(None)


def _text(text: Text) -> Iterator[Undo]:
    behind = text.get_bbox_patch()
    if behind is not None:
        yield from _patch(behind)
    if not any(same_color(text.get_color(), kept) for kept in ("white", style.ON_FILL)):
        yield _changed(text, "color")


def _patch(patch: Patch) -> Iterator[Undo]:
    # A hatch in white is drawn on a colour, in that of the edge.
    if not (patch.get_hatch() and same_color(patch.get_edgecolor(), "white")):
        yield _changed(patch, "edgecolor")
    yield _changed(patch, "facecolor")


def _changed(artist: Artist, what: str, *, many: bool = False) -> Undo:
    before, set_to = getattr(artist, f"get_{what}")(), getattr(artist, f"set_{what}")
    set_to(np.array([off_ground(one) for one in before]) if many else off_ground(before))
    return partial(set_to, before)
