"""The numbers behind the ratio tables: each metric's values by round, and the first target compared with each other.

What they look like as text is ``tables``' to say.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from serving_ctl.events import CellFinished, Ladder
from serving_ctl.results.metrics import LADDER_METRICS, Metric
from serving_ctl.results.record import RateRange, RunRecord
from serving_ctl.stats.rounds import Comparison, compare_rounds


def row_comparison(record: RunRecord, ladder: Ladder, size: int, metric: Metric) -> Comparison | None:
    """The first target against the second over the rounds both finished at ``size``; None before the first pair."""
    return row_comparisons(record, ladder, size, metric)[0]


def row_comparisons(record: RunRecord, ladder: Ladder, size: int, metric: Metric) -> tuple[Comparison | None, ...]:
    """The first target against each other one, over the rounds both of the two finished at ``size`` (R16)."""
    first, *others = (
        values_by_round(record.finished(ladder.name, size, target.server), metric) for target in record.targets
    )
    return tuple(_compared(first, other, metric) for other in others)


def _compared(first: dict[int, float], other: dict[int, float], metric: Metric) -> Comparison | None:
    paired = sorted(first.keys() & other.keys())
    if not paired:
        return None
    return compare_rounds(
        [first[r] for r in paired], [other[r] for r in paired], higher_is_better=metric.higher_is_better
    )


def rate_ranges(record: RunRecord, ladder: Ladder) -> tuple[RateRange, ...]:
    """The smallest and the largest ratio of the ladder's headline table to each other target that has any."""
    metric = LADDER_METRICS[ladder.kind][0]
    others = record.targets[1:]
    by_size = [row_comparisons(record, ladder, size, metric) for size in ladder.sizes]
    found = {
        other.name: [one.ratio for one in column if one]
        for other, column in zip(others, zip(*by_size, strict=True), strict=True)
    }
    return tuple(
        RateRange(ladder=ladder.name, low=min(ratios), high=max(ratios), other=name if len(others) > 1 else "")
        for name, ratios in found.items()
        if ratios
    )


def numerator(cells: Iterable[CellFinished], metric: Metric, comparisons: Iterable[Comparison | None]) -> float | None:
    """The first target's value beside its ``comparisons``; None when it has none.

    Over the rounds that it and its partner finished, so that the rate is the quotient of the two numbers shown (R16);
    where several partners finished different rounds, over all of its own ``cells``.
    """
    shown = {comparison.first for comparison in comparisons if comparison}
    return shown.pop() if len(shown) == 1 else geometric_mean_of(cells, metric)


def geometric_mean_of(cells: Iterable[CellFinished], metric: Metric) -> float | None:
    """One server's value over its rounds, without a partner; None when there is none."""
    values = list(values_by_round(cells, metric).values())
    return compare_rounds(values, values).first if values else None


def values_by_round(cells: Iterable[CellFinished], metric: Metric) -> dict[int, float]:
    """The metric's values that can be compared, by round: measured, finite and above zero."""
    values = ((cell.cell.round, metric.value(cell)) for cell in cells)
    return {number: value for number, value in values if value is not None and 0 < value < math.inf}
