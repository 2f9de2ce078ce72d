"""What the charts draw, as plain numbers: values with bands by size, percentile spectra, split bars. No drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from serving_ctl.events import Ladder
from serving_ctl.results.details import counts_of, mean_parts
from serving_ctl.results.metrics import Metric
from serving_ctl.results.rates import values_by_round
from serving_ctl.results.record import RunRecord
from serving_ctl.stats.latency import quantile_us, smallest_n
from serving_ctl.stats.rounds import half_width

SPECTRUM = tuple(1 - 10 ** (-step / 8) for step in range(1, 33))
"""Percentiles evenly spaced in the number of nines, up to 99.99 %."""


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """One server's values in ascending size: geometric means with the 95 % interval over its rounds."""

    server: str
    name: str
    sizes: tuple[int, ...]
    values: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    """Equal to ``values`` where one round gives no interval."""


class Spectrum(msgspec.Struct, frozen=True, kw_only=True):
    """One server's request times in ms by percentile (0 … 1), as far as its requests can tell them (R15)."""

    server: str
    name: str
    percentiles: tuple[float, ...]
    times_ms: tuple[float, ...]


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """Where one server's mean request spent its time at one size: (part, ms), only parts that are known."""

    server: str
    name: str
    size: int
    parts: tuple[tuple[str, float], ...]


def curves(record: RunRecord, ladder: Ladder, metric: Metric) -> tuple[Curve, ...]:
    """Both servers' curves; one without any value is left out."""
    found = []
    for target in record.targets:
        points = {
            size: list(values_by_round(record.finished(ladder.name, size, target.server), metric).values())
            for size in ladder.sizes
        }
        measured = {size: _band(values) for size, values in points.items() if values}
        if measured:
            low, middle, high = zip(*measured.values(), strict=True)
            found.append(
                Curve(
                    server=target.server, name=target.name, sizes=tuple(measured), values=middle, low=low, high=high
                )
            )  # fmt: skip
    return tuple(found)


def spectra(record: RunRecord, ladder: Ladder, size: int) -> tuple[Spectrum, ...]:
    """Both servers' percentile spectra at one size, all rounds together."""
    found = []
    for target in record.targets:
        counts = counts_of(record.finished(ladder.name, size, target.server))
        shown = tuple(p for p in SPECTRUM if counts.n >= smallest_n(p))
        if shown:
            times = tuple(quantile_us(counts, p) / 1000 for p in shown)
            found.append(Spectrum(server=target.server, name=target.name, percentiles=shown, times_ms=times))
    return tuple(found)


def bars(record: RunRecord, ladder: Ladder) -> tuple[Bar, ...]:
    """One bar a size and server, where the split is known."""
    found = (
        Bar(
            server=target.server,
            name=target.name,
            size=size,
            parts=tuple(
                (name, ms)
                for name, ms in mean_parts(record.finished(ladder.name, size, target.server)).items()
                if ms is not None
            ),
        )
        for size in ladder.sizes
        for target in record.targets
    )
    return tuple(bar for bar in found if bar.parts)


def shown_sizes(ladder: Ladder) -> tuple[int, ...]:
    """The smallest, the middle and the largest size: enough to see how a spectrum changes."""
    sizes = ladder.sizes
    return tuple(dict.fromkeys((sizes[0], sizes[len(sizes) // 2], sizes[-1]))) if sizes else ()


def _band(values: Sequence[float]) -> tuple[float, float, float]:
    """(low, geometric mean, high) of one server's rounds."""
    logs = [math.log(value) for value in values]
    mean = math.fsum(logs) / len(logs)
    if len(logs) < 2:
        return (math.exp(mean),) * 3
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in logs) / (len(logs) - 1))
    half = half_width(spread, len(logs))
    return math.exp(mean - half), math.exp(mean), math.exp(mean + half)
