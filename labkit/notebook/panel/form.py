"""The fields of a panel as widgets: what they hold, and what is wrong said below each.

Every field has a class of its own to find it by: `labkit-target`, `labkit-url`,
`labkit-transport`, `labkit-requests`, `labkit-limit`, `labkit-delay`, `labkit-repeats`; a tick box
`labkit-strategy-NAME` or `labkit-loop-NAME`; what is wrong in a field `labkit-error-NAME`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets

from labkit.notebook.panel import view
from labkit.notebook.panel.choices import Choices
from labkit.notebook.panel.entries import FIELDS, GENERAL, WAITS, Entries

_TEXTS = {
    "requests": "requests",
    "limit": "limit (at a time)",
    "delay": "delay of the server (s)",
    "repeats": "repeats",
}
_WIDE = ("url", "delay")


class Form:
    """The fields. `changed` is called after each change of one, by way of `do`."""

    def __init__(
        self,
        entries: Entries,
        choices: Choices,
        changed: Callable[[], None],
        do: Callable[[Callable[[], None]], None],
    ) -> None:
        self._choices, self._changed = choices, changed
        self._errors = {name: _error(name) for name in (*FIELDS, GENERAL)}
        self.target = _entry("target", _dropdown("target", choices.transports, entries.target))
        spoken = choices.transports[self.target.value]
        self.transport = _entry("transport", _dropdown("transport", spoken, entries.transport))
        self.url = _entry("url", _text("URL", entries.url))
        self.texts = {
            name: _entry(name, _text(title, getattr(entries, name)))
            for name, title in _TEXTS.items()
        }
        chosen = {label for label, one in choices.strategies.items() if one in entries.strategies}
        self.strategies = _ticks("strategy", choices.strategies, chosen)
        self.loops = _ticks("loop", choices.loops, set(entries.loops))
        self.box = self._laid_out()
        self._suit()
        self.target.observe(lambda change: do(self._retargeted), names="value")
        others = (self.url, *self.texts.values(), *self.strategies.values(), *self.loops.values())
        for one in (self.transport, *others):
            one.observe(lambda change: do(changed), names="value")

    def entries(self) -> Entries:
        """The fields as they stand."""
        ticked = [label for label, box in self.strategies.items() if box.value]
        return Entries(
            target=self.target.value,
            transport=self.transport.value,
            url=self.url.value,
            strategies=[self._choices.strategy(label) for label in ticked],
            loops=[name for name, box in self.loops.items() if box.value],
            **{name: box.value for name, box in self.texts.items()},
        )

    def show(self, wrong: Mapping[str, str]) -> None:
        """Say what is wrong at each field, and nothing at the others."""
        fields = {"target": self.target, "transport": self.transport, "url": self.url, **self.texts}
        for name, error in self._errors.items():
            said = view.message(wrong[name], wrong=True) if name in wrong else ""
            if error.value != said:
                error.value = said
            if name in fields:
                mark = fields[name].add_class if name in wrong else fields[name].remove_class
                mark("labkit-invalid")

    @property
    def wrong(self) -> dict[str, str]:
        """What is said at each field, as HTML; nothing of those that are right."""
        return {name: error.value for name, error in self._errors.items() if error.value}

    def _retargeted(self) -> None:
        """Another target is spoken with by other transports."""
        spoken = self._choices.transports[self.target.value]
        if tuple(self.transport.options) != tuple(spoken):
            self.transport.options = spoken
        self._suit()
        self._changed()

    def _suit(self) -> None:
        """Show the URL where there is one, the delay where the target can wait."""
        url = self._of["url"]
        url.layout.display = None if self.target.value == "url" else "none"
        self._of["delay"].layout.display = None if self.target.value in WAITS else "none"

    def _laid_out(self) -> Any:
        entries = {"target": self.target, "url": self.url, "transport": self.transport}
        self._of = {
            name: _field(box, self._errors[name], wide=name in _WIDE)
            for name, box in {**entries, **self.texts}.items()
        }
        groups = [
            _group("strategies", self.strategies, self._errors["strategy"]),
            _group("event loop of the client", self.loops, self._errors["loop"]),
        ]
        return widgets.VBox([_row(list(self._of.values())), *groups, self._errors[GENERAL]])


def _dropdown(title: str, options: Any, value: str) -> Any:
    names = list(options)
    return widgets.Dropdown(
        description=title, options=names, value=value if value in names else names[0]
    )


def _text(title: str, value: str) -> Any:
    return widgets.Text(description=title, value=value, continuous_update=True)


def _entry(name: str, field: Any) -> Any:
    field.add_class("labkit-entry")
    field.add_class(f"labkit-{name}")
    return field


def _ticks(kind: str, names: Any, chosen: set[str]) -> dict[str, Any]:
    boxes = {
        name: widgets.Checkbox(description=name, value=name in chosen, indent=False)
        for name in names
    }
    for name, box in boxes.items():
        box.add_class(f"labkit-{kind}-{name.replace(' (yours)', '')}")
    return boxes


def _error(name: str) -> Any:
    error = widgets.HTML()
    error.add_class(f"labkit-error-{name or 'general'}")
    return error


def _field(box: Any, error: Any, *, wide: bool) -> Any:
    field = widgets.VBox([box, error])
    field.add_class("labkit-field")
    if wide:
        field.add_class("labkit-wide")
    return field


def _group(title: str, boxes: Mapping[str, Any], error: Any) -> Any:
    legend = widgets.HTML(f'<span class="labkit-legend">{title}</span>')
    ticks = widgets.HBox(list(boxes.values()))
    ticks.add_class("labkit-ticks")
    return widgets.VBox([legend, ticks, error])


def _row(children: list[Any]) -> Any:
    row = widgets.HBox(children)
    row.add_class("labkit-row")
    return row
