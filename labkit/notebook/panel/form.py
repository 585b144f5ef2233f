"""The fields of a panel as widgets, made from the settings of a trial, with errors beside them.

Each field has a class to find it by: `labkit-limit` (a dot becomes a hyphen), a tick box
`labkit-strategy-NAME`, and what is wrong in a field `labkit-error-limit`. A field is made when it
is first shown: a panel is on the screen within two seconds, and few need all forty settings.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, Literal, get_args, get_origin

import ipywidgets as widgets

from labkit.errors import BadInput, NotInstalled
from labkit.launch import preflight
from labkit.notebook.panel.settings import GENERAL, Chosen, Setting, Strategy, label_of, settings_of
from labkit.spec import trial as spec
from labkit.spec.registry import STRATEGIES
from labkit.spec.targets import TARGETS
from labkit.spec.transports import SPEAK
from labkit.spec.trial import Function, Trial

MAIN = ("url", "delay", "query_s", "requests", "limit", "loop")
"""Fields that are shown at first; the others when 'all settings' is pressed."""
ANY_URL = "http://127.0.0.1:9000"
Namespace = Mapping[str, Any]


class Form:
    """The fields. Calls `changed` after each change of one, by way of `do`."""

    def __init__(
        self,
        trial: Trial,
        strategies: Sequence[Strategy],
        repeats: int,
        changed: Callable[[], None],
        do: Callable[[Callable[[], None]], None],
    ) -> None:
        self._base, self.wrong = trial, dict[str, str]()
        self._homes: dict[str, tuple[Function, Namespace]] = {}
        self._changed, self._do = changed, do
        spoken = {target: _installed_transports(target) for target in TARGETS}
        self._spoken = {target: found for target, found in spoken.items() if found}
        target = _dropdown([*self._spoken], trial.target.kind)
        transport = _dropdown(self._spoken[target.value], trial.transport.kind)
        self._boxes: dict[tuple[str, str], Any] = {}
        self.fields: dict[str, Any] = {"target": target, "transport": transport}
        self.fields["repeats"] = widgets.Text(value=str(repeats))
        for name, field in self.fields.items():
            self._boxes[name, ""] = _box(name, "repeats" if name == "repeats" else "kind", field)
        self.strategies = self._ticks(strategies or [trial.get("strategy")])
        self.all_settings = widgets.ToggleButton(description="all settings", icon="sliders")
        self._errors = {"strategy": _error("strategy"), GENERAL: _error("general")}
        for one in [target, transport, *self.strategies.values(), self.all_settings]:
            self._observe(one, self._rebuild)
        self._observe(self.fields["repeats"], changed)
        self.box = widgets.VBox()
        self._lay_out()

    def chosen(self) -> Chosen:
        """Return the fields as they stand."""
        texts = {key: field.value for key, field in self.fields.items()}
        return Chosen(
            target=texts.pop("target"),
            transport=texts.pop("transport"),
            repeats=texts.pop("repeats"),
            strategies=[self._strategy(name) for name, box in self.strategies.items() if box.value],
            texts=texts,
        )

    def show(self, wrong: Mapping[str, str]) -> None:
        """Show each error below its field, and those of no visible field below the form."""
        self.wrong = dict(wrong)
        places = {key: self._boxes[key, self._kind_of(key)].children[1] for key in self.fields}
        places |= self._errors
        said = dict.fromkeys(places, "")
        for key, sentence in wrong.items():
            said[key if key in places else GENERAL] += error_html(sentence)
        for key, place in places.items():
            place.value = said[key]

    def _observe(self, field: Any, work: Callable[[], None]) -> None:
        field.observe(lambda change: self._do(work), names="value")

    def _rebuild(self) -> None:
        """Show the fields of the chosen kinds, then report the change."""
        speaks = self._spoken[self.fields["target"].value]
        if tuple(self.fields["transport"].options) != tuple(speaks):
            self.fields["transport"].options = speaks
        self._lay_out()
        self._changed()

    def _lay_out(self) -> None:
        names = ("target", "transport", "repeats")
        self.fields = {name: self.fields[name] for name in names}
        groups = {name: [self._boxes[name, ""]] for name in ("target", "transport")}
        ticks = widgets.HBox(list(self.strategies.values()))
        ticks.add_class("labkit-ticks")
        groups["strategy"] = [widgets.VBox([ticks, self._errors["strategy"]])]
        groups |= {"workload": [self._boxes["repeats", ""]], "switches": []}
        for one in settings_of(self._kinds()):
            if one.name in MAIN or one.role == "strategy" or self.all_settings.value:
                groups[one.role].append(self._field(one))
        rows = [_row({"switches": "client"}.get(name, name), row) for name, row in groups.items()]
        self.box.children = [*rows, self.all_settings, self._errors[GENERAL]]

    def _kinds(self) -> Trial:
        """Return a trial of the chosen kinds, whose settings the form shows."""
        ticked = [self._strategy(name) for name, box in self.strategies.items() if box.value]
        target = self.fields["target"].value
        changes: dict[str, Any] = {"transport": self.fields["transport"].value}
        if target != self._base.target.kind:
            changes["target"] = ANY_URL if target == "url" else target
        if len(ticked) != 1 or ticked[0] != self._base.get("strategy"):
            changes["strategy"] = ticked[0] if len(ticked) == 1 else "worker_pool"
        try:
            return self._base.replace(**changes)
        except BadInput:  # another setting does not go with these kinds: `read` says which
            return Trial(**changes)

    def _kind_of(self, key: str) -> str:
        role = key.partition(".")[0]
        return (
            str(self.fields[role].value) if role in ("target", "transport") and role != key else ""
        )

    def _field(self, one: Setting) -> Any:
        """Return the box of a setting's field, made when it is first shown."""
        place = (one.key, self._kind_of(one.key))
        if place not in self._boxes:
            text = self._base.url or "" if one.leaf == "url" else _text(one.value)
            options: list[Any] = _options(one.type)
            if len(options) == 2:
                options.append(("both, compared", ",".join(options)))
            field = _dropdown(options, text) if options else widgets.Text(value=text)
            self._observe(field, self._changed)
            self._boxes[place] = _box(one.name, one.leaf.replace("_", " "), field)
        box = self._boxes[place]
        self.fields[one.key] = box.children[0]
        return box

    def _ticks(self, ticked: Sequence[Strategy]) -> dict[str, Any]:
        """Return a tick box for each strategy that is installed, and for the user's own."""
        own = [*spec.OWN.values(), *(one for one in ticked if callable(one))]
        for function in own:
            self._homes[label_of(Trial(strategy=function))] = function, _home_of(function)
        installed = [name for name in STRATEGIES if _is_installed(Trial(strategy=name))]
        found = {}
        for name in dict.fromkeys([*installed, *self._homes]):
            is_ticked = self._strategy(name) in ticked
            found[name] = widgets.Checkbox(description=name, value=is_ticked, indent=False)
            found[name].add_class(f"labkit-strategy-{name.replace(' (yours)', '')}")
        return found

    def _strategy(self, name: str) -> Strategy:
        """Return what a tick box stands for now: a cell run again makes a new function."""
        if name not in self._homes:
            return name
        function, home = self._homes[name]
        found = home.get(getattr(function, "__name__", ""))
        return found if callable(found) else function


