"""psycopg, a synchronous driver: threads of an executor, each with a connection that it keeps.

The event loop hands a query to a thread and is told when it is done: what a program does that has
no asynchronous driver.
"""

from __future__ import annotations

import asyncio
import queue
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from labkit.measured.transports import Fetch, postgres
from labkit.measured.transports.postgres import COLUMNS, NotConnected, WrongRow, checked
from labkit.spec.transports import PsycopgTransport

QUERY = f"{COLUMNS}%s"
FULL = "too many clients"
"""An error before the connection stands carries no SQLSTATE in libpq, only a text."""
CANCELLED_WITHIN_S = 1.0


class Psycopg:
    """`async with Psycopg(settings, dsn, rows) as fetch: row = await fetch(item)`."""

    def __init__(self, settings: PsycopgTransport, dsn: str, rows: int) -> None:
        self._settings, self._rows = settings, rows
        self._dsn = postgres.own_place(dsn)
        self._threads = ThreadPoolExecutor(settings.threads)
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._open: list[Any] = []

    async def __aenter__(self) -> Fetch:
        loop = asyncio.get_running_loop()
        if not self._settings.overcommit:
            jobs = [loop.run_in_executor(self._threads, self._connected) for _ in self._each]
            for connection in await asyncio.gather(*jobs):
                self._free.put(connection)

        async def fetch(item: int) -> object:
            return await loop.run_in_executor(self._threads, self._ask, item % self._rows)

        return fetch

    @property
    def _each(self) -> range:
        return range(self._settings.threads)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # First nothing more is begun: a query that is cut makes room for the next one.
        self._threads.shutdown(wait=False, cancel_futures=True)
        for connection in list(self._open):
            _cut(connection)
        self._threads.shutdown(wait=True)
        for connection in self._open:
            connection.close()

    def _connected(self) -> Any:
        limit_s = self._settings.command_timeout_s
        options = f"-c statement_timeout={max(round(1_000 * limit_s), 1)}" if limit_s else ""
        try:
            connection = psycopg.connect(
                self._dsn,
                autocommit=True,
                connect_timeout=max(round(self._settings.connect_timeout_s), 1),
                options=options,
            )
        except psycopg.OperationalError as error:
            if isinstance(error, psycopg.errors.ConnectionTimeout) or FULL in str(error):
                raise
            raise NotConnected(str(error)) from None
        self._open.append(connection)
        return connection

    def _ask(self, key: int) -> object:
        """One query, on a connection that no other thread has."""
        connection = self._taken()
        try:
            row = connection.execute(QUERY, (key,)).fetchone()
        finally:
            if connection.closed:
                self._open.remove(connection)
            else:
                self._free.put(connection)
        return checked(row, key)

    def _taken(self) -> Any:
        try:
            return self._free.get_nowait()
        except queue.Empty:
            return self._connected()

    @property
    def effective(self) -> dict[str, Any]:
        """How many connections are open, one for each thread that has asked."""
        return {"connections_open": len(self._open)}

    def kind_of(self, error: BaseException) -> str:
        """The kind of failure, as records count it."""
        if isinstance(error, WrongRow | NotConnected):
            return "payload" if isinstance(error, WrongRow) else "connect"
        if isinstance(error, psycopg.errors.ConnectionTimeout):
            return "timeout"
        if not isinstance(error, psycopg.Error):
            return "other"
        if error.sqlstate is None and FULL in str(error):
            return "too-many-connections"
        return postgres.kind_of_state(error.sqlstate)


def _cut(connection: Any) -> None:
    """End a query that a thread still waits for, on the server too, which would not notice."""
    if connection.info.transaction_status == TransactionStatus.ACTIVE:
        with suppress(psycopg.Error):
            connection.cancel_safe(timeout=CANCELLED_WITHIN_S)
