"""The command line: translates words into calls of `lab`, and results into lines worth reading.

Results go to standard output, progress and errors to standard error. Exit status: 0, 1 for a run
that failed, 2 for bad input, 130 on Ctrl-C.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from labkit import arguments, fields, guards, parts, terminal
from labkit.errors import BadInput, Interrupted, LabError
from labkit.record import Record

T = TypeVar("T")

app = typer.Typer(
    name="labkit",
    help="A performance lab for asyncio and aiohttp: run trials honestly, compare them, "
    "reproduce published benchmarks.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
results_app = typer.Typer(help="The records that were kept.", no_args_is_help=True)
app.add_typer(results_app, name="results")

Json = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help="Write the result as JSON ('-': stdout)."),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any setting, as in transport.limit=30."),
]
Strategy = Annotated[str | None, typer.Option(metavar="NAME", help="How calls are scheduled.")]
Requests = Annotated[str | None, typer.Option(metavar="N", help="How many requests. [1000]")]
Limit = Annotated[str | None, typer.Option(metavar="N", help="How many at a time. [100]")]
Delay = Annotated[
    str | None,
    typer.Option(metavar="EXPR", help="The server's delay, as in 'randint(0,3)*0.1'. [0]"),
]
Loop = Annotated[
    str | None, typer.Option(metavar="NAME", help="The client's loop: asyncio or uvloop. [asyncio]")
]
Seed = Annotated[str | None, typer.Option(metavar="N", help="What the delays are drawn from. [0]")]
Target = Annotated[
    str | None,
    typer.Option(metavar="URL", help="http (the synthetic server), echo, or a URL. [http]"),
]
Transport = Annotated[
    str | None, typer.Option(metavar="NAME", help="How one call is made. [aiohttp]")
]
AllowRemote = Annotated[
    str | None, typer.Option(metavar="HOST", help="Allow this host, which is not loopback.")
]
Deadline = Annotated[
    str | None, typer.Option(metavar="S", help="End a trial after this time. [what it needs, x3]")
]
Repeats = Annotated[
    int | None, typer.Option(metavar="N", help="Fresh-process repeats of each arm.")
]


def main() -> None:
    """The entry point of the `labkit` command."""
    try:
        app()
    except LabError as error:
        terminal.error(str(error))
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output left (as `head` does): nothing more to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _await(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted; what was measured is kept ('labkit results list')"
        ) from None


def _write_json(where: str | None, result: Any) -> None:
    if where is None:
        return
    data = msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n"
    if where == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        Path(where).write_bytes(data)
    except OSError as error:
        raise BadInput(f"--json is {where!r}: it cannot be written ({error.strerror})") from None


def _check_json(where: str | None) -> None:
    """Refuse a place that cannot be written before any time is spent on measuring."""
    if where not in (None, "-") and (
        not Path(str(where)).absolute().parent.is_dir() or Path(str(where)).is_dir()
    ):
        raise BadInput(f"--json is {where!r}: it must be a file in a folder that exists")


def _check_chart(where: Path | None, metric: str = "latency") -> None:
    """Refuse a chart that cannot be drawn or written before any time is spent on measuring."""
    from labkit import stats

    if metric != "latency":
        stats.metric(metric)
    if where is not None and (
        where.suffix not in (".svg", ".png") or not where.absolute().parent.is_dir()
    ):
        raise BadInput(
            f"--chart is {str(where)!r}: it must be a .svg or .png file in a folder that exists"
        )


@app.command(
    epilog="Example: labkit serve --port 8080 --delay 'randint(0,3)'",
)
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
    types = fields.types_of(parts.Server)
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
    values = {name: fields.from_text(name, text, types[name]) for name, text in texts.items()}
    settings = parts.Server(**values, announce_json=json)
    parts.check_listening(settings.host, allow_remote)
    # The server replaces this process: it carries nothing of this one and gets its signals.
    command = [sys.executable, "-m", "labkit.targets.http", msgspec.json.encode(settings).decode()]
    os.execv(sys.executable, command)  # noqa: S606  # our own interpreter and module


@app.command(
    epilog="Example: labkit run --strategy task_pool --requests 20000 --limit 1000 "
    "--delay 'randint(0,3)*0.1' --loop uvloop --json -",
)
def run(
    strategy: Strategy = None,
    requests: Requests = None,
    limit: Limit = None,
    delay: Delay = None,
    loop: Loop = None,
    seed: Seed = None,
    target: Target = None,
    transport: Transport = None,
    deadline: Deadline = None,
    allow_remote: AllowRemote = None,
    pin: Annotated[bool, typer.Option(help="Give client and server a core each.")] = True,
    set_: Set = None,
    chart: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the timeline (.svg or .png).")
    ] = None,
    json: Json = None,
) -> None:
    """Run one trial and keep its record."""
    from labkit import lab

    _check_json(json)
    _check_chart(chart)
    trial = arguments.trial(_named(locals()), set_)
    outcome = _await(lab.run(trial, reporter=terminal.reporter()))
    if chart is not None:
        outcome.plot("timeline").save(chart)
    terminal.show(outcome, quiet=json == "-")
    _write_json(json, outcome.to_dict())
    _exit_1_where_all_failed(outcome.records)


@app.command(
    epilog="Example: labkit compare --axis strategy=semaphore,task_pool,worker_pool "
    "--axis loop=asyncio,uvloop --requests 5000 --limit 500 --repeats 5",
)
def compare(
    axis: Annotated[
        list[str], typer.Option(metavar="NAME=V1,V2", help="A setting to vary; may be repeated.")
    ],
    strategy: Strategy = None,
    requests: Requests = None,
    limit: Limit = None,
    delay: Delay = None,
    loop: Loop = None,
    seed: Seed = None,
    target: Target = None,
    transport: Transport = None,
    deadline: Deadline = None,
    allow_remote: AllowRemote = None,
    pin: Annotated[bool, typer.Option(help="Give client and server a core each.")] = True,
    set_: Set = None,
    repeats: Repeats = None,
    chart: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw --metric (.svg or .png).")
    ] = None,
    metric: Annotated[str, typer.Option(metavar="NAME", help="What --chart draws.")] = "time",
    json: Json = None,
) -> None:
    """Run every combination of the axes' values, interleaved, several repeats each."""
    from labkit import lab

    _check_json(json)
    _check_chart(chart, metric)
    trial = arguments.trial(_named(locals()), set_)
    work = lab.compare(
        trial,
        arguments.axes(trial, axis),
        repeats=5 if repeats is None else repeats,
        reporter=terminal.reporter(),
    )
    study = _await(work)
    if chart is not None:
        study.plot(metric).save(chart)
    terminal.show(study, quiet=json == "-")
    _write_json(json, study.to_dict())
    _exit_1_where_all_failed(study.records)


