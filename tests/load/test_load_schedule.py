import itertools

import numpy as np
import pytest

from serving_ctl.load.schedule import ClosedLoop, OpenLoop, WarmUpLoop, arrivals, level
from serving_ctl.load.work import Stage, StopRule, Warmup

SECOND = 1_000_000_000


def request() -> bytes:
    return b"request"


def test_by_count_hands_out_exactly_that_many() -> None:
    rule = ClosedLoop(StopRule(requests=3, seconds=0, max_seconds=None), request, 0)
    assert [rule.take(now) for now in (0, 1, 10**15, 10**15)] == [b"request"] * 3 + [None]
    assert rule.is_over(10**15)


def test_by_time_hands_out_until_the_time_is_over() -> None:
    rule = ClosedLoop(StopRule(requests=0, seconds=2), request, 0)
    assert rule.take(2 * SECOND - 1) is not None
    assert rule.take(2 * SECOND) is None


def test_both_minima_must_be_met() -> None:
    rule = ClosedLoop(StopRule(requests=2, seconds=1), request, 0)
    assert [rule.take(0), rule.take(1), rule.take(2)] == [b"request"] * 3
    assert rule.take(SECOND) is None
    slow = ClosedLoop(StopRule(requests=2, seconds=1), request, 0)
    assert slow.take(5 * SECOND) is not None


def test_the_limit_ends_it_but_never_below_the_floor() -> None:
    rule = ClosedLoop(StopRule(requests=100, seconds=1, max_seconds=30, floor_requests=2), request, 0)
    late = 31 * SECOND
    assert [rule.take(late), rule.take(late), rule.take(late)] == [b"request", b"request", None]


def test_a_pause_moves_the_limits() -> None:
    rule = ClosedLoop(StopRule(requests=0, seconds=1), request, 0)
    rule.paused = True
    assert rule.take(0) is None
    assert not rule.is_over(0)
    rule.paused = False
    rule.shift(5 * SECOND)
    assert rule.take(6 * SECOND - 1) is not None
    assert rule.take(6 * SECOND) is None


def test_warm_up_waits_for_every_worker_up_to_its_limit() -> None:
    seen = iter([1, 1, 2])
    rule = WarmUpLoop(Warmup(requests=1, seconds=0, max_seconds=10, workers=2), request, 0, lambda: next(seen))
    assert [rule.take(0), rule.take(1), rule.take(2)] == [b"request"] * 3
    assert rule.take(3) is None
    never = WarmUpLoop(Warmup(requests=1, seconds=0, max_seconds=10, workers=2), request, 0, lambda: 0)
    assert never.take(10 * SECOND) is not None, "one request always"
    assert never.take(10 * SECOND) is None


def test_a_constant_rate_is_an_absolute_schedule() -> None:
    assert list(itertools.islice(arrivals(8, (), poisson=False, seed=0), 5)) == [0, 0.125, 0.25, 0.375, 0.5]


def test_poisson_arrivals_are_seeded_and_have_the_rate() -> None:
    def first(seed: int) -> list[float]:
        return list(itertools.islice(arrivals(100, (), poisson=True, seed=seed), 20_000))

    assert first(1) == first(1) != first(2)
    gaps = np.diff(first(1))
    assert gaps.mean() == pytest.approx(0.01, rel=0.03)
    assert gaps.std() == pytest.approx(0.01, rel=0.05)


def test_a_ramp_sends_the_integral_of_its_rate() -> None:
    ramp = (Stage(seconds=2, target=100), Stage(seconds=3, target=100), Stage(seconds=2, target=0))
    times = np.array(list(itertools.islice(arrivals(0, ramp, poisson=False, seed=0), 600)))
    assert (np.diff(times) >= 0).all()
    assert [int((times < t).sum()) for t in (2, 5, 7)] == [100, 400, 500]
    assert times[501] > 1e8, "nothing is due after a ramp that ends at 0"
    assert [level(0, ramp, t) for t in (0, 1, 4, 6, 99)] == [0, 50, 100, 50, 0]


def test_an_open_loop_hands_out_what_is_due_and_counts_the_late() -> None:
    stop = StopRule(requests=0, seconds=1, max_seconds=1, floor_requests=0)
    rule = OpenLoop(stop, request, 0, arrivals(4, (), poisson=False, seed=0), 4)
    assert rule.take(0) is not None
    assert rule.take(SECOND // 4 - 1) is None
    assert rule.take(SECOND) is not None
    assert (rule.intended_ns, rule.late, rule.late_busy) == (SECOND // 4, 1, 1)
    assert [rule.take(SECOND) is not None for _ in range(3)] == [True, True, False]
    assert rule.is_over(SECOND)
    assert rule.sent == 4


def test_a_send_within_the_tolerance_is_not_late() -> None:
    rule = OpenLoop(StopRule(seconds=9), request, 0, arrivals(1, (), poisson=False, seed=0), 1)
    assert rule.take(9_000_000) is not None
    assert rule.late == 0
