"""The options that commands share, and what each command does with them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from labkit.cli import arguments
from labkit.errors import BadInput

Command = TypeVar("Command", bound=Callable[..., Any])

Json = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help="Write the result as JSON ('-': stdout)."),
]
Chart = Annotated[Path | None, typer.Option(metavar="FILE", help="Draw --metric (.svg or .png).")]
Shown = Annotated[
    str,
    typer.Option(
        "--metric",
        metavar="NAME",
        help="What --chart draws: timeline, waterfall, phases, latency or a metric.",
    ),
]
Repeats = Annotated[
    int | None, typer.Option(metavar="N", help="Fresh-process repeats of each arm.")
]


def _text(metavar: str, says: str) -> Any:
    return Annotated[str | None, typer.Option(metavar=metavar, help=says)]


_OF_A_TRIAL: dict[str, Any] = {
    "strategy": _text("NAME", "How calls are scheduled. [worker_pool]"),
    "requests": _text("N", "How many requests. [1000]"),
    "limit": _text("N", "How many at a time. [100]"),
    "rate": _text("RPS", "Send so many a second, whatever the answers do. [as they come]"),
    "arrival": _text("NAME", "How --rate is spaced: constant or poisson. [constant]"),
    "delay": _text("EXPR", "The server's delay, as in 'randint(0,3)*0.1'. [0]"),
    "loop": _text("NAME", "The client's loop: asyncio or uvloop. [asyncio]"),
    "seed": _text("N", "What the delays are drawn from. [0]"),
    "target": _text("NAME", "http (synthetic), echo, postgres, valkey, or a URL. [http]"),
    "transport": _text("NAME", "How one call is made. [aiohttp, or the driver of the target]"),
    "deadline": _text("S", "End a trial after this time. [what it needs, x3]"),
    "allow_remote": _text("HOST", "Allow this host, which is not loopback."),
}
_PIN = Annotated[bool, typer.Option(help="Give client and server a core each.")]
_SET = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any setting, as in transport.limit=30."),
]


def example(text: str) -> Callable[[Command], Command]:
    """Show `text` at the end of the command's help."""

    def marked(command: Command) -> Command:
        command.epilog = f"Example: {text}"  # type: ignore[attr-defined] # ours, on a function
        return command

    return marked


def takes_trial(command: Command) -> Command:
    """Give `command` the options that describe a trial; it gets them as its first argument."""
    own = inspect.signature(command, eval_str=True)
    _, *others = own.parameters.values()
    shared = {**_OF_A_TRIAL, "pin": _PIN, "set_": _SET}
    defaults = {"pin": True}
    added = [
        inspect.Parameter(name, others[0].kind, default=defaults.get(name), annotation=kind)
        for name, kind in shared.items()
    ]

    @wraps(command)
    def with_trial(**given: Any) -> Any:
        options = {name: given.pop(name) for name in shared}
        return command(_trial(options), **given)

    # typer makes options of what the signature holds, and asks the annotations for their types.
    first = [one for one in others if one.default is inspect.Parameter.empty]
    rest = [one for one in others if one not in first]
    parameters = [*first, *added, *rest]
    with_trial.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined] # as above
    with_trial.__annotations__ = {one.name: one.annotation for one in parameters}
    return with_trial  # type: ignore[return-value] # the same command, as typer sees it


def _trial(options: dict[str, Any]) -> Any:
    sets, pin, deadline = (options.pop(name) for name in ("set_", "pin", "deadline"))
    named = options | {"deadline_s": deadline, "pin": None if pin else "false"}
    return arguments.trial(named, sets)


def saving(chart: Path | None, *metric: str) -> Callable[[Any], None]:
    """What writes the chart of an outcome, where `--chart` asks for it."""

    def save(outcome: Any) -> None:
        if chart is not None:
            outcome.plot(*metric).save(chart)

    return save


def write_json(where: str | None, result: Any) -> None:
    """Write `result` where `--json` says, if it says so."""
    if where is None:
        return
    data = msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n"
    if where == "-":
        _to_standard_output(data)
        return
    try:
        Path(where).write_bytes(data)
    except OSError as error:
        raise BadInput(f"--json is {where!r}: it cannot be written ({error.strerror})") from None


def _to_standard_output(data: bytes) -> None:
    if hasattr(sys.stdout, "buffer"):
        sys.stdout.buffer.write(data)
    else:  # a notebook's takes text alone
        sys.stdout.write(data.decode())
    sys.stdout.flush()


def check_json(where: str | None) -> None:
    """Refuse a place that cannot be written before any time is spent on measuring."""
    if where not in (None, "-") and (
        not Path(str(where)).absolute().parent.is_dir() or Path(str(where)).is_dir()
    ):
        raise BadInput(f"--json is {where!r}: it must be a file in a folder that exists")


def check_chart(
    where: Path | None, metric: str = "latency", *, of_one: bool = False, traced: bool = True
) -> None:
    """Refuse a chart that cannot be drawn or written before any time is spent on measuring.

    `of_one` says that it is of a single trial, `traced` that requests are traced.
    """
    if where is not None or metric not in ("latency", "time", "timeline"):
        from labkit.charts import kinds  # takes a while

        kinds.check(metric, of_one=of_one)
        if metric in kinds.TRACED and not traced:
            raise BadInput(
                f"--metric is {metric!r}: it shows phases of requests, which are not traced here; "
                "add --set transport.trace=true"
            )
    if where is not None and (
        where.suffix not in (".svg", ".png") or not where.absolute().parent.is_dir()
    ):
        raise BadInput(
            f"--chart is {str(where)!r}: it must be a .svg or .png file in a folder that exists"
        )
