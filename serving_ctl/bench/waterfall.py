"""Where a cell's time went: the parts of its mean request, from what the server said of itself (R20, R21)."""

from __future__ import annotations

from collections.abc import Sequence

from serving_ctl.api.prometheus import Scrape
from serving_ctl.events import Part
from serving_ctl.load.work import Counts, LoadResult, Timing
from serving_ctl.stats.split import Mean, Total, difference, is_resolved, mean_between, together


def timing_parts(result: LoadResult) -> tuple[Part, ...]:
    """Parts from ``Server-Timing`` sums (R21): connect, network, json, graph; empty when the server sent none."""
    timing = result.server_timing
    infer, decode, encode = (_mean(timing.get(name)) for name in ("infer", "decode", "encode"))
    if infer is None or not result.requests:
        return ()
    json_ms = (decode or 0.0) + (encode or 0.0)
    service = _mean_ms(result.service, result.requests)
    return (
        Part(name="connect", ms=_mean_ms(result.connect, result.requests)),
        Part(name="network", ms=max(service - json_ms - infer, 0.0)),
        Part(name="json", ms=json_ms),
        Part(name="graph", ms=infer),
    )


def scrape_parts(result: LoadResult, before: Sequence[Scrape], after: Sequence[Scrape]) -> tuple[Part, ...]:
    """Parts from two scrapes of each address (R20): connect, network, json, queue, graph; empty when the server counted
    nothing."""
    request = mean_between(_requests(before), _requests(after))
    run = mean_between(_runs(before), _runs(after))
    graph = mean_between(_graph_runs(before), _graph_runs(after))
    if request is None or run is None or graph is None:
        return ()
    service = Mean(ms=_mean_ms(result.service, result.requests), plus_minus_ms=0.0)
    named = (
        ("connect", Mean(ms=_mean_ms(result.connect, result.requests), plus_minus_ms=0.0)),
        ("network", difference(service, request)),
        ("json", difference(request, run)),
        ("queue", difference(run, graph)),
        ("graph", graph),
    )
    return tuple(
        Part(name=name, ms=mean.ms, plus_minus_ms=mean.plus_minus_ms)
        for name, mean in named
        if name in {"connect", "graph"} or is_resolved(mean)
    )


def _requests(scrapes: Sequence[Scrape]) -> Total:
    return together(Total(sum_us=scrape.request_us, count=scrape.requests) for scrape in scrapes)


def _runs(scrapes: Sequence[Scrape]) -> Total:
    return together(Total(sum_us=scrape.run_us, count=scrape.runs) for scrape in scrapes)


def _graph_runs(scrapes: Sequence[Scrape]) -> Total:
    return together(Total(sum_us=scrape.graph_us, count=scrape.graph_runs) for scrape in scrapes)


def _mean(timing: Timing | None) -> float | None:
    return timing.sum_ms / timing.count if timing and timing.count else None


def _mean_ms(counts: Counts, requests: int) -> float:
    """Mean over all requests in ms; a connect counts zero for the requests that needed none."""
    return counts.sum_us / requests / 1000 if requests else 0.0
