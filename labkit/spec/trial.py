"""`Trial`: one target, transport, strategy and workload, and the names by which each is varied.

Frozen, and valid once it exists. Only what can be checked by looking at the values is checked
here; what depends on this machine `preflight` checks before anything starts.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import msgspec

from labkit.errors import BadInput
from labkit.spec import delays, parts, registry, requests, validation
from labkit.spec.addresses import MAX_REMOTE_RPS, MAX_REMOTE_S, check_remote, is_remote
from labkit.spec.parts import KINDS, ROLES, Switches, Workload
from labkit.spec.registry import MAX_GATHER_ITEMS, STRATEGIES, TAKE_ALL, InFile, Plain
from labkit.spec.targets import Command, HttpTarget, NoTarget, PostgresTarget, Target, UrlTarget
from labkit.spec.transports import LIBRARIES, SPEAK, AiohttpTransport, ClientTransport, Transport

Function = Callable[..., Any]
# Strategies of the user's own that a decorator registered, by name.
OWN: dict[str, Function] = {}
# How many arguments a strategy is called with.
_TAKEN = 3
# Items that a trial may have whose time alone is set: nobody sends so many.
MAX_TIMED_REQUESTS = 100_000_000
# Seconds after which a program is ended of which nobody knows how much it does.
MAX_PROGRAM_S = 3_600.0
# Settings of the trial as a whole that only the lab's own client knows.
_OF_CLIENT = ("loop", "eager_tasks", "probes", "saturate", "clients")
# Letters of the text that shows a trial: what differs from the defaults.
MAX_REPR = 199


@dataclass(frozen=True, init=False, repr=False)
class Trial:
    """One thing to measure.

    Takes the parts (`target=`, `transport=`, `workload=`: an object, a kind, or for the target a
    URL), short names (`requests`, `limit`, `delay`, `loop`, `body_bytes`, ...) and dotted ones
    (`**{"transport.limit": 30}`). `strategy` is a name, an `async def f(fetch, items, limit)`, or
    one in a file as 'PATH.py:NAME'; what it takes by keyword is set as `**{"strategy.size": 5}`.
    `transport` may as well be a function or class of your own, or one in a file, that gives an
    async context manager of a `fetch(item)`. A `program` is a client of its own, and has neither.
    Raises `BadInput`.
    """

    target: Target
    transport: Transport
    workload: Workload
    switches: Switches
    strategy: str
    options: Mapping[str, Any] = field(hash=False)
    option_types: Mapping[str, Any] = field(repr=False, compare=False)
    own_strategy: bool
    function: Function | InFile | None = field(repr=False)
    # The transport, where it is the user's own.
    client: Function | InFile | None = field(repr=False)
    # The values of credentials among the headers, which no text and no record shows.
    secrets: Mapping[str, str] = field(repr=False, hash=False)

    def __init__(self, *unnamed: Any, **settings: Any) -> None:
        if unnamed:
            raise validation.refusal("unnamed", value=unnamed[0])
        start = {"target": HttpTarget(), "workload": Workload(), "secrets": {}}
        self._fill(start | _usual_client(Switches()), settings)

    @property
    def written(self) -> str:
        """Return the call that makes it."""
        is_code = self.own_strategy and not registry.FILE.fullmatch(self.strategy)
        own = self.strategy if is_code else repr(self.strategy)
        found = [] if own == "'worker_pool'" else [f"strategy={own}"]
        usual: Mapping[str, Any] = STRATEGIES.get(self.strategy, {})
        if callable(self.function):
            _, usual = registry.options_of(self.function, _TAKEN)
        options = {name: n for name, n in self.options.items() if n != usual.get(name)}
        by_role = {role: getattr(self, role) for role in ROLES}
        found += parts.written(by_role, options, in_file=isinstance(self.function, InFile))
        return f"Trial({', '.join(found)})"

    def __repr__(self) -> str:
        text = self.written
        return text if len(text) <= MAX_REPR else f"{text[: MAX_REPR - 5]} ...)"

    def replace(self, **changes: Any) -> Trial:
        """Return this trial with some settings changed; names as in the constructor."""
        trial = object.__new__(Trial)
        trial._fill({name: getattr(self, name) for name in self.__dataclass_fields__}, changes)
        return trial

    def _fill(self, state: dict[str, Any], settings: Mapping[str, Any]) -> None:
        settings = dict(settings)
        # A program takes the place of the lab's own client.
        state |= _usual_client(state["switches"]) if settings.get("program") is not None else {}
        if "strategy" in settings:
            state |= _choose_strategy(settings.pop("strategy"))
        if "target.command" in settings:  # no other target has it
            settings.setdefault("target", "command")
        chosen = {role: settings.pop(role) for role in KINDS if role in settings}
        chosen = parts.with_suited_transport(chosen, state)
        if "transport" in chosen:
            chosen["transport"], state["client"] = _choose_client(chosen["transport"], state)
        kinds = {role: type(state[role]) for role in ROLES}
        kinds |= {role: parts.kind_chosen(role, part, state[role]) for role, part in chosen.items()}
        if isinstance(state["function"], InFile):  # which it takes is known once it is loaded
            named = [n.removeprefix("strategy.") for n in settings if n.startswith("strategy.")]
            state["option_types"] |= dict.fromkeys(named, Plain)
        changes: dict[str, dict[str, Any]] = {role: {} for role in ("strategy", *ROLES)}
        for name, value in settings.items():
            role, leaf = parts.resolved(name, kinds, state["option_types"])
            if leaf in changes[role]:
                raise BadInput(f"{role}.{leaf} is set twice, once as {name!r}: set it once")
            changes[role][leaf] = value
        for role in ROLES:
            # A part of which nothing changes is valid already.
            if role in chosen or changes[role]:
                state[role] = parts.construct(role, chosen.get(role), state[role], changes[role])
        for leaf, value in changes["strategy"].items():
            validation.check(f"strategy.{leaf}", value, state["option_types"][leaf])
        state["options"] = {**state["options"], **changes["strategy"]}
        shown, state["secrets"] = requests.hidden(state["workload"].headers, state["secrets"])
        if shown != state["workload"].headers:
            state["workload"] = msgspec.structs.replace(state["workload"], headers=shown)
        for name, value in state.items():
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        asked, speak = self.workload, SPEAK[self.target.kind]
        if self.program is not None:
            self._check_program()
        elif self.transport.kind not in speak:
            raise validation.refusal("transport", trial=self, speak=" or ".join(speak))
        parts.check_request(self.target, asked)
        warm_s, warm = asked.warms
        if self.is_remote:
            sent = self.requests + warm + math.ceil(MAX_REMOTE_RPS * warm_s)
            check_remote(requests=sent, limit=min(self.slots, self.requests))
        resolves = getattr(self.transport, "resolve_s", None) is not None
        traces, lasts_s = getattr(self.transport, "trace", False), (asked.lasts_s or 0.0) + warm_s
        most_s = self.switches.deadline_s or (MAX_REMOTE_S + 1 if self.is_remote else math.inf)
        most_rps = delays.highest(asked.schedule) if asked.is_open else 0.0
        faults = {
            "remote-client": self.is_remote and self.transport.kind in (*LIBRARIES, "own"),
            "resolve_s": resolves and not isinstance(self.target, HttpTarget),
            "trace": traces and self.probes == "counts",
            "arrivals": asked.schedule and not self._is("worker_pool"),
            "open": asked.is_open and self.probes != "full",
            "takes-all": lasts_s and any(map(self._is, TAKE_ALL)),
            "deadline": lasts_s >= most_s,
            "remote-rate": self.is_remote and most_rps > MAX_REMOTE_RPS,
            "gather": self._is("gather") and self.requests > MAX_GATHER_ITEMS,
            "clients-limit": min(self.slots, self.requests) < self.clients,
        }
        arrivals = f"rate {asked.rate:g}" if asked.rate else "stages"
        most = {"items": MAX_GATHER_ITEMS, "remote_rps": MAX_REMOTE_RPS}
        most |= {"remote_s": MAX_REMOTE_S, "s": most_s, "rps": most_rps}
        found = {"trial": self, "arrivals": arrivals, "lasts_s": lasts_s, "most": most}
        validation.refuse_first(faults, **found)

    def _check_program(self) -> None:
        """Raise `BadInput` for what only the lab's own client has, and what no program may do."""
        changed = {"trial": parts.changed(self.switches), "workload": parts.changed(self.workload)}
        own = [] if self._is("worker_pool") else ["strategy"]
        own += [] if self.transport == AiohttpTransport() else ["transport"]
        own += [f"trial.{name}" for name in _OF_CLIENT if name in changed["trial"]]
        own += [f"workload.{n}" for n in changed["workload"] if n not in parts.PROGRAM_FIELDS]
        urls = [name for name in ("url", "port") if self.switches.names(name)]
        faults = {
            "program-target": SPEAK[self.target.kind] not in (SPEAK["http"], SPEAK["none"]),
            "beside-program": own,
            "program-remote": self.is_remote,
            "program-alone": urls if isinstance(self.target, NoTarget) else [],
        }
        validation.refuse_first(faults, trial=self, name=[*own, *urls, ""][0])

    def _is(self, strategy: str) -> bool:
        """Return True if the strategy is the lab's own of that name."""
        return self.strategy == strategy and not self.own_strategy

    @property
    def chunk_size(self) -> int | None:
        """Return how many items the lab's `chunked` takes at a time; None for other strategies."""
        return None if self.own_strategy else self.options.get("chunk_size")

    @property
    def named_code(self) -> dict[str, str]:
        """Return by its setting the code that it names as text: a command, functions in files."""
        asked = self.switches
        named = {"target.command": getattr(self.target, "command", None)}
        named |= {"program": self.program, "strategy": getattr(self.function, "text", None)}
        named |= {"transport": getattr(self.client, "text", None), "packages": asked.packages}
        named |= {"python": asked.python if "/" in (asked.python or "") else None}
        return {setting: code for setting, code in named.items() if code}

    @property
    def program(self) -> str | None:
        """Return the command line that is the client; None where it is the lab's own."""
        return self.switches.program

    def states(self, name: str) -> bool:
        """Return True if `requests` or `limit` is what a program does: it is set, or given to it.

        What a program does of itself is counted at the server.
        """
        return self.switches.names(name) or name in parts.changed(self.workload)

    def words(self, url: str) -> list[str]:
        """Return the program and its arguments, for a target at this URL."""
        values = {"requests": self.requests, "limit": self.limit, "seed": self.seed}
        at = url.replace(requests.ITEM, "0")
        return self.switches.program_words({"url": at, "port": urlsplit(at).port, **values})

    @property
    def requests(self) -> int:
        """Return how many items there are: at most, where the clock ends the trial."""
        # No more are sent to a remote host in that time.
        polite = math.ceil(MAX_REMOTE_RPS * (self.workload.lasts_s or 0.0))
        return self.workload.requests or (polite if self.is_remote else MAX_TIMED_REQUESTS)

    @property
    def limit(self) -> int:
        """Return how many items may be in flight at a time."""
        return self.workload.limit

    @property
    def seed(self) -> int:
        """Return the seed: each delay is drawn from it and the item's number."""
        return self.workload.seed

    @property
    def loop(self) -> str:
        """Return the name of the client's event loop."""
        return self.switches.loop

    @property
    def clients(self) -> int:
        """Return how many processes the client is."""
        return self.switches.clients

    @property
    def probes(self) -> str:
        """Return how much is measured inside the client."""
        return self.switches.probes

    @property
    def saturates(self) -> bool:
        """Return True if the client is meant to use its core up: as set, or if nothing delays it.

        With no delay, a closed workload is as fast as client and server can be.
        """
        if self.switches.saturate is not None or self.program:
            return self.switches.saturate is not False
        if self.workload.is_open or self.workload.thinks.holds_back:
            return False
        if not isinstance(self.target, HttpTarget | PostgresTarget):
            return True
        if self.path != "/{item}" or not self.workload.is_usual:
            return not self.path.startswith("/delay/")
        return not delays.parse(self.target.delay).holds_back

    @property
    def url(self) -> str | None:
        """Return the URL of a server of the user's own; None for a target that the lab starts."""
        return self.target.url if isinstance(self.target, UrlTarget) else None

    @property
    def is_remote(self) -> bool:
        """Return True if the target is on another host, of which somebody else pays the load."""
        return self.url is not None and is_remote(self.url)

    @property
    def path(self) -> str:
        """Return the path that is requested, with `{item}` where the number of the item goes."""
        if self.workload.path is not None:
            return self.workload.path
        if isinstance(self.target, Command):
            return "/"
        return "/{item}" if self.url is None else ""

    @property
    def slots(self) -> int:
        """Return how many requests the strategy may have in flight: `gather` has no limit."""
        if self.workload.schedule and not self.workload.is_open:
            return int(delays.highest(self.workload.schedule))
        return self.requests if self._is("gather") else self.limit

    @cached_property
    def floor_s(self) -> float | None:
        """Compute the makespan, in this order, of the server's delays; None where not known."""
        # The time of an open workload is set by its arrivals; workers that think take longer.
        is_own = self.workload.is_open or self.workload.thinks.holds_back
        return None if is_own else self._floor_and_bound[0]

    @cached_property
    def bound_s(self) -> float | None:
        """Compute what no order of the items can beat in seconds; None where it is not known.

        The last request of an open workload is sent when it is due, unless some are dropped.
        """
        (_, bound_s), asked = self._floor_and_bound, self.workload
        if not asked.is_open:
            return bound_s
        if asked.overflow == "drop" or asked.lasts_s is not None:
            return None
        *_, last_s = delays.due_s(asked.schedule, asked.arrival, self.seed, self.requests)
        return max(bound_s or 0.0, last_s)

    @cached_property
    def _floor_and_bound(self) -> tuple[float, float] | tuple[None, None]:
        if self.workload.lasts_s or self.program:  # how many items there will be is not known
            return None, None
        known = isinstance(self.target, HttpTarget | PostgresTarget) and self.workload.is_usual
        if not known or self.path != "/{item}":
            return None, None
        delay = delays.parse(getattr(self.target, "delay", "0"))
        return delays.floor_and_bound_of(delay, self.seed, self.requests, self.slots, self.clients)

    @property
    def deadline_s(self) -> float:
        """Return the seconds after which the trial is ended: as set, or several times its need."""
        asked_s, most_s = self.switches.deadline_s, MAX_REMOTE_S if self.is_remote else math.inf
        if self.program and not (isinstance(self.target, HttpTarget) and self.states("requests")):
            return asked_s or MAX_PROGRAM_S
        warm_s, warm = self.workload.warms
        if asked_s is None and self.workload.lasts_s:
            return 60 + self.workload.lasts_s + warm_s + 0.1 * warm
        if asked_s is not None or self.is_remote:
            return min(asked_s or most_s, most_s)
        # The server answers the requests of one connection one after another, however deep they
        # are pipelined; a strategy may send fewer at a time than its limit.
        in_flight = 1 if self._is("sequential") else self.slots
        in_flight = min(in_flight, self.chunk_size or in_flight)
        delay = delays.parse(getattr(self.target, "delay", "0"))
        at_once = self.transport.connections_at(in_flight)
        waiting_s, _ = delays.floor_and_bound_of(delay, self.seed, self.requests, at_once)
        thinks = self.workload.thinks
        thinking_s, _ = delays.floor_and_bound_of(thinks, self.seed, self.requests, in_flight)
        rate = self.workload.rate
        arriving_s = 2 * self.requests / rate if rate is not None else 0.0
        needed_s = arriving_s + 3 * (waiting_s + thinking_s) + 0.01 * self.requests
        return 60 + warm_s + (1 + warm / self.requests) * needed_s

    def get(self, name: str) -> Any:
        """Return the value of the setting called `name`, as `replace` would take it."""
        if name == "strategy":
            return self.function if callable(self.function) else self.strategy
        if name == "transport":
            return self.client or self.transport
        if name in KINDS:
            return getattr(self, name)
        role, leaf = self._where(name)
        return self.options.get(leaf) if role == "strategy" else getattr(getattr(self, role), leaf)

    def type_of(self, name: str) -> Any:
        """Return the type of the setting called `name`; `str` for a part or a strategy."""
        if name in ("strategy", "target.command", *KINDS):
            return str
        role, leaf = self._where(name)
        if role == "strategy":
            return self.option_types[leaf]
        part: validation.Part = getattr(self, role)
        return validation.types_of(type(part))[leaf]

    def _where(self, name: str) -> tuple[str, str]:
        kinds = {role: type(getattr(self, role)) for role in ROLES}
        return parts.resolved(name, kinds, self.option_types)

    def to_dict(self) -> dict[str, Any]:
        """Return this trial as plain data; of a strategy of one's own the label and parameters."""
        options = dict(self.options)
        if callable(self.function):
            options = registry.shown(registry.made_with(self.function)[1] | options)
        own = {"strategy": self.strategy, "options": options, "own_strategy": self.own_strategy}
        whole = {**own, **msgspec.to_builtins(self.switches)}
        whole |= {role: msgspec.to_builtins(getattr(self, role)) for role in KINDS}
        left_out = (*own, "transport", *_OF_CLIENT) if self.program else ()
        for name in ("requests", "limit") if self.program else ():
            if not self.states(name):  # nobody knows
                del whole["workload"][name]
        return {name: value for name, value in whole.items() if name not in left_out}

    @classmethod
    def from_dict(
        cls,
        data: Mapping[str, Any],
        *,
        allow_remote: str | None = None,
        allow_commands: bool = False,
    ) -> Trial:
        """Return the trial that `to_dict` described. Raises `BadInput`.

        Data may come from a stranger: the host that they allow is to be repeated here, and that
        they may name a command, or a strategy in a file, is to be said.
        """
        settings = dict(data)
        target = settings.get("target")
        allowed = target.get("allow_remote") if isinstance(target, Mapping) else None
        if allowed not in (None, allow_remote):
            raise validation.refusal("data-remote", allowed=allowed)
        name, own = settings.pop("strategy", None), settings.pop("own_strategy", False)
        options = settings.pop("options", {})
        if not own:
            settings |= {f"strategy.{leaf}": value for leaf, value in options.items()}
        trial = cls(**settings, **({} if own or name is None else {"strategy": name}))
        for setting, code in trial.named_code.items() if not allow_commands else ():
            raise validation.refusal("data-code", setting=setting, code=code)
        if own:
            options = registry.shown(options)
            known = {"strategy": str(name), "own_strategy": True, "options": options}
            vars(trial).update(known, option_types=dict.fromkeys(options, Plain))
        return trial


