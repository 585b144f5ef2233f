"""A chart drawn on white -> the same on no ground, to be read on a light page and a dark one. Pure.

White becomes transparent, and grey ink one grey that stands out from white and from black. A tint
of one of the charts' colours becomes that colour, as opaque as the tint is strong; any other colour
stays. Ink on a filled bar stays dark. A PNG of 256 colours, which are enough.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from labkit.charts.style import PALETTE

INK = 0x79
"""Of grey text: a contrast of 4.35 to white and to JupyterLab's dark ground alike."""
_DARKEST = 0x22
"""The charts' own ink, which is to become opaque."""
_COLOURED = 0.25
"""A hue counts from this saturation on: below, it is the edge of a letter."""
_OFF = 14
"""How far a tint may lie from the line between white and its colour, in steps of 255."""
_FILLED = 200
"""An opacity from which on ink on a colour is read against it, and not against the page."""
_MOST = 255
_BITS = 5
"""Of each of red, green and blue that are told apart."""
_REACH = 6
"""Pixels from the middle of a letter's stroke to what is behind it, at most."""

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Colour = tuple[int, int, int]
Lifted = tuple[int, int, int, int]
"""Red, green, blue and opacity."""


def without_ground(pixels: Pixels) -> bytes:
    """A PNG with transparent ground, of pixels in rows, each red, green, blue and any more."""
    parts = pixels[..., :3].astype(np.uint32) >> (8 - _BITS)
    keys = parts[..., 0] << 2 * _BITS | parts[..., 1] << _BITS | parts[..., 2]
    often = np.bincount(keys.ravel(), minlength=1 << 3 * _BITS)
    found = [int(key) for key in np.argsort(-often, kind="stable")[:_MOST] if often[key]]
    places = np.zeros(len(often), np.uint8)
    for key in np.flatnonzero(often):
        places[key] = _place(int(key), found)
    colours = [_colour(key) for key in found]
    each = [lifted(*colour) for colour in colours]
    return _png(
        _ink_kept(places[keys], colours, each), [*each, (_DARKEST, _DARKEST, _DARKEST, 255)]
    )


def _colour(key: int) -> Colour:
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


def lifted(*colour: int) -> Lifted:
    """The colour (red, green, blue) and its opacity that on white look like this one."""
    covered = 255 - min(colour)
    if covered == 0:
        return 255, 255, 255, 0
    if _is_grey(colour):
        darkness = 255 - sum(colour) / 3
        return INK, INK, INK, min(255, round(255 * darkness / (255 - _DARKEST)))
    off, own, share = min(_tint_of(colour, one) for one in _OWN)
    if off > _OFF:
        return colour[0], colour[1], colour[2], 255
    return *own, round(255 * share)


def _is_grey(colour: tuple[int, ...]) -> bool:
    return max(colour) - min(colour) < _COLOURED * (255 - min(colour))


def _tint_of(colour: tuple[int, ...], own: Colour) -> tuple[float, Colour, float]:
    """How far off the colour is as a tint of `own`, and how strong a tint it is."""
    away = [255 - part for part in colour]
    whole = [255 - part for part in own]
    share = sum(a * b for a, b in zip(away, whole, strict=True)) / sum(b * b for b in whole)
    share = min(share, 1.0)
    off = max(abs(a - share * b) for a, b in zip(away, whole, strict=True))
    return off, own, share


def _rgb(name: str) -> Colour:
    red, green, blue = bytes.fromhex(name.removeprefix("#"))
    return red, green, blue


_OWN = [_rgb(name) for name in PALETTE if not _is_grey(_rgb(name))]


def _ink_kept(places: Pixels, colours: list[Colour], each: list[Lifted]) -> Pixels:
    """The places, that after the last where there is ink on a filled ground."""
    dark = np.array([_is_grey(one) and sum(one) < 3 * 128 for one in colours])
    filled = np.array(
        [
            not _is_grey(colour) and one[3] >= _FILLED
            for colour, one in zip(colours, each, strict=True)
        ]
    )
    ground = filled[places]
    across = _near(ground, 1) & _near(ground[:, ::-1], 1)[:, ::-1]
    along = _near(ground, 0) & _near(ground[::-1], 0)[::-1]
    return np.where(dark[places] & (across | along), np.uint8(len(colours)), places)


def _near(ground: Mask, axis: int) -> Mask:
    """Where one of the few pixels before, along the axis, is ground."""
    found = np.zeros_like(ground)
    to, of = np.moveaxis(found, axis, 0), np.moveaxis(ground, axis, 0)
    for step in range(1, _REACH + 1):
        to[step:] |= of[:-step]
    return found


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
