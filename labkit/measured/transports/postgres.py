"""What the clients of the target `postgres` share: one query, and how it can fail."""

from __future__ import annotations

import os
from typing import Any

from labkit.measured.transports.client import Destination, Kinds, Settings, TransportClient
from labkit.spec.addresses import POSTGRES_VARIABLES, check_dsn

COLUMNS = "SELECT id, name, value FROM labkit.items WHERE id = "
# SQLSTATEs: `too_many_connections` and `query_canceled`, which a command's timeout leads to.
TOO_MANY_CONNECTIONS, QUERY_CANCELED = "53300", "57014"
# Classes of SQLSTATEs where a connection is refused or ended: its exceptions, an operator's.
CONNECTION_STATES = ("08", "57P")
# What libpq writes then: before it is connected, its errors have a text and no SQLSTATE.
FULL = "too many clients"


class PoolTimeout(Exception):
    """No connection of the pool became free in time."""


class NotConnected(Exception):
    """The connection ended before it was ready; a server that refuses one may just close it."""


class WrongRow(Exception):
    """The server answered with another row than was asked for, or with none."""


KINDS: Kinds = ((PoolTimeout, "pool-timeout"), (NotConnected, "connect"), (WrongRow, "payload"))


class PostgresClient(TransportClient[Settings]):
    """A client of a database: `row = await fetch(item)`."""

    def __init__(self, settings: Settings, to: Destination) -> None:
        super().__init__(settings, to)
        check_dsn(to.url)
        for name in POSTGRES_VARIABLES:  # nothing may lead elsewhere
            os.environ.pop(name, None)


def check_row(row: Any, key: int) -> object:
    """Return the row. Raise `WrongRow` where it is not the one with this key."""
    if row is None or row[0] != key:
        raise WrongRow(f"the row of key {key} was asked for, and {row!r} came")
    return row


def kind_of_error(error: Any) -> str:
    """Return the kind of an error of the server: by its SQLSTATE, by its text where it has none."""
    state: str | None = error.sqlstate
    if state == TOO_MANY_CONNECTIONS or (state is None and FULL in str(error)):
        return "too-many-connections"
    if state == QUERY_CANCELED:
        return "timeout"
    if state is None or state.startswith(CONNECTION_STATES):
        return "disconnected"
    return "query"
