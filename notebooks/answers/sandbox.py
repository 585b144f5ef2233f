"""Runs a learner's function: in a thread with a virtual loop of its own, for a bounded time.

The kernel's loop is running already, and must survive whatever the function does. Time is virtual:
what is judged is the schedule, which is the same on every machine. The clock stands still while
code runs and leaps to the next timer when every task waits. So a schedule takes exactly as long as
its delays say, and the loop notices what would hang a real one. Work in a thread counts as code
that runs: the loop waits for it in real time.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import inspect
import selectors
import threading
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

from .grading import shown
from .register import Wrong

FREE_TURNS = 50
"""Turns that take no time: enough for all that can happen at one moment. Later ones take some."""
TURN_S = 0.01
MAX_TURNS = 50_000
THREAD_S = 0.3
"""Real seconds to wait for a thread before the loop looks again."""

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


class Deadlock(Exception):
    """Every task waits, and no timer and no thread is left."""


class Endless(Exception):
    """The loop turned more often than any answer needs."""


class _Leaping(selectors.DefaultSelector):
    """A selector that returns at once, and moves its clock by the time that it should wait.

    `polled_turns` were made while nothing happened: more than a few mean polling.
    """

    now_s = 0.0
    turns = idle_turns = polled_turns = 0
    in_threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # A thread that is ready wakes the loop by a socket, as it does a real one.
        busy = self.in_threads > 0 and timeout != 0
        ready = super().select(THREAD_S if busy else 0)
        if ready:
            return ready
        if timeout is None:
            if not busy:
                raise Deadlock
            return ready
        self.turns += 1
        if self.turns > MAX_TURNS:
            raise Endless
        self.idle_turns = self.idle_turns + 1 if timeout == 0 else 0
        self.now_s += max(timeout, 0)
        if self.idle_turns > FREE_TURNS:  # otherwise polling with `sleep(0)` would stop the clock
            self.now_s += TURN_S
            self.polled_turns += 1
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own, which begins at 0 s."""

    def __init__(self) -> None:
        self.leaping = _Leaping()
        super().__init__(self.leaping)

    def time(self) -> float:
        """Return the virtual seconds that have passed."""
        return self.leaping.now_s

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """Run a function in a thread, and count it until it has ended: it may wake the loop."""
        # Popped, as a thread would otherwise refer to its arguments for a moment after it is done:
        # one exercise counts the objects that are still alive.
        work = [(func, args)]

        def once() -> Any:
            one, given = work.pop()
            return one(*given)

        def ended(_future: Any) -> None:
            self.leaping.in_threads -= 1

        self.leaping.in_threads += 1
        found = super().run_in_executor(executor, once)
        found.add_done_callback(ended)
        return found


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
            loop.leaping.turns = 0
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
