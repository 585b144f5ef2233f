"""What the clients of the target `postgres` share: one query, and how it can fail."""

import os
from typing import Any

from labkit.measured.transports.client import Destination, Settings, TransportClient
from labkit.spec.addresses import POSTGRES_VARIABLES, check_dsn

COLUMNS = "SELECT id, name, value FROM labkit.items WHERE id = "
# What libpq writes then: before it is connected, its errors have a text and no SQLSTATE.
FULL = "too many clients"


class PoolTimeout(Exception):
    """No connection of the pool became free in time."""


class NotConnected(Exception):
    """The connection ended before it was ready; a server that refuses one may just close it."""


class WrongRow(Exception):
    """The server answered with another row than was asked for, or with none."""


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
