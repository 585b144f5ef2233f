"""The form of a panel: a field for each setting of a trial, and what the fields ask for.

All is made from the fields of the trial's parts: a new field of a part is a field of the panel, a
setting that can be varied and a name in the code, without a line here. Every error is a sentence
that begins with the name of a setting; it is shown below the field of that name.

Each field has a class to find it by: `labkit-limit` (a dot becomes a hyphen), a tick box
`labkit-strategy-NAME`, and what is wrong in a field `labkit-error-limit`. A field is made when it
is first shown: a panel is on the screen within two seconds, and few need all forty settings.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args, get_origin

import ipywidgets as widgets

import labkit
from labkit import paths
from labkit.errors import BadInput
from labkit.escaping import escape
from labkit.launch import preflight
from labkit.report import html
from labkit.spec import delays, plan, validation
from labkit.spec import trial as spec
from labkit.spec.parts import KINDS, ROLES, resolved
from labkit.spec.registry import FILE, STRATEGIES, label_of
from labkit.spec.targets import Command
from labkit.spec.transports import SPEAK
from labkit.spec.trial import Function, Trial

Strategy = str | Function
# A function that a widget calls, with an argument that is not used.
Handler = Callable[..., None]
# Fields that are shown at first; the others when 'all settings' is pressed.
MAIN = paths.table("options.toml")["panel"]["main"]
ROWS = ("target", "transport", "strategy", "workload", "trial")
# The place below the form, for an error that names no visible field.
GENERAL = "general"
OWN_PLACES = ("strategy", GENERAL)
# Settings that are delay expressions.
DELAYS = ("delay", "think")
ANY = {
    "url": "http://127.0.0.1:9000",
    "command": Command("python -m http.server {port} --bind 127.0.0.1"),
}


class PanelSetting(NamedTuple):
    """One setting of a trial: the name by which `Trial` takes it, and the one with its part's."""

    name: str
    dotted: str
    type: Any
    value: Any

    @property
    def takes_list(self) -> bool:
        """Return whether a comma separates several values: not in a path or a URL."""
        is_text = str in {self.type, *get_args(self.type)}
        return self.name in (*DELAYS, "command") or (self.name != "repeats" and not is_text)


def settings_of(trial: Trial) -> Iterator[PanelSetting]:
    """Yield every setting of the trial but its kinds, part by part."""
    kinds = {role: type(getattr(trial, role)) for role in ROLES}
    parts = [(role, kind.role, kind.__struct_fields__) for role, kind in kinds.items()]
    for role, shown, leaves in [*parts, ("strategy", "strategy", tuple(trial.option_types))]:
        for leaf in leaves:
            is_short = resolved(leaf, kinds, trial.option_types) == (role, leaf)
            name = leaf if is_short else f"{role}.{leaf}"
            yield PanelSetting(name, f"{shown}.{leaf}", trial.type_of(name), trial.get(name))


def with_kinds(trial: Trial, target: str, transport: str, strategies: Sequence[Strategy]) -> Trial:
    """Return the trial with other kinds of parts; with defaults where its settings forbid these."""
    changes: dict[str, Any] = {"transport": transport}
    if target != trial.target.kind:
        changes["target"] = ANY.get(target, target)
    if list(strategies) != [trial.get("strategy")]:
        changes["strategy"] = strategies[0] if len(strategies) == 1 else "worker_pool"
    try:
        return preflight.loaded(trial.replace(**changes))
    except BadInput:  # `read` says why
        changes.pop("strategy", None)
        return Trial(**changes)


@dataclass(frozen=True, kw_only=True)
class PanelRun:
    """What a panel is about to run: a trial, what varies, how often. Valid once it exists."""

    trial: Trial
    axes: Mapping[str, Sequence[Any]]
    repeats: int = 1

    def __post_init__(self) -> None:
        plan.interleave(plan.arms(self.trial, self.axes), repeats=self.repeats)

    @property
    def code(self) -> str:
        """Return the cell that runs it; functions of the user's own go by their names."""
        trial = f"lab.{self.trial.written}"
        if not self.axes:
            return f"import labkit as lab\n\nrun = await lab.run({trial})\nrun\n"
        named = {**self.axes} if self.repeats == 5 else {**self.axes, "repeats": self.repeats}
        given = (
            f"**{{{name!r}: {literal(value)}}}" if "." in name else f"{name}={literal(value)}"
            for name, value in named.items()
        )
        lines = "".join(f"    {one},\n" for one in [trial, *given])
        return f"import labkit as lab\n\nstudy = await lab.compare(\n{lines})\nstudy\n"


def literal(value: Any) -> str:
    """Return the code of a value; of a function its name."""
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return label_of(value) if callable(value) else repr(value)


