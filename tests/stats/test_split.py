"""Rule R20's arithmetic: means between scrapes and the error that six printed digits allow."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from serving_ctl.stats.split import Mean, Total, difference, is_resolved, mean_between, sum_resolution_us


def printed(total_us: int) -> float:
    """A sum as TensorFlow Serving prints it."""
    return float(f"{total_us:.6g}")


@given(
    st.integers(min_value=0, max_value=10**13),
    st.integers(min_value=1, max_value=10**10),
    st.integers(min_value=1, max_value=10**6),
)
def test_the_true_mean_lies_within_the_stated_error(before_us, spent_us, answered):
    true_ms = spent_us / answered / 1000
    before = Total(sum_us=printed(before_us), count=7)
    after = Total(sum_us=printed(before_us + spent_us), count=7 + answered)
    found = mean_between(before, after)
    assert abs(found.ms - true_ms) <= found.plus_minus_ms * (1 + 1e-9) + 1e-9 * true_ms


@given(st.integers(min_value=10**6, max_value=10**14).map(printed))
def test_resolution_is_the_rules_formula(total_us):
    assert sum_resolution_us(total_us) == pytest.approx(10.0 ** (len(str(int(total_us))) - 1 - 5))


def test_small_sums_are_printed_in_full():
    assert sum_resolution_us(999_999.0) <= 1.0
    assert sum_resolution_us(0.0) == 0.0


def test_mean_of_a_real_window():
    found = mean_between(Total(sum_us=29_666, count=2), Total(sum_us=134_063, count=105))
    assert found.ms == pytest.approx((134_063 - 29_666) / 103 / 1000)
    assert found.plus_minus_ms <= 1 / 103 / 1000


def test_error_shrinks_with_the_requests_and_grows_with_the_server_s_age():
    few = mean_between(Total(sum_us=1e9, count=0), Total(sum_us=1.001e9, count=10))
    many = mean_between(Total(sum_us=1e9, count=0), Total(sum_us=1.001e9, count=1000))
    old = mean_between(Total(sum_us=1e11, count=0), Total(sum_us=1.00001e11, count=10))
    assert few.plus_minus_ms == pytest.approx(1.0)
    assert many.plus_minus_ms == pytest.approx(0.01)
    assert old.plus_minus_ms == pytest.approx(100.0)


@pytest.mark.parametrize("after", [0, 5])
def test_no_observation_between_the_scrapes_is_no_mean(after):
    assert mean_between(Total(sum_us=10.0, count=5), Total(sum_us=10.0, count=after)) is None


milliseconds = st.floats(min_value=0, max_value=1e4)


@given(milliseconds, milliseconds, milliseconds, milliseconds)
def test_errors_add_in_a_difference(outer, outer_error, inner, inner_error):
    found = difference(Mean(ms=outer, plus_minus_ms=outer_error), Mean(ms=inner, plus_minus_ms=inner_error))
    assert found.ms == outer - inner
    assert found.plus_minus_ms == outer_error + inner_error


@given(milliseconds, milliseconds)
def test_a_part_smaller_than_its_error_is_not_resolved(ms, error):
    assume(ms != error)
    assert is_resolved(Mean(ms=ms, plus_minus_ms=error)) is (ms > error)


def test_a_negative_part_is_never_resolved():
    assert not is_resolved(Mean(ms=-0.1, plus_minus_ms=0.0))
    assert not is_resolved(Mean(ms=0.0, plus_minus_ms=0.0))
