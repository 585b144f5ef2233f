"""Records -> tidy frame, summary of each arm, paired values of two arms. Pure; judges nothing.

Frames hold base units (seconds, bytes) and NaN where something was not measured.
"""

from __future__ import annotations

import itertools
import math
import re
import statistics
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args
from urllib.parse import urlsplit

import msgspec

from labkit import stats
from labkit.errors import BadInput
from labkit.escaping import arm_label
from labkit.record.codes import CODES
from labkit.record.index import DESCRIPTION, Index, describe, flat
from labkit.record.record import Record, Verdict
from labkit.spec import validation
from labkit.stats.intervals import MIN_REPEATS
from labkit.stats.metrics import METRICS

# The program of a command (of Python's, what it runs), and the rest; an option with its value.
_PROGRAM = re.compile(r"^\s*(?:\S*python\S*\s+(?:-\S+\s+)*)?(?:\S*/)?(\S+)(.*)", re.DOTALL)
_OPTIONS = re.compile(r"-\S+(?:\s+[^-\s]\S*)?|\S+")
# A value of an arm for each interleaved block, by study and repeat.
Blocks = dict[Hashable, float | None]
# From best to worst.
VERDICTS: tuple[str, ...] = get_args(Verdict)
# What is asked for where no path is given, by the kind of target.
_PATHS = {"http": "/{item}", "command": "/", "url": "/"}


def frame(records: Iterable[Record]) -> stats.DataFrame:
    """Return one row a record: what describes it, and a column for each axis and each metric.

    What its strategy was made with is a column as well, as `strategy.size`.

    Metrics are in base units.
    """
    listed = list(records)
    figures = {name: list(map(metric.of, listed)) for name, metric in METRICS.items()}
    return _frame(list(map(describe, listed)), figures)


def stored(index: Index, columns: Sequence[str] | None = None, **asked: Any) -> stats.DataFrame:
    """Return `frame` of the records of a store that are as `Index.select` is asked.

    Only what these `columns` need is read. Raises `BadInput` for one that no record has.
    """
    described, figures = list[dict[str, Any]](), dict[str, Any]()
    if columns is None or not METRICS.keys() >= set(columns):
        described = msgspec.json.decode(b"[%s]" % b",".join(index.select("described", **asked)))
    if columns is None or not METRICS.keys().isdisjoint(columns):
        import numpy as np  # here: no list of records needs it

        values = np.frombuffer(b"".join(index.select("figures", **asked)), "<f8")
        figures = dict(zip(METRICS, values.reshape(-1, len(METRICS)).T, strict=True))
    known = [*METRICS, *dict.fromkeys(itertools.chain(DESCRIPTION, *described))]
    for name in columns or ():
        validation.check_known("a column", name, known)
    return _frame(described, figures, columns)


def _frame(
    described: Sequence[Mapping[str, Any]],
    figures: Mapping[str, Any],
    columns: Sequence[str] | None = None,
) -> stats.DataFrame:
    names = columns or [*dict.fromkeys(itertools.chain(DESCRIPTION, *described, figures))]
    found = {
        name: stats.Series(figures[name], dtype="float64")
        if name in figures
        else _column([row.get(name) for row in described])
        for name in names
    }
    return stats.DataFrame(found)


def export(records: Iterable[Record]) -> stats.DataFrame:
    """Return `frame` with the URL, the path and each setting of a record, by its dotted name.

    Where such a setting is an axis of some records, its column has it of all.
    """
    listed = list(records)
    whole, rows = frame(listed), list[dict[str, Any]]()
    for record in listed:
        target, asked = (record.trial.get(part, {}) for part in ("target", "workload"))
        url = target.get("url")
        path = asked.get("path") or urlsplit(url or "").path or _PATHS.get(target.get("kind"))
        rows.append(record.axes | {"url": url, "path": path} | dict(flat(record.trial)))
    first = dict.fromkeys(["url", "path", *itertools.chain(*rows)])
    names = [name for name in first if name not in (*DESCRIPTION, *METRICS)]
    more = stats.DataFrame({name: _column([row.get(name) for row in rows]) for name in names})
    described, figures = whole[[*DESCRIPTION]], whole[[*METRICS]]
    return stats.concat([described, more, figures], axis=1)


def _column(values: list[Any]) -> stats.Series[Any]:
    # Left to itself pandas turns None into NaN, and with it whole numbers into floats.
    types = {type(value) for value in values}
    kind = "int64" if types == {int} else "float64" if types in ({float}, {int, float}) else object
    return stats.Series(values, dtype=kind)