def read(
    base: Trial, strategies: Sequence[Strategy], texts: Mapping[str, str]
) -> tuple[PanelRun | None, list[str]]:
    """Return what the fields ask for, or None and a sentence for each that is wrong.

    Texts are parsed as `labkit run --set` parses them. What has no text stays as `base` has it, as
    far as the chosen kinds allow.
    """
    if not strategies:
        return None, ["strategy is left empty: choose at least one"]
    changes: dict[str, Any] = {role: texts[role] for role in ("target", "transport")}
    shown = with_kinds(base, **changes, strategies=strategies)
    values: dict[str, list[Any]] = {}
    wrong = []
    for one in [PanelSetting("repeats", "", validation.Repeats, 1), *settings_of(shown)]:
        if one.name in texts:
            text = texts[one.name]
            commas = one.name != "command"
            words = validation.split_list(text, commas=commas) if one.takes_list else [text]
            try:
                values[one.name] = [validation.from_text(one.name, w, one.type) for w in words]
                for word in words if one.name in DELAYS else ():
                    delays.parse(word, one.name)
            except BadInput as error:
                wrong.append(str(error))
    if wrong:
        return None, wrong
    (repeats,) = values.pop("repeats", [1])
    axes = {name: found for name, found in values.items() if len(found) > 1}
    if values.get("requests") == [base.workload.requests]:
        del values["requests"]  # nobody asked for them: the time may end the trial
    own = shown.option_types  # of a strategy in a file, which `base` may not have loaded
    changes |= {f"strategy.{n}" if n in own else n: found[0] for n, found in values.items()}
    if list(strategies) != [base.get("strategy")]:
        changes["strategy"] = strategies[0]
    try:
        trial = base.replace(**changes)
        preflight.check(trial)
        if len(strategies) > 1:
            axes = {"strategy": list(strategies), **axes}
        elif repeats > 1 and not axes:
            # As the value of an axis a strategy has its default options; the loop keeps them.
            axes = {"loop": [trial.loop]} if trial.options else {"strategy": list(strategies)}
        return PanelRun(trial=trial, axes=axes, repeats=repeats), []
    except BadInput as error:
        return None, [str(error)]


