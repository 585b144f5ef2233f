"""Strategies as learners write them, which an exam is tested with: sound ones, and faulty ones.

`SOUND` has no fault. `BROKEN` is named by the fault and the way it came about; all but those of
failing items are decorated, so that the one fault is the only one.
"""

# Faults on purpose, and ways in which learners write.
# ruff: noqa: ASYNC110, ASYNC251, BLE001, S112

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from labkit.measured.strategies import strategy
from labkit.spec import trial

SOUND: dict[str, Callable[..., Any]] = {}
BROKEN: dict[str, dict[str, Callable[..., Any]]] = {}
before = dict(trial.OWN)


def sound(function: Any) -> Any:
    SOUND[function.__name__] = function
    return function


def sound_strategy(function: Any) -> Any:
    return sound(strategy(function))


def broken_bare(code: str) -> Callable[[Any], Any]:
    def named(function: Any) -> Any:
        BROKEN.setdefault(code, {})[function.__name__] = function
        return function

    return named


def broken(code: str) -> Callable[[Any], Any]:
    return lambda function: broken_bare(code)(strategy(function))


def in_a_cell(source: str) -> Any:
    """Return the function `one` of a notebook's cell, with globals of its own."""
    cell: dict[str, Any] = {"__name__": "__main__"}
    exec(source, cell)  # noqa: S102  # as a kernel does
    return cell["one"]


async def quietly(fetch, item, errors):
    try:
        await fetch(item)
    except Exception as error:
        errors.append(error)


async def workers(call, source, number):
    """Let `number` tasks each call one item of `source` after another."""

    async def work():
        for item in source:
            await call(item)

    await asyncio.gather(*(work() for _ in range(number)))


async def served(fetch, items, limit):
    """Let tasks call what a queue gives them; return them, who wait for more, when all is done."""
    queue = asyncio.Queue(maxsize=limit)

    async def work():
        while True:
            item = await queue.get()
            await fetch(item)
            queue.task_done()

    tasks = [asyncio.create_task(work()) for _ in range(limit)]
    for item in items:
        await queue.put(item)
    await queue.join()
    return tasks


async def within(slots, fetch, item):
    async with slots:
        await fetch(item)


async def beats():
    while True:
        await asyncio.sleep(0.1)


# --- sound ones


@sound
async def workers_on_an_iterator(fetch, items, limit):
    errors = []
    await workers(lambda item: quietly(fetch, item, errors), iter(items), limit)
    return errors


@sound
async def queue_filled_up_front(fetch, items, limit):
    """As in the manual of asyncio: it reads all items, and cancels workers without waiting."""
    queue, results = asyncio.Queue(), []

    async def work():
        while True:
            item = await queue.get()
            try:
                await fetch(item)
                results.append((item, None))
            except Exception as error:
                results.append((item, error))
            finally:
                queue.task_done()

    for item in items:
        queue.put_nowait(item)
    tasks = [asyncio.create_task(work()) for _ in range(limit)]
    await queue.join()
    for task in tasks:
        task.cancel()
    return results


@sound
async def semaphore_before_the_task(fetch, items, limit):
    slots, tasks, errors = asyncio.Semaphore(limit), set(), []

    def done(task):
        tasks.discard(task)
        slots.release()
        if task.exception():
            errors.append(task.exception())

    for item in items:
        await slots.acquire()
        task = asyncio.create_task(fetch(item))
        tasks.add(task)
        task.add_done_callback(done)
    while tasks:
        await asyncio.wait(tasks)
    if errors:
        raise ExceptionGroup("some items failed", errors)


@sound
async def every_task_kept(fetch, items, limit):
    """Memory grows by a finished task for each item, which is no fault."""
    slots, tasks = asyncio.Semaphore(limit), []

    async def one(item):
        try:
            await fetch(item)
        finally:
            slots.release()

    for item in items:
        await slots.acquire()
        tasks.append(asyncio.create_task(one(item)))
    return await asyncio.gather(*tasks, return_exceptions=True)


@sound
async def rounds_of_gather(fetch, items, limit):
    results = []
    for start in range(0, len(items), limit):
        batch = items[start : start + limit]
        results += await asyncio.gather(*map(fetch, batch), return_exceptions=True)
    return results


