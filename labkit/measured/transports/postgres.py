"""What the clients of the target `postgres` have in common: one query, and how it can fail."""

from __future__ import annotations

import os

from labkit.spec.addresses import POSTGRES_VARIABLES, check_dsn

COLUMNS = "SELECT id, name, value FROM labkit.items WHERE id = "
TOO_MANY_CONNECTIONS, QUERY_CANCELED = "53300", "57014"
"""SQLSTATEs: `too_many_connections` and `query_canceled`, which a command's timeout leads to."""
_CONNECTION = ("08", "57P")
"""Their classes where a connection is refused or ended: exceptions of it, and an operator's."""


class PoolTimeout(Exception):
    """No connection of the pool became free in time."""


class NotConnected(Exception):
    """The connection ended before it stood; a server that refuses may close before it is heard."""


class WrongRow(Exception):
    """The server answered with another row than was asked for, or with none."""


def checked(row: object, key: int) -> object:
    """The row, where it is the one with this key."""
    if row is None or row[0] != key:  # type: ignore[index]  # each driver has rows of its own
        raise WrongRow(f"the row of key {key} was asked for, and {row!r} came")
    return row


def own_place(dsn: str) -> str:
    """The DSN, checked, with nothing left in the environment that would lead elsewhere."""
    check_dsn(dsn)
    for name in POSTGRES_VARIABLES:
        os.environ.pop(name, None)
    return dsn


def kind_of_state(state: str | None) -> str:
    """The kind of a failure that the server told, by its SQLSTATE; None: it told none."""
    if state == TOO_MANY_CONNECTIONS:
        return "too-many-connections"
    if state == QUERY_CANCELED:
        return "timeout"
    if state is None or state.startswith(_CONNECTION):
        return "disconnected"
    return "query"