class Form:
    """The fields. Calls `changed` after each change of one, with what the widget passes."""

    def __init__(
        self, trial: Trial, strategies: Sequence[Strategy], repeats: int, changed: Handler
    ) -> None:
        self._base, self._changed = trial, changed
        self._boxes: dict[PanelSetting, Any] = {}
        self._own: dict[str, tuple[Function, Mapping[str, Any]]] = {}
        self._names: dict[str, str] = {}
        self.fields: dict[str, Any] = {}
        self.wrong: dict[str, str] = {}
        kind = trial.target.kind
        self._always = [
            PanelSetting("target", "target.kind", (*SPEAK,)[:-1], kind),  # without "none"
            PanelSetting("transport", "transport.kind", self._speak(kind), trial.transport.kind),
            PanelSetting("repeats", "workload.repeats", validation.Repeats, repeats),
        ]
        self.strategies = self._ticks(strategies or [trial.get("strategy")])
        self.all_settings = widgets.ToggleButton(description="all settings", icon="sliders")
        for box in [*self.strategies.values(), self.all_settings]:
            box.observe(changed, names="value")
        self._places = {name: styled(widgets.HTML(), f"error-{name}") for name in OWN_PLACES}
        ticks = styled(widgets.HBox([*self.strategies.values()]), "ticks")
        self._rows = {}
        for role in ROWS:
            legend = f'<span class="labkit-legend">{"client" if role == "trial" else role}</span>'
            self._rows[role] = styled(widgets.HBox([widgets.HTML(legend)]), "row")
        # What each ticked strategy does, and the transport.
        self.about = styled(widgets.HTML(), "about")
        strategies = widgets.VBox([ticks, self._places["strategy"], self.about])
        self._rows["strategy"].children += (strategies,)
        self.box = widgets.VBox([*self._rows.values(), self.all_settings, self._places[GENERAL]])

    def ticked(self) -> list[Strategy]:
        """Return the chosen strategies."""
        return [self._strategy(name) for name, box in self.strategies.items() if box.value]

    def texts(self) -> dict[str, str]:
        """Return the texts of the fields, by the names of their settings."""
        return {name: field.value for name, field in self.fields.items()}

    def lay_out(self) -> None:
        """Show the fields of the chosen kinds."""
        target, transport = (self._box(one).children[0] for one in self._always[:2])
        if transport.options != (speak := self._speak(target.value)):
            transport.options = speak
        shown = with_kinds(self._base, target.value, transport.value, self.ticked())
        boxes = {role: row.children[:1] for role, row in self._rows.items()}
        boxes["strategy"] = self._rows["strategy"].children[:2]
        self._places = {name: self._places[name] for name in OWN_PLACES}
        self.fields = {}
        for one in [*self._always, *settings_of(shown)]:
            role = one.dotted.partition(".")[0]
            if one.name in MAIN or role == "strategy" or self.all_settings.value:
                box = self._box(one)
                boxes[role] += (box,)
                self.fields[one.name], self._places[one.name] = box.children
                self._names[one.dotted] = one.name
        for role, row in self._rows.items():
            row.children = boxes[role]
        described: dict[str, Any] = {transport.value: KINDS["transport"][transport.value]}
        for name in (name for name, box in self.strategies.items() if box.value):
            own = self._strategy(name)
            with suppress(AttributeError, BadInput):  # in a file, or not installed
                described[name] = getattr(labkit.strategies, own) if isinstance(own, str) else own
        docs = {name: " ".join((of.__doc__ or "").split()) for name, of in described.items()}
        first = [f"{name}: {doc.partition('. ')[0]}" for name, doc in docs.items() if doc]
        self.about.value = html.listed([f"{one.removesuffix('.')}." for one in first])

    def _speak(self, target: str) -> tuple[str, ...]:
        """Return the transports to choose from; one of the user's own where the trial has it."""
        mine = self._base.transport.kind
        return tuple(one for one in SPEAK[target] if one != "own" or one == mine)

    def show(self, sentences: Sequence[str]) -> None:
        """Show each error below the field that it names, or below the form."""
        self.wrong = {}
        for sentence in sentences:
            first = sentence.split(" ", 1)[0].rstrip(":")
            name = self._names.get(first, first)
            self.wrong[name if name in self._places else GENERAL] = sentence
        for name, place in self._places.items():
            text = escape(self.wrong.get(name, ""))
            place.value = f'<span class="labkit-wrong" role="alert">{text}</span>' if text else ""

    def _box(self, one: PanelSetting) -> Any:
        """Return a setting's field and the place of its error, made when it is first shown."""
        if one not in self._boxes:
            is_word = one.value is None or isinstance(one.value, bool)
            text = str(one.value).lower() if is_word else str(one.value)
            options = choices(one.type)
            field: Any = widgets.Text(value=text)
            if options:
                value = text if text in options else options[0]
                field = widgets.Dropdown(options=options, value=value)
            field.description = one.dotted.partition(".")[2].replace("_", " ")
            field.observe(self._changed, names="value")
            name = one.name.replace(".", "-")
            parts = [styled(field, "entry", name), styled(widgets.HTML(), f"error-{name}")]
            self._boxes[one] = styled(widgets.VBox(parts), "field")
        return self._boxes[one]

    def _ticks(self, ticked: Sequence[Strategy]) -> dict[str, Any]:
        """Return a tick box for each strategy of the lab and of the user."""
        for function in [*spec.OWN.values(), *(one for one in ticked if callable(one))]:
            module = sys.modules.get(getattr(function, "__module__", None) or "")
            home = vars(module) if module else {}
            is_found = home.get(getattr(function, "__name__", "")) is function
            self._own[named(Trial(strategy=function))] = function, home if is_found else {}
        found, texts = {}, [one for one in ticked if isinstance(one, str)]
        for name in dict.fromkeys([*STRATEGIES, *self._own, *filter(FILE.fullmatch, texts)]):
            value = self._strategy(name) in ticked
            box = widgets.Checkbox(description=name, value=value, indent=False)
            found[name] = styled(box, f"strategy-{name.removesuffix(' (yours)')}")
        return found

    def _strategy(self, name: str) -> Strategy:
        """Return what a tick box stands for now: a cell run again makes a new function."""
        function, home = self._own.get(name, (None, {}))
        found = home.get(getattr(function, "__name__", ""))
        return found if callable(found) else function or name


def named(trial: Trial) -> str:
    """Return the strategy's name; one's own is marked where the lab has one of that name."""
    is_twin = trial.own_strategy and trial.strategy in STRATEGIES
    return f"{trial.strategy} (yours)" if is_twin else trial.strategy


def styled(widget: Any, *names: str) -> Any:
    """Return the widget with classes of the panel's."""
    for name in names:
        widget.add_class(f"labkit-{name}")
    return widget


def choices(type_: Any) -> list[Any]:
    """Return what a field of this type, or of these names, may hold, where that can be listed."""
    if isinstance(type_, tuple):
        return [*type_]
    if type_ is bool or get_origin(type_) is Literal:
        names = ["true", "false"] if type_ is bool else [str(one) for one in get_args(type_)]
        return [*names, ("both, compared", ",".join(names))] if len(names) == 2 else names
    listed = [one for member in get_args(type_) for one in choices(member) if isinstance(one, str)]
    return [*listed, "none"] if listed else []
