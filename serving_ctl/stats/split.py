"""Where the time of a request went, from two scrapes of a server's counters (rule R20)."""

from __future__ import annotations

import msgspec

PRINTED_DIGITS = 6


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """A counter pair as a scrape shows it: sum in µs, number of observations."""

    sum_us: float
    count: int


class Mean(msgspec.Struct, frozen=True, kw_only=True):
    """A mean in ms between two scrapes, with the error that the sum's printed digits allow."""

    ms: float
    plus_minus_ms: float


def mean_between(before: Total, after: Total) -> Mean | None:
    """Mean of the observations between two scrapes; None when there was none."""
    observations = after.count - before.count
    if observations <= 0:
        return None
    return Mean(
        ms=(after.sum_us - before.sum_us) / observations / 1000,
        plus_minus_ms=sum_resolution_us(after.sum_us) / observations / 1000,
    )


def sum_resolution_us(total_us: float) -> float:
    """At most how far a difference of two sums is off when each is printed with 6 significant digits: 10^(⌊log10 S⌋−5).

    Below 10^6 every whole microsecond is printed, and the sums are whole.
    """
    if total_us < 10**PRINTED_DIGITS:
        return 0.0
    return 10.0 ** (len(str(int(total_us))) - PRINTED_DIGITS)


def difference(outer: Mean, inner: Mean) -> Mean:
    """The part of ``outer`` that is not ``inner``; the errors add."""
    return Mean(ms=outer.ms - inner.ms, plus_minus_ms=outer.plus_minus_ms + inner.plus_minus_ms)


def is_resolved(mean: Mean) -> bool:
    """False when a part is smaller than its own error and is therefore not shown."""
    return mean.ms > 0 and mean.ms >= mean.plus_minus_ms
