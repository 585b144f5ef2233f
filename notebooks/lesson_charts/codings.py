"""What codings cost and gain: bytes on the wire against CPU, and time over the rate of a link."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from matplotlib.axes import Axes

import labkit as lab
from labkit.charts import Chart, axes, style

_CURVE_POINTS = 100
_BEYOND = 2.0
"""How far the lines reach beyond the rates that were measured, as a factor."""
# A coding has the same colour in each chart.
_CODINGS = ("identity", "gzip", "br", "zstd", "deflate")


@dataclass(frozen=True, kw_only=True)
class Coded:
    """A body in one coding: what it is on the wire, the CPU of both ends, how long it took.

    `label` tells points of a coding apart. `rate` is that of the link in bytes a second, None where
    there was no limit. `server_cpu_us` is the server's part of the CPU.
    """

    coding: str
    wire_bytes: float
    cpu_us: float
    latency_s: float
    label: str = ""
    rate: float | None = None
    server_cpu_us: float | None = None

    def __str__(self) -> str:
        name = " ".join(filter(None, [self.coding, self.label]))
        at = "" if self.rate is None else f" at {axes.tick_text(self.rate)} bytes/s"
        return (
            f"{name}{at} {self.wire_bytes:,.0f} bytes, {self.cpu_us:,.0f} \N{MICRO SIGN}s of CPU, "
            f"{1e3 * self.latency_s:,.1f} ms"
        )

    def over_s(self, rate: float) -> float:
        """Return the seconds over a link of `rate`, if packing, sending and unpacking add up."""
        return self.cpu_us / 1e6 + self.wire_bytes / rate


def coded(records: Iterable[lab.Record]) -> list[Coded]:
    """Return the medians of the runs of each path and coding, labelled by the size of the body.

    The rate is the one that the path asks for, as in `/json/12?rate=1000`. The records are of the
    transport aiohttp, with answers of the lab's server.
    """
    arms: dict[tuple[str, str], list[lab.Record]] = {}
    for one in records:
        arm = one.trial["workload"]["path"], one.trial["transport"]["accept_encoding"]
        arms.setdefault(arm, []).append(one)
    return [_of_arm(path, coding, runs) for (path, coding), runs in arms.items()]


def _of_arm(path: str, coding: str, runs: Sequence[lab.Record]) -> Coded:
    received = [one.received for one in runs if one.received is not None]
    latencies = [one.latency_s.mean for one in runs if one.latency_s is not None]
    client = [one.client.cpu_us_per_request or 0.0 for one in runs if one.client]
    server = [1e6 * (one.server.cpu_s or 0.0) / one.counts.ok for one in runs if one.server]
    rates = parse_qs(urlsplit(path).query).get("rate")
    return Coded(
        coding=coding,
        wire_bytes=statistics.median(one.wire_bytes / one.bodies for one in received),
        cpu_us=statistics.median(client) + statistics.median(server),
        latency_s=statistics.median(latencies),
        label=f"{received[0].decoded_bytes / received[0].bodies / 1e3:,.0f} kB",
        rate=float(rates[0]) if rates else None,
        server_cpu_us=statistics.median(server),
    )


def break_even_rate(plain: Coded, packed: Coded) -> float | None:
    """Return the rate of a link, in bytes a second, below which `packed` is faster than `plain`.

    None where there is no such rate: it is always faster, or never.
    """
    saved, more_s = plain.wire_bytes - packed.wire_bytes, (packed.cpu_us - plain.cpu_us) / 1e6
    return saved / more_s if saved > 0 and more_s > 0 else None


@style.applied()
def codecs(points: Sequence[Coded], title: str) -> Chart:
    """Draw CPU of both ends over bytes on the wire, with the points of a coding joined.

    Raises `BadInput` where there is nothing to draw.
    """
    codings = _by_coding(points)
    chart = Chart(
        title=title,
        parts=map(str, points),
        height_in=5.2,
        notes=["Further left is fewer bytes, further down is less CPU (client and server)."],
    )
    ax = chart.body.subplots()
    ax.margins(y=0.1)
    for place, (coding, mine) in enumerate(codings.items()):
        xs, ys = [one.wire_bytes for one in mine], [one.cpu_us for one in mine]
        ax.plot(xs, ys, label=coding, linewidth=1.6, markersize=8, **_look(coding))
        for one in mine if place == 0 else ():  # the others lie in the same order
            at = (one.wire_bytes, one.cpu_us)
            ax.annotate(one.label, at, xytext=(8, -15), textcoords="offset points")
    _logarithmic(ax, "body on the wire (bytes)", "CPU of both ends (\N{MICRO SIGN}s)")
    return chart


@style.applied()
def break_even(points: Sequence[Coded], title: str) -> Chart:
    """Draw time over the rate of the link: lines by what unpaced runs cost, points as measured.

    Of each coding the point without a rate makes the line; those with one are drawn as they are.
    Raises `BadInput` where there is no rate at all.
    """
    codings = _by_coding(points)
    rates = sorted(one.rate for one in points if one.rate is not None)
    if not rates:
        raise lab.BadInput("there is no rate to draw over: measure some of the points at a rate")
    chart = Chart(
        title=title,
        parts=map(str, points),
        height_in=5.2,
        notes=[
            "Lines: CPU of both ends, as measured without a link, and the time of the bytes on it. "
            "Marks: measured over the link, from the request to the body unpacked."
        ],
    )
    ax = chart.body.subplots()
    along = np.geomspace(rates[0] / _BEYOND, rates[-1] * _BEYOND, _CURVE_POINTS).tolist()
    for coding, mine in codings.items():
        look = _look(coding)
        for free in [one for one in mine if one.rate is None][:1]:
            times_ms = [1e3 * free.over_s(rate) for rate in along]
            ax.plot(along, times_ms, color=look["color"], linewidth=1.8)
        paced = {one.rate: 1e3 * one.latency_s for one in mine if one.rate is not None}
        marks = {"color": look["color"], "markersize": 9, "label": coding}
        ax.plot(list(paced), list(paced.values()), look["marker"], **marks)
    _logarithmic(ax, "rate of the link (bytes per second)", "time of a body (ms)")
    axes.logarithmic(ax.xaxis, (1, 3))  # more of these long numbers would overlap
    return chart


def _look(coding: str) -> dict[str, Any]:
    return style.line(_CODINGS.index(coding) if coding in _CODINGS else len(_CODINGS))


def _logarithmic(ax: Axes, x: str, y: str) -> None:
    """Make both axes logarithmic, and label them."""
    ax.set(xscale="log", yscale="log")
    axes.scale(ax, "x", ax.get_xlim(), x, log_from=1, most=0)
    axes.scale(ax, "y", ax.get_ylim(), y, log_from=1, most=0)
    axes.legend_outside(ax)


def _by_coding(points: Sequence[Coded]) -> Mapping[str, list[Coded]]:
    if not points:
        raise lab.BadInput("there is nothing to draw: measure at least one coding")
    found: dict[str, list[Coded]] = {}
    for one in points:
        found.setdefault(one.coding, []).append(one)
    return found
