"""Records, summaries and verdicts as tables of text, ready for a terminal, a notebook or a page.

Pure. Here is decided which figures are shown together, in which unit and beside which sentence.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from labkit import paths, stats
from labkit.escaping import visible
from labkit.record import codes, guards
from labkit.record.record import OfRequest, Record
from labkit.report.html import Table
from labkit.stats.comparisons import Against

# The metrics of a study's table, with the shortest header that still says what it is.
SHOWN = {name: one.column for name, one in stats.METRICS.items() if one.column}
_RATIOS = ("wall_s", "throughput_rps")
# Letters that are shown of what a strategy returned.
MAX_RETURNED = 200
# What is shown of the latency of one of several requests, of at most so many.
_SLOW, MAX_REQUESTS = ("p50", "p90", "p99", "max"), 30
# What a table with an efficiency says of it: another order of the items might take less.
EFFICIENCY = paths.sentence("efficiency")


def of_study(records: Sequence[Record], by: Sequence[str], summary: stats.DataFrame) -> Table:
    """Return one row an arm: medians, with the range over repeats of the time.

    `summary` is `stats.summary_of` of these records.
    """
    of_server = {*map(guards.compared, records)} == {"server"}
    columns = paths.table("tables.toml")["server"] if of_server else SHOWN
    table = words(summary, by, columns, ranged="wall_s")
    return replace(table, says=meaning(records, by, summary))


def words(
    summary: stats.DataFrame, by: Sequence[str], columns: Mapping[str, str], *, ranged: str
) -> Table:
    """Return a summary as text: one row an arm, with those of `columns` that were measured.

    The metric `ranged` is shown with its range over the repeats.
    """
    shown = [name for name in columns if summary[name].fillna(0).any() or name == "failures"]
    headers = [*by, "n", *(columns[name] for name in shown), "verdict"]
    rows = []
    for row in summary.to_dict("records"):
        figures = [stats.METRICS[name].text(row[name]) for name in shown]
        if ranged in shown and row["n"] > 1:
            ends = [stats.METRICS[ranged].text(row[f"{ranged}_{end}"]) for end in ("min", "max")]
            figures[shown.index(ranged)] += f" ({'-'.join(ends)})" if ends[0] != ends[1] else ""
        verdict = f"{row['verdict']}: {row['warnings']}".removesuffix(": ")
        rows.append([*(str(row[name]) for name in by), str(row["n"]), *figures, verdict])
    return Table(headers=headers, rows=rows, left=len(by))


def meaning(records: Sequence[Record], by: Sequence[str], summary: stats.DataFrame) -> str:
    """Return what a study's table means, in sentences, without claiming more than it shows."""
    repeats = min(summary["n"], default=0)
    texts = [paths.sentence("arms" if repeats > 1 else "arms-once", n=repeats)]
    if any(record.floor_s for record in records):
        texts.append(EFFICIENCY)
    texts += [f"{text}." for text in guards.of_latency(records)]
    called = {record.called for record in records}
    texts += [f"Called: {one}." for one in called if len(called) == 1 and "/" in one]
    doubts = {}
    for row in summary.to_dict("records"):
        label = stats.arm_label({name: stats.plain(row[name]) for name in by})
        doubts[label] = stats.codes_of([row["doubts"]])
    doubtful = stats.doubt_sentences(doubts, max(summary["n"], default=0))
    rates = [stats.rates_say(records)] if list(by) == ["rate"] and stats.sustained(records) else []
    return " ".join([*texts, *doubtful, *errors(records), *rates])


def errors(records: Sequence[Record]) -> list[str]:
    """Return what failed in all and the first error, in sentences; nothing where nothing failed."""
    reasons = sum((Counter(one.counts.reasons) for one in records), Counter[str]())
    listed = ", ".join(f"{reason}: {n:,}" for reason, n in reasons.items())
    found = next((error for one in records for error in one.first_errors), "")
    failed = [f"Failed in all: {listed}."] if listed else []
    return [*failed, *([f"First error: {found.strip().rstrip('.')}."] if found else [])]


def of_warnings(records: Sequence[Record]) -> Table:
    """Return one row a warning or kind of failure: the arms that have it, in how many runs."""
    arms = Counter(stats.arm_label(one.axes) for one in records)
    says, runs = dict[str, str](), dict[str, Counter[str]]()
    for record in records:
        found = {note.code: note.message for note in record.warnings}
        reasons = record.counts.reasons.items()
        found |= {f"failed: {why}": f"{n:,} requests" for why, n in reasons if n}
        for what, message in found.items():
            says.setdefault(what, message)
            runs.setdefault(what, Counter())[stats.arm_label(record.axes)] += 1
    rows = [
        [what, ", ".join(f"{arm} ({n} of {arms[arm]})" for arm, n in of.items()), says[what]]
        for what, of in sorted(runs.items(), key=lambda one: -one[1].total())
    ]
    return Table(headers=["warning", "arm (runs)", "what the first says"], rows=rows, left=3)