@sound_strategy
async def the_last_item_first(fetch, items, limit):
    await workers(fetch, reversed(list(items)), limit)


@sound_strategy
async def with_a_timeout(fetch, items, limit):
    async def one(item):
        async with asyncio.timeout(30):
            await asyncio.wait_for(fetch(item), 30)

    await workers(one, iter(items), limit)


@sound_strategy
async def with_a_monitor(fetch, items, limit):
    monitor = asyncio.create_task(beats())
    try:
        await workers(fetch, iter(items), limit)
    finally:
        monitor.cancel()


@sound
async def with_patient_retries(fetch, items, limit):
    """To try a failing item again is no repetition, and the seconds until then pass quickly."""
    errors = []

    async def one(item):
        for attempt in range(3):
            try:
                await fetch(item)
                break
            except Exception as error:
                if attempt == 2:
                    errors.append(error)
                await asyncio.sleep(5 * 2**attempt)

    await workers(one, iter(items), limit)
    return errors


@sound_strategy
async def one_a_second(fetch, items, limit):
    for item in items:
        await asyncio.sleep(1)
        await fetch(item)


@sound_strategy
async def helped_by_a_thread(fetch, items, limit):
    for item in items:
        await asyncio.to_thread(time.sleep, 0.003)
        await fetch(item)


@sound_strategy
async def with_an_import(fetch, items, limit):
    """What happens once, however long it takes, is not what it does for each item."""
    if "labkit_entrants_imported" not in globals():
        globals()["labkit_entrants_imported"] = time.sleep(1.2)
    for item in items:
        await fetch(item)


@sound_strategy
async def five_in_each_second(fetch, items, limit):
    """A window of a second by time.monotonic, waited for exactly."""
    recent, slots = [], asyncio.Semaphore(limit)
    async with asyncio.TaskGroup() as group:
        for item in items:
            while len(recent := [at for at in recent if time.monotonic() - at < 1]) >= 5:
                await asyncio.sleep(recent[0] + 1 - time.monotonic())
            recent.append(time.monotonic())
            await slots.acquire()
            group.create_task(fetch(item)).add_done_callback(lambda _: slots.release())


def window_of(name, size, pause_s=None):
    async def window(fetch, items, limit):
        """However large, it does not grow with the items."""
        room, slots = asyncio.Semaphore(size(limit)), asyncio.Semaphore(limit)

        async with asyncio.TaskGroup() as group:
            for item in items:
                await room.acquire()
                task = group.create_task(within(slots, fetch, item))
                task.add_done_callback(lambda _: room.release())
                if pause_s is not None:
                    await asyncio.sleep(pause_s)

    window.__name__ = name
    sound_strategy(window)


window_of("a_window_of_a_thousand", lambda _: 1_000)
window_of("a_window_of_ten_limits", lambda limit: 10 * limit)
window_of("a_window_filled_slowly", lambda _: 1_000, pause_s=0.01)
window_of("a_pause_for_each_call", lambda limit: limit, pause_s=0.001)


class AnObject:
    """An object with a method, as well as a function."""

    __name__ = "an_object"

    async def __call__(self, fetch, items, limit):
        return await workers_on_an_iterator(fetch, items, limit)


sound(AnObject())


async def by_the_wall(fetch, items, limit):
    """Paced by a clock that the exam does not accelerate: sound, and too slow for it."""
    for item in items:
        due = datetime.now(UTC) + timedelta(seconds=0.1)
        while datetime.now(UTC) < due:
            await asyncio.sleep(0.01)
        await fetch(item)


# --- over the limit


@broken("over-limit")
async def off_by_one(fetch, items, limit):
    running = set()
    for item in items:
        if len(running) > limit:
            _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        running.add(asyncio.create_task(fetch(item)))
    await asyncio.wait(running)


@broken("over-limit")
async def everything_at_once(fetch, items, limit):
    await asyncio.gather(*(fetch(item) for item in items))


