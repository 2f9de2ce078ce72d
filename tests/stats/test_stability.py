"""Rule R9 against its plain definition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_ctl.stats.stability import is_stable

STEADY = (0.6, 100, 2.0)

windows = st.lists(
    st.tuples(
        st.floats(min_value=0.1, max_value=5),
        st.integers(min_value=45, max_value=70),
        st.none() | st.floats(min_value=1.0, max_value=1.3),
    ),
    max_size=10,
)


def by_definition(cell):
    if len(cell) < 3 or min(requests for _, requests, _ in cell) < 50:
        return None
    for i in range(len(cell) - 2):
        three = cell[i : i + 3]
        rates = [requests / seconds for seconds, requests, _ in three]
        medians = [p50 for _, _, p50 in three]
        if None in medians:
            continue
        if max(rates) / min(rates) <= 1.10 and max(medians) / min(medians) <= 1.10:
            return True
    return False


@given(windows)
def test_is_the_definition(cell):
    assert is_stable(cell) is by_definition(cell)


def test_five_even_windows_are_stable():
    assert is_stable([STEADY] * 5) is True


def test_three_in_a_row_are_enough_wherever_they_stand():
    slow = (0.6, 60, 3.5)
    assert is_stable([slow, (0.6, 90, 3.0), STEADY, STEADY, STEADY]) is True
    assert is_stable([STEADY, STEADY, STEADY, slow, slow]) is True


def test_three_that_are_not_in_a_row_are_not_enough():
    slow = (0.6, 60, 3.5)
    assert is_stable([STEADY, STEADY, slow, STEADY, STEADY]) is False


def test_steady_throughput_with_a_moving_median_is_unstable():
    assert is_stable([(0.6, 100, p50) for p50 in (1.0, 1.2, 1.5, 1.9, 2.4)]) is False


def test_a_steady_median_with_moving_throughput_is_unstable():
    assert is_stable([(0.6, requests, 2.0) for requests in (60, 75, 90, 110, 130)]) is False


def test_throughput_counts_and_not_requests():
    assert is_stable([(0.6 * k, 100 * k, 2.0) for k in (1, 2, 3, 4, 5)]) is True


@pytest.mark.parametrize(("p50", "stable"), [(2.2, True), (2.21, False)])
def test_ten_percent_is_still_stable(p50, stable):
    assert is_stable([STEADY, STEADY, (0.6, 100, p50)]) is stable


@pytest.mark.parametrize("place", range(5))
def test_one_window_below_fifty_requests_forbids_a_judgement(place):
    cell = [STEADY] * 5
    cell[place] = (0.6, 49, 2.0)
    assert is_stable(cell) is None


@pytest.mark.parametrize("number", range(3))
def test_fewer_than_three_windows_forbid_a_judgement(number):
    assert is_stable([STEADY] * number) is None


def test_windows_of_failures_only_are_not_steady():
    assert is_stable([(0.6, 100, None)] * 5) is False
