"""Workload and switches of a trial, all its parts by role and kind, and which field a name means.

A setting has a short name (`limit`) and a dotted one (`transport.limit`); a part is given as
itself, as its kind, as plain data, or for the target as a URL. Parts are frozen, and valid once
constructed: what can be checked by looking at their values is checked here, what depends on this
machine (descriptors, uvloop, the Python version) `launch.preflight` checks.
"""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

import msgspec

from labkit.errors import BadInput
from labkit.spec import delays, validation, variables
from labkit.spec.registry import FILE
from labkit.spec.requests import RequestSettings
from labkit.spec.targets import TARGETS, Target, UrlTarget, command_words
from labkit.spec.transports import SPEAK, TRANSPORTS
from labkit.spec.validation import Count, Loop, Part, Seconds, Seed

DEFAULT_REQUESTS = 1_000
# A version or a name of Python; whatever else is the path of one.
_PYTHON = re.compile(r"(?:(?:python|pypy)?(?:\d(?:\.\d+){0,2}t?)?)|.*/.*")
_PACKAGES = re.compile(r"\s*(?:[\w./~]\S*(?:\s+|$))*")  # no options
PROGRAM_FIELDS = ("url", "port", "requests", "limit", "seed")
_FIELD = re.compile(r"\{\{|\}\}|\{(\w*)\}|[{}]")
_WARMUP = re.compile(r"([0-9]{1,8}(?:\.[0-9]{1,9})?) *(s|m|requests)?")


class Workload(RequestSettings, frozen=True, kw_only=True):
    """How much work, how many at a time, and what one request is.

    Closed where `rate` is None: an answer makes room for the next request. Open where it is so many
    requests a second, `constant` or `poisson`: each is sent when it is due. `overflow` says what
    happens to one that is due while `limit` are in flight: it waits (and is late), or is dropped.

    It ends after `requests` or by the clock, whichever is first: after `seconds`, or after the last
    of the `stages`, steps and ramps of the rate (it is open then) or of the limit (`stages_of`).
    `requests` is None for as many as there is time for: also where the time is set and they are
    not. What is in flight when the time is over is cancelled. `think` is how many seconds a worker
    waits after each call, a delay expression. `warmup` comes before all that and is in no figure:
    '2s' or '500 requests'; a number alone is of seconds where the clock ends the trial.
    """

    requests: Count | None = DEFAULT_REQUESTS
    seconds: Seconds | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 100
    seed: Seed = 0
    rate: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)] | None = None
    arrival: Literal["constant", "poisson"] = "constant"
    overflow: Literal["wait", "drop"] = "wait"
    stages: str | None = None
    stages_of: Literal["rate", "limit"] = "rate"
    think: str = "0"
    warmup: str | None = None

    def __post_init__(self) -> None:
        given: Any = self.warmup
        if type(given) in (int, float):
            msgspec.structs.force_setattr(self, "warmup", str(given))
        super().__post_init__()
        warm_s, warm = self.warms
        written = f"{warm_s:g} s" if warm_s else f"{warm} requests" if warm else None
        msgspec.structs.force_setattr(self, "warmup", written)
        self._check_times()
        for name, value in (("arrival", self.arrival), ("overflow", self.overflow)):
            if not self.is_open and value not in ("constant", "wait"):
                raise validation.refusal("arrival", name=name, value=value)

    def _check_times(self) -> None:
        stages, lasts_s, (warm_s, warm) = self.stages is not None, self.lasts_s, self.warms
        endless, thinks = not (self.requests or lasts_s), self.thinks.holds_back and self.is_open
        parts = any(one.begins % 1 or one.ends % 1 for one in self.schedule)
        whole_s = lasts_s or (self.requests or math.inf) / (self.rate or math.inf) or math.inf
        long = warm_s > whole_s or warm > (self.requests or math.inf)
        for name, is_wrong, why in (
            ("requests", endless, "it must be a number, unless the clock ends the trial"),
            ("seconds", stages and self.seconds, f"the stages last {lasts_s} s; leave it out"),
            ("rate", stages and self.rate, "there are stages, too; leave one of the two out"),
            ("stages_of", not stages and self.stages_of != "rate", "there are no stages; set both"),
            ("stages", parts and self.stages_of == "limit", "a limit is a whole number"),
            ("think", thinks, "an open workload has no workers that could wait; leave it out"),
            ("warmup", long, "it is longer than what it comes before; ask for less"),
        ):
            if is_wrong:
                raise BadInput(f"workload.{name} is {getattr(self, name)!r}: {why}")

    @property
    def schedule(self) -> tuple[delays.Stage, ...]:
        """Return the stages, also those that a rate is: an endless one, or of so many seconds."""
        if self.rate is not None:
            return (delays.Stage(self.seconds or math.inf, self.rate, self.rate),)
        return () if self.stages is None else delays.parse_stages(self.stages)

    @property
    def is_open(self) -> bool:
        """Return True if requests are sent when they are due, and not as answers come."""
        return bool(self.schedule) and self.stages_of == "rate"

    @property
    def mean_rps(self) -> float:
        """Return the rate of an open workload, the mean of its stages; of another it is endless."""
        whole = sum(stage.whole for stage in self.schedule) if self.is_open else math.inf
        return self.rate or whole / (self.lasts_s or 1.0)

    @property
    def lasts_s(self) -> float | None:
        """Return the seconds after which the clock ends it; None where only the requests do."""
        return sum(stage.lasts_s for stage in self.schedule) if self.stages else self.seconds

    @property
    def warms(self) -> tuple[float, int]:
        """Return how long the warm-up is, in seconds or in requests: one of the two is 0."""
        match = _WARMUP.fullmatch((self.warmup or "0").strip())
        unit = match and (match[2] or ("s" if self.lasts_s else "requests"))
        if match is None or (unit == "requests" and "." in match[1]):
            raise validation.refusal("warmup", value=self.warmup)
        if unit == "requests":
            return 0.0, int(match[1])
        return float(match[1]) * (60 if unit == "m" else 1), 0

    @property
    def thinks(self) -> delays.Delay:
        """Return the time between the calls of a worker, parsed."""
        return delays.parse(self.think, "workload.think")


