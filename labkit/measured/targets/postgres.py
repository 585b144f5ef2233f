"""`python -m labkit.measured.targets.postgres '<JSON of PostgresServer>'`: run a PostgreSQL.

This process serves nothing itself. It starts the server, or prepares the one that
`LABKIT_POSTGRES_DSN` names, says where it is, and ends what it has started when it ends. SIGUSR1
makes it print, as one line of JSON, what the server counted since then.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from labkit.errors import BadInput, TrialFailed
from labkit.measured.targets import postgres_server, process
from labkit.spec import addresses
from labkit.spec.targets import PostgresServer

USAGE = """usage: python -m labkit.measured.targets.postgres '{"rows": 10000}'"""


def main(arguments: list[str]) -> int:
    """Run until a signal comes; the exit status is 0 then, and 2 where nothing could start."""
    return process.run(arguments, PostgresServer, _serve, USAGE)


def _serve(settings: PostgresServer) -> int:
    with _server(settings) as (dsn, pid):
        in_force, before = asyncio.run(_prepared(dsn, settings))
        own = pid is not None
        in_force |= {"auth": settings.auth if own else None, "own": own}
        announcement = {"url": dsn, "pid": pid, "in_force": in_force, "counts": True}
        process.serve_counts(announcement, lambda: asyncio.run(_counted(dsn, before, own=own)))


@contextmanager
def _server(settings: PostgresServer) -> Iterator[tuple[str, int | None]]:
    """The DSN, and the process id of its postmaster where the lab has started it."""
    if find_spec("asyncpg") is None:
        raise BadInput(
            "target is 'postgres': asyncpg is not installed; install it with: "
            "pip install 'labkit[databases]'"
        )
    for name in [name for name in os.environ if name in addresses.POSTGRES_VARIABLES]:
        del os.environ[name]
    own = os.environ.get(addresses.POSTGRES_DSN)
    if own:
        addresses.check_dsn(own)
        yield own, None
        return
    with postgres_server.running(settings) as there:
        yield there


async def _prepared(dsn: str, settings: PostgresServer) -> tuple[dict[str, Any], dict[str, int]]:
    from labkit.measured.targets import postgres_items as items

    try:
        return await items.prepared(dsn, settings)
    except (OSError, items.InterfaceError, items.PostgresError) as error:
        raise TrialFailed(f"PostgreSQL could not be prepared ({error})") from None


async def _counted(dsn: str, before: Mapping[str, int], *, own: bool) -> dict[str, int]:
    """What was counted; of a server of the user's own without connections: others open some too.

    Nothing where it cannot be asked: it is gone, or all of its connections are in use.
    """
    from labkit.measured.targets import postgres_items as items

    try:
        counts = await items.since(dsn, before)
    except (OSError, items.InterfaceError, items.PostgresError):
        return {}
    return counts if own else {"requests": counts["requests"]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
