"""`labkit serve`."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import msgspec
import typer

from labkit.cli.commands.options import example
from labkit.spec import parts, validation


@example("labkit serve --port 8080 --delay 'randint(0,3)'")
def serve(
    host: Annotated[
        str, typer.Option(metavar="HOST", help="The address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        str, typer.Option(metavar="N", help="The port; 0 takes any that is free.")
    ] = "8080",
    delay: Annotated[str, typer.Option(metavar="EXPR", help="The delay of GET /{name}.")] = "0",
    seed: Annotated[str, typer.Option(metavar="N", help="What the delays are drawn from.")] = "0",
    engine: Annotated[
        str, typer.Option(metavar="NAME", help="The front-end: wire or aiohttp.")
    ] = "wire",
    loop: Annotated[str, typer.Option(metavar="NAME", help="uvloop or asyncio.")] = "uvloop",
    workers: Annotated[
        str, typer.Option(metavar="N", help="How many processes share the port.")
    ] = "1",
    body_bytes: Annotated[
        str | None, typer.Option(metavar="N", help="Answer GET /{name} with N bytes.")
    ] = None,
    client_max_size: Annotated[
        str, typer.Option(metavar="BYTES", help="The largest body that POST /echo takes.")
    ] = str(1 << 20),
    keep_log: Annotated[
        str, typer.Option(metavar="N", help="Show the last N requests at /-/log.")
    ] = "0",
    allow_remote: Annotated[
        str | None, typer.Option(metavar="HOST", help="Allow listening on this address.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Say where it listens as JSON.")] = False,
) -> None:
    """Run the synthetic HTTP server until Ctrl-C."""
    types = validation.types_of(parts.Server)
    texts = {
        "host": host,
        "port": port,
        "delay": delay,
        "seed": seed,
        "engine": engine,
        "loop": loop,
        "workers": workers,
        "keep_log": keep_log,
        "client_max_size": client_max_size,
    } | ({"body_bytes": body_bytes} if body_bytes is not None else {})
    values = {name: validation.from_text(name, text, types[name]) for name, text in texts.items()}
    settings = parts.Server(**values, announce_json=json)
    parts.check_listening(settings.host, allow_remote)
    # The server replaces this process: it carries nothing of this one and gets its signals.
    command = [
        sys.executable,
        "-m",
        "labkit.measured.targets.http",
        msgspec.json.encode(settings).decode(),
    ]
    os.execv(sys.executable, command)  # noqa: S606  # our own interpreter and module
