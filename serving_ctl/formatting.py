"""The only place where a number becomes text. Missing values are a dash; a face never formats a number itself."""

from __future__ import annotations

MISSING = "–"
KIB = 1024.0


def significant(value: float | None) -> str:
    """Three significant digits without exponent, thousands grouped: 0.042, 1.93, 46.1, 1,234."""
    if value is None:
        return MISSING
    size = abs(value)
    if size >= 99.95:
        return f"{value:,.0f}"
    if size >= 9.995:
        return f"{value:.1f}"
    if size >= 0.9995 or size == 0:
        return f"{value:.2f}"
    return f"{value:.3f}"


def ratio(value: float | None) -> str:
    """A ratio with two digits behind the point, or three significant ones below 0.1."""
    if value is None:
        return MISSING
    return f"{value:.2f}" if value >= 0.0995 else f"{value:.3f}"


def interval(low: float | None, high: float | None) -> str:
    """A confidence interval of a ratio: 0.40 – 0.44."""
    return MISSING if low is None or high is None else f"{ratio(low)} – {ratio(high)}"


def count(value: int) -> str:
    """A whole number, thousands grouped."""
    return f"{value:,}"


def magnitude(value: float) -> str:
    """The order of a tiny difference: 3e-07, or 0."""
    return f"{value:.0e}" if value else "0"


def percent(value: float) -> str:
    """Percent without decimals: 83 %."""
    return f"{value:.0f} %"


def memory(megabytes: float) -> str:
    """Megabytes, or gigabytes from 1024 on: 312 MB, 2.0 GB."""
    return f"{megabytes:.0f} MB" if megabytes < KIB else f"{megabytes / KIB:.1f} GB"


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
