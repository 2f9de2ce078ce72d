"""Parts of the mean request, from Server-Timing (R21) and from two real scrapes (R20)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_ctl.api.prometheus import Scrape, parse_scrape
from serving_ctl.bench.waterfall import scrape_parts, timing_parts
from serving_ctl.load.work import Counts, LoadResult, Timing
from serving_ctl.stats.latency import count

DATA = Path(__file__).parents[1] / "data"
BEFORE, AFTER = (
    parse_scrape((DATA / f"metrics-{when}.txt").read_text(encoding="utf-8"), "text_cnn") for when in ("before", "after")
)


def result(requests: int, service_ms: float, connect_ms: float = 0.0, timing: dict[str, Timing] | None = None):
    """A result in which every request took the same time and every tenth paid ten times ``connect_ms``."""
    connects = requests // 10 if connect_ms else 0
    service = count([service_ms * 1000] * requests)
    return LoadResult(
        requests=requests,
        errors={},
        duration_s=1.0,
        throughput_rps=float(requests),
        request=service,
        service=service,
        connect=count([connect_ms * 10_000] * connects) if connects else Counts(),
        server_timing=timing or {},
    )


def timings(requests: int, **means_ms: float) -> dict[str, Timing]:
    return {name: Timing(sum_ms=ms * requests, count=requests) for name, ms in means_ms.items()}


def named(parts) -> dict[str, float]:
    return {part.name: part.ms for part in parts}


def test_server_timing_in_order():
    parts = timing_parts(result(100, 3.0, 0.5, timings(100, decode=0.2, infer=1.5, encode=0.3)))
    assert [part.name for part in parts] == ["connect", "network", "json", "graph"]
    assert named(parts) == pytest.approx({"connect": 0.5, "network": 1.0, "json": 0.5, "graph": 1.5})


@given(
    st.floats(min_value=0, max_value=50),
    st.floats(min_value=0, max_value=50),
    st.floats(min_value=0, max_value=50),
    st.floats(min_value=0.001, max_value=50),
)
def test_server_timing_s_parts_are_the_whole_mean_request(infer, decode, encode, waiting):
    service = infer + decode + encode + waiting
    parts = timing_parts(result(10, service, 1.0, timings(10, infer=infer, decode=decode, encode=encode)))
    assert sum(part.ms for part in parts) == pytest.approx(service + 1.0, rel=1e-6)


def test_a_server_that_says_its_inference_only():
    parts = named(timing_parts(result(10, 3.0, timing=timings(10, infer=1.0))))
    assert parts["graph"] == pytest.approx(1.0)
    assert parts["network"] == pytest.approx(2.0)


def test_a_server_that_says_more_than_we_saw_has_no_negative_part():
    parts = timing_parts(result(10, 1.0, timing=timings(10, infer=1.2)))
    assert all(part.ms >= 0 for part in parts)


@pytest.mark.parametrize(
    "timing", [{}, {"worker": Timing(sum_ms=0, count=3)}, {"infer": Timing(sum_ms=0, count=0)}, timings(5, decode=1.0)]
)
def test_without_inference_there_are_no_parts(timing):
    assert timing_parts(result(10, 1.0, timing=timing)) == ()


def test_without_requests_there_are_no_parts():
    assert timing_parts(result(0, 1.0, timing=timings(1, infer=1.0))) == ()
    assert scrape_parts(result(0, 1.0), [BEFORE], [BEFORE]) == ()


def test_real_scrapes_around_103_predictions():
    parts = named(scrape_parts(result(103, 2.0, 0.0), [BEFORE], [AFTER]))
    request, run, graph = 162_225 / 103 / 1000, 145_909 / 103 / 1000, (134_063 - 29_666) / 103 / 1000
    assert parts.pop("connect", 0.0) == 0.0
    assert parts == pytest.approx(
        {"network": 2.0 - request, "json": request - run, "queue": run - graph, "graph": graph}
    )


def test_scrape_s_parts_are_the_whole_mean_request():
    parts = named(scrape_parts(result(103, 2.0, 0.4), [BEFORE], [AFTER]))
    assert sum(parts.values()) == pytest.approx(2.0 + 10 / 103 * 4.0, rel=1e-6)


def test_a_part_below_the_resolution_of_the_sums_is_left_out():
    before = Scrape(request_us=4.00000e9, requests=1000, run_us=3.99999e9, runs=1000, graph_us=1e9, graph_runs=1000)
    after = Scrape(request_us=4.00020e9, requests=1100, run_us=4.00018e9, runs=1100, graph_us=1.0001e9, graph_runs=1100)
    parts = {part.name: part for part in scrape_parts(result(100, 3.0), [before], [after])}
    assert "json" not in parts
    assert {"network", "queue", "graph"} <= set(parts)
    assert parts["graph"].plus_minus_ms == pytest.approx(10_000 / 100 / 1000)
    assert parts["network"].plus_minus_ms == pytest.approx(0.1)


def test_each_address_rounds_its_own_sum():
    """Sums of eight digits are each off by up to 100 µs: two of them by 200, over twice the requests."""
    before = Scrape(request_us=6e7, requests=100, run_us=5e7, runs=100, graph_us=4e7, graph_runs=100)
    after = Scrape(request_us=6.1e7, requests=200, run_us=5.09e7, runs=200, graph_us=4.08e7, graph_runs=200)
    one, two = (
        {part.name: part for part in scrape_parts(result(100 * n, 20.0), [before] * n, [after] * n)} for n in (1, 2)
    )
    assert two["graph"].plus_minus_ms == one["graph"].plus_minus_ms == pytest.approx(100 / 100 / 1000)
    assert named(two.values()) == pytest.approx(named(one.values()))


def test_a_server_without_counters_has_no_parts():
    assert scrape_parts(result(10, 2.0), [Scrape()], [Scrape()]) == ()


def test_a_server_that_was_restarted_between_the_scrapes_has_no_parts():
    assert scrape_parts(result(10, 2.0), [AFTER], [BEFORE]) == ()
