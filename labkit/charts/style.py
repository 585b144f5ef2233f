"""How charts look: colours, sizes, settings that make the same data the same bytes; and on dark.

Nothing is left set: `applied` holds for one block, whatever style the user has chosen for figures
of their own.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_params_from_file
from matplotlib.artist import Artist
from matplotlib.patches import Patch
from matplotlib.style import context

from labkit import paths

_STYLE = Path(__file__).with_name("labkit.mplstyle")
_SETTINGS: dict[str, Any] = dict(rc_params_from_file(_STYLE, use_default_template=False).items())
FONT_PT = int(_SETTINGS["font.size"])
INK, PALE = _SETTINGS["text.color"], _SETTINGS["grid.color"]
# Ink on a filled area, which is as dark on a dark page.
ON_FILL = "#000000"
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
VERMILLION, SKY, BLACK = "#D55E00", "#56B4E9", INK
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


# Of ink on a page of any colour: a contrast of 4.5 to white and to black, but to no dark grey, as
# JupyterLab's dark is (4.2). So a picture has a ground there: the page's colour times itself, which
# is white on white, and next to black on dark.
GREY = 0x76 / 0xFF
GROUND: str = paths.table("charts.toml")["ground"]
# The same for the output before one with notes.
STYLE = f"<style>.jp-OutputArea-child:has(+ * .labkit-notes) img{{{GROUND}}}</style>"
_COLOURED, _BLACK = 0.1, 0.02


def on_any_page(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a picture without a background as one that is seen on a light and on a dark page.

    `pixels` are red, green, blue and opacity, from 0 to 1. White becomes transparent, and grey ink
    a grey that stands out from white and from black; on white both look as before. Colours stay,
    and black, which is ink on a filled area (`ON_FILL`).
    """
    # A chart is drawn for white paper, its user may change it, and only its copy in a notebook is
    # transparent. One set of rcParams for every page was rejected, as its ink is pale in a report
    # and from a projector; so was to draw again with other rcParams, which loses what the user
    # changed, and to replace the colours of all that is drawn, which takes much more code.
    colours, opacity = pixels[..., :3], pixels[..., 3:]
    light = colours.mean(axis=-1, keepdims=True)
    is_ink = (np.ptp(colours, axis=-1, keepdims=True) <= _COLOURED) & (light > _BLACK)
    paler = opacity * np.minimum((1 - light) / (1 - GREY), 1)
    return np.where(is_ink, np.concatenate([np.full_like(colours, GREY), paler], axis=-1), pixels)