class Switches(Part, frozen=True, kw_only=True):
    """What belongs to the trial as a whole; `Trial` shows each as an attribute of its own.

    `probes`: full; counts (no latency, no timeline, no loop lag). `deadline_s` None: several times
    what the trial should need. `saturate`: whether the client is meant to use its core up, so that
    what it can do is measured, and no latency; None: where nothing makes it wait (no delay, or a
    server that is not the lab's). `variables`: what to set in the environment of the client's
    process, as 'PYTHONASYNCIODEBUG=1', of the variables that are else left out. `python`: which
    Python the client runs on, a version, a name such as `pypy3` or a path; `packages`: what is
    installed for it, as a list of 'aiohttp==3.9.5' or a text with spaces between. With neither of
    the two it is the lab's own. `program`: a command line that is the client, in place of the lab's
    own, as 'python client.py {requests}'; `{url}`, `{port}`, `{requests}`, `{limit}` and `{seed}`
    are filled in, and `{{` is a brace. `clients` is how many processes the client is: each takes
    every n-th item and its part of the limit, and all start together.
    """

    role: ClassVar[str] = "trial"

    loop: Loop = "asyncio"
    eager_tasks: bool = False
    pin: bool = True
    probes: Literal["full", "counts"] = "full"
    deadline_s: Seconds | None = None
    saturate: bool | None = None
    variables: str = ""
    python: str | None = None
    packages: str = ""
    program: str | None = None
    clients: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1

    def __post_init__(self) -> None:
        given: Any = self.packages
        if isinstance(given, list | tuple):
            text = " ".join("".join(str(one).split()) for one in given)
            msgspec.structs.force_setattr(self, "packages", text)
        super().__post_init__()
        variables.parse(self.variables)
        for name, form in (("python", _PYTHON), ("packages", _PACKAGES)):
            if not form.fullmatch(value := getattr(self, name) or ""):
                raise validation.refusal(name, value=value)
        if self.program is not None:
            self.program_words(dict.fromkeys(PROGRAM_FIELDS, ""))

    def program_words(self, values: Mapping[str, Any]) -> list[str]:
        """Return the program and its arguments with these values for its fields."""

        def filled(found: re.Match[str]) -> str:
            if found[0] in ("{{", "}}"):
                return found[0][0]
            if found[1] not in values:
                names = ", ".join(f"{{{name}}}" for name in values)
                raise validation.refusal("field", program=self.program, found=found[0], names=names)
            return str(values[found[1]])

        words = command_words("trial.program", self.program or "")
        return [_FIELD.sub(filled, word) for word in words]

    def names(self, field: str) -> bool:
        """Return True if the program's command line has this field."""
        return field in [found[1] for found in _FIELD.finditer(self.program or "")]


