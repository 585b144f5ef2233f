"""The strategies by name, and what is shown of code of the user's own.

The names of the lab's stand here, because the parent may not import that code:
`measured.strategies` has it, and tests prove that both sides agree; the experiments are in
`data/experiments.toml`. Of code of the user's own this is the name, the parameters and the options,
as its function shows them.
"""

import inspect
import itertools
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import FunctionType, UnionType
from typing import Annotated, Any, Literal, Union, get_origin, get_type_hints

from msgspec import Meta

from labkit.errors import BadInput
from labkit.spec.requests import CREDENTIAL, HIDDEN

# Strategies that need the package of their name, from the extra `peers`.
PEERS = ("aiometer", "aiostream", "anyio")
# Strategies that are another library's: a record names the version of the package.
LIBRARIES = ("pypeln", *PEERS)
_NAMES = (
    *("sequential", "gather", "semaphore", "as_completed", "task_pool", "pypeln", "chunked"),
    *("wait", "task_group", "queue", "worker_pool", "priority", *PEERS),
)
_OPTIONS = {"pypeln": {"maxsize": 0}, "chunked": {"chunk_size": 1_000}, "priority": {"classes": 1}}
# Each strategy with its options and their defaults.
STRATEGIES: Mapping[str, Mapping[str, int]] = {name: _OPTIONS.get(name, {}) for name in _NAMES}
OPTION_TYPES: Mapping[str, Any] = {
    "maxsize": Annotated[int, Meta(ge=0, le=100_000_000)],
    "chunk_size": Annotated[int, Meta(ge=1, le=100_000_000)],
    "classes": Annotated[int, Meta(ge=1, le=1_000)],
}
# Strategies that take all items before the first is done: none for items that end by the clock.
TAKE_ALL = ("gather", "semaphore", "aiometer", "anyio", "pypeln")
# Items that `gather` may be given: it creates a task for each.
MAX_GATHER_ITEMS = 1_000_000

# A function of the user's own in a file, as text.
FILE = re.compile(r"(.+\.py):([^\W\d]\w*)")
# Values that a record, a terminal and a study file know.
Plain = bool | int | float | str | None
_WRITTEN, _COMPOSED = (bool, int, float, str), (Annotated, Literal, Union, UnionType)
# What is stored of the parameters of a function: how many, and letters of one. Letters of a label.
MAX_PARAMETERS, MAX_PARAMETER, MAX_LABEL = 16, 200, 100


@dataclass(frozen=True)
class InFile:
    """A function of the user's own as 'PATH.py:NAME'.

    Its code is run where it is wanted, by `launch.preflight`, and never where it is named.
    """

    text: str
    function: Callable[..., Any] | None = None


def shown(parameters: Mapping[str, Any]) -> dict[str, Plain]:
    """Return those parameters that a record may have: plain and short, a password as asterisks."""
    plain = {
        name: HIDDEN if isinstance(value, str) and CREDENTIAL.search(name) else value
        for name, value in parameters.items()
        if (value is None or type(value) in _WRITTEN) and len(str(value)) <= MAX_PARAMETER
    }
    return dict(itertools.islice(plain.items(), MAX_PARAMETERS))


# What tells functions apart that one factory made? The parameters that each was made with: the
# keywords of a `functools.partial`, the variables of a closure, the attributes of an object that
# can be called. A closure goes by the name of its factory, which is what a person calls, where
# parameters of the factory are among its variables (it may use as well what happens to stand
# around it), unless it was given a name of its own.
def made_with(function: Any) -> tuple[str, dict[str, Plain]]:
    """Return the name of a function of the user's own, and the parameters that it was made with."""
    inner = inspect.unwrap(getattr(function, "func", function))
    name = getattr(inner, "__name__", type(inner).__name__)
    owner, fixed = getattr(inner, "__self__", inner), getattr(function, "keywords", {})
    if isinstance(owner, type):
        return name, shown(fixed)
    if not isinstance(owner, FunctionType):
        listed = (*getattr(owner, "__dict__", ()), *getattr(type(owner), "__slots__", ()))
        return name, shown({one: getattr(owner, one, ...) for one in listed} | fixed)
    found, code = dict[str, Any](), owner.__code__
    for variable, cell in zip(code.co_freevars, owner.__closure__ or (), strict=True):
        with suppress(ValueError):  # it has no value yet
            found[variable] = cell.cell_contents
    factory = _factory(owner)
    parameters = [one for one in getattr(factory, "co_varnames", ()) if one in found]
    if parameters:
        found = {one: found[one] for one in parameters}
        name = factory.co_name if name == code.co_name else name
    return name, shown(found | fixed)


def _factory(function: FunctionType) -> Any:
    """Return the code of the function in which this one was defined; None where it is not found."""
    first, *within = function.__qualname__.split(".<locals>.")[:-1] or [""]
    outer = function.__globals__.get(first)
    code = getattr(inspect.unwrap(outer) if callable(outer) else None, "__code__", None)
    for name in within:
        inner = getattr(code, "co_consts", ())
        code = next((one for one in inner if getattr(one, "co_name", "") == name), None)
    return code


def label_of(function: Any) -> str:
    """Return a short text that tells functions of the user's own apart: 'chunks(size=5)'."""
    name, parameters = made_with(function)
    listed = ", ".join(f"{one}={value!r}" for one, value in parameters.items())
    label = f"{name}({listed})" if parameters else name
    return label if len(label) <= MAX_LABEL else f"{label[: MAX_LABEL - 5]} ...)"


def options_of(function: Any, taken: int) -> tuple[dict[str, Any], dict[str, Plain]]:
    """Return the types and the defaults of the options that a function takes by keyword.

    They come after the `taken` arguments that it is called with. What a `functools.partial` has
    set is no option any more, nor is one with a default that is not plain. Raises `BadInput`.
    """
    inner, hints = inspect.unwrap(getattr(function, "func", function)), dict[str, Any]()
    with suppress(Exception):  # annotations may name what only a type checker knows
        of = inner if hasattr(inner, "__code__") else type(inner).__call__
        hints = get_type_hints(of, include_extras=True)
    types, usual, fixed = dict[str, Any](), dict[str, Plain](), getattr(function, "keywords", {})
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:  # of functools.partial
        takes = f"{label_of(function)}: the function takes {inspect.signature(inner)}"
        raise BadInput(f"{takes}; set only what is among them") from None
    for place, one in enumerate(parameters.values()):
        named = one.kind is one.KEYWORD_ONLY
        named |= one.kind is one.POSITIONAL_OR_KEYWORD and place >= taken
        kinds = (hints.get(one.name), type(one.default))
        is_plain = [kind in _WRITTEN or get_origin(kind) in _COMPOSED for kind in kinds]
        named &= one.default is one.empty or one.default is None or is_plain[1]
        if named and one.name not in fixed:
            types[one.name] = next(itertools.compress(kinds, is_plain), Plain)
            usual |= {} if one.default is one.empty else {one.name: one.default}
    return types, usual
