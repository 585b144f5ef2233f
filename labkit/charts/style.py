"""How charts look: colours, sizes, and settings that make the same data the same bytes.

Nothing is left set: `applied` holds for one block, whatever style the user has chosen for figures
of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context, rcParamsDefault

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

INK = "#222222"
PALE = "#D9D9D9"
ON_FILL = "#000000"
"""Ink on a filled area, which is as dark on a dark page."""
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
VERMILLION, SKY, BLACK = "#D55E00", "#56B4E9", "#000000"
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
"""Told apart by colour-blind people too (Okabe and Ito 2008, without their yellow)."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":")

FONT_PT = 12
PNG_DPI = 160
SHOWN_DPI = 80
"""Pixels per inch at which a notebook shows a chart."""

_SETTINGS: dict[RcKeyType, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": FONT_PT,
    "axes.titlesize": FONT_PT + 1,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": FONT_PT,
    "xtick.labelsize": FONT_PT,
    "ytick.labelsize": FONT_PT,
    "legend.fontsize": FONT_PT,
    "legend.frameon": False,
    "figure.titlesize": FONT_PT + 3,
    "figure.titleweight": "bold",
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "hatch.linewidth": 0.8,
    # A dollar sign in a name is a dollar sign.
    "text.parse_math": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "labkit",
}
_FAMILIES = (
    *("axes", "errorbar", "figure", "font", "grid", "hatch", "legend", "lines", "markers"),
    *("patch", "path", "savefig", "svg", "text", "xtick", "ytick"),
)
_ALL: dict[RcKeyType, Any] = {
    **{key: value for key, value in rcParamsDefault.items() if key.split(".")[0] in _FAMILIES},
    **_SETTINGS,
}


@contextmanager
def applied() -> Iterator[None]:
    """The lab's style within a `with` block, or within a function that this decorates."""
    with rc_context(_ALL):
        yield


@dataclass(frozen=True, kw_only=True)
class Look:
    """How the bars of one kind are filled, and what the legend calls them."""

    label: str
    face: str
    edge: str
    hatch: str = ""


MEASURED = Look(label="measured here", face=BLUE, edge=BLUE)
REFERENCE = Look(label="reference machine", face=BLUE + "33", edge=BLUE)
PUBLISHED = Look(label="published", face="white", edge="#555555", hatch="///")


def look(index: int, label: str) -> Look:
    """The look of the arm with this index."""
    colour, round_ = PALETTE[index % len(PALETTE)], index // len(PALETTE)
    hatch = ("", "xx", "..")[round_ % 3]
    return Look(label=label, face=colour, edge="white" if hatch else colour, hatch=hatch)


def line(index: int) -> dict[str, Any]:
    """Colour, marker and dashes of the line with this index."""
    return {
        "color": PALETTE[index % len(PALETTE)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[index // len(PALETTE) % len(DASHES)],
    }