KINDS: dict[str, Mapping[str, type[Part]]] = {"target": TARGETS, "transport": TRANSPORTS}
KINDS |= {"workload": {"closed": Workload}}
ROLES = (*KINDS, "switches")


def kind_chosen(role: str, value: Any, now: Part) -> type[Part]:
    """Return the class of the part that `value` (a kind, a URL, plain data, a part) chooses."""
    if isinstance(value, Mapping):
        named = next((kind for kind in ("url", "command") if kind in value), None)
        value = value.get("kind", named)
    if value is None:
        return type(now)
    if role == "target" and isinstance(value, str) and ":" in value:
        return UrlTarget
    if isinstance(value, str) and value in KINDS[role]:
        return KINDS[role][value]
    if type(value) in KINDS[role].values():
        return cast("type[Part]", type(value))
    urls = ["a URL such as http://127.0.0.1:9000"] if role == "target" else []
    raise validation.unknown(role, str(value), [*KINDS[role], *urls])


def construct(role: str, value: Any, now: Part, changes: dict[str, Any]) -> Part:
    """Return the part that `value` chooses, with `changes`; `now` is the one before. `BadInput`."""
    kind, own = kind_chosen(role, value, now), dict[str, Any]()
    if isinstance(value, Mapping):
        own = {name: v for name, v in value.items() if name != "kind"}
    elif isinstance(value, str) and value not in KINDS[role]:  # a URL
        own = {"url": value}
    elif isinstance(value, Part):
        own = changed(value)
    for leaf in own.keys() & changes.keys():
        if own[leaf] != changes[leaf]:
            both = f"to {own[leaf]!r} within {role} and to {changes[leaf]!r}"
            raise BadInput(f"{role}.{leaf} is set twice, {both}: set it once")
    changes, types = own | changes, validation.types_of(kind)
    if kind is Workload and "requests" not in changes:
        changes |= _requests_for(now if own == {} else Workload(), changes)
    for leaf in changes:
        if leaf not in types:
            raise validation.unknown(f"a setting of {role}", leaf, types)
    # A kind that is named again keeps the part as it is.
    again = isinstance(value, str) and value in KINDS[role] and type(now) is kind
    if value is None or again:
        return msgspec.structs.replace(now, **changes)
    if isinstance(value, Part):
        return msgspec.structs.replace(value, **changes)
    try:
        return kind(**changes)
    except TypeError as error:
        raise BadInput(f"{kind.role} is incomplete: {error}") from None


