"""How far a service scales: Little's law, the knee, the USL, and the rates it sustains. Pure.

Rates come as a mapping from the limit to one value for each repeat, in the same order for every
limit; None where a repeat has no valid one.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple
from warnings import catch_warnings, simplefilter

import msgspec
import numpy as np
import numpy.typing as npt

from labkit import paths
from labkit.errors import BadInput
from labkit.record import codes, guards
from labkit.record.record import Record
from labkit.stats.intervals import LEVEL, MIN_REPEATS, Interval, of_ratio, of_value
from labkit.stats.metrics import is_usable, number, usable_pairs

Rates = Mapping[int, Sequence[float | None]]
Array = npt.NDArray[np.float64]

# How far below the best a rate may be at the knee, as a share of the best.
WITHIN = 0.05
# Fewer limits would fit the law's three coefficients whatever they were.
MIN_LEVELS = 6
_ROUNDING = 1e-9
# How far a fitted curve may be off, as a share of each rate (the root of the mean square).
MAX_OFF = 0.10
# Below this share of lost proportionality, at the largest limit, nothing is seen of the law.
MIN_BEND = 0.10


class Knee(msgspec.Struct, frozen=True, kw_only=True):
    """The smallest limit whose rate is within 5 % of the best.

    In `level` of sweeps or more, low to high contains that of the true rates, among the limits
    tried. `low` and `high` are None unless each limit has five repeats with a rate; `n` is how many
    the one with the fewest has, and `left_out` lists the limits with none. `best` is the limit with
    the best rate, `rate` and `best_rate` are medians. `at_end` is True where the largest limit is
    the knee, so that it may lie beyond.
    """

    limit: int
    low: int | None
    high: int | None
    rate: float
    best: int
    best_rate: float
    at_end: bool
    left_out: list[int]
    n: int
    level: float = LEVEL


def knee(rates: Rates, within: float = WITHIN) -> Knee:
    """Find the knee of rates over limits.

    Each limit's rate is compared with that of the best limit, repeat by repeat. The knee is the
    smallest limit whose median ratio is 1 - `within` or more. With the 95 % intervals of the
    ratios, low is the smallest limit that may be so near, and high the smallest that surely is,
    whichever of the limits that may be the best is.

    Raises `BadInput` where no limit has a rate above 0.
    """
    medians = _medians(rates)
    if not medians:
        raise BadInput("there is no knee: no limit has a rate above 0 from a valid trial")
    limits = sorted(medians)
    best = max(limits, key=medians.__getitem__)
    near = (1 - within) * (1 - _ROUNDING)

    def first(ratios: Mapping[int, Interval | None], end: str) -> int:
        """Return the first limit that is near by this end: the best limit's ratio always is 1."""
        return next(n for n, ratio in ratios.items() if (getattr(ratio, end, None) or 0) >= near)

    ratios = {limit: _ratio(rates[limit], rates[best]) for limit in limits}
    found = first(ratios, "value")
    low = high = None
    if all(ratio is not None and ratio.ends for ratio in ratios.values()):
        # Which limit is the best is uncertain too: each that may be is compared with in turn.
        rivals = [n for n, ratio in ratios.items() if ratio and ratio.high and ratio.high >= 1]
        each = [{limit: _ratio(rates[limit], rates[rival]) for limit in limits} for rival in rivals]
        low, high = min(first(one, "high") for one in each), max(first(one, "low") for one in each)
    at_end = found == limits[-1] and len(limits) > 1
    left_out = [limit for limit in sorted(rates) if limit not in medians]
    of: dict[str, Any] = {"rate": medians[found], "best": best, "best_rate": medians[best]}
    n = min(ratio.n if ratio else 0 for ratio in ratios.values())
    return Knee(limit=found, low=low, high=high, at_end=at_end, left_out=left_out, n=n, **of)


def _medians(rates: Rates) -> dict[int, float]:
    """Return the median rate of each limit that has a usable one."""
    known = {limit: [one for one in values if is_usable(one)] for limit, values in rates.items()}
    return {limit: median(values) for limit, values in known.items() if values}


def _ratio(of: Sequence[float | None], to: Sequence[float | None]) -> Interval | None:
    """Return the ratio over the repeats that have both; None where there is none."""
    above, below = usable_pairs(of, to)
    return of_ratio(above, below) if above else None