def codes_text(codes: Iterable[str]) -> str:
    """Return codes as one text, each once, in order of first appearance."""
    return ", ".join(dict.fromkeys(code for code in codes if code))


def codes_of(texts: Iterable[str]) -> list[str]:
    """Return the codes in several texts of `codes_text`, each once, in order of appearance."""
    return list(dict.fromkeys(code for text in texts for code in text.split(", ") if code))


def by_axis(records: Iterable[Record], axis: str) -> dict[str, list[Record]]:
    """Return the records of each arm by its value of an axis, in order of first appearance."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(str(record.axes.get(axis)), []).append(record)
    return found


def worst(verdicts: Iterable[str]) -> str:
    """Return the worst of some verdicts; `valid` where there are none."""
    return max(verdicts, key=VERDICTS.index, default=VERDICTS[0])


def arms(
    frame: stats.DataFrame, by: Sequence[str]
) -> Iterator[tuple[dict[str, Any], stats.DataFrame]]:
    """Yield each arm: its settings of the columns `by`, and its rows. In order of appearance."""
    _check_columns(frame, by)
    if not by:
        yield {}, frame
        return
    for key, rows in frame.groupby(list(by), sort=False, dropna=False):
        assert isinstance(key, tuple)
        yield {name: plain(value) for name, value in zip(by, key, strict=True)}, rows


def counted(frame: stats.DataFrame, by: Sequence[str]) -> stats.DataFrame:
    """Return the rows of each arm that are not invalid, or all of an arm that has no other."""
    is_good = frame["verdict"] != "invalid"
    return frame[is_good | ~is_good.groupby([frame[name] for name in by]).transform("any")]


def by_label(
    frame: stats.DataFrame, by: Sequence[str], *, in_line: bool = False
) -> dict[str, stats.DataFrame]:
    """Return the rows of each arm under its `arm_label`, in order of first appearance."""
    found = list(arms(frame, by))
    labels = [arm_label(one, in_line=in_line) or "all" for one, _ in found]
    if len({*labels}) < len(found):  # without its middle a long command may be like another
        labels = [arm_label(one) for one, _ in found]
    return {label: rows for label, (_, rows) in zip(labels, found, strict=True)}


def _check_columns(frame: stats.DataFrame, names: Iterable[str]) -> None:
    for name in names:
        validation.check_known("a column to group by", name, map(str, frame.columns))


def short(frame: stats.DataFrame, by: Sequence[str]) -> stats.DataFrame:
    """Return a frame with short commands in the columns `by`, as tables and charts show them.

    A command is named by its program, and the words that not all of this program's commands have.
    """
    found = {value for name in by for value in frame[name] if "{port}" in str(value)}
    programs, names = dict[str, dict[str, list[str]]](), dict[str, str]()
    for command in found:
        program, rest = _PROGRAM.findall(command)[0]
        programs.setdefault(program, {})[command] = _OPTIONS.findall(rest)
    for program, commands in programs.items():
        common = set.intersection(*map(set, commands.values()))
        for command, words in commands.items():
            names[command] = " ".join([program, *(one for one in words if one not in common)])
    told_apart = len({*names.values()}) == len(names)
    return frame.replace(dict.fromkeys(by, names)) if told_apart else frame


def plain(value: Any) -> Any:
    """Return `value` as JSON knows it: NaN is None, and no number is one of numpy's."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and math.isnan(value) else value


def summary(frame: stats.DataFrame, by: Sequence[str]) -> stats.DataFrame:
    """Return one row an arm, in order of first appearance.

    Columns: `by`, repeats `n`, the worst `verdict`, the codes of all `warnings`, those of `doubts`
    about the arm as a whole, and for each metric the median under its name and the extremes under
    its name with `_min` and `_max`.

    Records of every verdict count: an arm whose verdict is `invalid` is to be read with that in
    mind. Raises `BadInput` for a column that the frame has not.
    """
    rows = [settings | _summary_of(arm) for settings, arm in arms(frame, by) if len(arm)]
    summary = stats.DataFrame(rows, columns=[*by, *_summary_of(frame.head(0))])
    return summary.assign(**{name: _column([row[name] for row in rows]) for name in by})


def _summary_of(arm: stats.DataFrame) -> dict[str, Any]:
    return {
        "n": len(arm),
        "verdict": worst(arm["verdict"]),
        "warnings": codes_text(codes_of(arm["warnings"])),
        "doubts": codes_text(doubts_of(arm)),
        **{
            f"{name}{suffix}": getattr(arm[name], method)()
            for name in METRICS
            for suffix, method in (("", "median"), ("_min", "min"), ("_max", "max"))
        },
    }


