"""Results from what is stored: records of a study, references of benchmarks, files of other tools.

A reference is a benchmark that was measured on a machine which its records name: one JSON file a
benchmark in `data/reference`, and the picture of that file. It has all records, also of runs that
failed, are invalid or were made again. Whatever is drawn of them is computed as for the reader's
own, and their verdicts are those of today's guards. Only the first repeat keeps its timeline.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from labkit import paths
from labkit.errors import BadInput, LabError
from labkit.launch import programs
from labkit.record import codes, index
from labkit.record.record import Record
from labkit.record.store import Store
from labkit.report import gate
from labkit.report.file_study import ARM, Audit, FileStudy, Ledger
from labkit.report.ladder import Ladder
from labkit.report.reproduction import Reproduction
from labkit.report.study import Study, Sweep, Timed
from labkit.spec.trial import Trial
from labkit.spec.validation import refusal
from labkit.studies import study_file
from labkit.studies.parts import THEN
from labkit.studies.study_file import StudyFile, StudyPlan

# The results of studies that files state, by the chart that a file asks for.
OF_FILE: Mapping[str, type[FileStudy]] = {
    "triptych": Reproduction,
    "throughput": Reproduction,
    "forest": Ledger,
    "ratios": Ledger,
    "ladder": Ladder,
    "audit": Audit,
}


def study_of(records: Sequence[Record], left_out: Sequence[str] = ()) -> Study:
    """Return the result that these records of one study are.

    A run that was made again counts once, by the record that is `codes.preferred`. Where a study
    file has changed since, or is no longer there, the records are shown as a comparison of arms,
    without verdicts. `left_out` says of files that might be of the study why they are not.
    """
    # In the order of the runs: the clock, which their ids tell, may have been set back between two.
    ordered = sorted(records, key=lambda record: (record.order, codes.preferred(record)))
    last = {(str(record.axes), record.repeat): record for record in ordered}.values()
    records = sorted(last, key=lambda record: record.arm)
    if records[0].experiment == "sweep" and "limit" in records[0].axes:
        found: Study = Sweep(records)
    elif records[0].experiment == "time":
        found = Timed(records, ["program"])
    else:
        axes = dict.fromkeys(axis for record in records for axis in record.axes)
        found = _file_study(records) or Study(records, list(axes))
    found.left_out = list(left_out)
    return found


def _file_study(records: Sequence[Record]) -> FileStudy | None:
    """Return the study of the file and the scale whose arms these records are of, if any is."""
    name = records[0].experiment or ""
    if name not in study_file.names():
        return None
    file, cores = study_file.load(name), int(records[0].environment.get("cores_usable") or 1)
    for scale in file.scales:
        plan = file.plan(scale, cores)
        if all(_is_of(record, plan, file) for record in records):
            ran = {record.axes[ARM] for record in records}
            whole = [one.id for one in file.claims if plan.arms_of(one.id) <= ran]
            return OF_FILE[file.chart](file, scale, records, claims=None if file.arms else whole)
    return None


def _is_of(record: Record, plan: StudyPlan, file: StudyFile) -> bool:
    """Return whether a record is of an arm of this plan, with the settings that it has there."""
    work = plan.arms.get(arm := record.axes.get(ARM, ""))
    if arm.endswith(THEN):  # where its program lies differs
        return work is not None
    if isinstance(work, Trial):
        # On a server that serves all arms the target is where it happened to listen.
        asked, ran = work.to_dict(), dict(record.trial)
        # A setting that an older record does not have was as it is by default.
        ran |= {k: asked[k] | ran.get(k, {}) for k in asked if isinstance(asked[k], dict)}
        return all(asked[k] == ran.get(k) for k in asked if k != "target" or file.server is None)
    coded = (record.ran, record.trial.get("settings"))
    return work is not None and (work.name, work.settings) == coded


def reference(name: str) -> Reproduction:
    """Return the stored reference of a benchmark, or the one in the file of that path.

    Raises `BadInput` where there is none.
    """
    path = Path(name)
    if path.suffix != ".json":
        path = paths.data("reference") / f"{study_file.load(name).id}.json"
    if not path.is_file():
        listed = ", ".join(sorted(one.stem for one in path.parent.glob("*.json"))) or "none"
        raise BadInput(f"benchmark {name!r} has no reference results; there are: {listed}")
    saved = gate.saved(path)
    records = list(map(codes.judged_anew, saved.records))
    file = study_file.load(saved.benchmark)
    found = Reproduction(file, saved.scale, records, absent=saved.absent)
    found.made_again = list(map(codes.judged_anew, saved.made_again))
    return found


def save_reference(study: FileStudy, path: Path) -> None:
    """Store a study as a reference, with the runs that were made again, and its picture beside it.

    The picture is there whole too, or as it was before.
    """
    last = {record.id for record in study.records}
    again = [one for one in Store().of_study(str(study.records[0].study)) if one.id not in last]
    more = {"benchmark": study.file.id, "scale": study.scale, "absent": study.absent}
    gate.save(study.records, path, made_again=again, **more)
    # The file of the study may be one of the user's own, which no name leads to.
    found = Reproduction(study.file, study.scale, study.records, absent=study.absent)
    found.made_again = again
    paths.write_whole(path.with_suffix(".png"), found.plot().png())


def others(path: Path) -> dict[str, Any]:
    """Return what a tool of others wrote of its run, under the names of metrics, in base units.

    It is one of `data/tools.toml`, known by what is in the file. Raises `BadInput` for any other.
    """
    try:
        figures = _numbers(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror})") from None
    except (LabError, LookupError, ValueError):
        figures = {}
    for tool, row in paths.table("tools.toml").items():
        rules, found = {**row}, dict[str, list[float]]()
        scale = rules.pop("scale")
        for name, rule in rules.items():
            found[name] = [value for key, value in figures.items() if re.fullmatch(rule, key)]
        answers, failed, rps = (sum(found.pop(name)) for name in ("answers", "failed", "rps"))
        if answers > 0 and rps > 0:
            ok = {"ok": answers - failed, "failures": failed, "wall_s": answers / rps}
            latency = {f"latency_{name}_s": scale * one[0] for name, one in found.items() if one}
            return {"strategy": tool, **ok, "throughput_rps": ok["ok"] / ok["wall_s"], **latency}
    raise refusal("no-results", path=path)


_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def _numbers(text: str) -> dict[str, float]:
    """Return the numbers in a file by their names, as `data/tools.toml` has them."""
    if text.lstrip().startswith("{"):
        named = index.flat(msgspec.json.decode(text, type=dict[str, Any]))
        return {name: float(one) for name, one in named if isinstance(one, int | float)}
    if "Requests/sec:" not in text:
        rows = {row["Name"]: row for row in csv.DictReader(text.splitlines())}
        return {name: float(one) for name, one in rows["Aggregated"].items() if one[:1].isdigit()}
    counts, wall_s = programs.RIVALS["wrk"].read(text)
    figures = {"answers": float(counts.sent), "failed": float(counts.failures)}
    figures["Requests/sec"] = counts.sent / wall_s
    lines = re.findall(r"^ +([\d.]+%) +([\d.]+)(us|ms|s|m)$", text, flags=re.MULTILINE)
    mean_and_max = re.search(r"Latency +([\d.]+)(us|ms|s|m) +\S+ +([\d.]+)(us|ms|s|m)", text)
    if mean_and_max:
        lines += [("mean", *mean_and_max.groups()[:2]), ("max", *mean_and_max.groups()[2:])]
    return figures | {name: float(number) * _SECONDS[unit] for name, number, unit in lines}
