"""The plan of a study, written before its first run: by it an interrupted study is resumed.

The plan. Whatever is killed, and when, a study that is resumed has the arms, the repeats, the order
and the seeds of one that was not. So its plan is a file of the store (`plans/ID.json`), whole on
the disk before the first run and never changed: each arm's settings, the order, what was asked for,
and what is to be alike for all runs (the machine, versions, a digest of each file that they read).
The study is resumed by asking for the same again, and what that gives must be the plan. How far it
came is written nowhere: its records say so, each of which is there whole or not at all.

Two that ran it at once would make each run twice. So whoever runs it holds a lock on that file,
which the kernel takes back however the process ends.

Rejected: a journal of the steps, which would be a second truth beside the records.
"""

import fcntl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import file_digest
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from labkit import paths
from labkit.errors import BadInput, RecordNotFound
from labkit.launch import environment
from labkit.record import codec, codes
from labkit.record.record import Note, Record
from labkit.record.store import Store, read_whole
from labkit.report import gate, html
from labkit.spec.plan import Step
from labkit.spec.registry import FILE, label_of
from labkit.spec.trial import OWN, Trial
from labkit.spec.validation import refusal

# The command that resumes a study; of one that a file of another id states it is `reproduce`.
_COMMANDS = {"claims": "claims check", "ladder": "ladder", "compare": "compare", "sweep": "sweep"}


class WrittenPlan(msgspec.Struct, frozen=True):
    """The plan of a study. `asked` is what `lab.resume` needs to ask for the same again.

    Of each arm, by its number, it has the `axes` that name it and its `work`, a trial or an
    experiment as plain data. `steps` are arm and repeat in their order. `alike` is what has to be
    the same for all runs.
    """

    study: str
    experiment: str
    asked: dict[str, Any]
    arms: dict[str, Any]
    steps: list[tuple[int, int]]
    alike: dict[str, Any]

    @property
    def resumes(self) -> str:
        """Return what resumes it, in a notebook and in a terminal."""
        kind = _COMMANDS.get(self.experiment, "reproduce" if "file" in self.asked else "compare")
        return f"await lab.resume({self.study!r}) or labkit {kind} --resume {self.study}"

    def trials(self, mine: Any, **allow: Any) -> list[tuple[dict[str, Any], Trial]]:
        """Return the settings and the trial of each arm. `mine` is code that is in no file.

        Raises `BadInput` for code that was not given, and for a remote host and code unless `allow`
        has them, as of `Trial.from_dict`.
        """
        own = OWN | {label_of(one): one for one in ([mine] if callable(mine) else mine)}
        return [(arm["axes"], _trial(arm["work"], own, allow)) for arm in self.arms.values()]


def finished(records: Iterable[Record]) -> list[Record]:
    """Return the records of runs that were not interrupted."""
    return [one for one in records if not codes.has(one, "interrupted")]


class Resumed(NamedTuple):
    """A study that goes on: its plan, its finished runs, and if anything may differ from then."""

    plan: WrittenPlan
    before: Sequence[Record]
    anyway: bool

    def unlike(self, now: WrittenPlan) -> list[Note]:
        """Return a note on what is not as in the plan. Raises `BadInput` where that may not be."""
        plain = [msgspec.json.decode(msgspec.json.encode(one)) for one in (now, self.plan)]
        found = gate.differences(*plain)
        other = [one for one in found if not one.startswith("alike.")]
        # Some of the differences are enough, and some letters of each.
        named = "; ".join([one.removeprefix("alike.")[:200] for one in (other or found)[:4]])
        if other or (found and not self.anyway):
            which = "other-plan" if other else "resume-unlike"
            raise refusal(which, study=self.plan.study, unlike=named)
        note = Note(code="resumed-unlike", message=f"resumed where {named}")
        return codes.with_advice([note] if found else [])


def _trial(work: Mapping[str, Any], mine: Mapping[str, Any], allow: Mapping[str, Any]) -> Trial:
    trial, options = Trial.from_dict(work, **allow), work.get("options", {})
    client, own = getattr(trial.transport, "name", None), trial.own_strategy and trial.strategy
    for role, label in (("transport", client), ("strategy", own)):
        code = label if label and FILE.fullmatch(label) else mine.get(label or "")
        if label and code is None:
            raise refusal("plan-function", role=role, label=label)
        trial = trial.replace(**{role: code}) if label else trial
    for setting, code in trial.named_code.items() if not allow["allow_commands"] else ():
        raise refusal("data-code", setting=setting, code=code)
    taken = options if FILE.fullmatch(own or "") else trial.option_types if own else ()
    return trial.replace(**{f"strategy.{one}": options[one] for one in taken if one in options})


def draw_up(steps: Sequence[Step], study: str, kind: str, asked: dict[str, Any]) -> WrittenPlan:
    """Return the plan of these steps, here and now.

    What has to be alike: the machine, and the version of each package and a digest of each file
    that a setting names. Of a function in memory its name is all that is known.
    """
    alike: dict[str, Any] = {**environment.machine()}
    words, arms = {str((asked["baseline"] or {}).get("of")), asked.get("name", "")}, {}
    for arm, step in sorted({step.arm: step for step in steps}.items()):
        trial = step.work if isinstance(step.work, Trial) else None
        work = trial.to_dict() if trial else msgspec.to_builtins(step.work)
        arms[str(arm)] = {"axes": {**step.axes}, "work": work}
        for _, value in html.flat(work):
            words |= {value, *value.split()}
    for word in words:
        if word.isidentifier() and (version := environment.version(word)):
            alike[word] = version
        in_file = FILE.fullmatch(word)
        with suppress(OSError, ValueError, RuntimeError):
            path = Path(in_file[1] if in_file else word.strip("'@")).expanduser()
            path = path if path.is_file() else paths.data("studies") / f"{word}.toml"
            with path.open("rb") as file:
                alike[str(path)] = file_digest(file, "sha256").hexdigest()[:12]
    return WrittenPlan(study, kind, asked, arms, [(step.arm, step.repeat) for step in steps], alike)


@contextmanager
def claimed(store: Store, study: str) -> Iterator[None]:
    """Keep others from running a study meanwhile. Raises `BadInput` where another process does."""
    with (store.plans.folder / f"{study}.json").open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise refusal("study-runs", study=study) from None
        except OSError:  # a file system without locks
            pass
        yield


def find(store: Store, name: str) -> WrittenPlan:
    """Return the plan of a study: of its id, of how this alone begins, or of the 'last'.

    Raises `RecordNotFound` or `RecordDamaged`.
    """
    last = [name, *store.plans.ids()][-1]
    whole = store.plans.whole_id(last if name == "last" else name)
    path, where = store.plans.folder / f"{whole}.json", f"the plan of study {whole}"
    return codec.parse(read_whole(path, where), WrittenPlan, where)


def unfinished(store: Store, study: str, records: Sequence[Record]) -> str:
    """Return how many runs of a study are there, in a sentence, or why its plan cannot tell.

    Nothing where all are, and where it has no plan.
    """
    try:
        plan = find(store, study)
    except BadInput as error:
        return "" if isinstance(error, RecordNotFound) else str(error)
    there = {(one.arm, one.repeat) for one in finished(records)}
    how = {"n": len(there), "of": len(plan.steps), "plan": plan}
    return paths.sentence("unfinished", **how) if len(there) < len(plan.steps) else ""