def of_requests(records: Sequence[Record]) -> list[Table]:
    """Return one row a request of each arm, the slowest first; no table of trials with one alone.

    Counts are of all repeats, latencies the medians over them.
    """
    found = defaultdict[tuple[str, str], list[OfRequest]](list)
    for record in records:
        for one in record.requests:
            found[stats.arm_label(record.axes), one.request].append(one)
    named = ["arm"] if any(record.axes for record in records) else []
    rows = []
    for (arm, request), every in found.items():
        words = [arm, request] if named else [request]
        words += [f"{sum(one.ok for one in every):,}", f"{sum(one.failed for one in every):,}"]
        known = [one.latency_s for one in every if one.latency_s]
        for name in _SLOW:
            slow_s = median(getattr(one, name) for one in known) if known else math.nan
            words.append(stats.METRICS[f"latency_{name}_s"].text(slow_s))
        rows.append((-median(one.p99 for one in known) if known else 0.0, words))
    shown = [words for _, words in sorted(rows)[:MAX_REQUESTS]]
    headers = [*named, *paths.table("tables.toml")["requests"]]
    says = paths.sentence("by-request", n=len(shown), of=len(rows))
    return [Table(headers=headers, rows=shown, says=says, left=len(named) + 1)] if rows else []


def of_comparisons(compared: Sequence[Against]) -> Table:
    """Return one row an arm: its ratio to the first, with the interval, or why there is none."""
    cells: dict[str, dict[str, str]] = {}
    for one in compared:
        cells.setdefault(stats.arm_label(one.of), {})[one.metric] = one.comparison.says
    first, n = stats.arm_label(compared[0].to), compared[0].comparison.n
    named = dict.fromkeys(each.metric for each in compared)
    metrics = ", ".join(stats.METRICS[name].label for name in named)
    how = {"n": len(compared), "level": 100 * stats.LEVEL, "metrics": metrics}
    says, needed = paths.sentence("ratios", first=first, **how), stats.repeats_for(len(compared))
    if stats.MIN_REPEATS <= n < needed:
        says += " " + paths.sentence("ratios-few", n=n, needed=needed)
    headers = [f"ratio to {first}", *(stats.METRICS[name].label for name in _RATIOS)]
    rows = [[label, *(found[name] for name in _RATIOS)] for label, found in cells.items()]
    return Table(headers=headers, rows=rows, says=says, left=len(headers))


_OPEN_UNITS: Mapping[str, Any] = paths.table("tables.toml")["openmetrics"]


def openmetrics(records: Sequence[Record], by: Sequence[str], summary: stats.DataFrame) -> str:
    """Return the figures of each arm as OpenMetrics text (its specification, version 1.0).

    Each is a gauge in base units: the median of the repeats, as in the tables.
    """
    whose = {"strategy": {one.ran for one in records}, "called": {one.called for one in records}}
    common = {name: value for name, (value, *more) in whose.items() if not more}
    lines, rows = list[str](), list[tuple[str, dict[Hashable, Any]]]()
    for row in summary.to_dict("records"):
        rows.append((_labels(common | {name: row[name] for name in by}), row))
    for name, metric in stats.METRICS.items():
        ending = next((one for one in _OPEN_UNITS if name.endswith(one)), "")
        more, unit, times = _OPEN_UNITS.get(ending, ("", "", 1.0))
        family = f"labkit_{name.removesuffix(ending)}{more}{unit}"
        known = [(to, times * row[name]) for to, row in rows if not math.isnan(row[name])]
        if known:
            lines += [f"# TYPE {family} gauge", *([f"# UNIT {family} {unit[1:]}"] if unit else [])]
            lines += [f"# HELP {family} {metric.label}", *(f"{family}{to} {n}" for to, n in known)]
    lines += ["# TYPE labkit_valid gauge", "# HELP labkit_valid 1 if no run of the arm is invalid"]
    lines += [f"labkit_valid{to} {int(row['verdict'] != 'invalid')}" for to, row in rows]
    return "\n".join([*lines, "# EOF", ""])


def _labels(values: Mapping[str, Any]) -> str:
    pairs = []
    for name, value in values.items():
        text = visible(str(value)).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        pairs.append(f'{re.sub(r"[^a-zA-Z0-9_]", "_", name)}="{text}"')
    return f"{{{','.join(pairs)}}}" if pairs else ""


def of_one(record: Record) -> Table:
    """Return the main figures of one record, as a study's table has them, and their meaning."""
    by = ["strategy"]
    table = words(stats.summary_of([record], by), by, SHOWN, ranged="wall_s")
    returned = f"It returned {text}." if (text := _returned(record)) else ""
    return replace(table, says=f"{_sentence(record)} {returned}".strip())


def _returned(record: Record) -> str:
    """Return what the strategy returned as one line of JSON, cut; nothing where that is nothing."""
    text = "" if record.returned is None else json.dumps(record.returned, ensure_ascii=False)
    return text if len(text) <= MAX_RETURNED else f"{text[:MAX_RETURNED]}..."


# The settings of a target that stand beside its name.
_TARGET = ("delay", "api", "loop", "rows", "query_s", "query_work", "keys", "value_bytes")


