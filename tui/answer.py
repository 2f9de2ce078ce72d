"""The answer of a ratio table in a few words: who is faster, by how much, in how many rows, and what to beware of.

It speaks of rows whose verdict is made; how a verdict is made is the results' own rule (R16, R17).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from serving_ctl import formatting
from serving_ctl.results.metrics import Metric
from serving_ctl.results.tables import Rate, RowState, Table
from tui.drawing import Span

FLAG = re.compile(r"\[([A-Z-]+)\]")


def answer(table: Table, first: str, metric: Metric) -> tuple[Span, ...]:
    """What ``table`` says of its ``first`` target against each other one, a span each, then the flags of its rows."""
    by_other = list(zip(*(row.rates for row in table.rows), strict=True))
    found = [_against(first, rates, metric) for rates in by_other]
    return (*(span for span in found if span.text), *_cautions(table)) if any(span.text for span in found) else ()


def _against(first: str, rates: Sequence[Rate], metric: Metric) -> Span:
    """The rows that each side wins and its factor, and those without a sure difference; empty without any verdict."""
    other = rates[0].name
    better = [rate.ratio for rate in rates if rate.state is RowState.BETTER and rate.ratio]
    worse = [rate.ratio for rate in rates if rate.state is RowState.WORSE and rate.ratio]
    even = sum(rate.state is RowState.EVEN for rate in rates)
    said = [
        f"{winner} {_factors(ratios, metric)} as {loser} in {_rows(len(ratios), len(rates))}"
        for winner, loser, ratios in ((first, other, better), (other, first, worse))
        if ratios
    ]
    if even:
        pair = "" if said else f" between {first} and {other}"
        said.append(f"no sure difference{pair} in {_rows(even, len(rates))}")
    role = "even" if even or (better and worse) else "better" if better else "worse"
    return Span("; ".join(said), f"strong {role}")


def _rows(number: int, total: int) -> str:
    """How many rows of how many."""
    return f"all {formatting.plural(total, 'row')}" if number == total > 1 else f"{number} of {total}"


def _factors(ratios: Sequence[float], metric: Metric) -> str:
    """How many times as fast (or as much) the better side is: the smallest and the largest."""
    factors = [max(ratio, 1 / ratio) for ratio in ratios]
    verb, word = ("gives", "much") if metric.higher_is_better else ("is", "fast")
    return f"{verb} {formatting.ratio_range(min(factors), max(factors))} × as {word}"


def _cautions(table: Table) -> list[Span]:
    """Each flag with the numbers of the rows that carry it."""
    rows: dict[str, list[str]] = {}
    for row in table.rows:
        for flag in dict.fromkeys(FLAG.findall(" ".join(row.cells))):
            rows.setdefault(flag, []).append(row.cells[0])
    return [
        Span(f"! row{'s' if len(numbers) > 1 else ''} {', '.join(numbers)} {flag}", "warn")
        for flag, numbers in rows.items()
    ]
