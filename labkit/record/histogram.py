"""A latency histogram of constant size: cheap to record into, exported as an HdrHistogram.

Buckets keep 11 bits after the leading one (an error of at most 0.05 %), as HdrHistogram's own do
(hdrhistogram.org). Recording is one array increment, or for many at once `words` and a count of
them; the encoding is made after the window.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import compress, pairwise
from struct import pack, unpack
from typing import Union

from labkit.record.requests import Latency, Lateness, Phase

SUB_BITS = 11
MAX_NS = 86_400 * 10**9
MAX_HDR_US = 3_600 * 10**6
HDR_DIGITS = 3
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}


def index(value: int) -> int:
    """Return the bucket of a value of at least 0."""
    shift = max(value.bit_length() - SUB_BITS - 1, 0)
    return (shift << SUB_BITS) + (value >> shift)


def middle(bucket: int) -> float:
    """Return the value that stands for a bucket."""
    shift = max((bucket >> SUB_BITS) - 1, 0)
    low = (bucket - (shift << SUB_BITS)) << shift
    return low + ((1 << shift) - 1) / 2


def empty() -> array[int]:
    """Return the counts of an empty histogram, without a large block that is freed again.

    That would change what a read of asyncio's costs: see `probes.malloc`.
    """
    return array("Q", [0]) * (index(MAX_NS) + 1)


# The longest latency that fits a word, and how many words there are up to it.
MAX_WORD_S, WORDS = 65_504.0, 0x7C00


def words(seconds: list[float]) -> array[int]:
    """Convert each latency to half precision, of which the 16 bits are its bucket.

    Nothing that counts goes through the interpreter step by step, so that this costs half of what
    an increment for each costs. Error: at most 0.05 %, or 30 ns where that is more.
    """
    try:
        halves = pack(f"{len(seconds)}e", *seconds)
    except OverflowError:
        halves = pack(f"{len(seconds)}e", *(min(took, MAX_WORD_S) for took in seconds))
    return array("H", halves)


def of_words(counted: Mapping[int, int]) -> array[int]:
    """Return the histogram of latencies: `counted` is how many have each word."""
    counts = empty()
    seconds_of = unpack(f"{len(counted)}e", array("H", counted))
    for seconds, count in zip(seconds_of, counted.values(), strict=True):
        counts[index(round(seconds * 1e9))] += count
    return counts


# Words that are counted together where many histograms are kept: 3 % of a latency, or 2 µs.
COARSE = 32


def of_parts(ends: Sequence[Sequence[int]]) -> list[Latency | None]:
    """Return the percentiles of each part of a run: `ends` are the coarse counts at its ends."""
    n = WORDS // COARSE
    middles = unpack(f"{n}e", array("H", range(COARSE // 2, WORDS, COARSE)))
    buckets_of, found = [index(round(seconds * 1e9)) for seconds in middles], []
    for before, after in pairwise([[0] * n, *ends]):
        each = zip(buckets_of, before, after, strict=True)
        found.append(summary({bucket: b - a for bucket, a, b in each if b > a}))
    return found


# How many each bucket has: an array of all buckets, or a mapping of those that have any.
Counted = Union["array[int]", Mapping[int, int]]


def sparse(counts: Sequence[int]) -> dict[int, int]:
    """Return the buckets that are not empty, and how many each has."""
    return {bucket: counts[bucket] for bucket in compress(range(len(counts)), counts)}


def buckets(counts: Counted) -> Iterator[tuple[float, int]]:
    """Yield value and count of each bucket that is not empty, in rising order."""
    if isinstance(counts, Mapping):
        return ((middle(bucket), count) for bucket, count in sorted(counts.items()) if count)
    # Nearly all are empty: a loop in Python over each of them takes three times as long.
    return ((middle(bucket), counts[bucket]) for bucket in compress(range(len(counts)), counts))


def _value_at(found: list[tuple[float, int]], rank: float) -> float | None:
    """Return the value of this rank, from 1 on, among buckets in rising order."""
    value = None
    for value, count in found:  # noqa: B007  # the last one, where the rank is above all
        rank -= count
        if rank <= 0:
            break
    return value


def summary(counts: Counted) -> Latency | None:
    """Return mean and percentiles in seconds of a histogram of nanoseconds; None: empty."""
    found = list(buckets(counts))
    total = sum(count for _, count in found)
    if not total:
        return None
    mean = sum(value * count for value, count in found) / total / 1e9
    values = {name: _value_at(found, share * total) or 0.0 for name, share in SHARES.items()}
    seconds = {name: round(value / 1e9, 9) for name, value in values.items()}
    return Latency(mean=round(mean, 9), **seconds)


def phase(counts: Counted, *, sum_s: float, longest_s: float, of: int) -> Phase:
    """Return what requests spent in a phase, where `of` of them succeeded, of its nanoseconds."""
    found = summary(counts)
    if found is None:
        return Phase(n=0, mean=0.0)
    n = sum(count for _, count in buckets(counts))
    # A bucket's middle may lie above the longest time in it.
    p50_s, p99_s = min(found.p50, longest_s), min(found.p99, longest_s)
    return Phase(n=n, mean=sum_s / of, p50=p50_s, p99=p99_s, max=longest_s)


def lateness(counts: Counted) -> Lateness | None:
    """Return how late things came, of a histogram of nanoseconds; None: empty."""
    found = summary(counts)
    if found is None:
        return None
    n = sum(count for _, count in buckets(counts))
    return Lateness(p50=found.p50, p90=found.p90, p99=found.p99, max=found.max, n=n)


def to_hdr(counts: Counted) -> str | None:
    """Encode the counts as an HdrHistogram of microseconds (V2, compressed, base64)."""
    from hdrh.histogram import HdrHistogram

    found = [*buckets(counts)]
    if not found:
        return None
    histogram = HdrHistogram(1, MAX_HDR_US, HDR_DIGITS)
    for value, count in found:
        histogram.record_value(min(max(round(value / 1e3), 1), MAX_HDR_US), count)
    return str(histogram.encode(), "ascii")