class Usl(msgspec.Struct, frozen=True, kw_only=True):
    """The Universal Scalability Law: rate(N) = rate_1 * N / (1 + sigma (N - 1) + kappa N (N - 1)).

    N. J. Gunther, 'A simple capacity model of massively parallel transaction systems', 1993.
    `rate_1` is the rate of one at a time, sigma the share that is done one after another
    (contention), kappa the cost of each pair that must agree (coherency). `off` is how far the law
    is off, as a share of the rates. `peak` is the limit of the highest rate, None where kappa is
    within two standard errors of 0, so that no peak is known.
    """

    rate_1: float
    sigma: float
    kappa: float
    off: float
    peak: float | None

    def at(self, limit: float) -> float:
        """Return the rate at a limit."""
        return float(_usl(np.array([limit]), self.rate_1, self.sigma, self.kappa)[0])


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """The law where it fits; where not, None and the reason as a sentence without its full stop."""

    usl: Usl | None = None
    reason: str = ""


def fit_usl(rates: Rates) -> Fit:
    """Fit the law to the median rate of each limit, or say why it does not hold.

    Errors count as shares of the rates, and no coefficient is negative (scipy's `curve_fit`).
    Refused: fewer than six limits, a curve that is off by more than 10 %, and rates that determine
    no coefficients.
    """
    medians = _medians(rates)
    if len(medians) < MIN_LEVELS:
        return Fit(reason=paths.sentence("usl-few", n=len(medians), least=MIN_LEVELS))
    limits = np.array(sorted(medians), dtype=np.float64)
    measured = np.array([medians[int(limit)] for limit in limits])
    try:
        # What overflows, or determines no coefficients, is not to pass with a warning.
        with np.errstate(over="raise", invalid="raise", divide="raise"), catch_warnings():
            simplefilter("error", UserWarning)
            return _fitted(limits, measured)
    except (RuntimeError, ValueError, ArithmeticError, Warning) as error:
        return Fit(reason=f"no coefficients were found ({error})")


def _usl(limits: Array, rate_1: float, sigma: float, kappa: float) -> Array:
    law: Array = rate_1 * limits / (1 + sigma * (limits - 1) + kappa * limits * (limits - 1))
    return law


def _fitted(limits: Array, measured: Array) -> Fit:
    """Fit the law, in units of the best rate per request in flight, and judge the fit."""
    from scipy.optimize import curve_fit  # here: half a second that only a sweep needs

    each = float(np.max(measured / limits))

    def law(limits: Array, share: float, sigma: float, kappa: float) -> Array:
        return _usl(limits, share * each, sigma, kappa)

    found, covariance = curve_fit(
        law, limits, measured, p0=(1, 0.01, 1e-5), sigma=measured, bounds=(0, np.inf)
    )
    rate_1, sigma, kappa = each * float(found[0]), float(found[1]), float(found[2])
    errors = np.sqrt(np.diag(covariance))
    curve = _usl(limits, rate_1, sigma, kappa)
    off = float(np.sqrt(np.mean((curve / measured - 1) ** 2)))
    if not off <= MAX_OFF:
        return Fit(reason=f"its curve is off by {off:.1%}, and at most {MAX_OFF:.0%} is a fit")
    if float(curve[-1]) > (1 - MIN_BEND) * rate_1 * limits[-1]:
        return Fit(reason=paths.sentence("usl-straight", limit=limits[-1]))
    if not np.all(np.isfinite(errors)) or errors[0] > 0.5 * found[0]:
        return Fit(reason="the rates determine no coefficients: sweep smaller limits as well")
    has_peak = kappa > 2 * float(errors[2]) and sigma < 1
    peak = math.sqrt((1 - sigma) / kappa) if has_peak else None
    return Fit(usl=Usl(rate_1=rate_1, sigma=sigma, kappa=kappa, off=off, peak=peak))


def knee_says(found: Knee) -> str:
    """Return the knee in a sentence or two."""
    words = {"found": found, "rate": number(found.rate), "best": number(found.best_rate)}
    if found.left_out:
        listed = ", ".join(f"{limit:,}" for limit in found.left_out)
        whole = knee_says(msgspec.structs.replace(found, left_out=[]))
        return f"Without a valid trial, and left out: limit {listed}. {whole}"
    if found.at_end:
        return paths.sentence("knee-at-end", **words)
    says = paths.sentence("knee", within=WITHIN, **words)
    if found.low is None:  # or the other end, which is known where this one is
        return paths.sentence("knee-few", says=says, n=found.n, least=MIN_REPEATS)
    both = f"from {found.low:,} to {found.high:,}"
    ends = both if found.low != found.high else f"{found.low:,} alone"
    return f"{says}; its {100 * found.level:g} % interval, of the limits tried, is {ends}."


