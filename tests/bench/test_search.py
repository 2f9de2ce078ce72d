"""The search for a limit: which load comes next, what a step is called, and a whole search at a real server."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_ctl.bench import search
from serving_ctl.bench.presets import CLIENT_LIMIT, RATE_LIMIT
from serving_ctl.bench.runner import finish_search
from serving_ctl.bench.search import CLIENT_LIMITED, FIRST, HELD, LEAST, MOST, Found, Search, next_load, verdict
from serving_ctl.bench.steering import Steering
from serving_ctl.events import Cell, Step
from serving_ctl.load.echo import EchoProtocol
from serving_ctl.load.work import ClientFacts, Counts, ErrorKind, LoadResult, LoadSpec, Warmup, Window
from serving_ctl.stats.latency import count

BOTH = pytest.mark.parametrize("is_rate", [True, False])
CELL = Cell(ladder="rate", size=50, server="flask", round=1)


def step(load: float, said: str = HELD) -> Step:
    return Step(load=load, verdict=said, p99_ms=1.0, throughput_rps=load, requests=3000, errors=0)


def searched(capacity: float, *, is_rate: bool) -> list[Step]:
    """The steps of a search at a server that holds exactly ``capacity``."""
    steps: list[Step] = []
    while (load := next_load(steps, is_rate=is_rate)) is not None:
        steps.append(step(load, HELD if load <= capacity else "p99 above the limit"))
    return steps


def result(times_ms: float = 1.0, n: int = 3000, errors: int = 0, **fields) -> LoadResult:
    counts = count([1000 * times_ms] * n) if n else Counts()
    return LoadResult(
        requests=n, errors={"5xx": ErrorKind(count=errors, example="no")} if errors else {}, duration_s=1.0,
        throughput_rps=float(n), request=counts, service=counts, connect=Counts(), **fields,
    )  # fmt: skip


class TestNextLoad:
    @BOTH
    @given(share=st.floats(0, 1))
    def test_ends_within_five_percent_below_the_capacity(self, is_rate, share):
        capacity = LEAST[is_rate] * (MOST[is_rate] / LEAST[is_rate]) ** share
        steps = searched(capacity, is_rate=is_rate)
        held = max(one.load for one in steps if one.verdict == HELD)
        failed = [one.load for one in steps if one.verdict != HELD]
        assert held <= capacity
        assert len(steps) <= 30
        assert len({one.load for one in steps}) == len(steps)
        if failed:
            assert min(failed) <= held * 1.05 or (not is_rate and min(failed) - held == 1)
        else:
            assert 2 * held > MOST[is_rate]

    def test_doubles_then_halves_the_gap(self):
        assert [one.load for one in searched(100, is_rate=True)] == [32, 64, 128, 96, 112, 104, 100]
        assert [one.load for one in searched(9, is_rate=False)] == [1, 2, 4, 8, 16, 12, 10, 9]

    @BOTH
    def test_goes_down_when_the_first_fails_and_gives_up_at_the_least(self, is_rate):
        steps = searched(0, is_rate=is_rate)
        assert steps[0].load == FIRST[is_rate]
        assert steps[-1].load == LEAST[is_rate]
        assert all(one.verdict != HELD for one in steps)

    def test_looks_once_behind_a_failure_that_was_not_the_servers(self):
        noisy = [step(1), step(2, "unstable")]
        assert next_load(noisy, is_rate=False) == 4
        assert next_load([*noisy, step(4)], is_rate=False) == 8
        assert next_load([*noisy, step(4, "saturated")], is_rate=False) is None
        assert next_load([step(1, "unstable")], is_rate=False) == 2
        assert next_load([step(1), step(2, "p99 above the limit")], is_rate=False) is None

    @given(st.lists(st.booleans(), min_size=1, max_size=40), st.booleans())
    def test_ends_whatever_the_server_does(self, outcomes, is_rate):
        steps: list[Step] = []
        for held in outcomes * 3:
            if (load := next_load(steps, is_rate=is_rate)) is None:
                return
            steps.append(step(load, HELD if held else "unstable"))
        assert len(steps) <= 30


class TestVerdict:
    def test_held(self):
        assert verdict(result(), 50, saturated=False) == HELD

    @pytest.mark.parametrize(
        ("answer", "saturated", "said"),
        [
            (result(errors=4), False, "errors"),
            (result(n=0, errors=9), False, "errors"),
            (result(60), False, "p99 above the limit"),
            (result(n=298), False, "too few answers"),
            (result(n=20), True, "saturated"),
            (result(flags=("INCOMPLETE-DRAIN",)), False, "p99 above the limit"),
            (result(60, client=ClientFacts(busiest=0.9, sent=3000)), False, CLIENT_LIMITED),
            (result(60, client=ClientFacts(late=100, late_busy=10, sent=3000)), False, CLIENT_LIMITED),
            (result(60, client=ClientFacts(late=100, late_busy=90, sent=3000)), False, "p99 above the limit"),
            (result(1, client=ClientFacts(late=100, late_busy=10, sent=3000)), False, HELD),
        ],
    )
    def test_the_first_that_holds(self, answer, saturated, said):
        assert verdict(answer, 50, saturated=saturated) == said

    def test_three_errors_of_3000_are_under_the_limit(self):
        assert verdict(result(errors=3), 50, saturated=False) == HELD

    def test_unstable(self):
        windows = tuple(Window(seconds=1.0, requests=600, p50_ms=p50) for p50 in (1.0, 2.0, 4.0, 8.0, 16.0))
        assert verdict(result(windows=windows), 50, saturated=False) == "unstable"


class TestWhatIsKept:
    def test_the_best_step_s_figures(self):
        best = result(3.0)
        found = Found(steps=(step(32), step(64, "saturated")), best=best, results=(best, result(90)))
        kept = finish_search(CELL, found)
        assert (kept.limit, kept.request.p99_ms, len(kept.steps)) == (32, pytest.approx(3.0, rel=1e-3), 2)
        assert kept.failures == ()

    def test_nothing_held(self):
        found = Found(steps=(step(1, "errors"),), best=None, results=(result(n=0, errors=7),))
        kept = finish_search(CELL, found)
        assert (kept.limit, kept.flags, kept.failures[0].count) == (None, ("OVER-LIMIT",), 7)

    def test_the_client_was_the_limit(self):
        found = Found(steps=(step(32), step(64, CLIENT_LIMITED)), best=result(), results=(result(),))
        assert "CLIENT-LIMITED" in finish_search(CELL, found).flags

    def test_a_search_that_no_steady_step_ended_does_not_blame_the_server(self):
        steady = Found(steps=(step(32), step(64, "unstable")), best=result(), results=(result(),))
        assert finish_search(CELL, steady).flags == ("UNSTABLE",)
        none = Found(steps=(step(1, "unstable"), step(2, "saturated")), best=None, results=(result(),))
        assert finish_search(CELL, none).flags == ("UNSTABLE",)
        overruled = Found(steps=(step(32, "unstable"), step(64), step(128, "saturated")), best=result(), results=())
        assert finish_search(CELL, overruled).flags == ()

    def test_skipped_by_the_user(self):
        kept = finish_search(CELL, Found(steps=(step(32),), best=result(), results=(result(),), skipped=True))
        assert kept.skipped == "by the user"
        assert kept.limit is None


class OneAtATime(EchoProtocol):
    """Answers in turn, two milliseconds each, whoever asks: p99 grows with the number of clients."""

    free_at = 0.0

    def respond(self) -> None:
        loop = asyncio.get_running_loop()
        OneAtATime.free_at = max(OneAtATime.free_at, loop.time()) + 0.002
        loop.call_at(OneAtATime.free_at, super().respond)


async def search_one(kind: str, limit_ms: float, steering: Steering, on_tick=lambda tick: None) -> Found:
    server = await asyncio.get_running_loop().create_server(OneAtATime, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        base = LoadSpec(url=url, warmup=Warmup(requests=5, seconds=0.1), timeout_s=10)
        return await Search(kind, limit_ms, lambda: base, steering, on_tick).run()


@pytest.fixture
def brief(monkeypatch):
    """Few steps of 300 answers: enough for p99, not for a result."""
    monkeypatch.setattr(search, "STEP_REQUESTS", 300)
    monkeypatch.setattr(search, "STEP_S", 2.0)
    monkeypatch.setattr(search, "LEAST_STEP_S", 0.0)
    monkeypatch.setattr(search, "FIRST", {True: 200.0, False: 16.0})
    monkeypatch.setattr(search, "PRECISION", 1.3)


@pytest.mark.parametrize("kind", [RATE_LIMIT, CLIENT_LIMIT])
def test_a_whole_search(brief, kind):
    found = asyncio.run(search_one(kind, 200.0, Steering()))
    assert found.limit is not None
    assert found.best is not None
    assert {one.verdict for one in found.steps} > {HELD}, "no load was too much for a server of 500 requests/s"
    for one in found.steps:
        if one.verdict == HELD:
            assert one.p99_ms <= 200.0
    assert max(one.load for one in found.steps) < 5000
    assert found.limit == max(one.load for one in found.steps if one.verdict == HELD)


def test_the_user_ends_a_search(brief):
    steering, ticks = Steering(), []

    def skip_soon(tick) -> None:
        ticks.append(tick)
        if len(ticks) == 8:
            steering.skip_cell()

    found = asyncio.run(search_one(CLIENT_LIMIT, 40.0, steering, skip_soon))
    assert found.skipped
    assert len(found.steps) < 8