@app.command(epilog="Example: labkit reproduce garcia-2018 --scale smoke --out results")
def reproduce(
    name: Annotated[str, typer.Argument(help="The benchmark; 'list' names them all.")],
    scale: Annotated[
        str | None,
        typer.Option(metavar="SCALE", help="smoke, workshop or paper. [LABKIT_SCALE, or smoke]"),
    ] = None,
    repeats: Repeats = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the report and charts go.")
    ] = None,
    save_reference: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Store as a reference result, too.")
    ] = None,
    json: Json = None,
) -> None:
    """Run a published benchmark again: published beside measured, with verdicts and a report."""
    from labkit import lab, published, references

    if name == "list":
        terminal.benchmarks([published.named(one) for one in published.names()])
        return
    _check_json(json)
    work = lab.reproduce(name, scale=scale, repeats=repeats, reporter=terminal.reporter())
    reproduction = _await(work)
    report = reproduction.write(out or Path("results") / f"{name}-{reproduction.scale}")
    terminal.show(reproduction, quiet=json == "-")
    terminal.note(f"The report is {report}")
    if save_reference is not None:
        references.save(reproduction, save_reference)
    _write_json(json, reproduction.to_dict())
    _exit_1_where_all_failed(reproduction.records)


@app.command(epilog="Example: labkit ladder --short --chart ladder.svg")
def ladder(
    short: Annotated[
        bool, typer.Option("--short", help="Under a minute, in shorter runs.")
    ] = False,
    rungs: Annotated[
        str | None,
        typer.Option(metavar="ID,ID", help="Which rungs; 'list' names them all. [all]"),
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(metavar="N", help="Repeats of each rung. [5; short: 3]")
    ] = None,
    chart: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the ladder (.svg or .png).")
    ] = None,
    json: Json = None,
) -> None:
    """Climb from a new session for each request to pipelining, and on to the tools of others."""
    from labkit import lab
    from labkit import rungs as ladders

    if rungs == "list":
        terminal.rungs(ladders.load().rung)
        return
    _check_json(json)
    _check_chart(chart)
    chosen = None if rungs is None else [one.strip() for one in rungs.split(",") if one.strip()]
    work = lab.ladder(chosen, short=short, repeats=repeats, reporter=terminal.reporter())
    climb = _await(work)
    if chart is not None:
        climb.plot().save(chart)
    terminal.show(climb, quiet=json == "-")
    _write_json(json, climb.to_dict())
    if not any(one.throughput_rps for one in climb.standings):
        raise SystemExit(1)


