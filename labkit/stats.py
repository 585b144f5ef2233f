"""Records -> tidy frame, summary of each arm, paired ratios, merged latency. Pure; judges nothing.

The one place that names metrics, says where in a record each stands, and in which unit it is shown.
Frames hold base units (seconds, bytes); a unit for people is applied where a number is shown.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

import pandas as pd
from hdrh.codec import HdrCookieException, HdrLengthException
from hdrh.histogram import HdrHistogram

from labkit import fields
from labkit.errors import BadInput, RecordDamaged
from labkit.record import Record, Verdict

VERDICTS: tuple[str, ...] = get_args(Verdict)
"""From best to worst."""
DESCRIPTION = (
    *("id", "started_at", "study", "experiment", "repeat", "order", "verdict", "warnings"),
    *("strategy", "loop", "requests", "limit", "delay", "transport", "target"),
)
"""The columns of a frame before its axes and metrics."""
NOT_MEASURED = "n/a"
BEYOND = 10
"""Answers that must lie beyond a percentile for it to be shown: n >= 10 / (1 - p)."""

_HDR = {
    "lowest_trackable_value": 1,
    "highest_trackable_value": 3_600 * 10**6,
    "significant_figures": 3,
}
_US_PER_S = 1e6
_POINTS_PER_NINE = 50
_DAMAGED = (HdrCookieException, HdrLengthException, ValueError, TypeError, IndexError, zlib.error)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number that a record holds at `path`, less the one at `minus`, in base units.

    It is shown times `scale`, in `unit`. `answers` is how many requests must have succeeded for it
    to mean anything: with fewer it counts as not measured.
    """

    name: str
    path: str
    label: str
    unit: str = ""
    scale: float = 1.0
    better: Literal["lower", "higher"] | None = "lower"
    minus: str | None = None
    answers: int = 0

    @property
    def title(self) -> str:
        """Label and unit, as an axis or a column shows them."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def of(self, record: Record) -> float:
        """The value in base units; NaN where it was not measured."""
        if record.counts.ok < self.answers:
            return math.nan
        less = 0.0 if self.minus is None else _read(record, self.minus)
        return _read(record, self.path) - less

    def text(self, value: float | None) -> str:
        """`value` (in base units) as people read it, without its unit."""
        if value is None or not math.isfinite(value):
            return NOT_MEASURED
        return number(value * self.scale)


def number(value: float) -> str:
    """`value` to three digits at least, and whole from 100 on, thousands separated."""
    if not value or abs(value) >= 100 or float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 1e-3 else f"{value:.1e}"


def _read(record: Record, path: str) -> float:
    value: Any = record
    for name in path.split("."):
        value = getattr(value, name, None)
    return math.nan if value is None else float(value)


_S: dict[str, Any] = {"unit": "s"}
_MS: dict[str, Any] = {"unit": "ms", "scale": 1e3}
_MB: dict[str, Any] = {"unit": "MB", "scale": 1e-6}
_SHARE: dict[str, Any] = {"unit": "%", "scale": 100.0, "better": "higher"}
_CPU: dict[str, Any] = {"unit": "% of a core"}
_US: dict[str, Any] = {"unit": "\N{MICRO SIGN}s"}
_COUNT: dict[str, Any] = {"better": None}
_GROWTH: dict[str, Any] = {**_MB, "minus": "client.rss_before_bytes"}

_TABLE: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("wall_s", "wall_s", "time", _S),
    ("process_wall_s", "process.wall_s", "time of the process", _S),
    ("floor_s", "floor_s", "floor", {**_S, "better": None}),
    ("efficiency", "efficiency", "efficiency", _SHARE),
    ("throughput_rps", "throughput_rps", "throughput", {"unit": "requests/s", "better": "higher"}),
    ("cpu_percent", "client.cpu_percent", "client CPU", _CPU),
    ("process_cpu_percent", "process.cpu_percent", "CPU of the process", _CPU),
    ("cpu_us_per_request", "client.cpu_us_per_request", "client CPU per request", _US),
    ("peak_rss_bytes", "client.peak_rss_bytes", "client peak memory", _MB),
    ("process_peak_rss_bytes", "process.peak_rss_bytes", "peak memory", _MB),
    ("rss_growth_bytes", "client.peak_rss_bytes", "memory growth", _GROWTH),
    ("to_first_send_s", "client.to_first_send_s", "time to the first send", _S),
    ("latency_mean_s", "latency_s.mean", "latency, mean", {**_MS, "answers": 1}),
    ("latency_p50_s", "latency_s.p50", "latency p50", {**_MS, "answers": 2 * BEYOND}),
    ("latency_p90_s", "latency_s.p90", "latency p90", {**_MS, "answers": 10 * BEYOND}),
    ("latency_p99_s", "latency_s.p99", "latency p99", {**_MS, "answers": 100 * BEYOND}),
    ("latency_p999_s", "latency_s.p999", "latency p99.9", {**_MS, "answers": 1_000 * BEYOND}),
    ("latency_max_s", "latency_s.max", "latency, longest", {**_MS, "answers": 1}),
    ("loop_lag_p99_s", "loop_lag_s.p99", "event-loop lag p99", _MS),
    ("loop_lag_max_s", "loop_lag_s.max", "event-loop lag, longest", _MS),
    ("server_cpu_percent", "server.cpu_percent", "server CPU", _CPU),
    ("server_peak_rss_bytes", "server.peak_rss_bytes", "server peak memory", _MB),
    ("server_max_in_flight", "server.max_in_flight", "most in flight at the server", _COUNT),
    ("connections_opened", "server.connections_opened", "connections opened", {}),
    ("ok", "counts.ok", "requests answered", {"better": "higher"}),
    ("failures", "counts.failures", "requests failed", {}),
)

METRICS: Mapping[str, Metric] = MappingProxyType(
    {name: Metric(name=name, path=path, label=label, **more) for name, path, label, more in _TABLE}
)
"""Every metric, by name: the columns of frames and summaries."""
ALIASES: Mapping[str, str] = MappingProxyType(
    {"memory": "process_peak_rss_bytes", "time": "wall_s", "cpu": "cpu_percent"}
)
"""Short names that plots take."""


def metric(name: str) -> Metric:
    """The metric called `name`, or that `name` is short for. Raises `BadInput`."""
    full = ALIASES.get(name, name)
    if full not in METRICS:
        raise fields.unknown("metric", name, [*ALIASES, *METRICS])
    return METRICS[full]


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row a record: what describes it, a column for each axis, each metric in base units."""
    rows = [_row(record) for record in records]
    axes = dict.fromkeys(name for row in rows for name in row)
    columns = dict.fromkeys([*DESCRIPTION, *(name for name in axes if name not in METRICS)])
    described = {name: _column([row.get(name) for row in rows]) for name in columns}
    measured = {name: pd.Series([row[name] for row in rows], dtype="float64") for name in METRICS}
    return pd.DataFrame({**described, **measured})


