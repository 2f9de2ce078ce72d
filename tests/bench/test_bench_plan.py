"""A preset made exact: numbers from preset or profile, and the order of cells (R8, R16, R18)."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_ctl.bench.plan import CALIBRATION_S, Plan, is_saturated, make_plan, round_order, server_order
from serving_ctl.bench.presets import LadderTable, Preset
from serving_ctl.config import BenchSettings
from serving_ctl.errors import ConfigError
from serving_ctl.events import Cell, CellFinished, Failure, Ladder, Latency

SMALL = LadderTable(kind="batch", sizes=tuple(range(1, 11)))
CLIENTS = LadderTable(kind="concurrency", sizes=(1, 10, 100))


def plan_of(*ladders: LadderTable, profile=None, rounds=None, bench=None, **numbers) -> Plan:
    preset = Preset(title="T", ladders=ladders or (SMALL,), **numbers)
    return make_plan("mine", preset, bench or BenchSettings(), profile=profile, rounds=rounds)


def ladder(*sizes: int, name: str = "b") -> Ladder:
    return Ladder(name=name, kind="batch", sizes=sizes)


def measured(requests: int, failed: int = 0, p50_ms: float | None = 1.0) -> CellFinished:
    return CellFinished(
        cell=Cell(ladder="b", size=1, server="flask", round=1),
        requests=requests,
        request=Latency(n=requests, p50_ms=p50_ms),
        failures=(Failure(kind="5xx", count=failed, example=""),) if failed else (),
    )


def test_a_bare_preset_is_quick():
    plan = plan_of()
    assert (plan.profile, plan.rounds, plan.min_seconds, plan.min_requests) == ("quick", 4, 1.0, 30)
    assert plan.cells == 2 * 4 * 10


def test_a_preset_s_own_numbers_outrank_quick():
    plan = plan_of(rounds=2, min_seconds=0.3, min_requests=10, warmup_seconds=0.2)
    assert (plan.rounds, plan.min_seconds, plan.min_requests, plan.warmup_seconds) == (2, 0.3, 10, 0.2)
    assert plan_of(min_requests=0, min_seconds=0.0).min_requests == 0


def test_an_explicit_profile_outranks_the_preset():
    plan = make_plan(
        "mine",
        Preset(title="T", ladders=(SMALL,), rounds=2, min_seconds=0.3, form="column"),
        BenchSettings(),
        profile="publish",
    )
    assert (plan.profile, plan.rounds, plan.min_seconds, plan.min_requests) == ("publish", 10, 10.0, 1000)
    assert plan.form == "column"


@pytest.mark.parametrize("profile", [None, "publish"])
def test_explicit_rounds_outrank_everything(profile):
    assert plan_of(rounds=8, profile=profile).rounds == 8


def test_settings_reach_the_plan():
    plan = plan_of(bench=BenchSettings(timeout_s=5.0, seed=7, distinct_bodies=3))
    assert (plan.timeout_s, plan.seed, plan.distinct_bodies) == (5.0, 7, 3)


def test_an_unknown_profile_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"'fast'.*quick, standard, publish"):
        plan_of(profile="fast")


@pytest.mark.parametrize("rounds", [1, 3, 0, -2])
def test_rounds_must_be_even(rounds):
    preset = Preset(title="T", ladders=(SMALL,))
    with pytest.raises(ConfigError, match="even"):
        make_plan("mine", preset, BenchSettings(), rounds=rounds)


def test_one_ladder_is_called_like_its_preset_and_several_by_kind_or_name():
    assert [x.name for x in plan_of(SMALL).ladders] == ["mine"]
    assert [x.name for x in plan_of(SMALL, CLIENTS).ladders] == ["batch", "concurrency"]
    named = LadderTable(kind="batch", sizes=(1,), name="tiny")
    assert [x.name for x in plan_of(named, SMALL).ladders] == ["tiny", "batch"]


sizes = st.lists(st.integers(1, 10_000), min_size=1, max_size=12, unique=True).map(sorted).map(tuple)


@given(sizes, st.integers(0, 1000))
def test_the_first_round_ascends(ascending, seed):
    assert round_order(ladder(*ascending), 1, seed) == ascending


@given(sizes, st.integers(2, 10), st.integers(0, 1000))
def test_every_round_takes_every_size_once_and_the_same_each_time(ascending, number, seed):
    order = round_order(ladder(*ascending), number, seed)
    assert sorted(order) == list(ascending)
    assert order == round_order(ladder(*ascending), number, seed)


def test_later_rounds_differ_by_round_seed_and_ladder():
    ten = range(1, 11)
    rounds = {round_order(ladder(*ten), number, 0) for number in range(1, 7)}
    assert len(rounds) == 6
    assert len({round_order(ladder(*ten), 2, seed) for seed in range(6)}) == 6
    assert round_order(ladder(*ten), 2, 0) != round_order(ladder(*ten, name="other"), 2, 0)


def test_the_order_of_a_seed_stays_the_same_in_every_process():
    """A recorded run can be repeated: no hash randomisation in it."""
    assert round_order(ladder(*range(1, 11)), 2, 0) == (1, 10, 3, 2, 9, 6, 4, 7, 8, 5)


def test_servers_take_turns_in_going_first():
    servers = ("tf-serving", "flask")
    assert [server_order(servers, number) for number in (1, 2, 3, 4)] == [
        servers,
        servers[::-1],
        servers,
        servers[::-1],
    ]


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_no_server_has_a_better_place_than_another(count):
    """Over two rounds each precedes each other one once; over 2N rounds each stands at each place equally often."""
    servers = "abcde"[:count]
    orders = [server_order(tuple(servers), number) for number in range(1, 2 * count + 1)]
    assert {"".join(sorted(order)) for order in orders} == {servers}
    for odd, even in zip(orders[::2], orders[1::2], strict=True):
        for one, other in itertools.permutations(servers, 2):
            assert (odd.index(one) < odd.index(other)) is not (even.index(one) < even.index(other))
    for server in servers:
        assert sorted(order.index(server) for order in orders) == sorted([*range(count)] * 2)


def test_every_target_is_counted():
    plan = make_plan("mine", Preset(title="T", ladders=(SMALL,)), BenchSettings(), targets=("eu", "us", "ap"))
    two = make_plan("mine", Preset(title="T", ladders=(SMALL,)), BenchSettings())
    assert (plan.cells, two.cells) == (3 * 4 * 10, 2 * 4 * 10)
    assert plan.expected_requests == two.expected_requests * 3 / 2
    assert plan.expected_s > two.expected_s


@pytest.mark.parametrize(
    ("cell", "saturated"),
    [
        (measured(100), False),
        (measured(100, failed=100), False),
        (measured(100, failed=101), True),
        (measured(0, failed=1, p50_ms=None), True),
        (measured(100, p50_ms=30_000.0), False),
        (measured(100, p50_ms=30_000.1), True),
    ],
)
def test_saturated_is_more_than_half_failed_or_a_median_above_half_the_timeout(cell, saturated):
    assert is_saturated(cell, 60.0) is saturated


@given(sizes, st.sampled_from([2, 4, 10]), st.sampled_from(["quick", "standard", "publish"]))
def test_the_expected_time_is_the_sum_of_cells_and_calibrations(ascending, rounds, profile):
    plan = plan_of(LadderTable(kind="batch", sizes=ascending), rounds=rounds, profile=profile)
    cells = [plan.expected_cell_s(plan.ladders[0], size) for size in ascending]
    assert plan.cells == 2 * plan.rounds * len(ascending)
    assert plan.expected_s == pytest.approx(2 * plan.rounds * sum(cells) + CALIBRATION_S * len(ascending))
    assert min(cells) >= plan.min_seconds
    assert cells == sorted(cells)


def test_a_window_is_never_expected_to_be_endless():
    plan = plan_of(LadderTable(kind="batch", sizes=(10_000,)), profile="publish")
    assert plan.expected_cell_s(plan.ladders[0], 10_000) < 60
