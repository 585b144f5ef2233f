"""What the lab's functions return until they are awaited: a coroutine that says that it waits."""

from collections.abc import Callable, Coroutine, Generator
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

from labkit.errors import NotAwaited
from labkit.spec.validation import check_known

P = ParamSpec("P")
T = TypeVar("T")


class Pending(Coroutine[Any, Any, T]):
    """The coroutine of a call; where it is used before it was awaited, it says so.

    asyncio takes it for the coroutine that it delegates to.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, T]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        """Resume the coroutine with a value."""
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        """Resume the coroutine with an error."""
        return self._coroutine.throw(*error)

    def close(self) -> None:
        """End the coroutine."""
        self._coroutine.close()

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("_", "cr_", "gi_")):  # asyncio's and IPython's questions
            return getattr(self._coroutine, name)
        return self[name]

    def __getitem__(self, key: Any) -> Any:
        self.close()  # or Python warns of it, too
        raise NotAwaited(repr(self))

    def __repr__(self) -> str:
        call = f"lab.{self.__name__}(...)"
        return f"{call} was not awaited: write `await {call}`"


def awaited(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Let a coroutine function return a `Pending`; refuse at once an argument that it has not.

    One that takes `**where` would run for a while before it hands it on.
    """
    *known, last = "store", "reporter", "on", *signature(function).parameters

    @wraps(function)
    def call(*args: P.args, **named: P.kwargs) -> Coroutine[Any, Any, T]:
        for name in named if last == "where" else ():
            check_known(f"an argument of lab.{function.__name__}", name, known)
        return Pending(function(*args, **named))

    return call
