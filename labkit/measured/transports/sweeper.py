"""Timeouts that cost a request nothing: what is pending is looked at now and then, all at once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Hashable, Iterable

_SHORTEST_SWEEP_S = 0.001
_SWEEPS = 8


class Sweeper:
    """Calls `expire` for what has been pending for `timeout_s`, at most an eighth of it late.

    A timer for each request would cost more than the request; one that looks around eight times in
    `timeout_s` costs nothing. `pending` gives what is pending now.
    """

    def __init__(
        self,
        timeout_s: float | None,
        pending: Callable[[], Iterable[Hashable]],
        expire: Callable[[Hashable], None],
    ) -> None:
        self._pending, self._expire = pending, expire
        self._timer: asyncio.TimerHandle | None = None
        self._ages: dict[Hashable, int] = {}
        if timeout_s is not None:
            self._every_s = max(timeout_s / _SWEEPS, _SHORTEST_SWEEP_S)
            self._oldest = math.ceil(timeout_s / self._every_s)
            self._arm()

    def stop(self) -> None:
        """Expire nothing from now on."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._every_s, self._sweep)

    def _sweep(self) -> None:
        # What is found for the first time was pending for less than one interval.
        ages = {one: self._ages.get(one, -1) + 1 for one in self._pending()}
        self._ages = {one: age for one, age in ages.items() if age < self._oldest}
        for one, age in ages.items():
            if age >= self._oldest:
                self._expire(one)
        self._arm()