@broken_bare("over-limit")
async def gives_two_slots_back(fetch, items, limit):
    """Only when items fail: each failure makes room for one more."""
    slots, errors = asyncio.Semaphore(limit), []

    async def one(item):
        try:
            await fetch(item)
        except Exception as error:
            errors.append(error)
            slots.release()
        finally:
            slots.release()

    async with asyncio.TaskGroup() as group:
        for item in items:
            await slots.acquire()
            group.create_task(one(item))
    return errors


# --- loses items


@broken_bare("not-awaited")
async def calls_alone(fetch, items, limit):
    for item in items:
        fetch(item)


@broken_bare("not-awaited")
async def a_list_of_calls(fetch, items, limit):
    return [fetch(item) for item in items]


@broken_bare("not-awaited")
async def one_of_five_calls(fetch, items, limit):
    async def call(item):
        made = fetch(item)
        if item % 5:
            await made

    await workers(call, iter(items), limit)


@broken("loses-items")
async def without_the_last_round(fetch, items, limit):
    for start in range(0, len(items) - limit + 1, limit):
        await asyncio.gather(*map(fetch, items[start : start + limit]))


@broken("loses-items")
async def without_the_first(fetch, items, limit):
    source = iter(items)
    next(source)
    await workers(fetch, source, limit)


@broken("loses-items")
async def without_zero(fetch, items, limit):
    source = iter(items)

    async def work():
        while item := next(source, None):
            await fetch(item)

    await asyncio.gather(*(work() for _ in range(limit)))


# --- repeats items


@broken("repeats-items")
async def every_worker_takes_all(fetch, items, limit):
    await asyncio.gather(*(workers(fetch, items, 1) for _ in range(limit)))


@broken("repeats-items")
async def rounds_that_overlap(fetch, items, limit):
    for start in range(0, len(items), limit):
        await asyncio.gather(*map(fetch, items[max(start - 1, 0) : start + limit - 1]))
    await fetch(items[-1])


@broken("repeats-items")
async def the_last_once_more(fetch, items, limit):
    item = None
    for item in items:
        await fetch(item)
    await fetch(item)


# --- swallows failures


@broken_bare("swallows-failures")
async def passes_over(fetch, items, limit):
    await workers(lambda item: quietly(fetch, item, []), iter(items), limit)


@broken_bare("swallows-failures")
async def drops_the_results(fetch, items, limit):
    for start in range(0, len(items), limit):
        batch = map(fetch, items[start : start + limit])
        await asyncio.gather(*batch, return_exceptions=True)


@broken_bare("swallows-failures")
async def only_prints(fetch, items, limit):
    for item in items:
        try:
            await fetch(item)
        except Exception as error:
            print(error)
    return [None] * len(items), list(items)


# --- stops at the first failure


@broken_bare("stops-at-first-failure")
async def a_bare_loop(fetch, items, limit):
    for item in items:
        await fetch(item)


@broken_bare("stops-at-first-failure")
async def a_bare_task_group(fetch, items, limit):
    slots = asyncio.Semaphore(limit)
    async with asyncio.TaskGroup() as group:
        for item in items:
            await slots.acquire()
            group.create_task(fetch(item)).add_done_callback(lambda _: slots.release())


@broken_bare("stops-at-first-failure")
async def a_bare_gather(fetch, items, limit):
    """The others go on in the background, and nobody waits for them any more."""
    slots = asyncio.Semaphore(limit)
    running = []
    for item in items:
        await slots.acquire()
        running.append(asyncio.create_task(fetch(item)))
        running[-1].add_done_callback(lambda _: slots.release())
    await asyncio.gather(*running)


# --- unbounded tasks


@broken("unbounded-tasks")
async def a_semaphore_in_each_task(fetch, items, limit):
    slots = asyncio.Semaphore(limit)
    await asyncio.gather(*(within(slots, fetch, item) for item in items))


@broken("unbounded-tasks")
async def calls_made_up_front(fetch, items, limit):
    calls = [fetch(item) for item in items]
    try:
        await workers(lambda call: call, iter(calls), limit)
    finally:
        for call in calls:
            call.close()


def group_of_all(name, pause_s):
    """Every item gets a task of its own; `pause_s` seconds pass before each, by its number."""

    async def tasks(fetch, items, limit):
        slots = asyncio.Semaphore(limit)
        async with asyncio.TaskGroup() as group:
            for number, item in enumerate(items):
                if pause_s(number):
                    await asyncio.sleep(pause_s(number))
                group.create_task(within(slots, fetch, item))

    tasks.__name__ = name
    broken("unbounded-tasks")(tasks)


