"""Whether a cell was in a steady state: perf_analyzer's rule over five windows (rule R9)."""

from __future__ import annotations

from collections.abc import Sequence

MAX_SPREAD = 1.10
WINDOWS_IN_A_ROW = 3
MIN_REQUESTS = 50


def is_stable(windows: Sequence[tuple[float, int, float | None]]) -> bool | None:
    """True when three consecutive windows agree within 10 % in throughput and in p50; None when n is too small.

    A window is (seconds, requests, p50 in ms).
    """
    if len(windows) < WINDOWS_IN_A_ROW or any(requests < MIN_REQUESTS for _, requests, _ in windows):
        return None
    rates = [requests / seconds for seconds, requests, _ in windows]
    medians = [p50 or 0.0 for _, _, p50 in windows]
    return any(
        _agree(rates[i : i + WINDOWS_IN_A_ROW]) and _agree(medians[i : i + WINDOWS_IN_A_ROW])
        for i in range(len(windows) - WINDOWS_IN_A_ROW + 1)
    )


def _agree(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) <= MAX_SPREAD
