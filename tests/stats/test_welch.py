"""Two unpaired runs: Welch's interval on logarithms, by known values and by its properties."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_ctl.stats.rounds import Verdict, t_quantile
from serving_ctl.stats.welch import change_between, welch_half_width

TIMES = st.lists(st.floats(1e-3, 1e4), min_size=2, max_size=8)


def test_a_textbook_case():
    """Welch (1947) as in NIST's handbook form: means 20.82 and 23.0, unequal variances, df 7.9 → 7."""
    first = [17.2, 20.9, 22.6, 18.1, 21.7, 21.4, 23.5, 24.2, 14.7, 21.8]
    second = [21.5, 22.8, 21.0, 23.0, 21.6, 23.6, 22.5, 20.7, 23.4, 21.8]
    shares = [sum((x - sum(v) / 10) ** 2 for x in v) / 9 / 10 for v in (first, second)]
    freedom = sum(shares) ** 2 / sum(share**2 / 9 for share in shares)
    assert freedom == pytest.approx(11.2, abs=0.2)
    assert welch_half_width(first, second) == pytest.approx(t_quantile(0.975, 11) * math.sqrt(sum(shares)))


def test_equal_spreads_give_the_pooled_degrees_of_freedom():
    half = welch_half_width([0.0, 1.0, 2.0], [5.0, 6.0, 7.0])
    assert half == pytest.approx(t_quantile(0.975, 4) * math.sqrt(2 / 3))


def test_slower_is_above_one_for_times_and_for_throughput():
    slower = change_between([1.0, 1.01, 0.99], [2.0, 2.02, 1.98])
    assert slower.ratio == pytest.approx(2.0)
    assert slower.verdict is Verdict.FIRST
    assert slower.low > 1.9
    fewer = change_between([2.0, 2.02, 1.98], [1.0, 1.01, 0.99], higher_is_better=True)
    assert fewer.ratio == pytest.approx(2.0)
    assert fewer.verdict is Verdict.FIRST
    assert (fewer.before, fewer.after) == (pytest.approx(2.0, rel=1e-3), pytest.approx(1.0, rel=1e-3))
    assert change_between([2.0, 2.02], [1.0, 1.01]).verdict is Verdict.SECOND


def test_the_same_rounds_are_a_tie_of_no_width():
    same = change_between([3.0, 3.0], [3.0, 3.0])
    assert (same.ratio, same.low, same.high, same.verdict) == (1.0, 1.0, 1.0, Verdict.TIE)


def test_one_round_has_no_interval():
    alone = change_between([1.0], [3.0, 3.1])
    assert alone.ratio > 3
    assert (alone.low, alone.high, alone.verdict) == (None, None, Verdict.INCONCLUSIVE)


@pytest.mark.parametrize("values", [[], [0.0], [-1.0, 2.0], [math.nan, 1.0], [math.inf, 1.0]])
def test_values_that_have_no_logarithm_are_refused(values):
    with pytest.raises(ValueError, match=r"each run|finite"):
        change_between(values, [1.0, 2.0])
    with pytest.raises(ValueError, match=r"each run|finite"):
        change_between([1.0, 2.0], values)


@given(TIMES, TIMES)
def test_exchanging_the_runs_turns_the_ratio_over(before, after):
    there, back = change_between(before, after), change_between(after, before)
    assert there.ratio * back.ratio == pytest.approx(1)
    assert there.low * back.high == pytest.approx(1)
    assert there.low <= there.ratio <= there.high


@given(TIMES, TIMES, st.floats(0.01, 100))
def test_the_unit_does_not_matter(before, after, factor):
    scaled = change_between([factor * x for x in before], [factor * x for x in after])
    plain = change_between(before, after)
    assert scaled.ratio == pytest.approx(plain.ratio, rel=1e-6)
    assert scaled.low == pytest.approx(plain.low, rel=1e-5, abs=1e-9)