def _row(record: Record) -> dict[str, Any]:
    trial, workload = record.trial, record.trial.get("workload", {})
    target, transport = trial.get("target", {}), trial.get("transport", {})
    return {
        "id": record.id,
        "started_at": record.started_at,
        "study": record.study,
        "experiment": record.experiment,
        "repeat": record.repeat,
        "order": record.order,
        "verdict": record.verdict,
        "warnings": codes_text(note.code for note in record.warnings),
        "strategy": trial.get("strategy"),
        "loop": trial.get("loop"),
        "requests": workload.get("requests"),
        "limit": workload.get("limit"),
        "delay": target.get("delay"),
        "transport": transport.get("kind"),
        "target": target.get("kind"),
        **record.axes,
        **{name: known.of(record) for name, known in METRICS.items()},
    }


def _column(values: list[Any]) -> pd.Series[Any]:
    # Left to itself pandas turns None into NaN, and with it whole numbers into floats.
    types = {type(value) for value in values}
    kind = "int64" if types == {int} else "float64" if types in ({float}, {int, float}) else object
    return pd.Series(values, dtype=kind)


def codes_text(codes: Iterable[str]) -> str:
    """Codes as one text, each once, in order of first appearance."""
    return ", ".join(dict.fromkeys(code for code in codes if code))


def codes_of(texts: Iterable[str]) -> list[str]:
    """The codes in several texts of `codes_text`, each once, in order of first appearance."""
    return list(dict.fromkeys(code for text in texts for code in text.split(", ") if code))


def worst(verdicts: Iterable[str]) -> str:
    """The worst of some verdicts; `valid` where there are none."""
    return max(verdicts, key=VERDICTS.index, default=VERDICTS[0])