group_of_all("a_task_group_of_all", lambda _: 0)
group_of_all("a_pause_after_many_tasks", lambda number: 0.1 if number % 500 == 499 else 0)
group_of_all("a_second_before_each_task", lambda _: 1)
group_of_all("a_long_pause_before_every_four_tasks", lambda number: 0 if number % 4 else 3)


@broken("unbounded-tasks")
async def a_tenth_of_the_items_at_a_time(fetch, items, limit):
    """A part of the items has its tasks at once: with more items it is larger."""
    slots, part = asyncio.Semaphore(limit), max(len(items) // 10, 1)
    for start in range(0, len(items), part):
        await asyncio.gather(*(within(slots, fetch, item) for item in items[start : start + part]))


# --- leaves tasks behind


@broken("leaves-tasks-behind")
async def workers_that_never_end(fetch, items, limit):
    await served(fetch, items, limit)


@broken("leaves-tasks-behind")
async def a_monitor_goes_on(fetch, items, limit):
    monitor = asyncio.create_task(beats())
    for item in items:
        await fetch(item)
    del monitor


@broken_bare("leaves-tasks-behind")
async def returns_with_the_first_error(fetch, items, limit):
    errors = []

    async def call(item):
        try:
            await fetch(item)
        except Exception as error:
            errors.append(error)
            if len(errors) == 1:
                raise

    try:
        await workers(call, iter(items), limit)
    except Exception:
        return errors


# --- polls hot


@broken("polls-hot")
async def sleeps_of_zero_for_a_slot(fetch, items, limit):
    running = set()
    for item in items:
        while len(running) >= limit:
            await asyncio.sleep(0)
            running = {task for task in running if not task.done()}
        running.add(asyncio.create_task(fetch(item)))
    await asyncio.gather(*running)


@broken("polls-hot")
async def waits_without_waiting(fetch, items, limit):
    running = set()
    for item in items:
        while len(running) >= limit:
            _, running = await asyncio.wait(running, timeout=0)
        running.add(asyncio.create_task(fetch(item)))
    await asyncio.wait(running)


@broken("polls-hot")
async def idle_workers_look_again(fetch, items, limit):
    left, source = len(items), iter(items)

    async def work():
        nonlocal left
        while left:
            item = next(source, None)
            if item is None:
                await asyncio.sleep(0)
                continue
            await fetch(item)
            left -= 1

    await asyncio.gather(*(work() for _ in range(limit)))


# --- what no trial can run at all


@broken("never-ends")
async def joins_a_queue_that_nobody_acknowledges(fetch, items, limit):
    queue = asyncio.Queue()
    for item in items:
        queue.put_nowait(item)

    async def work():
        while not queue.empty():
            await fetch(queue.get_nowait())

    await asyncio.gather(*(work() for _ in range(limit)))
    await queue.join()


@broken("never-ends")
async def waits_before_it_begins(fetch, items, limit):
    await asyncio.Event().wait()


@broken_bare("never-ends")
async def tries_for_ever(fetch, items, limit):
    for item in items:
        while True:
            try:
                await fetch(item)
                break
            except Exception:
                continue


@broken("blocks-the-loop")
async def sleeps_without_await(fetch, items, limit):
    for item in items:
        time.sleep(0.01)
        await fetch(item)


@broken("blocks-the-loop")
async def sleeps_once(fetch, items, limit):
    time.sleep(0.3)
    for item in items:
        await fetch(item)


@broken("blocks-the-loop")
async def computes_for_long(fetch, items, limit):
    end = time.thread_time() + 0.2
    while time.thread_time() < end:
        pass
    for item in items:
        await fetch(item)


@broken("raises")
async def misspells(fetch, items, limit):
    for item in items:
        await fetsh(item)  # noqa: F821


@broken_bare("raises")
async def cancels_itself(fetch, items, limit):
    raise asyncio.CancelledError


# What the decorator registered is not for other tests.
trial.OWN.clear()
trial.OWN.update(before)