# Doubts about an arm as a whole, which no record of it can know: what one knows is in `guards`.

# Of the mean: the standard deviation, and the distance of an extreme, from which on repeats are
# called unstable (pyperf's thresholds).
DEVIATION_SHARE, EXTREME_SHARE = 0.1, 0.5
# Fewer repeats show no correlation; how many standard errors of it are called one.
MIN_CORRELATED, CORRELATED_ERRORS = 10, 2.0


def doubts_of(rows: stats.DataFrame) -> list[str]:
    """Return the codes of the doubts about the arm that these rows of a frame are.

    What spreads is the time, and with it the rate. Invalid records do not count, and a repeat
    without a time has no spread.
    """
    times_s = rows.loc[rows["verdict"] != "invalid", "wall_s"]
    known = times_s.dropna().tolist()
    found = ["few-repeats"] if len(times_s) < MIN_REPEATS else []
    found += ["spread"] if spreads(known) else []
    return found + (["correlated"] if follows_itself(known) else [])


def spreads(values: Sequence[float]) -> bool:
    """Return whether repeats lie far apart, by their standard deviation or by one extreme."""
    if len(values) < 2:
        return False
    mean = statistics.mean(values)
    furthest = max(max(values) - mean, mean - min(values))
    return statistics.stdev(values) > DEVIATION_SHARE * mean or furthest > EXTREME_SHARE * mean


def follows_itself(values: Sequence[float]) -> bool:
    """Return whether each repeat is like the one before, by their lag-1 correlation.

    Of independent ones it is -1/n on average with a standard error of 1/sqrt(n) (Bartlett 1946):
    more than `CORRELATED_ERRORS` above that is seen in 1 of 50 arms by chance. An interval supposes
    that they are independent: with a correlation of 0.5 one of 95 % contains the truth in 80 %.
    """
    if len(values) < MIN_CORRELATED:
        return False
    n, mean = len(values), statistics.fmean(values)
    off = [value - mean for value in values]
    square = sum(one * one for one in off) or math.inf  # of equal ones none follows another
    lag_1 = sum(one * after for one, after in itertools.pairwise(off)) / square
    return lag_1 + 1 / n > CORRELATED_ERRORS / math.sqrt(n)


def doubt_sentences(doubts: Mapping[str, Sequence[str]], repeats: int) -> list[str]:
    """Return a sentence for each doubt about these arms: which arms, what it is, what to do.

    `doubts` has the codes of each arm under its label, `repeats` is how many the arm with the most
    has. Without repeats there is nothing to compare, and so nothing to doubt.
    """
    found = []
    for code in ("few-repeats", "spread", "correlated") if repeats > 1 else ():
        whom = [label for label, codes in doubts.items() if code in codes]
        if whom:
            who = "all arms" if len(whom) == len(doubts) > 1 else "; ".join(whom)
            found.append(f"{code} ({who}): {CODES[code].when}; {CODES[code].do}.")
    return found


def summary_rows(summary: stats.DataFrame) -> list[dict[str, Any]]:
    """Return a summary as plain data for JSON: None for what was not measured, codes as lists."""
    named = (row.items() for row in summary.to_dict("records"))
    rows = [{str(name): plain(value) for name, value in row} for row in named]
    return [row | {name: codes_of([row[name]]) for name in ("warnings", "doubts")} for row in rows]


def paired(of: Blocks, to: Blocks) -> tuple[list[float | None], list[float | None]]:
    """Return the values of two arms, a pair for each block of either."""
    blocks = dict.fromkeys([*of, *to])
    return [of.get(block) for block in blocks], [to.get(block) for block in blocks]


def by_block(frame: stats.DataFrame, name: str, settings: Mapping[str, Any]) -> Blocks:
    """Return the metric of an arm by interleaved block (study and repeat).

    It is None where its record has no number. Raises `BadInput` for an arm that does not exist or
    that settings leave ambiguous.
    """
    _check_columns(frame, settings)
    rows = frame
    for axis, value in settings.items():
        rows = rows[rows[axis].isna() if value is None else rows[axis] == value]
    if rows.empty:
        raise BadInput(f"no record has the settings {dict(settings)}: name an arm that was run")
    found: Blocks = {}
    for *named, value in zip(rows["study"], rows["repeat"], rows[name], strict=True):
        block = tuple(named)
        if block in found:
            raise validation.refusal("several", settings=dict(settings), repeat=block[1])
        found[block] = float(value) if math.isfinite(value) else None
    return found
