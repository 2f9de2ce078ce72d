"""Where the time of a request went, from two scrapes of a server's counters (rule R20)."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

PRINTED_DIGITS = 6


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """A counter pair as a scrape shows it: sum in µs, number of observations."""

    sum_us: float
    count: int
    printed_us: tuple[float, ...] = ()
    """Of several servers together: each one's sum, which was printed, and so rounded, by itself."""

    @property
    def resolution_us(self) -> float:
        """``sum_resolution_us`` of every printed sum together."""
        return sum(map(sum_resolution_us, self.printed_us or (self.sum_us,)))


class Mean(msgspec.Struct, frozen=True, kw_only=True):
    """A mean in ms between two scrapes, with the error that the sum's printed digits allow."""

    ms: float
    plus_minus_ms: float


def together(totals: Iterable[Total]) -> Total:
    """The counter pairs of servers that share a load as one."""
    parts = tuple(totals)
    sums = tuple(part.sum_us for part in parts)
    return Total(sum_us=sum(sums), count=sum(part.count for part in parts), printed_us=sums)


def mean_between(before: Total, after: Total) -> Mean | None:
    """Mean of the observations between two scrapes; None when there was none."""
    observations = after.count - before.count
    if observations <= 0:
        return None
    return Mean(
        ms=(after.sum_us - before.sum_us) / observations / 1000,
        plus_minus_ms=after.resolution_us / observations / 1000,
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
