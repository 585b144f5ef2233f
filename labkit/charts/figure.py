"""`Chart`: a figure with a title, a body, and a foot of legend and notes; shown, saved, described.

It belongs to no window and to no global list of figures: a notebook shows it once, where it is the
value of a cell.
"""

from __future__ import annotations

import base64
import io
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.artist import Artist
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from labkit.charts import style
from labkit.errors import BadInput
from labkit.escaping import visible

WIDTH_IN = 12.0
_CHARACTERS_PER_IN = 10.5
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
            place = ax.get_position().get_points().round(_PLACES)
            ax.set_position(Bbox(place))
            # To be placed by hand ends being laid out, which is not meant.
            ax.set_in_layout(True)


class Chart(Figure):
    """A figure whose `body` is drawn on; `alt` says in words what it shows.

    Where `alt` is not given it is made of the title and of what each of the `parts` shows.
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
        lines = [line for note in notes for line in textwrap.wrap(note, letters)]
        widths_in = [len(label) * _LETTER_IN + _HANDLE_IN for _, label in legend]
        # All labels of the legend are beside each other where they fit, else in columns.
        columns = len(legend) or 1
        if sum(widths_in) > WIDTH_IN:
            columns = max(int(WIDTH_IN / max(widths_in)), 1)
        legend_in = _LEGEND_IN * -(-len(legend) // columns)
        foot_in = legend_in + _LINE_IN * len(lines) + 0.1
        super().__init__(figsize=(WIDTH_IN, height_in + foot_in), layout=_Steady())
        self.alt = alt or f"{title}. {'; '.join(parts)}."
        self.notes = tuple(notes)
        parts = self.subfigures(2, 1, squeeze=False, height_ratios=[height_in, foot_in])
        self.body: SubFigure = parts[0, 0]
        foot: SubFigure = parts[1, 0]
        self.body.suptitle(title, x=0.012, ha="left")
        if legend:
            handles, labels = zip(*legend, strict=True)
            foot.legend(handles, labels, loc="upper left", ncols=columns, borderaxespad=0.2)
        foot.text(0.012, 1 - legend_in / foot_in, "\n".join(lines), va="top", linespacing=1.25)

    @style.applied()
    def draw(self, renderer: RendererBase) -> None:
        """Draw in the lab's style: ticks are made no earlier than here."""
        for text in self.findobj(Text):
            text.set_text(visible(text.get_text()))  # no font has these, and no XML may
        super().draw(renderer)

    @style.applied()
    def svg(self) -> str:
        """Return this chart as SVG; the same data give the same text."""
        buffer = io.StringIO()
        self.savefig(buffer, format="svg", metadata={"Date": None})
        return buffer.getvalue()

    @style.applied()
    def png(self, dpi: int = style.PNG_DPI) -> bytes:
        """Return this chart as PNG."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=dpi)
        return buffer.getvalue()

    @style.applied()
    def png_transparent(self, dpi: int = style.PNG_DPI) -> bytes:
        """Return this chart as PNG for a page that may be light or dark, as a notebook is."""
        with style.transparent_background(self):
            return self.png(dpi)

    def save(self, path: str | Path) -> Path:
        """Write the file `path`, whose suffix says what: .svg or .png. Raises `BadInput`."""
        path = Path(path)
        if path.suffix not in (".svg", ".png"):
            raise BadInput(
                f"path is {str(path)!r}: a chart is saved as .svg or .png; end the name with one"
            )
        if not path.parent.is_dir():
            raise BadInput(f"path is {str(path)!r}: there is no folder {str(path.parent)!r}")
        path.write_bytes(self.svg().encode() if path.suffix == ".svg" else self.png())
        return path

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        ipython = sys.modules.get("IPython")
        shell = ipython.get_ipython() if ipython is not None else None
        if shell is not None:
            # Once a plain figure was shown IPython has a formatter for every figure, and that one
            # would draw ours smaller and stretch it.
            shell.display_formatter.formatters["image/png"].for_type(Chart, lambda chart: None)
        width, height = (round(inches * style.SHOWN_DPI) for inches in self.get_size_inches())
        image = base64.b64encode(self.png_transparent()).decode("ascii")
        size = {"image/png": {"width": width, "height": height}}
        return {"image/png": image, "text/plain": repr(self)}, size

    def __repr__(self) -> str:
        return f"Chart: {visible(self.alt)}"

    __str__ = __repr__
