"""`Shown`: what shows itself in one bundle: HTML in a notebook, text in a terminal and a REPL."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable


class Shown:
    """A result that says what it is as `text` and as `html_parts`."""

    def text(self) -> str:
        """The whole result as a terminal shows it."""
        raise NotImplementedError

    def html_parts(self) -> Iterable[str]:
        """The same as HTML, escaped, from top to bottom."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return "".join(self.html_parts())

    def _repr_mimebundle_(
        self, include: Container[str] | None = None, exclude: Container[str] | None = None
    ) -> dict[str, str]:
        makers: dict[str, Callable[[], str]] = {
            "text/html": self._repr_html_,
            "text/plain": self.text,
        }
        return {
            kind: make()
            for kind, make in makers.items()
            if (not include or kind in include) and not (exclude and kind in exclude)
        }
