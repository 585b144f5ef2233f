"""`Chart`: a figure with a title, a body, and a foot of legend and notes; and what its notes say.

It belongs to no window and to no global list of figures: a notebook shows it once, where it is the
value of a cell.
"""

from __future__ import annotations

import io
import itertools
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import imread, imsave
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from labkit import paths, stats
from labkit.charts import axes, style
from labkit.errors import BadInput
from labkit.escaping import escape, visible
from labkit.spec.validation import refusal

WIDTH_IN = 10.0
_CHARACTERS_PER_IN = 10.5
_TITLE_LETTERS = 78
_LINE_IN = 0.215
_LEGEND_IN = 0.34
_PLACES = 4
_LETTER_IN, _HANDLE_IN = 0.095, 0.75


class _Steady(ConstrainedLayoutEngine):
    """Constrained layout, rounded to a tenth of a point.

    The last digits that its solver finds depend on where in memory things lie; without them the
    same data give the same bytes.
    """

    def execute(self, fig: Figure) -> None:
        super().execute(fig)
        for part in fig.subfigs:
            box = part.bbox_relative
            box.set_points(box.get_points().round(_PLACES))
        for ax in fig.axes:
            ax.set_position(Bbox(ax.get_position().get_points().round(_PLACES)))
            # To be placed by hand ends being laid out, which is not meant.
            ax.set_in_layout(True)