def _usual_client(switches: Switches) -> dict[str, Any]:
    """Return the fields of the lab's own client as they are by default; the other switches stay."""
    usual = {name: getattr(Switches(), name) for name in _OF_CLIENT}
    client = {"transport": AiohttpTransport(), "client": None, **_choose_strategy("worker_pool")}
    return client | {"switches": msgspec.structs.replace(switches, **usual)}


def _choose_client(value: Any, now: Mapping[str, Any]) -> tuple[Any, Function | InFile | None]:
    """Return the transport that is chosen, and what it is where it is the user's own."""
    if value == "own" and now["client"] is not None:
        value = now["transport"]
    if isinstance(value, str) and registry.FILE.fullmatch(value):
        value = InFile(value)
    made = value.function if isinstance(value, InFile) else value
    if made is None:
        return ClientTransport(name=value.text), value
    if not callable(made) or (isinstance(made, type) and issubclass(made, validation.Part)):
        return value, now["client"] if value == now["transport"] else None
    label = value.text if isinstance(value, InFile) else registry.label_of(made)
    if inspect.iscoroutinefunction(made) or hasattr(made, "__aenter__") != isinstance(made, type):
        raise validation.refusal("no-client", name=label)
    return ClientTransport(name=label), made


def _choose_strategy(value: Any) -> dict[str, Any]:
    """Return the fields of a trial whose strategy is `value`: a name, or a coroutine function."""
    if isinstance(value, str) and value not in STRATEGIES:
        value = InFile(value) if registry.FILE.fullmatch(value) else OWN.get(value, value)
    function, own = value, {"own_strategy": True, "options": {}, "option_types": {}}
    if isinstance(value, InFile):
        function = value.function
        own |= {"strategy": value.text, "function": value if function is None else function}
        if function is None:
            return own
    if callable(function):
        inner = getattr(function, "func", function)  # of functools.partial
        name = getattr(inner, "__name__", type(inner).__name__)
        home = getattr(function, "__module__", None) or ""
        if not home.startswith("labkit.measured.strategies."):
            called = getattr(inner, "__call__", None)  # noqa: B004  # an object's own method
            if not (inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(called)):
                raise validation.refusal("no-coroutine", name=name)
            types, usual = registry.options_of(function, _TAKEN)
            known = {"strategy": registry.label_of(function), "function": function}
            return known | own | {"options": usual, "option_types": types}
        function = name
    if not isinstance(function, str) or function not in STRATEGIES:
        names = [*STRATEGIES, *OWN, "a function in a file as PATH.py:NAME"]
        raise validation.unknown("strategy", str(value), names)
    options = dict(STRATEGIES[function])
    types = {leaf: registry.OPTION_TYPES[leaf] for leaf in options}
    known = {"strategy": function, "own_strategy": False, "function": None}
    return known | {"options": options, "option_types": types}
