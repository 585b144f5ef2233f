"""A strategy of the user's own as bytes that another process can load. It starts nothing."""

from __future__ import annotations

import base64
import contextlib
import sys
from typing import Any

from labkit.errors import BadInput
from labkit.spec.trial import Trial


def pickled(trial: Trial) -> str | None:
    """A strategy of the user's own as cloudpickle bytes in base64; None for one of the lab's.

    Raises `BadInput` where it cannot be sent to another process.
    """
    if trial.function is None:
        return None
    import cloudpickle

    function = unguarded(trial.function)
    try:
        with _by_value(function):
            return base64.b64encode(cloudpickle.dumps(function)).decode("ascii")
    except Exception as error:  # noqa: BLE001  # pickling runs code of any class it meets
        raise BadInput(
            f"strategy is {trial.strategy!r}: it cannot be sent to another process ({error}); "
            "define it in a cell or at the top of a module, and let it use no open files or locks"
        ) from None


def unguarded(function: Any) -> Any:
    """The coroutine function inside the lab's own decorator; any other is left as it is."""
    own = getattr(function, "__labkit_guard__", None) is function
    return function.__wrapped__ if own else function


@contextlib.contextmanager
def _by_value(function: Any) -> Any:
    """Let the code itself travel, also of a function in a module the child might not find."""
    import cloudpickle

    module = sys.modules.get(getattr(function, "__module__", ""))
    if module is None or module.__name__ == "__main__" or module.__name__.startswith("labkit"):
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)
