import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_ctl.stats import latency
from serving_ctl.stats.latency import Counts, count, merge, quantile_us, shown_quantile_ms, smallest_n

values = st.lists(st.floats(min_value=0.001, max_value=latency.MAX_US), min_size=1, max_size=200)


@given(values, st.floats(min_value=0.001, max_value=1.0))
def test_a_quantile_is_the_nearest_rank_within_three_digits(numbers: list[float], p: float) -> None:
    counts = count(numbers)
    exact = sorted(numbers)[max(math.ceil(p * len(numbers) - 1e-9), 1) - 1]
    assert quantile_us(counts, p) == pytest.approx(exact, rel=1e-3, abs=1.0)


@given(values)
def test_quantiles_ascend_between_the_exact_minimum_and_maximum(numbers: list[float]) -> None:
    counts = count(numbers)
    quantiles = [quantile_us(counts, p) for p in (1e-9, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0)]
    assert quantiles == sorted(quantiles)
    assert quantiles[0] == min(numbers) == counts.min_us
    assert quantiles[-1] == max(numbers) == counts.max_us


@given(st.lists(values, max_size=4))
def test_merging_equals_counting_all_at_once(parts: list[list[float]]) -> None:
    together = count([number for part in parts for number in part])
    merged = merge(*(count(part) for part in parts))
    assert (merged.index, merged.count, merged.n) == (together.index, together.count, together.n)
    assert (merged.min_us, merged.max_us) == (together.min_us, together.max_us)
    assert merged.sum_us == pytest.approx(together.sum_us)


def test_buckets_are_hdr_layout() -> None:
    whole = np.array([1.0, 2047.0, 2048.0, 2049.0, 4095.0, 4096.0, latency.MAX_US])
    assert latency.bucket_index(whole).tolist() == [1, 2047, 2048, 2048, 3071, 3072, 18215]


def test_every_bucket_holds_its_own_middle() -> None:
    index = np.arange(1, latency.BUCKETS - 1)
    assert (latency.bucket_index(latency.bucket_value(index)) == index).all()


def test_p90_of_29_values_is_the_27th() -> None:
    assert quantile_us(count(range(1, 30)), 0.9) == 27


@pytest.mark.parametrize(("p", "n"), [(0.5, 5), (0.9, 29), (0.95, 59), (0.99, 299), (0.999, 2995)])
def test_a_percentile_is_withheld_below_its_smallest_n(p: float, n: int) -> None:
    assert smallest_n(p) == n
    assert shown_quantile_ms(count([1000.0] * (n - 1)), p) is None
    assert shown_quantile_ms(count([1000.0] * n), p) == 1.0


def test_an_empty_histogram_says_so() -> None:
    assert (Counts().n, latency.mean_ms(Counts()), shown_quantile_ms(Counts(), 0.5)) == (0, None, None)
    with pytest.raises(ValueError, match="empty"):
        quantile_us(Counts(), 0.5)
    with pytest.raises(ValueError, match="lies in"):
        quantile_us(count([1.0]), 0.0)


def test_the_mean_is_exact() -> None:
    assert latency.mean_ms(count([1000.25, 2000.5, 3000.75])) == pytest.approx(2.0005)