def of_run(record: Record) -> Table:
    """Return one record, a line a figure."""
    trial, rows = record.trial, list[list[str]]()
    if "experiment" in trial:
        settings = ", ".join(f"{name}={value}" for name, value in trial["settings"].items())
        rows += [["coded experiment", record.ran], ["settings", settings]]
        rows += ([name, stats.number(value)] for name, value in record.figures.items())
    else:
        if trial.get("program"):
            rows.append(["program", record.ran])
        else:
            how = trial["strategy"] if record.arrivals is None else "each request when it is due,"
            over = trial["transport"].get("name", trial["transport"]["kind"])  # a client's own
            rows.append(["strategy", f"{how} over {over} on {trial['loop']}"])
        options = ", ".join(f"{name} {value}" for name, value in trial.get("options", {}).items())
        rows += [["options", options]] if options else []
        target = trial["target"]
        beside = [f"{name} {target[name]}" for name in _TARGET if target.get(name)]
        called = ", ".join(filter(None, [record.called, *beside]))
        rows += [["workload", _workload(trial["workload"])], ["target", called]]
        counts = record.counts
        why = f" ({counts.why})" if counts.failures else ""
        why += f", {counts.retried:,} sent again" if counts.retried else ""
        # A client that was lost reported nothing that was in force, and its counts are the least.
        known = {"python", "program"} & record.effective.keys()
        lost = any(one.lost for one in record.clients)
        least, sent = ("", "") if known and not lost else ("at least ", "known to be ")
        how = {"counts": counts, "least": least, "why": why, "sent": sent}
        rows.append(["requests", paths.sentence("ended", **how)])
        rows += [["first error", error] for error in record.first_errors[:1]]
        rows += [["returned", text] for text in [_returned(record)] if text]
        unit = "at a time" if trial["workload"].get("stages_of") == "limit" else "a second"
        for n, one in enumerate(record.stages, 1):
            asked, rps = stats.number(one.asked), stats.number(one.achieved_rps)
            rows.append([f"stage {one.name or n}", f"{asked} {unit} asked for, {rps} a second"])
        for n, each in enumerate(record.clients):
            text = each.lost or f"{each.counts.ok:,} ok"
            if each.client and each.latency_s:
                peak = (each.client.peak_rss_bytes or 0) / 1e6
                text = paths.sentence("one-client", one=each, latency=each.latency_s, peak=peak)
            rows.append([f"client {n}", text])
        for name, metric in stats.METRICS.items():
            value = metric.of(record)
            if not math.isnan(value) and name not in ("ok", "failures"):
                rows.append([metric.label, f"{metric.text(value)} {metric.unit}".rstrip()])
    rows += ([f"! {note.code}", note.message] for note in record.warnings)
    rows.append(["verdict", record.verdict])
    return Table(headers=["", record.id], rows=rows, says=_sentence(record), left=2)


def _workload(workload: Mapping[str, Any]) -> str:
    given = {name: value for name, value in workload.items() if value not in (None, 0, "0")}
    if given.get("stages") and given.get("stages_of") == "limit":
        del given["limit"]
    how = {"stages_of": "rate", "most": "at most " if {"rate", "stages"} & given.keys() else ""}
    words = paths.table("tables.toml")["workload"]
    return ", ".join(words[name].format(**how | given) for name in words if name in given)


def _sentence(record: Record) -> str:
    """Return what one record means."""
    if record.verdict == "invalid":
        spoiling = [note.message for note in record.warnings if note.code in codes.INVALID]
        reason = (spoiling or [note.message for note in record.warnings])[0]
        return f"The record is invalid: {reason}."
    if record.efficiency is None or record.wall_s is None or not record.floor_s:
        return ". ".join([*guards.of_latency([record]), ""]).rstrip()
    efficiency = paths.sentence("one-efficiency", record=record)
    if record.bound_s is not None and record.bound_s < 0.99 * record.floor_s:
        efficiency += f" No order takes less than {record.bound_s:.2f} s."
    return " ".join([efficiency, *(f"{text}." for text in guards.of_latency([record]))])


def of_records(records: Sequence[Record]) -> Table:
    """Return one row a record, as a list shows them."""
    metrics = [stats.METRICS[one] for one in ("wall_s", "efficiency", "process_peak_rss_bytes")]
    rows = []
    for record in records:
        asked, loop = record.trial.get("workload", {}), record.trial.get("loop", "-")
        words = [record.id, record.experiment or "run", record.ran, record.called or "-", loop]
        sizes = [f"{asked[n]:,}" if asked.get(n) else "-" for n in ("requests", "limit")]
        figures = [metric.text(metric.of(record)) for metric in metrics]
        rows.append([*words, *sizes, *figures, record.verdict])
    headers = ["id", "experiment", "strategy", "called", "loop", "requests", "limit", "time (s)"]
    headers += ["efficiency (%)", "memory (MB)", "verdict"]
    return Table(headers=headers, rows=rows, says=EFFICIENCY, left=5)
