"""How charts look: colours, sizes, settings that make the same data the same bytes; and on dark.

Nothing is left set: `applied` holds for one block, whatever style the user has chosen for figures
of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from matplotlib import rc_params_from_file
from matplotlib.artist import Artist
from matplotlib.collections import Collection
from matplotlib.colors import same_color, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.style import context
from matplotlib.text import Text

_STYLE = Path(__file__).with_name("labkit.mplstyle")
_SETTINGS: dict[str, Any] = dict(rc_params_from_file(_STYLE, use_default_template=False).items())
FONT_PT = int(_SETTINGS["font.size"])
INK, PALE = _SETTINGS["text.color"], _SETTINGS["grid.color"]
# Ink on a filled area, which is as dark on a dark page.
ON_FILL = "#000000"
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
VERMILLION, SKY, BLACK = "#D55E00", "#56B4E9", "#000000"
# Colour-blind people can tell these apart too (Okabe and Ito 2008, without their yellow).
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":")

PNG_DPI = 160
# Pixels per inch at which a notebook shows a chart.
SHOWN_DPI = 80


@contextmanager
def applied() -> Iterator[None]:
    """Apply the lab's style within a `with` block, or within a function that this decorates."""
    with context(_SETTINGS, after_reset=True):
        yield


@dataclass(frozen=True, kw_only=True)
class Look:
    """How the areas of one kind are filled, and what the legend calls them."""

    label: str
    face: str
    edge: str = "none"
    hatch: str = ""

    @property
    def fill(self) -> dict[str, Any]:
        """Return the same as matplotlib's arguments."""
        return {"facecolor": self.face, "edgecolor": self.edge, "hatch": self.hatch}


def legend(looks: Iterable[Look]) -> list[tuple[Artist, str]]:
    """Return what a legend shows for each look."""
    return [(Patch(**one.fill), one.label) for one in looks]


MEASURED = Look(label="measured here", face=BLUE, edge=BLUE)
THEN = Look(label="software of then, here", face=GREEN, edge=GREEN)
REFERENCE = Look(label="reference machine", face=BLUE + "33", edge=BLUE)
PUBLISHED = Look(label="published", face="white", edge="#555555", hatch="///")


def look(index: int, label: str) -> Look:
    """Return the look of the bars with this index."""
    colour = PALETTE[index % len(PALETTE)]
    hatch = ("", "xx", "..")[index // len(PALETTE) % 3]
    return Look(label=label, face=colour, edge="white" if hatch else colour, hatch=hatch)


def line(index: int) -> dict[str, Any]:
    """Return colour, marker and dashes of the line with this index."""
    return {
        "color": PALETTE[index % len(PALETTE)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[index // len(PALETTE) % len(DASHES)],
    }


# Of ink on a page of any colour: a contrast of 4.35 to white and to JupyterLab's dark alike.
GREY = 0x79 / 0xFF
_COLOURED, _WHITE = 0.1, 0.98
_COLOURS_OF: Mapping[type[Artist], tuple[str, ...]] = {
    Line2D: ("markeredgecolor", "color"),
    Text: ("color",),
    Patch: ("facecolor", "edgecolor"),
    Collection: ("facecolor", "edgecolor"),
}


@contextmanager
def transparent_background(figure: Figure) -> Iterator[None]:
    """Make a figure readable on a light and on a dark page, within a `with` block.

    White becomes transparent, and grey ink a grey that stands out from white and from black.
    Colours stay. Ink on a filled area (`ON_FILL`) stays too, as does white on one: what is behind
    it stays.
    """
    # A chart is drawn for white paper, its user may change it, and only its copy in a notebook is
    # transparent: so the colours are replaced in what is drawn, and put back. One set of rcParams
    # for every page was rejected, as its ink is pale in a report and from a projector; so was to
    # draw again with other rcParams, which loses what the user changed.
    artists = figure.findobj()
    artists += [box for one in artists if isinstance(one, Text) and (box := one.get_bbox_patch())]
    undo: list[tuple[Any, Any]] = []
    for artist in artists:
        kinds = list(filter(partial(isinstance, artist), _COLOURS_OF))
        names = _COLOURS_OF[kinds[0]] if kinds else ()
        alpha = artist.get_alpha() if isinstance(artist, Line2D) else None
        for name in names:
            colour = getattr(artist, f"get_{name}")()
            on_fill: tuple[str, ...] = ("white", ON_FILL) if isinstance(artist, Text) else ()
            if name == "edgecolor" and isinstance(artist, Patch) and artist.get_hatch():
                on_fill = ("white",)  # a hatch has the colour of the edge
            if any(map(partial(same_color, colour), on_fill)):
                continue
            set_to = getattr(artist, f"set_{name}")
            undo.append((set_to, colour))
            if isinstance(artist, Collection):
                set_to([on_any_page(tuple(one)) for one in colour])
            else:
                set_to(on_any_page(to_rgba(colour, alpha)))
        if alpha is not None:  # an opacity of the whole line would hide those of its colours
            undo.append((artist.set_alpha, alpha))
            artist.set_alpha(None)
    try:
        yield
    finally:
        for set_to, colour in reversed(undo):
            set_to(colour)


@cache
def on_any_page(colour: Any) -> tuple[float, float, float, float]:
    """Return the colour that looks on white as this one does, and is seen on a dark page too."""
    red, green, blue, alpha = to_rgba(colour)
    if max(red, green, blue) - min(red, green, blue) > _COLOURED:
        return red, green, blue, alpha
    light = (red + green + blue) / 3
    opacity = 0.0 if light > _WHITE else alpha * min(1.0, (1 - light) / (1 - GREY))
    return GREY, GREY, GREY, opacity
