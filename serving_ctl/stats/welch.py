"""Two runs compared: how much worse the later one is, with Welch's interval over the rounds of each (rule R16's scale).

The rounds of two runs are not paired, so the interval is Welch's on the logarithms, not ``rounds``' paired one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from serving_ctl.stats.rounds import CONFIDENCE, Verdict, decide, t_quantile


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Geometric means of two runs, and how many times worse ``after`` is: above 1 is a loss in every metric."""

    before: float
    after: float
    ratio: float
    low: float | None
    high: float | None
    verdict: Verdict
    """``FIRST``: before was better; ``SECOND``: after is."""


def change_between(before: Sequence[float], after: Sequence[float], *, higher_is_better: bool = False) -> Change:
    """after / before for times, before / after where more is better; values above zero, at least one each.

    One round in either run gives a ratio without an interval. Raises ValueError for none or for a value that is not
    positive and finite.
    """
    if not before or not after:
        raise ValueError("each run needs at least one round")
    if not all(value > 0 and math.isfinite(value) for value in (*before, *after)):
        raise ValueError("values must be finite and above zero")
    old, new = ([math.log(value) for value in values] for values in (before, after))
    means = _mean(old), _mean(new)
    difference = (means[0] - means[1]) if higher_is_better else (means[1] - means[0])
    half = welch_half_width(old, new)
    judged = math.isfinite(half)
    return Change(
        before=math.exp(means[0]),
        after=math.exp(means[1]),
        ratio=math.exp(difference),
        low=math.exp(difference - half) if judged else None,
        high=math.exp(difference + half) if judged else None,
        verdict=decide(difference, half, higher_is_better=True) if judged else Verdict.INCONCLUSIVE,
    )


def welch_half_width(first: Sequence[float], second: Sequence[float]) -> float:
    """Half of Welch's 95 % interval of the difference of two means; infinite when either has fewer than two values.

    The Welch–Satterthwaite degrees of freedom are rounded down, which can only widen the interval.
    """
    if min(len(first), len(second)) < 2:
        return math.inf
    shares = [_variance(values) / len(values) for values in (first, second)]
    total = sum(shares)
    if total == 0:
        return 0.0
    parts = sum((share / total) ** 2 / (len(values) - 1) for share, values in zip(shares, (first, second), strict=True))
    return t_quantile(CONFIDENCE, max(math.floor(1 / parts + 1e-9), 1)) * math.sqrt(total)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _variance(values: Sequence[float]) -> float:
    mean = _mean(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
