"""The public names of `labkit.stats`: the one list. `__init__.py` reads it; type checkers do."""

from pandas import DataFrame as DataFrame
from pandas import Series as Series
from pandas import concat as concat

from labkit.escaping import arm_label as arm_label
from labkit.record.index import DESCRIPTION as DESCRIPTION
from labkit.stats.comparisons import Against as Against
from labkit.stats.comparisons import Comparison as Comparison
from labkit.stats.comparisons import compare as compare
from labkit.stats.frames import VERDICTS as VERDICTS
from labkit.stats.frames import arms as arms
from labkit.stats.frames import by_axis as by_axis
from labkit.stats.frames import by_label as by_label
from labkit.stats.frames import codes_of as codes_of
from labkit.stats.frames import codes_text as codes_text
from labkit.stats.frames import counted as counted
from labkit.stats.frames import doubt_sentences as doubt_sentences
from labkit.stats.frames import doubts_of as doubts_of
from labkit.stats.frames import frame as frame
from labkit.stats.frames import plain as plain
from labkit.stats.frames import short as short
from labkit.stats.frames import stored as stored
from labkit.stats.frames import summary as summary
from labkit.stats.frames import summary_rows as summary_rows
from labkit.stats.frames import worst as worst
from labkit.stats.intervals import LEVEL as LEVEL
from labkit.stats.intervals import MIN_REPEATS as MIN_REPEATS
from labkit.stats.intervals import Family as Family
from labkit.stats.intervals import Interval as Interval
from labkit.stats.intervals import of_ratio as of_ratio
from labkit.stats.intervals import of_ratios as of_ratios
from labkit.stats.intervals import of_unpaired as of_unpaired
from labkit.stats.intervals import of_value as of_value
from labkit.stats.intervals import repeats_for as repeats_for
from labkit.stats.metrics import ALIASES as ALIASES
from labkit.stats.metrics import METRICS as METRICS
from labkit.stats.metrics import NOT_MEASURED as NOT_MEASURED
from labkit.stats.metrics import Metric as Metric
from labkit.stats.metrics import metric as metric
from labkit.stats.metrics import number as number
from labkit.stats.percentiles import merge_latency as merge_latency
from labkit.stats.percentiles import percentile_curve as percentile_curve
from labkit.stats.percentiles import summary_of as summary_of
from labkit.stats.scaling import Fit as Fit
from labkit.stats.scaling import Knee as Knee
from labkit.stats.scaling import Usl as Usl
from labkit.stats.scaling import fit_usl as fit_usl
from labkit.stats.scaling import knee as knee
from labkit.stats.scaling import knee_says as knee_says
from labkit.stats.scaling import rates_say as rates_say
from labkit.stats.scaling import sustained as sustained
from labkit.stats.scaling import usl_says as usl_says

__all__: list[str]
