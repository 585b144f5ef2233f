"""What is written in the fields of a panel -> settings, or what is wrong, by the field. Pure.

The messages are the lab's own: each begins with the name of the setting that it is about, which is
how it finds its field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from labkit.errors import BadInput
from labkit.notebook.panel.settings import Settings, Strategy
from labkit.spec import validation
from labkit.spec.trial import Trial

T = TypeVar("T")

FIELDS = (
    *("target", "url", "transport", "strategy", "loop"),
    *("requests", "limit", "delay", "repeats"),
)
"""The fields at which something can be wrong."""
GENERAL = ""
"""Where a message belongs that is about no field of the panel."""
WAITS = {"http": "delay", "postgres": "query_s"}
"""What the field `delay` sets, for each target that can be told to wait."""


@dataclass(frozen=True, kw_only=True)
class Entries:
    """The fields as they stand: chosen names, and texts that may be wrong."""

    target: str
    transport: str
    strategies: Sequence[Strategy]
    loops: Sequence[str]
    url: str = ""
    requests: str = "1000"
    limit: str = "100"
    delay: str = "0"
    repeats: str = "1"

    @classmethod
    def of(cls, trial: Trial, strategies: Sequence[Strategy], repeats: int) -> Entries:
        """The fields that say what the trial says."""
        waits = WAITS.get(trial.target.kind)
        return cls(
            target=trial.target.kind,
            url=trial.url or "",
            transport=trial.transport.kind,
            strategies=tuple(strategies) or (trial.get("strategy"),),
            loops=(trial.loop,),
            requests=str(trial.requests),
            limit=str(trial.limit),
            delay="0" if waits is None else str(trial.get(f"target.{waits}")),
            repeats=str(repeats),
        )


class _Reading:
    """One reading of the fields: what was wrong in each so far."""

    def __init__(self) -> None:
        self.wrong: dict[str, str] = {}

    def attempt(self, field: str, work: Callable[[], T]) -> T | None:
        """What `work` gives; None where it is refused, and then that is said at the field."""
        try:
            return work()
        except BadInput as error:
            self.wrong.setdefault(field_of(str(error)) or field, str(error))
            return None


def read(
    base: Trial, entries: Entries, allowed: Callable[[Trial], None] = lambda trial: None
) -> tuple[Settings | None, Mapping[str, str]]:
    """The settings, or None and a sentence for each field that has something wrong.

    What the panel has no field for stays as `base` has it, as far as the target allows.
    `allowed` raises `BadInput` for a trial that this machine cannot run.
    """
    reading = _Reading()
    trial = reading.attempt("target", lambda: _of_kinds(base, entries)) or Trial()
    texts = [text for text in _texts(entries) if not reading.wrong or text[1] != "delay"]
    for name, field, text in texts:
        trial = _with(reading, trial, name, field, text) or trial
    repeats = reading.attempt(
        "repeats", lambda: validation.from_text("repeats", entries.repeats, validation.Repeats)
    )
    if reading.wrong or repeats is None:
        return None, reading.wrong
    settings = reading.attempt(GENERAL, lambda: _settings(trial, entries, repeats))
    for _, one in settings.arms if settings else ():
        reading.attempt(GENERAL, lambda one=one: allowed(one))  # type: ignore[misc] # one of many
    return (None if reading.wrong else settings), reading.wrong


def field_of(message: str) -> str:
    """The field that a message of the lab names first, the empty text where it is none."""
    named = message.split(" ", 1)[0].rstrip(":")
    role, dot, leaf = named.partition(".")
    name = leaf if dot and role in ("target", "workload", "trial") else named
    return "delay" if name in WAITS.values() else name if name in FIELDS else GENERAL


def _of_kinds(base: Trial, entries: Entries) -> Trial:
    """The base with the chosen target and transport; a strategy that any workload may have."""
    if entries.target != "url":
        return base.replace(target=entries.target, transport=entries.transport)
    url = entries.url.strip()
    if "://" not in url:
        wrong = f"is {url!r}, which is no URL" if url else "is left empty"
        raise BadInput(f"url {wrong}: write one such as http://127.0.0.1:9000")
    if base.url == url:
        return base.replace(transport=entries.transport)
    return base.replace(target=url, transport=entries.transport)


def _texts(entries: Entries) -> list[tuple[str, str, str]]:
    """Setting, field and text of each field that holds one; not of what the target has not."""
    listed = [(name, name, getattr(entries, name)) for name in ("requests", "limit")]
    if entries.target in WAITS:
        listed.append((f"target.{WAITS[entries.target]}", "delay", entries.delay))
    return listed


def _with(reading: _Reading, trial: Trial, name: str, field: str, text: str) -> Trial | None:
    def changed() -> Trial:
        # A text that is wrong in itself is said of it, before what it would mean with others.
        value = validation.from_text(field, text, trial.type_of(name))
        return trial.replace(**{name: value})

    return reading.attempt(field, changed)


def _settings(trial: Trial, entries: Entries, repeats: int) -> Settings:
    return Settings(base=trial, strategies=entries.strategies, loops=entries.loops, repeats=repeats)
