"""psycopg, a synchronous driver: threads of an executor, each with a connection of its own.

The event loop hands a query to a thread and is woken when it is done: what a program does that has
no asynchronous driver.
"""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from labkit.measured.transports import postgres
from labkit.measured.transports.client import Destination, Fetch
from labkit.spec.transports import PsycopgTransport

QUERY = f"{postgres.COLUMNS}%s"
CANCELLED_WITHIN_S = 1.0


class Psycopg(postgres.PostgresClient[PsycopgTransport]):
    """`row = await fetch(item)`."""

    def __init__(self, settings: PsycopgTransport, to: Destination) -> None:
        super().__init__(settings, to)
        self._threads = ThreadPoolExecutor(settings.threads)
        self._here = threading.local()
        self._open: list[Any] = []

    async def open(self) -> Fetch:
        """Connect each thread, unless that is left to the queries; return `fetch`."""
        loop = asyncio.get_running_loop()
        self.stack.callback(self._end)
        if not self.settings.overcommit:
            # So that each thread has one of these, none begins before there are all.
            all_there = threading.Barrier(self.settings.threads)
            begin = partial(loop.run_in_executor, self._threads, self._connect, all_there)
            await asyncio.gather(*(begin() for _ in range(self.settings.threads)))

        async def fetch(item: int) -> object:
            return await loop.run_in_executor(self._threads, self._ask, item % self.to.rows)

        return fetch

    def _end(self) -> None:
        # First nothing more is begun: a query that is cut makes room for the next one.
        self._threads.shutdown(wait=False, cancel_futures=True)
        for connection in list(self._open):
            # A thread still waits for it, and the server would not notice that nobody does.
            if connection.info.transaction_status == TransactionStatus.ACTIVE:
                with suppress(psycopg.Error):
                    connection.cancel_safe(timeout=CANCELLED_WITHIN_S)
        self._threads.shutdown(wait=True)
        for connection in self._open:
            connection.close()

    def _connect(self, all_there: threading.Barrier | None = None) -> Any:
        if all_there is not None:
            all_there.wait()
        limit_s = self.settings.command_timeout_s
        options = f"-c statement_timeout={max(round(1_000 * limit_s), 1)}" if limit_s else ""
        within_s = max(round(self.settings.connect_timeout_s), 1)
        how: dict[str, Any] = {"autocommit": True, "connect_timeout": within_s, "options": options}
        try:
            connection = psycopg.connect(self.to.url, **how)
        except psycopg.OperationalError as error:
            if isinstance(error, psycopg.errors.ConnectionTimeout) or postgres.FULL in str(error):
                raise
            raise postgres.NotConnected(str(error)) from None
        self._open.append(connection)
        self._here.connection = connection
        return connection

    def _ask(self, key: int) -> object:
        """Make one query, on the connection of this thread."""
        connection = getattr(self._here, "connection", None)
        if connection is None or connection.closed:
            connection = self._connect()
        return postgres.check_row(connection.execute(QUERY, (key,)).fetchone(), key)

    @property
    def effective(self) -> dict[str, Any]:
        """Return how many connections are open, one for each thread that has asked."""
        return {"connections_open": sum(not one.closed for one in self._open)}