@app.command(epilog="Example: labkit doctor --json -")
def doctor(json: Json = None) -> None:
    """Say whether this machine can measure, and what to do where it cannot."""
    from labkit import doctor as checks

    _check_json(json)
    found = checks.examine()
    if json != "-":
        terminal.findings(found)
    _write_json(json, {"checks": found})


@app.command("lab", epilog="Example: labkit lab")
def open_lab(
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
    port: Annotated[int, typer.Option(metavar="N", help="The port of JupyterLab.")] = 8888,
) -> None:
    """Open JupyterLab on the lab's notebooks."""
    from importlib.util import find_spec

    from labkit import places

    if find_spec("jupyterlab") is None:
        raise BadInput("jupyterlab is not installed; install it with: pip install 'labkit[lab]'")
    folder = places.notebooks()
    words = [sys.executable, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1", f"--port={port}"]
    words += [f"--ServerApp.root_dir={folder}", *([] if browser else ["--no-browser"])]
    if (folder / "00_start_here.ipynb").is_file():
        words += ["--LabApp.default_url=/lab/tree/00_start_here.ipynb"]
    # Root may not start Jupyter unless it says so; in a container it is the usual user.
    words += ["--allow-root"] if os.geteuid() == 0 else []
    os.execv(sys.executable, words)  # noqa: S606  # our own interpreter


@results_app.command("list", epilog="Example: labkit results list --last 20")
def results_list(
    last: Annotated[int, typer.Option(metavar="N", min=1, help="How many, the newest last.")] = 20,
    json: Json = None,
) -> None:
    """List the records that were kept, oldest first."""
    from labkit.store import Store

    _check_json(json)
    store = Store()
    found = list(store.scan())
    if json != "-":
        terminal.records(found[-last:], of=len(found), folder=store.folder)
    _write_json(json, {"records": terminal.listed(found)})


@results_app.command("show", epilog="Example: labkit results show 20261120T101500-3f9a2c")
def results_show(
    record_id: Annotated[str, typer.Argument(metavar="ID", help="The id, or how it starts.")],
    chart: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the timeline (.svg or .png).")
    ] = None,
    json: Json = None,
) -> None:
    """Show one record whole."""
    from labkit.outcomes import Run
    from labkit.store import Store

    _check_json(json)
    _check_chart(chart)
    outcome = Run(Store().get(record_id))
    if chart is not None:
        outcome.plot("timeline").save(chart)
    terminal.show(outcome, quiet=json == "-")
    _write_json(json, outcome.record.to_dict())


@results_app.command("export", epilog="Example: labkit results export --csv records.csv")
def results_export(
    csv: Annotated[str | None, typer.Option(metavar="FILE", help="As CSV, a row a record.")] = None,
    json: Json = None,
) -> None:
    """Write all records out: one table as CSV, or the whole records as JSON."""
    from labkit import lab
    from labkit.store import Store

    _check_json(csv)
    _check_json(json)
    if csv is None and json is None:
        csv = "-"
    if csv is not None:
        lab.results().to_csv(sys.stdout if csv == "-" else csv, index=False)
    if json is not None:
        _write_json(json, {"records": [record.to_dict() for record in Store().records()]})


def _named(local: dict[str, Any]) -> dict[str, str | None]:
    names = ("strategy", "requests", "limit", "delay", "loop", "seed", "target", "transport")
    named = {name: local[name] for name in (*names, "allow_remote")}
    return named | {"deadline_s": local["deadline"], "pin": None if local["pin"] else "false"}


def _exit_1_where_all_failed(records: list[Record]) -> None:
    if records and all(guards.failed(record) for record in records):
        raise SystemExit(1)
