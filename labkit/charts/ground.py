"""A chart drawn on white -> the same on no ground, to be read on a light page and a dark one. Pure.

White becomes transparent, grey ink one grey that stands out from white and from black, and a colour
keeps its hue with as much of it as covers the white. A PNG of 256 colours, which are enough.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

INK = 0x79
"""Of grey text: a contrast of 4.35 to white and to JupyterLab's dark ground alike."""
_DARKEST = 0x22
"""The charts' own ink, which is to become opaque."""
_COLOURED = 0.25
"""A hue counts from this saturation on: below, it is the edge of a letter."""
_MOST = 256
_BITS = 5
"""Of each of red, green and blue that are told apart."""

Pixels = npt.NDArray[np.uint8]


def without_ground(pixels: Pixels) -> bytes:
    """A PNG with transparent ground, of pixels in rows, each red, green, blue and any more."""
    parts = pixels[..., :3].astype(np.uint32) >> (8 - _BITS)
    keys = parts[..., 0] << 2 * _BITS | parts[..., 1] << _BITS | parts[..., 2]
    often = np.bincount(keys.ravel(), minlength=1 << 3 * _BITS)
    found = [int(key) for key in np.argsort(-often, kind="stable")[:_MOST] if often[key]]
    places = np.zeros(len(often), np.uint8)
    for key in np.flatnonzero(often):
        places[key] = _place(int(key), found)
    return _png(places[keys], [_lifted(*_colour(key)) for key in found])


def _colour(key: int) -> tuple[int, int, int]:
    most = (1 << _BITS) - 1
    red, green, blue = (key >> 2 * _BITS, key >> _BITS & most, key & most)
    return round(red * 255 / most), round(green * 255 / most), round(blue * 255 / most)


def _place(key: int, found: list[int]) -> int:
    """Where the colour is among those that are found, or the one that is most like it."""
    if key in found:
        return found.index(key)
    colours = np.array([_colour(one) for one in found])
    off = (colours - np.array(_colour(key))) ** 2
    return int(off.sum(axis=1).argmin())


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


def _png(places: Pixels, colours: list[tuple[int, int, int, int]]) -> bytes:
    """The file: a byte a pixel, which is a place among the colours (RFC 2083)."""
    height, width = places.shape
    rows: Any = np.insert(places, 0, 0, axis=1)  # each row begins with its filter: none
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", bytes(part for *own, _ in colours for part in own)),
            _chunk(b"tRNS", bytes(alpha for *_, alpha in colours)),
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