class Chart(Figure):
    """A figure whose `body` is drawn on; `alt` says in words what it shows.

    Where `alt` is not given it is made of the title and of what each of the `parts` shows. Of the
    `notes` the picture has as many as fit into two lines, the first ones before the later; the
    others are `folded`: a notebook shows them on a click, and a terminal all of them as text.
    """

    @style.applied()
    def __init__(
        self,
        *,
        title: str,
        alt: str = "",
        parts: Iterable[str] = (),
        height_in: float,
        notes: Sequence[str] = (),
        legend: Sequence[tuple[Artist, str]] = (),
    ) -> None:
        letters = round(WIDTH_IN * _CHARACTERS_PER_IN)
        lines, self.folded = list[str](), list[str]()
        for note in notes:
            whole = f"{note.rstrip('.')}.".replace(" %", "\0%")  # which no line may break
            packed = textwrap.wrap(" ".join([*lines, whole]), letters)
            if len(packed) <= 2:  # what has no room is below the picture
                lines = packed
            else:
                self.folded.append(note)
        widths_in = [len(label) * _LETTER_IN + _HANDLE_IN for _, label in legend]
        # All labels of the legend are beside each other where they fit, else in columns.
        columns = len(legend) or 1
        if sum(widths_in) > WIDTH_IN:
            columns = max(int(WIDTH_IN / max(widths_in)), 1)
        legend_in = _LEGEND_IN * -(-len(legend) // columns)
        foot_in = legend_in + _LINE_IN * len(lines) + 0.1
        super().__init__(figsize=(WIDTH_IN, height_in + foot_in), layout=_Steady())
        self.alt = alt or f"{title}. {'; '.join(parts)}."
        self.notes, self._svg = tuple(notes), ""
        parts = self.subfigures(2, 1, squeeze=False, height_ratios=[height_in, foot_in])
        self.body: SubFigure = parts[0, 0]
        foot: SubFigure = parts[1, 0]
        self.body.suptitle(textwrap.fill(title, _TITLE_LETTERS), x=0.012, ha="left")
        if legend:
            handles, labels = zip(*legend, strict=True)
            foot.legend(handles, labels, loc="upper left", ncols=columns, borderaxespad=0.2)
        shown = "\n".join(lines).replace("\0", " ")
        foot.text(0.012, 1 - legend_in / foot_in, shown, va="top", linespacing=1.25)

    @style.applied()
    def guess(self, value: float, panel: int = 0) -> Self:
        """Draw a guess as a dashed line, in the unit of the axis of values; return the chart.

        That is the y axis, and in a chart of rows the x axis. It is made to reach to the guess.
        `panel` counts the chart's panels from 0.
        """
        ax, says = self.axes[panel], f"guess {value:,g}"
        name = "y" if ax.get_ylabel() else "x"
        low, high = getattr(ax, f"get_{name}lim")()
        ax.set(**{f"{name}lim": (min(low, value), max(high, 1.05 * value))})
        line = ax.axhline if name == "y" else ax.axvline
        line(value, color=style.INK, linestyle="--", linewidth=2, path_effects=axes.HALO)
        above = 0 if ax.get_title(loc="left") else 1  # or it would lie on the panel's title
        place, side = ((0.01, value), "left") if name == "y" else ((value, above), "center")
        within = ax.get_yaxis_transform() if name == "y" else ax.get_xaxis_transform()
        more: Mapping[str, Any] = {"ha": side, "va": "bottom", "path_effects": axes.HALO}
        ax.annotate(says, place, (0, 3), within, "offset points", **more)
        self.alt += f" A {says}."
        return self

    @style.applied()
    def draw(self, renderer: RendererBase) -> None:
        """Draw in the lab's style: ticks are made no earlier than here."""
        # Saving draws twice: once for the layout, by a renderer that shows nothing, and then with
        # the layout switched off. To lay out takes no drawing, so that the first is left out.
        layout = self.get_layout_engine()
        if isinstance(layout, _Steady):
            for text in self.findobj(Text):
                text.set_text(visible(text.get_text()))  # no font has these, and no XML may
            if self.canvas.is_saving():
                layout.execute(self)
                return
        super().draw(renderer)

    @style.applied()
    def svg(self) -> str:
        """Return this chart as SVG; the same data give the same text."""
        if self.stale or not self._svg:  # whatever is drawn on it makes it stale
            buffer = io.StringIO()
            self.savefig(buffer, format="svg", metadata={"Date": None})
            self._svg, self.stale = buffer.getvalue(), False
        return self._svg

    @style.applied()
    def png(self, dpi: int = style.PNG_DPI, *, transparent: bool = False) -> bytes:
        """Return this chart as PNG."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=dpi, transparent=transparent)
        return buffer.getvalue()

    def png_transparent(self, dpi: int = style.PNG_DPI) -> bytes:
        """Return this chart as PNG for a page that may be light or dark, as a notebook is.

        JupyterLab's dark needs `style.GROUND` behind it.
        """
        pixels, buffer = imread(io.BytesIO(self.png(dpi, transparent=True))), io.BytesIO()
        imsave(buffer, style.on_any_page(pixels), format="png")
        return buffer.getvalue()

    def save(self, path: str | Path) -> Path:
        """Write the file `path`, whose suffix says what: .svg or .png. Raises `BadInput`."""
        path = Path(path)
        if path.suffix not in (".svg", ".png"):
            raise refusal("chart", path=str(path))
        if not path.parent.is_dir():
            raise BadInput(f"path is {str(path)!r}: there is no folder {str(path.parent)!r}")
        path.write_bytes(self.svg().encode() if path.suffix == ".svg" else self.png())
        return path

    @property
    def below(self) -> str:
        """Return as HTML what a notebook has below the picture: the notes without room in it."""
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.folded)
        return f"<details><summary>Notes</summary>{notes}</details>" if notes else ""

    def _ipython_display_(self) -> None:
        from IPython import display

        publish: Any = display.publish_display_data
        # Two outputs: GitHub shows no picture that is a part of an HTML page, but does one by
        # itself.
        width, height = (round(inches * style.SHOWN_DPI) for inches in self.get_size_inches())
        picture = {"image/png": self.png_transparent(), "text/plain": repr(self)}
        publish(picture, {"image/png": {"width": width, "height": height}})
        publish({"text/html": f'{style.STYLE}<div class="labkit-notes">{self.below}</div>'})

    def __repr__(self) -> str:
        return visible("\n".join([f"Chart: {self.alt}", *self.notes]))

    __str__ = __repr__


# Notes: under which conditions the figures were measured, and how far to trust each arm.

MARKS = {"valid": "", "warn": "\N{WARNING SIGN}", "invalid": "\N{BALLOT X}"}
_CONDITIONS: Mapping[str, str] = paths.table("tables.toml")["conditions"]


def shared_conditions(frame: pd.DataFrame, *, strategy: bool = False) -> str:
    """Return the settings that all records of a frame share, without what varies.

    Such as '20,000 requests, limit 1,000, delay randint(0,3), asyncio', led by the strategy where
    it is wanted. Raises `BadInput` where there is no record, as then there is nothing to draw.
    """
    if frame.empty:
        raise BadInput("there are no records to draw: run the experiment first, or filter less")
    names = [name for name in _CONDITIONS if strategy or name != "strategy"]
    alike = [name for name in names if frame[name].nunique(dropna=False) == 1]
    shared = {name: frame[name].iloc[0] for name in alike}
    if "limit" in frame["stages_of"].values:  # there is no one limit then
        shared.pop("limit", None)
    texts = (_CONDITIONS[name].format(one) for name, one in shared.items() if one is not None)
    return ", ".join(texts)


def sentences(*parts: str) -> list[str]:
    """Return the parts that are not empty as one note, or one for each of their lines."""
    known = [part.rstrip(".") for part in parts if part]
    return (". ".join(known) + ".").splitlines() if known else []


@dataclass(frozen=True, kw_only=True)
class Trust:
    """How far to trust an arm: the worst verdict of its records, the codes of their warnings."""

    label: str
    verdict: str = "valid"
    codes: Sequence[str] = ()

    @property
    def marked(self) -> str:
        """Return the label, with a mark where the arm is in doubt."""
        return f"{self.label} {MARKS[self.verdict]}".rstrip()


def trust(label: str, rows: pd.DataFrame) -> Trust:
    """Return the trust in an arm that these rows of a frame are."""
    codes = stats.codes_of(rows["warnings"])
    return Trust(label=label, verdict=stats.worst(rows["verdict"]), codes=codes)


def not_drawn(why: str, labels: Sequence[str]) -> list[str]:
    """Return a line that names the arms that a chart leaves out, where there are any."""
    return [f"Not drawn, {why}: {'; '.join(labels)}."] if labels else []


def verdicts(arms: Iterable[Trust]) -> list[str]:
    """Return a line for each verdict and set of codes: its mark, the codes, the arms that have it.

    The arms are not named where they are all alike.
    """
    alike: dict[tuple[str, str], list[str]] = {}
    for arm in arms:
        alike.setdefault((arm.verdict, stats.codes_text(arm.codes)), []).append(arm.label)
    lines = []
    for (verdict, codes), labels in alike.items():
        word = f"{MARKS[verdict]} {verdict}".strip() + (f" ({codes})" if codes else "")
        whose = f"{word.capitalize()}: {'; '.join(labels)}"
        lines.append(f"Verdict: {word}" if len(alike) == 1 else whose)
    return lines


def doubts(arms: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return a line for each doubt about the arms: too few repeats, or a wide spread."""
    codes = {label: stats.doubts_of(rows) for label, rows in arms.items()}
    return stats.doubt_sentences(codes, max(map(len, arms.values()), default=0))


def about(arms: Mapping[str, pd.DataFrame], *parts: str, more: Sequence[str] = ()) -> list[str]:
    """Return the notes of a chart of arms: those of `judged`, and doubts."""
    return [*judged(itertools.starmap(trust, arms.items()), *parts, more=more), *doubts(arms)]


def judged(
    trusts: Iterable[Trust], conditions: str = "", *how: str, more: Sequence[str] = ()
) -> list[str]:
    """Return the notes of a chart: conditions, `more` lines, verdicts, how to read it."""
    return [*sentences(conditions), *more, *verdicts(trusts), *sentences(*how)]