def arms(frame: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Each arm: its settings of the columns `by`, and its rows. In order of first appearance."""
    _check_columns(frame, by)
    if not by:
        yield {}, frame
        return
    for key, rows in frame.groupby(list(by), sort=False, dropna=False):
        assert isinstance(key, tuple)
        yield {name: plain(value) for name, value in zip(by, key, strict=True)}, rows


def _check_columns(frame: pd.DataFrame, names: Iterable[str]) -> None:
    for name in names:
        if name not in frame.columns:
            raise fields.unknown("a column to group by", name, map(str, frame.columns))


def arm_label(settings: Mapping[str, Any]) -> str:
    """The settings of an arm as one short text: words alone, other values with their names."""
    words = [_word(name, value, alone=len(settings) == 1) for name, value in settings.items()]
    return ", ".join(words) or "all"


def _word(name: str, value: Any, *, alone: bool) -> str:
    if isinstance(value, str):
        return value
    named = isinstance(value, bool) or value is None or not alone
    shown = f"{value:,}" if isinstance(value, int | float) and not named else str(value).lower()
    return f"{name} {shown}" if named else shown


def plain(value: Any) -> Any:
    """`value` as JSON knows it: NaN is None, and no number is one of numpy's."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and math.isnan(value) else value


def summary(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """One row an arm: `by`, repeats `n`, worst `verdict`, codes of its `warnings`, and of each
    metric the median under its name, the extremes under its name with `_min` and `_max`.

    Records of every verdict count: an arm whose verdict is `invalid` is to be read with that in
    mind. Raises `BadInput` for a column that the frame has not.
    """
    rows = [settings | _summary_of(arm) for settings, arm in arms(frame, by) if len(arm)]
    columns = [*by, *_summary_of(frame.head(0))]
    return pd.DataFrame(rows, columns=columns)


def _summary_of(arm: pd.DataFrame) -> dict[str, Any]:
    spread: dict[str, float] = {}
    for name in METRICS:
        values = arm[name]
        spread |= {
            name: values.median(),
            f"{name}_min": values.min(),
            f"{name}_max": values.max(),
        }
    return {
        "n": len(arm),
        "verdict": worst(arm["verdict"]),
        "warnings": codes_text(codes_of(arm["warnings"])),
        **spread,
    }


def summary_rows(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """A summary as plain data for JSON: None where nothing was measured, warnings as a list."""
    rows = [
        {str(name): plain(value) for name, value in row.items()}
        for row in summary.to_dict("records")
    ]
    return [row | {"warnings": codes_of([row["warnings"]])} for row in rows]


def ratios(
    frame: pd.DataFrame, metric: str, of: Mapping[str, Any], to: Mapping[str, Any]
) -> list[float]:
    """metric(of) / metric(to) of each interleaved block (study and repeat) that holds both arms.

    Invalid records, and blocks that lack a number or would divide by 0, are left out. It is for the
    caller to judge whether what remains is enough. Raises `BadInput` for an arm that does not exist
    or that settings leave ambiguous.
    """
    name = _metric_name(metric)
    above, below = _by_block(frame, name, of), _by_block(frame, name, to)
    return [above[block] / below[block] for block in above if below.get(block)]


def _metric_name(name: str) -> str:
    return metric(name).name


def _by_block(frame: pd.DataFrame, name: str, settings: Mapping[str, Any]) -> dict[Hashable, float]:
    _check_columns(frame, settings)
    rows = frame
    for axis, value in settings.items():
        rows = rows[rows[axis].isna() if value is None else rows[axis] == value]
    if rows.empty:
        raise BadInput(f"no record has the settings {dict(settings)}: name an arm that was run")
    found: dict[Hashable, float] = {}
    seen: set[Hashable] = set()
    for study, repeat, verdict, value in zip(
        rows["study"], rows["repeat"], rows["verdict"], rows[name], strict=True
    ):
        block = (study, repeat)
        if block in seen:
            raise BadInput(
                f"the settings {dict(settings)} name several records of repeat {repeat}: "
                "add the axes that tell them apart"
            )
        seen.add(block)
        if verdict != "invalid" and math.isfinite(value):
            found[block] = float(value)
    return found


def merge_latency(records: Iterable[Record]) -> HdrHistogram:
    """One histogram, in microseconds, of all that the records' histograms counted.

    Percentiles of several runs are read off this; they are never averaged. Raises `BadInput` where
    no record has a latency histogram, `RecordDamaged` for one that cannot be read.
    """
    merged = None
    for record in records:
        if record.latency_hdr is None:
            continue
        histogram = _decoded(record.latency_hdr, record.id)
        if merged is None:
            merged = histogram
        else:
            merged.add(histogram)
    if merged is None or not merged.total_count:
        raise BadInput(
            "there is no latency to merge: no request succeeded, or the trials were run with "
            "probes other than 'full'"
        )
    return merged


def _decoded(encoded: str, record_id: str) -> HdrHistogram:
    try:
        histogram = HdrHistogram.decode(encoded)
    except _DAMAGED as error:
        raise RecordDamaged(
            f"the latency histogram of record {record_id} is damaged ({error}): "
            "leave the record out, or restore it from a copy"
        ) from None
    if any(getattr(histogram, name) != value for name, value in _HDR.items()):
        raise BadInput(
            f"the latency histogram of record {record_id} has other bounds or digits than the "
            "lab's own: histograms that are unlike are not merged; leave the record out"
        )
    return histogram


def percentile_curve(histogram: HdrHistogram) -> tuple[list[float], list[float]]:
    """Percentiles (0 to 100, evenly spaced in nines) and the latency in seconds at each.

    It ends at the last percentile that the sample supports (n >= 10 / (1 - p)), and is empty for
    fewer than 10 values.
    """
    total = histogram.total_count
    if total < BEYOND:
        return [], []
    nines = math.log10(total / BEYOND)
    steps = max(math.ceil(nines * _POINTS_PER_NINE), 1)
    percentiles = sorted({100 * (1 - 10 ** (-nines * i / steps)) for i in range(steps + 1)})
    values = histogram.get_percentile_to_value_dict(percentiles)
    return percentiles, [values[one] / _US_PER_S for one in percentiles]