def usl_says(fit: Fit) -> str:
    """Return the law's coefficients, or why it was refused, in a sentence."""
    if fit.usl is None:
        return f"The Universal Scalability Law was not fitted: {fit.reason}."
    usl = fit.usl
    peak = "no peak is known" if usl.peak is None else f"its peak is at {number(usl.peak)}"
    return paths.sentence("usl", usl=usl, rate_1=number(usl.rate_1), peak=peak)


# Did a service sustain a rate? The plan: by what was sent, by failures, and by how long requests
# took since they were due. A service that is too slow shows in one of them at least: its answers
# take the places that the next requests need, which are sent late or never, or it lets them wait,
# or it refuses. What is not the service's doing decides nothing: runs that something else spoilt,
# and a limit whose places were all taken while answers came as fast as ever.
# wrk2 and vegeta report the rate and leave it to the reader; guidellm's sweep ends where the rate
# of answers grows no more. Rejected: that rate, as it is low by what is in flight at the end, a
# tenth in a run of a second.

# Share of the asked rate from which on it is met.
MIN_MET = 0.98
# By how much the median latency may exceed that at the lowest rate: so many times, if by more than
# so many seconds. At an M/M/1 queue it is five times as long where 80 % of the rate is in use.
MAX_GROWTH, MAX_MORE_S = 5.0, 0.01
# What makes a record invalid without being what a service does that is too slow.
_SPOILT = codes.INVALID - {"all-failed", "failures-most", "rate-lost", "too-late"}


class Sustained(NamedTuple):
    """Whether a rate was sustained, as a verdict; the reason is empty where it holds."""

    rate_rps: float
    verdict: str
    reason: str


def sustained(records: Sequence[Record]) -> list[Sustained]:
    """Decide of each rate, from the lowest on, whether the service sustained it."""
    found, usual = list[Sustained](), list[float]()
    opened = sorted((one for one in records if _rate(one)), key=_rate)
    for rate, group in itertools.groupby(opened, _rate):
        mine = list(group)
        spoilt = [note for one in mine for note in one.warnings if note.code in _SPOILT]
        sound = [one for one in mine if not any(note in spoilt for note in one.warnings)]
        verdict, reason = "inconclusive", spoilt[0].message if spoilt else "nothing was sent"
        if any(one.arrivals for one in sound):
            verdict, reason = _judged(rate, [one for one in sound if one.arrivals], usual)
        found.append(Sustained(rate, verdict, reason))
    return found


def _judged(rate: float, sound: Sequence[Record], usual: list[float]) -> tuple[str, str]:
    """Return the verdict and its reason; `usual` are the latencies at the lowest rate."""
    sent = [one.arrivals for one in sound if one.arrivals]
    due, called = (
        median(one.latency_s.p50 if one.latency_s else math.inf for one in of)
        for of in (sent, sound)
    )
    usual += [] if usual else [due, called]
    is_long, are_slow = (
        now > max(MAX_GROWTH * before, before + MAX_MORE_S)
        for now, before in zip((due, called), usual, strict=True)
    )
    shares = [(one.achieved_rps or 0.0) / rate for one in sent]
    share, failed = of_value(shares), max(one.counts.failed_share for one in sound)
    low, high = share.low or min(shares), share.high or max(shares)
    if failed > guards.MAX_FAILED_SHARE:
        return "refuted", f"{failed:.1%} of its requests failed"
    if low >= MIN_MET and not is_long:
        return "holds", ""
    reason = f"half took over {1e3 * due:.3g} ms, and {1e3 * usual[0]:.3g} at the lowest rate"
    if low < MIN_MET:
        ends = f" (from {low:.1%} to {high:.1%})" if low < high else ""
        reason = f"{share.value:.1%} of it was sent{ends}, where at least {MIN_MET:.0%} must be"
    limit = sound[0].trial["workload"]["limit"]
    if any(limit in one.timeline.in_flight for one in sound) and not are_slow:
        why = f"its limit of {limit:,} was reached, and answers came as fast as ever"
        return "inconclusive", f"{reason}; {why}: raise limit"
    return "inconclusive" if low < MIN_MET <= high else "refuted", reason


def rates_say(records: Sequence[Record]) -> str:
    """Return the highest rate that was sustained and why the next was not, in a sentence."""
    found, says = sustained(records), "No rate is known to be sustained"
    held = list(itertools.takewhile(lambda one: one.verdict == "holds", found))
    if held:
        says = f"The highest rate that was sustained is {held[-1].rate_rps:,g} requests/s"
    if held == found:
        return f"{says}, and no higher one was asked for: sweep further."
    rate, verdict, reason = found[len(held)]
    was = "was not" if verdict == "refuted" else "is inconclusive"
    return f"{says}; {rate:,g} {was}: {reason}."


def _rate(record: Record) -> float:
    return record.trial["workload"].get("rate") or 0.0
