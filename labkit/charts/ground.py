"""A chart drawn on white -> the same on no ground, to be read on a light page and a dark one.

White becomes transparent, grey ink one grey that stands out from white and from black, and a colour
keeps its hue with as much of it as covers the white. A PNG of 256 colours, which are enough.
"""

from __future__ import annotations

import io

from PIL import Image

INK = 0x75
"""Of grey text: a contrast of 4.6 to white and of 4.1 to JupyterLab's dark ground."""
_DARKEST = 0x22
"""The charts' own ink, which is to become opaque."""
_COLOURED = 0.25
"""A hue counts from this saturation on: below, it is the edge of a letter."""


def without_ground(png: bytes) -> bytes:
    """The picture with transparent ground."""
    drawn = Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    colours = drawn.getpalette("RGB") or []
    each = [_lifted(*colours[at : at + 3]) for at in range(0, len(colours), 3)]
    drawn.putpalette([part for red, green, blue, _ in each for part in (red, green, blue)], "RGB")
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG", transparency=bytes(alpha for *_, alpha in each))
    return buffer.getvalue()


def _lifted(red: int, green: int, blue: int) -> tuple[int, int, int, int]:
    """The colour and its opacity that together, on white, look like this one."""
    covered = 255 - min(red, green, blue)
    if covered == 0:
        return 255, 255, 255, 0
    if max(red, green, blue) - min(red, green, blue) < _COLOURED * covered:
        darkness = 255 - (red + green + blue) / 3
        return INK, INK, INK, min(255, round(255 * darkness / (255 - _DARKEST)))
    own = [round(255 - (255 - part) * 255 / covered) for part in (red, green, blue)]
    return own[0], own[1], own[2], covered
