"""Two servers compared over rounds: the ratio, its interval and the verdict (rule R16)."""

from __future__ import annotations

import bisect
import enum
import math
from collections.abc import Sequence
from functools import lru_cache

import msgspec

TIE_MARGIN = math.log(1.05)
CONFIDENCE = 0.975
MAX_ROUNDS = 1000


class Verdict(enum.StrEnum):
    """What the interval says; ``FIRST`` and ``SECOND`` name the better server."""

    TIE = "tie"
    FIRST = "first"
    SECOND = "second"
    INCONCLUSIVE = "inconclusive"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Geometric means of both servers over the paired rounds, and their ratio first / second."""

    first: float
    second: float
    ratio: float
    low: float | None
    high: float | None
    verdict: Verdict
    rounds: int
    rounds_needed: int | None = None
    """Inconclusive only: about how many rounds would decide; None when more than 1,000."""


def compare_rounds(first: Sequence[float], second: Sequence[float], *, higher_is_better: bool = False) -> Comparison:
    """Rule R16 over paired values of equal, positive length; values in one unit, all above zero.

    One round gives a ratio without an interval. Raises ValueError for no rounds or a value that is not positive.
    """
    if not first or len(first) != len(second):
        raise ValueError("rounds must be paired and at least one")
    if not all(value > 0 and math.isfinite(value) for value in (*first, *second)):
        raise ValueError("values must be finite and above zero")
    logs = [math.log(a) - math.log(b) for a, b in zip(first, second, strict=True)]
    rounds = len(logs)
    mean = math.fsum(logs) / rounds
    spread = math.sqrt(math.fsum((x - mean) ** 2 for x in logs) / (rounds - 1)) if rounds > 1 else math.inf
    half = half_width(spread, rounds)
    verdict = decide(mean, half, higher_is_better=higher_is_better)
    return Comparison(
        first=_geometric_mean(first),
        second=_geometric_mean(second),
        ratio=math.exp(mean),
        low=math.exp(mean - half) if rounds > 1 else None,
        high=math.exp(mean + half) if rounds > 1 else None,
        verdict=verdict,
        rounds=rounds,
        rounds_needed=_rounds_needed(mean, spread) if verdict is Verdict.INCONCLUSIVE and rounds > 1 else None,
    )


def half_width(spread: float, rounds: int) -> float:
    """Half of the 95 % interval of a mean of ``rounds`` logs with standard deviation ``spread``."""
    return t_quantile(CONFIDENCE, rounds - 1) * spread / math.sqrt(rounds) if rounds > 1 else math.inf


@lru_cache(maxsize=2048)
def t_quantile(p: float, freedom: int) -> float:
    """The p-quantile (p ≥ 0.5) of Student's t, by bisection on the finite series of its distribution function."""
    low, high = 0.0, 1e4
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_probability(middle, freedom) < p else (low, middle)
    return (low + high) / 2


def _t_probability(t: float, freedom: int) -> float:
    """P(T ≤ t) for t ≥ 0 and whole degrees of freedom (Abramowitz & Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = freedom % 2 == 1
    term = total = (cosine if freedom > 1 else 0.0) if odd else 1.0
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    inside = (angle + sine * total) * 2 / math.pi if odd else sine * total
    return 0.5 + inside / 2


def decide(mean: float, half: float, *, higher_is_better: bool) -> Verdict:
    """Rule R16's verdict on a mean of ln(first / second) with the half width of its interval."""
    if abs(mean) + half <= TIE_MARGIN:
        return Verdict.TIE
    if abs(mean) > half:
        return Verdict.FIRST if (mean > 0) == higher_is_better else Verdict.SECOND
    return Verdict.INCONCLUSIVE


def _rounds_needed(mean: float, spread: float) -> int | None:
    """The smallest number of rounds whose interval would decide; the half width falls with every round."""
    wanted = max(abs(mean), TIE_MARGIN - abs(mean))
    if half_width(spread, MAX_ROUNDS) > wanted:
        return None
    return bisect.bisect_left(range(2, MAX_ROUNDS), True, key=lambda r: half_width(spread, r) <= wanted) + 2


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(math.fsum(math.log(value) for value in values) / len(values))
