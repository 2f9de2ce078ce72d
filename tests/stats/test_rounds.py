"""Rule R16 against its plain definition, published t quantiles and simulated rounds."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from serving_ctl.stats.rounds import Verdict, compare_rounds, half_width, t_quantile

# t at 0.975 as any statistics book prints it (NIST/SEMATECH e-Handbook, table 1.3.6.7.2).
T_975 = {
    1: 12.706,
    2: 4.303,
    3: 3.182,
    4: 2.776,
    5: 2.571,
    6: 2.447,
    7: 2.365,
    8: 2.306,
    9: 2.262,
    10: 2.228,
    11: 2.201,
    15: 2.131,
    19: 2.093,
    20: 2.086,
    29: 2.045,
    30: 2.042,
    60: 2.000,
    100: 1.984,
}
LN_105 = math.log(1.05)

times = st.floats(min_value=0.01, max_value=1e5)
paired_rounds = st.lists(st.tuples(times, times), min_size=2, max_size=12)


def split(pairs):
    return [a for a, _ in pairs], [b for _, b in pairs]


def rounds_with(mean: float, spread: float, rounds: int) -> tuple[list[float], list[float]]:
    """Even ``rounds`` whose log ratios have exactly this mean and sample standard deviation."""
    step = spread * math.sqrt((rounds - 1) / rounds)
    signs = [1 if i % 2 else -1 for i in range(rounds)]
    return [math.exp(mean + sign * step) for sign in signs], [1.0] * rounds


@pytest.mark.parametrize(("freedom", "published"), T_975.items())
def test_t_quantile_is_the_published_one(freedom, published):
    assert t_quantile(0.975, freedom) == pytest.approx(published, abs=0.0006)


def test_t_quantile_at_other_levels():
    assert t_quantile(0.95, 5) == pytest.approx(2.015, abs=0.0006)
    assert t_quantile(0.995, 10) == pytest.approx(3.169, abs=0.0006)
    assert t_quantile(0.5, 7) == pytest.approx(0.0, abs=1e-9)


def test_t_quantile_falls_towards_the_normal_one():
    quantiles = [t_quantile(0.975, freedom) for freedom in range(1, 200)]
    assert quantiles == sorted(quantiles, reverse=True)
    assert t_quantile(0.975, 900) == pytest.approx(statistics.NormalDist().inv_cdf(0.975), abs=0.005)


@given(paired_rounds)
def test_interval_is_the_definition(pairs):
    first, second = split(pairs)
    logs = [math.log(a / b) for a, b in pairs]
    mean, spread = statistics.fmean(logs), statistics.stdev(logs)
    half = t_quantile(0.975, len(logs) - 1) * spread / math.sqrt(len(logs))
    found = compare_rounds(first, second)
    assert math.log(found.ratio) == pytest.approx(mean, abs=1e-9)
    assert math.log(found.low) == pytest.approx(mean - half, abs=1e-7, rel=1e-9)
    assert math.log(found.high) == pytest.approx(mean + half, abs=1e-7, rel=1e-9)
    assert found.rounds == len(pairs)


@given(paired_rounds)
def test_the_ratio_is_the_quotient_of_the_two_numbers_shown(pairs):
    first, second = split(pairs)
    found = compare_rounds(first, second)
    assert found.first == pytest.approx(statistics.geometric_mean(first))
    assert found.second == pytest.approx(statistics.geometric_mean(second))
    assert found.ratio == pytest.approx(found.first / found.second)


@given(paired_rounds, st.booleans())
def test_verdict_follows_the_interval(pairs, higher_is_better):
    found = compare_rounds(*split(pairs), higher_is_better=higher_is_better)
    edges = [1 / 1.05, 1.0, 1.05]
    assume(all(abs(limit / edge - 1) > 1e-9 for limit in (found.low, found.high) for edge in edges))
    if found.low >= 1 / 1.05 and found.high <= 1.05:
        wanted = Verdict.TIE
    elif found.low > 1:
        wanted = Verdict.FIRST if higher_is_better else Verdict.SECOND
    elif found.high < 1:
        wanted = Verdict.SECOND if higher_is_better else Verdict.FIRST
    else:
        wanted = Verdict.INCONCLUSIVE
    assert found.verdict is wanted


@given(paired_rounds, st.booleans())
def test_swapping_the_servers_mirrors_everything(pairs, higher_is_better):
    first, second = split(pairs)
    there = compare_rounds(first, second, higher_is_better=higher_is_better)
    back = compare_rounds(second, first, higher_is_better=higher_is_better)
    assert back.ratio == pytest.approx(1 / there.ratio)
    assert back.low == pytest.approx(1 / there.high, rel=1e-7)
    assert back.high == pytest.approx(1 / there.low, rel=1e-7)
    mirrored = {Verdict.FIRST: Verdict.SECOND, Verdict.SECOND: Verdict.FIRST}
    assert back.verdict is mirrored.get(there.verdict, there.verdict)
    assert back.rounds_needed == there.rounds_needed


@given(paired_rounds, st.floats(min_value=0.001, max_value=1000))
def test_the_unit_does_not_matter(pairs, factor):
    first, second = split(pairs)
    one = compare_rounds(first, second)
    other = compare_rounds([a * factor for a in first], [b * factor for b in second])
    assert other.ratio == pytest.approx(one.ratio)
    assert other.first == pytest.approx(one.first * factor)
    assert other.low == pytest.approx(one.low, rel=1e-6)


@given(paired_rounds)
def test_the_order_of_the_rounds_does_not_matter(pairs):
    one, other = compare_rounds(*split(pairs)), compare_rounds(*split(list(reversed(pairs))))
    assert (other.ratio, other.low, other.high) == pytest.approx((one.ratio, one.low, one.high), rel=1e-9)


@given(st.floats(min_value=-0.5, max_value=0.5), st.floats(min_value=0.01, max_value=0.4), st.sampled_from([2, 4, 6]))
def test_rounds_needed_is_the_smallest_number_that_decides(mean, spread, rounds):
    found = compare_rounds(*rounds_with(mean, spread, rounds))
    assume(found.verdict is Verdict.INCONCLUSIVE)
    wanted = max(abs(mean), LN_105 - abs(mean))

    def half(number: int) -> float:
        return t_quantile(0.975, number - 1) * spread / math.sqrt(number)

    needed = found.rounds_needed
    if needed is None:
        assert half(1000) > wanted
        return
    assert needed > rounds
    assert half(needed) <= wanted * (1 + 1e-9)
    assert all(half(number) > wanted * (1 - 1e-9) for number in range(2, needed))


def test_that_many_rounds_of_the_same_spread_do_decide():
    undecided = compare_rounds(*rounds_with(-0.10, 0.12, 4))
    assert undecided.verdict is Verdict.INCONCLUSIVE
    assert undecided.rounds_needed == 9
    assert compare_rounds(*rounds_with(-0.10, 0.12, 10)).verdict is Verdict.FIRST


def test_more_rounds_than_anybody_would_measure_are_not_promised():
    found = compare_rounds(*rounds_with(0.024, 3.0, 4))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.rounds_needed is None


def test_a_decided_row_asks_for_no_rounds():
    assert compare_rounds([1.0, 1.01], [2.0, 2.02]).rounds_needed is None
    assert compare_rounds([1.0, 1.0], [1.01, 1.01]).rounds_needed is None


def test_equal_rounds_are_a_tie_without_width():
    found = compare_rounds([2.0] * 4, [2.0] * 4)
    assert (found.verdict, found.ratio, found.low, found.high) == (Verdict.TIE, 1.0, 1.0, 1.0)


def test_a_clear_but_small_difference_is_a_tie_before_it_is_a_winner():
    found = compare_rounds([1.02, 1.021, 1.019, 1.02], [1.0] * 4)
    assert found.low > 1
    assert found.verdict is Verdict.TIE


def test_a_clear_difference_that_reaches_over_the_margin_has_a_winner():
    found = compare_rounds(*rounds_with(math.log(1.045), 0.01, 4))
    assert found.low > 1
    assert found.high > 1.05
    assert found.verdict is Verdict.SECOND


def test_lower_time_wins_and_higher_throughput_wins():
    twice = ([2.0, 2.1, 2.05, 2.0], [1.0, 1.0, 1.0, 1.0])
    assert compare_rounds(*twice).verdict is Verdict.SECOND
    assert compare_rounds(*twice, higher_is_better=True).verdict is Verdict.FIRST


def test_one_round_gives_a_ratio_and_no_interval():
    found = compare_rounds([1.0], [4.0])
    assert (found.ratio, found.low, found.high, found.verdict) == (0.25, None, None, Verdict.INCONCLUSIVE)
    assert found.rounds_needed is None


def test_the_interval_covers_as_often_as_it_says():
    """Log-normal noise of 5 % in four rounds: 95 % of 2,000 intervals hold the true ratio (3.3 standard errors)."""
    chance = random.Random(0)
    true = 0.42
    hits = 0
    for _ in range(2000):
        first = [true * math.exp(chance.gauss(0, 0.035)) for _ in range(4)]
        second = [math.exp(chance.gauss(0, 0.035)) for _ in range(4)]
        found = compare_rounds(first, second)
        hits += found.low <= true <= found.high
    assert hits / 2000 == pytest.approx(0.95, abs=0.016)


def test_half_width_of_one_round_is_infinite():
    assert half_width(0.1, 1) == math.inf
    assert half_width(0.1, 4) == pytest.approx(3.1824 * 0.1 / 2, rel=1e-4)


@pytest.mark.parametrize(
    ("first", "second"),
    [([], []), ([1.0], []), ([1.0, 2.0], [1.0]), ([0.0], [1.0]), ([1.0], [0.0]), ([-1.0, 1.0], [1.0, 1.0])],
)
def test_rounds_that_cannot_be_compared_are_refused(first, second):
    with pytest.raises(ValueError, match=r".+"):
        compare_rounds(first, second)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match=r".+"):
        compare_rounds([value, 1.0], [1.0, 1.0])