# How many requests where only the time is set? As many as there is time for; and the default
# again where the time is taken back. Only here is known whether both were asked for at once.
def _requests_for(before: Part, changes: Mapping[str, Any]) -> dict[str, Any]:
    now = {name: changes.get(name, getattr(before, name)) for name in ("seconds", "stages")}
    usual = None if any(now.values()) else DEFAULT_REQUESTS
    is_usual = getattr(before, "requests", None) in (None, DEFAULT_REQUESTS)
    return {"requests": usual} if is_usual and changes.keys() & now.keys() else {}


def changed(part: Part) -> dict[str, Any]:
    """Return the settings of a part that are not its defaults."""
    usual = {field.name: field.default for field in msgspec.structs.fields(type(part))}
    return {n: value for n, value in msgspec.structs.asdict(part).items() if value != usual[n]}


def check_request(target: Target, workload: Workload) -> None:
    """Raise `BadInput` where these cannot send the request that the workload describes."""
    of_request = RequestSettings.__struct_fields__
    asked = {name: value for name, value in changed(workload).items() if name in of_request}
    if asked and SPEAK[target.kind] != SPEAK["http"]:
        name, value = next(iter(asked.items()))
        raise validation.refusal("no-http", name=name, value=value, kind=target.kind)


def written(by_role: Mapping[str, Part], options: Mapping[str, int], *, in_file: bool) -> list[str]:
    """Return what differs from the defaults as the arguments of `Trial` that give it.

    Which options a strategy `in_file` takes is not known where these are read: they are dotted.
    """
    kinds = {role: type(part) for role, part in by_role.items()}
    target, transport = (str(kinds[role].__struct_config__.tag) for role in ("target", "transport"))
    changes = {role: changed(part) for role, part in by_role.items()} | {"strategy": {**options}}
    found = [] if target == "http" else [f"target={changes['target'].pop('url', target)!r}"]
    own = changes["transport"].pop("name", None)  # of a function, as one writes it
    own = repr(own or transport) if own is None or FILE.fullmatch(own) else own
    found += [] if transport == SPEAK[target][0] or target == "none" else [f"transport={own}"]
    for role, leaves in changes.items():
        for leaf, value in leaves.items():
            is_short = resolved(leaf, kinds, options)[0] == role
            is_short &= not (in_file and role == "strategy")
            found.append(f"{leaf}={value!r}" if is_short else f"**{{'{role}.{leaf}': {value!r}}}")
    return found


def with_suited_transport(chosen: dict[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """Add a transport that speaks with the chosen target, unless one is chosen or in place."""
    if "target" not in chosen or "transport" in chosen:
        return chosen
    target = kind_chosen("target", chosen["target"], state["target"])
    speak = SPEAK[str(target.__struct_config__.tag)]
    suits = state["transport"].kind in speak or speak[0] not in KINDS["transport"]
    return chosen if suits else chosen | {"transport": speak[0]}


def resolved(
    name: str, kinds: Mapping[str, type[Part]], options: Mapping[str, int]
) -> tuple[str, str]:
    """Return the role and the field that a short or dotted `name` means."""
    names = {"strategy": list(options)}
    names |= {role: list(kind.__struct_fields__) for role, kind in kinds.items()}
    role, dot, leaf = name.partition(".")
    if dot and role in names and leaf in names[role]:
        return role, leaf
    for role in ("switches", "workload", "target", "transport", "strategy"):
        if not dot and name in names[role]:
            return role, name
    settings = sorted(field for listed in names.values() for field in listed)
    dotted = [f"{role}.{field}" for role, listed in names.items() for field in listed]
    near = validation.did_you_mean(name, ["strategy", *KINDS, *settings, *dotted])
    others = [
        f"{role}={kind!r}"
        for role, of_role in KINDS.items()
        for kind, part in of_role.items()
        if name.removeprefix(f"{role}.") in part.__struct_fields__
    ]
    owner = f"; it is one with {' or '.join(others)}" if others else ""
    listed_all = f"; there are {', '.join(['strategy', *KINDS, *dict.fromkeys(settings)])}"
    raise validation.refusal("no-setting", name=name, near=owner or near or listed_all)