def _home_of(function: Function) -> Namespace:
    """Return where the function goes by its name: the notebook, its module, the registry."""
    name = getattr(function, "__name__", "")
    modules = [sys.modules.get(one) for one in ("__main__", getattr(function, "__module__", ""))]
    namespaces: list[Namespace] = [vars(module) for module in modules if module is not None]
    return next((one for one in [*namespaces, spec.OWN] if one.get(name) is function), {})


def _installed_transports(target: str) -> list[str]:
    kind = ANY_URL if target == "url" else target
    spoken = SPEAK[target]
    return [one for one in spoken if _is_installed(Trial(target=kind, transport=one))]


def _is_installed(trial: Trial) -> bool:
    try:
        preflight.check(trial)
    except BadInput as error:  # what else is wrong is said at its field
        return not isinstance(error, NotInstalled)
    return True


def _options(type_: Any) -> list[str]:
    """Return the texts that a field of this type may hold, where they can be listed."""
    if type_ is bool:
        return ["true", "false"]
    if get_origin(type_) is Literal:
        return [str(value) for value in get_args(type_)]
    listed = [one for member in get_args(type_) for one in _options(member)]
    return [*listed, "none"] if listed and type(None) in get_args(type_) else listed


def _text(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _dropdown(options: Sequence[Any], value: str) -> Any:
    return widgets.Dropdown(options=options, value=value if value in options else options[0])


def _box(name: str, label: str, field: Any) -> Any:
    """Return the field with its label, its class and a place for an error below it."""
    name = name.replace(".", "-")
    field.description = label
    field.add_class("labkit-entry")
    field.add_class(f"labkit-{name}")
    box = widgets.VBox([field, _error(name)])
    box.add_class("labkit-field")
    return box


def _row(title: str, boxes: Sequence[Any]) -> Any:
    legend = widgets.HTML(f'<span class="labkit-legend">{title}</span>')
    row = widgets.HBox([legend, *boxes])
    row.add_class("labkit-row")
    return row


def _error(name: str) -> Any:
    place = widgets.HTML()
    place.add_class(f"labkit-error-{name}")
    return place


def error_html(sentence: str) -> str:
    """Return the sentence as an error that is read out."""
    return f'<span class="labkit-wrong" role="alert">{escape(sentence)}</span>'
