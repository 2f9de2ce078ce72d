"""The only place where a number becomes text. Missing values are a dash; a face never formats a number itself."""

from __future__ import annotations

import math

MISSING = "–"
MB_PER_GB = 1000.0
LARGEST_RATIO = 1000.0
SMALLEST_RATIO = 0.001


def significant(value: float | None) -> str:
    """Three significant digits without exponent, thousands grouped: 0.00131, 0.420, 1.93, 46.1, 1,234."""
    if value is None or not math.isfinite(value):
        return MISSING
    size = abs(value)
    if size >= 99.95:
        return f"{value:,.0f}"
    if size >= 9.995:
        return f"{value:.1f}"
    if size >= 0.9995 or size == 0:
        return f"{value:.2f}"
    return f"{value:.{2 - math.floor(math.log10(size))}f}"


def ratio(value: float | None) -> str:
    """A ratio with two digits behind the point, three below 0.1; beyond a factor of 1,000 only that."""
    if value is None or math.isnan(value):
        return MISSING
    if value >= LARGEST_RATIO:
        return ">1000"
    if value < SMALLEST_RATIO:
        return "<0.001"
    return f"{value:.2f}" if value >= 0.0995 else f"{value:.3f}"


def interval(low: float | None, high: float | None) -> str:
    """A confidence interval of a ratio: 0.40 – 0.44."""
    return MISSING if low is None or high is None else f"{ratio(low)} – {ratio(high)}"


def ratio_range(low: float, high: float) -> str:
    """The smallest and the largest of several ratios: 0.40 … 0.87, or the one they all are."""
    return ratio(low) if ratio(low) == ratio(high) else f"{ratio(low)} … {ratio(high)}"


def count(value: int) -> str:
    """A whole number, thousands grouped."""
    return f"{value:,}"


def rounded_count(value: int) -> str:
    """A guessed number, two digits of it: 36,000."""
    return f"{float(f'{value:.2g}'):,.0f}"


def tick(value: float) -> str:
    """A number at an axis, which is a round one: 0.05, 2, 1,000."""
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def magnitude(value: float) -> str:
    """The order of a tiny difference: 3e-07, or 0."""
    return f"{value:.0e}" if value else "0"


def percent(value: float) -> str:
    """Percent without decimals: 83 %."""
    return f"{value:.0f} %"


def memory(megabytes: float) -> str:
    """Megabytes (10^6 bytes), or gigabytes from 1,000 on: 312 MB, 2.0 GB."""
    return f"{megabytes:.0f} MB" if megabytes < MB_PER_GB - 0.5 else f"{megabytes / MB_PER_GB:.1f} GB"


def duration(seconds: float) -> str:
    """A span for people: 0.4 s, 42 s, 3m12s, 2h05m."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def plural(number: int, noun: str) -> str:
    """``1 round``, ``4 rounds``."""
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"
