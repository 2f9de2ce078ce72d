"""Latency histograms in HDR layout (3 significant digits, 1 µs … 120 s) and their nearest-rank quantiles (R14, R15).

Pure numpy: values go in as arrays, never one by one. Knows nothing of HTTP or of servers.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt

MAX_US = 120_000_000
"""Longest latency a histogram holds; what is longer is an error kind (R14)."""

_HALF_BITS = 10
_HALF = 1 << _HALF_BITS
"""Half the sub-buckets of one power of two: 2048 keep 3 significant digits, as in HdrHistogram."""
BUCKETS = 18 * _HALF


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """A histogram in HDR layout, sparse: ``count[i]`` values in bucket ``index[i]``, ascending (R14)."""

    index: tuple[int, ...] = ()
    count: tuple[int, ...] = ()
    min_us: float = 0.0
    max_us: float = 0.0
    sum_us: float = 0.0

    @property
    def n(self) -> int:
        """Number of values."""
        return sum(self.count)


class Histogram:
    """A growing histogram: arrays of µs are added in bulk, ``counts()`` is what it holds so far."""

    def __init__(self) -> None:
        self._dense = np.zeros(BUCKETS, dtype=np.int64)
        self._min_us = math.inf
        self._max_us = 0.0
        self.sum_us = 0.0
        self.n = 0

    def add(self, values_us: npt.NDArray[np.float64]) -> None:
        """Count ``values_us``, each at most ``MAX_US``."""
        if not len(values_us):
            return
        self._dense += np.bincount(bucket_index(values_us), minlength=BUCKETS)
        self._min_us = min(self._min_us, float(values_us.min()))
        self._max_us = max(self._max_us, float(values_us.max()))
        self.sum_us += float(values_us.sum())
        self.n += len(values_us)

    def counts(self) -> Counts:
        """What was added so far, as a value."""
        if not self.n:
            return Counts()
        return _sparse(self._dense, self._min_us, self._max_us, self.sum_us)


def bucket_index(values_us: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """HDR bucket of each value (rounded to whole µs): 1 µs wide up to 2047 µs, then doubling at each power of 2."""
    whole = np.maximum(np.rint(values_us), 1.0)
    shift = np.maximum(np.frexp(whole)[1].astype(np.int64) - 1 - _HALF_BITS, 0)
    return (shift << _HALF_BITS) + (whole.astype(np.int64) >> shift)


def bucket_value(index: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The middle of each bucket in µs: at most 0.05 % away from what was counted there."""
    shift = np.maximum((index >> _HALF_BITS) - 1, 0)
    lowest = (index - (shift << _HALF_BITS)) << shift
    width = (1 << shift).astype(np.float64)
    middle: npt.NDArray[np.float64] = lowest + (width - 1.0) / 2.0
    return middle


def count(values_us: npt.ArrayLike) -> Counts:
    """The histogram of ``values_us`` (µs, each at most ``MAX_US``)."""
    histogram = Histogram()
    histogram.add(np.asarray(values_us, dtype=np.float64))
    return histogram.counts()


def merge(*parts: Counts) -> Counts:
    """The histogram of all the parts' values together, exact; empty parts are allowed."""
    filled = [part for part in parts if part.count]
    if len(filled) < 2:
        return filled[0] if filled else Counts()
    dense = np.zeros(BUCKETS, dtype=np.int64)
    for part in filled:
        dense[list(part.index)] += np.asarray(part.count, dtype=np.int64)
    return _sparse(
        dense,
        min(part.min_us for part in filled),
        max(part.max_us for part in filled),
        math.fsum(part.sum_us for part in filled),
    )


def quantile_us(counts: Counts, p: float) -> float:
    """The nearest-rank quantile x_(⌈pn⌉) in µs, clamped to the exact min and max (R14).

    Raises ValueError when ``counts`` is empty or ``p`` is outside (0, 1].
    """
    if not 0.0 < p <= 1.0:
        raise ValueError(f"a quantile lies in (0, 1], not at {p}")
    if not counts.count:
        raise ValueError("an empty histogram has no quantiles")
    cumulated = np.cumsum(np.asarray(counts.count, dtype=np.int64))
    rank = rank_of(p, int(cumulated[-1]))
    if rank == cumulated[-1]:
        return counts.max_us
    if rank == 1:
        return counts.min_us
    bucket = np.asarray([counts.index[int(np.searchsorted(cumulated, rank))]], dtype=np.int64)
    return min(max(float(bucket_value(bucket)[0]), counts.min_us), counts.max_us)


def rank_of(p: float, n: int) -> int:
    """⌈p·n⌉, at least 1, safe against p·n landing a rounding error above a whole number."""
    return max(math.ceil(p * n - 1e-9 * max(1.0, p * n)), 1)


def smallest_n(p: float) -> int:
    """Fewest values from which the quantile ``p`` is shown: ⌈ln 0.05 / ln p⌉ (R15)."""
    return math.ceil(math.log(0.05) / math.log(p))


def shown_quantile_ms(counts: Counts, p: float) -> float | None:
    """The quantile in ms, or None when R15 withholds it."""
    if counts.n < smallest_n(p):
        return None
    return quantile_us(counts, p) / 1e3


def mean_ms(counts: Counts) -> float | None:
    """The exact mean in ms; None when empty."""
    return counts.sum_us / counts.n / 1e3 if counts.count else None


def _sparse(dense: npt.NDArray[np.int64], min_us: float, max_us: float, sum_us: float) -> Counts:
    index = np.flatnonzero(dense)
    return Counts(
        index=tuple(index.tolist()),
        count=tuple(dense[index].tolist()),
        min_us=min_us,
        max_us=max_us,
        sum_us=sum_us,
    )
