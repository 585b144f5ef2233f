"""Trying a learner's function: in a thread with a loop of its own, for a bounded time.

The kernel's loop is running already, and must survive whatever the function does. Its time is a
virtual one: what is judged is the schedule, the same on every machine.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import inspect
import threading
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

from labkit.notebook.exercises.grading import Wrong, shown
from labkit.notebook.exercises.virtual import Deadlock, Endless, VirtualLoop

DEADLINE_S = 3.0
"""Of real time. What is tried takes milliseconds."""
GRACE_S = 0.1
ATTEMPTS = 10
CLEANING_S = 60.0
"""Of virtual time, for what is cancelled."""

NEVER = "the function never came to an end: is there a loop that nothing ends?"
STUCK = (
    "the function waits for something that never happens: is there a lock or a place that is taken "
    "and not given back, or a queue that nobody fills?"
)


class Stopped(KeyboardInterrupt):
    """Raised in the thread of a function that did not come to an end.

    Of the kind that asyncio lets through to whoever runs the loop, from whichever task it is.
    """


def call(function: Callable[..., Any], *args: Any) -> Any:
    """What the function returns, awaited where it can be; `Wrong` where it raises."""

    async def called() -> Any:
        found = function(*args)
        return await found if inspect.isawaitable(found) else found

    return run(called, of=function)


def value(function: Callable[..., Any], *args: Any) -> Any:
    """The same, of a function that has to return something."""
    found = call(function, *args)
    if found is None or found is ...:
        raise Wrong("the function returned nothing: is it still to be written?")
    return found


def run(main: Callable[[], Coroutine[Any, Any, Any]], *, of: Callable[..., Any]) -> Any:
    """What `main()` returns, run in a thread; `Wrong` says what the learner's function `of` did."""
    ended: list[Any] = []
    failed: list[BaseException] = []

    def body() -> None:
        try:
            ended.append(_in_virtual_time(main))
        except BaseException as error:  # noqa: BLE001  # SystemExit too is the function's own
            failed.append(error)

    _in_thread(body)
    if failed:
        raise Wrong(_said(failed[0], of)) from None
    if not ended:
        raise Wrong(NEVER)
    return ended[0]


def _in_thread(body: Callable[[], None]) -> None:
    # The context goes with it, so that what the function prints appears below its cell.
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(body,), daemon=True, name="an answer")
    thread.start()
    try:
        thread.join(DEADLINE_S)
    finally:  # also where somebody interrupts the kernel
        _stop(thread)


def _stop(thread: threading.Thread) -> None:
    # An event loop cannot end what never gives way; Python can, between two of its steps. A bare
    # `except` in the function may swallow it, so that it takes several.
    for _ in range(ATTEMPTS):
        if not thread.is_alive() or thread.ident is None:
            return
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(Stopped)
        )
        thread.join(GRACE_S)


def _in_virtual_time(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    loop = VirtualLoop()
    # What the function leaves behind is judged where it is tried, and not logged.
    loop.set_exception_handler(lambda _loop, _context: None)
    try:
        return loop.run_until_complete(main())
    finally:
        _close(loop)


def _close(loop: VirtualLoop) -> None:
    try:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        # A task that swallows its cancellation ends with its loop: nothing here waits for it.
        loop.begin_anew()
        loop.call_later(CLEANING_S, loop.stop)
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _said(error: BaseException, function: Callable[..., Any]) -> str:
    if isinstance(error, Wrong):
        return str(error)
    if isinstance(error, Deadlock):
        return STUCK
    if isinstance(error, Endless | Stopped):
        return NEVER
    why = f"the function raised {type(error).__name__}"
    text = str(error)
    return f"{why}{_line_of(error, function)}" + (f": {shown(text)[1:-1]}" if text else "")


def _line_of(error: BaseException, function: Callable[..., Any]) -> str:
    """Where in the function itself it was; the innermost such line."""
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    frames = traceback.walk_tb(error.__traceback__)
    inside = [line for frame, line in frames if frame.f_code is code]
    return f" in its line {inside[-1] - code.co_firstlineno + 1}" if inside else ""
