"""Runs a learner's function: in a thread with a virtual loop of its own, for a bounded time.

The kernel's loop is running already, and must survive whatever the function does. Time is virtual:
what is judged is the schedule, which is the same on every machine.
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
from labkit.notebook.exercises.virtual_loop import Deadlock, Endless, VirtualLoop

DEADLINE_S = 3.0
"""Of real time. A run takes milliseconds."""
STOP_ATTEMPTS, STOP_WAIT_S = 10, 0.1
CLEANUP_S = 60.0
"""Of virtual time, for tasks that were cancelled."""

NEVER = "the function never came to an end: is there a loop that nothing ends?"
STUCK = (
    "the function waits for something that never happens: is there a lock or a place that is taken "
    "and not given back, or a queue that nobody fills?"
)


class Stopped(KeyboardInterrupt):
    """Raised in the thread of a function that did not end in time.

    asyncio lets a `KeyboardInterrupt` of any task through to the caller of the loop.
    """


def call(function: Callable[..., Any], *args: Any) -> Any:
    """Return what the function returns, awaited where it can be. Raises `Wrong` where it raises."""

    async def called() -> Any:
        found = function(*args)
        return await found if inspect.isawaitable(found) else found

    return run(called, of=function)


def value(function: Callable[..., Any], *args: Any) -> Any:
    """Return the same as `call`, for a function that has to return something."""
    found = call(function, *args)
    if found is None or found is ...:
        raise Wrong("the function returned nothing: is it still to be written?")
    return found


def run(main: Callable[[], Coroutine[Any, Any, Any]], *, of: Callable[..., Any]) -> Any:
    """Run `main()` in a thread and return its value. Raises `Wrong` for a fault of `of`."""
    returned: list[Any] = []
    raised: list[BaseException] = []

    def body() -> None:
        try:
            returned.append(_in_virtual_time(main))
        except BaseException as error:  # noqa: BLE001  # the function may raise SystemExit too
            raised.append(error)

    # The context goes with it, so that what the function prints appears below its cell.
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(body,), daemon=True, name="an answer")
    thread.start()
    try:
        thread.join(DEADLINE_S)
    finally:  # also where somebody interrupts the kernel
        _stop(thread)
    if raised:
        raise Wrong(_reason(raised[0], of)) from None
    if not returned:
        raise Wrong(NEVER)
    return returned[0]


def _stop(thread: threading.Thread) -> None:
    # No event loop can end code that never awaits. Python can raise between two of its steps. A
    # bare `except` in the function may swallow that, so several attempts are made.
    for _ in range(STOP_ATTEMPTS):
        if not thread.is_alive() or thread.ident is None:
            return
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(Stopped)
        )
        thread.join(STOP_WAIT_S)


def _in_virtual_time(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    loop = VirtualLoop()
    # What the function leaves behind is judged by the exercise, and not logged.
    loop.set_exception_handler(lambda _loop, _context: None)
    try:
        return loop.run_until_complete(main())
    finally:
        try:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            # A task that swallows its cancellation ends with its loop: nothing here waits for it.
            loop.reset_turns()
            loop.call_later(CLEANUP_S, loop.stop)
            loop.run_forever()
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()


def _reason(error: BaseException, function: Callable[..., Any]) -> str:
    """Return what is wrong with the function, and its innermost own line where it raised."""
    if isinstance(error, Wrong):
        return str(error)
    if isinstance(error, Deadlock):
        return STUCK
    if isinstance(error, Endless | Stopped):
        return NEVER
    reason = f"the function raised {type(error).__name__}"
    code: Any = getattr(function, "__code__", None)
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code is code]
    if lines:
        reason += f" in its line {lines[-1] - code.co_firstlineno + 1}"
    return f"{reason}: {shown(str(error))[1:-1]}" if str(error) else reason
