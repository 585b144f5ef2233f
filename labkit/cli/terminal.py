"""What a command does with its work and shows of it.

Results go to standard output, progress and errors to standard error, a JSON result to a file.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from labkit.errors import Interrupted, LabError, TrialFailed
from labkit.escaping import visible

if TYPE_CHECKING:
    from labkit.cli import options
    from labkit.lab.progress import Reporter
    from labkit.record.record import Record

T = TypeVar("T")
STORED = "'labkit results list' shows what was stored"


# Output may fail in any way, and nothing that was measured is lost by it. The plan: a stream that
# is closed gets a place to go before anything else can take its number; letters that it cannot
# encode are written as question marks; where a write fails, what follows is thrown away. The end
# of a reader (as `head` is) is no fault, nor is a lost line of progress; results that nobody gets
# are.


def prepare() -> None:
    """Open the standard streams that are closed; let none of them fail for a letter."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115  # for the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def discard(stream: TextIO) -> None:
    """Let what is written to the stream from now on go nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def no_end_of_reader() -> Iterator[None]:
    """Ignore that nobody reads standard output any more."""
    try:
        yield
    except BrokenPipeError:
        discard(sys.stdout)


def report(text: str) -> None:
    """Write on standard error, if that is possible."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        discard(sys.stderr)


def error(message: str) -> None:
    """Write one line on standard error."""
    report(f"labkit: {visible(message, lines=False)}\n")


def note(message: str) -> None:
    """Write one line on standard error that is no error: standard output holds results only."""
    report(f"{visible(message)}\n")


def say(text: str) -> None:
    """Write lines on standard output."""
    with no_end_of_reader():
        sys.stdout.write(f"{visible(text)}\n")
        sys.stdout.flush()


def reporter() -> Reporter:
    """Return the reporter for where standard error goes."""
    from labkit.lab import progress  # takes a while

    return progress.LiveLine(report) if sys.stderr.isatty() else progress.Lines(report)


def perform(
    start: Callable[..., Coroutine[Any, Any, Any]],
    asked: options.Asked,
    *,
    save: Callable[[Any], object] = lambda outcome: None,
    text: Callable[[Any], str] = lambda outcome: str(outcome.text()),
    stored: str = STORED,
) -> None:
    """Wait for what `start` makes of a `reporter`, write the files asked for, show the outcome.

    `save` writes files of its own. `stored` says what there is after Ctrl-C. Ends with status 1
    where all of its records failed; a trial that failed is shown by what its record has, and
    replaces an older result at `json` as well.
    """
    from labkit.cli import options

    async def work() -> Any:
        from labkit.launch import process

        # What takes longest begins first, and this process imports the rest meanwhile.
        process.start_ahead("labkit.measured.worker")
        try:
            return await start(reporter=reporter())
        finally:
            await process.stop_ahead()

    wanted, json = getattr(asked, "wanted", options.Wanted({})), asked.json
    try:
        outcome = wait(work(), stored=stored)
    except (TrialFailed, Interrupted) as failure:
        from labkit.report.study import Outcome, Run

        # An older result must not stay there, to be taken for this one's.
        record = getattr(failure, "record", None)
        found = Run(record) if record else Outcome([])
        if json is not None:
            write_json(json, found.to_dict() | {"failed": str(failure)})
        if record and wanted.openmetrics:
            write("--openmetrics", wanted.openmetrics, found.openmetrics())
        if record and json != "-":
            say(found.text())
        raise
    try:
        save(outcome)
        remark = _written(outcome, wanted)
    finally:  # files that cannot be written take nothing from what is shown
        shown = text(outcome)
        missed = outcome.missed(*wanted.fail_if) if wanted.fail_if else []
        if json is not None:  # JSON needs pandas, whose import takes a third of a second
            write_json(json, outcome.to_dict() | ({"missed": missed} if wanted.fail_if else {}))
        if "-" not in (json, wanted.markdown, wanted.openmetrics):
            say(shown)
    if remark is not None:
        note(remark)
    changes = getattr(outcome, "changes", None)  # a profile has none
    worse = changes.regressions if changes else []
    faults = [*missed, *(f"worse than the baseline: {one.metric}, {one.arm}" for one in worse)]
    for sentence in faults:
        error(sentence)
    if faults or all_failed(outcome.records):
        raise SystemExit(1)


def _written(outcome: Any, wanted: options.Wanted) -> str | None:
    """Write the files that are wanted of an outcome; return what there is to say of them."""
    if wanted.save:
        outcome.save(wanted.save)
    if wanted.openmetrics:
        write("--openmetrics", wanted.openmetrics, outcome.openmetrics())
    if wanted.markdown and outcome.changes:
        write("--markdown", wanted.markdown, outcome.changes.markdown())
    if not wanted.out:
        return None
    page = outcome.write(wanted.out)
    pictures = [f", its picture {one}" for one in page.parent.glob(f"{outcome.chart}.png")]
    return f"The report is {page}{''.join(pictures)}"


def wait(work: Coroutine[Any, Any, T], *, stored: str = STORED) -> T:
    """Return the result of `work`; Ctrl-C ends it, and `stored` says what there is then."""
    import asyncio  # takes a while

    results = []

    async def main() -> None:
        # Not returned: at its end `asyncio.run` makes the repr of what its task returned, by a
        # look-up of a signal that fails. Of an outcome that is the whole text, and takes a second.
        results.append(await work)

    try:
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        asyncio.run(main())
    except KeyboardInterrupt as error:
        # What the runner says is stored, in the error that ended its task, names what resumes it.
        raise Interrupted(str(error.__context__ or "") or f"interrupted; {stored}") from None
    return results[0]


def all_failed(records: list[Record]) -> bool:
    """Return True if there are trials, and none did what it was to do or one was not stored."""
    from labkit.record import codes

    failed = bool(records) and all(codes.failed(record) for record in records)
    return failed or any(codes.has(record, "not-stored") for record in records)


def write_json(where: str | None, result: Any) -> None:
    """Write `result` where `--json` says, if it says so."""
    if where is not None:
        import msgspec  # here: help needs none

        data = msgspec.json.format(msgspec.json.encode(result), indent=2)
        write("--json", where, data.decode() + "\n")


def show(text: str, json: str | None, result: Any) -> None:
    """Write lines on standard output, unless the JSON goes there, and the JSON where it goes."""
    if json != "-":
        say(text)
    write_json(json, result)


def write(option: str, where: str, text: str) -> None:
    """Write a text into the file that an option names, or on standard output, in UTF-8."""
    data = text.encode()
    if where == "-":
        with no_end_of_reader():
            # Whatever letters a terminal has, JSON is UTF-8.
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.buffer.write(data)
            else:
                sys.stdout.write(text)
            sys.stdout.flush()
        return
    try:
        Path(where).write_bytes(data)
    except OSError as error:
        what = f"{option} is {where!r}"
        raise LabError(f"{what}: it cannot be written ({error.strerror}); {STORED}") from None
