"""Results put together, exactly: of processes that shared one run, and of successive runs of one cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from serving_ctl.events import Origin
from serving_ctl.load.work import ClientFacts, ErrorKind, LoadResult, Tick, Timing, Window
from serving_ctl.stats.latency import Counts, merge, shown_quantile_ms


def merge_results(results: Sequence[LoadResult]) -> LoadResult:
    """Successive runs of the same cell as one (R9's extensions): all windows stay, times add up.

    Burst and first request are the first run's. Raises ValueError for no results.
    """
    seconds = sum(result.duration_s for result in results)
    answered = sum(result.throughput_rps * result.duration_s for result in results)
    windows = tuple(window for result in results for window in result.windows)
    client = _merge_facts([result.client for result in results], wall=sum, together=max)
    return _merge(results, seconds, answered / seconds if seconds > 0 else 0.0, windows, client)


def combine_results(results: Sequence[LoadResult]) -> LoadResult:
    """Processes that shared one run as one result: answers add up, the longest time counts, i-th windows are one."""
    windows = tuple(_same_window(parts) for parts in zip(*(result.windows for result in results), strict=False))
    client = _merge_facts([result.client for result in results], wall=max, together=sum)
    seconds = max(result.duration_s for result in results)
    answered = sum(result.throughput_rps * result.duration_s for result in results)
    return _merge(results, seconds, answered / seconds if seconds > 0 else 0.0, windows, client)


def combine_ticks(latest: Sequence[Tick], since: Sequence[Tick]) -> Tick:
    """One tick of several processes: ``latest`` one each, ``since`` all that came after the last combined one.

    p50 is the mean of the processes' medians weighted by their requests: good enough to watch, never in a result.
    """
    weights = [(tick.p50_ms, tick.tick_requests) for tick in since if tick.p50_ms is not None]
    total = sum(weight for _, weight in weights)
    return Tick(
        elapsed_s=max(tick.elapsed_s for tick in latest),
        phase=latest[0].phase,
        requests=sum(tick.requests for tick in latest),
        errors=sum(tick.errors for tick in latest),
        tick_requests=sum(tick.tick_requests for tick in since),
        p50_ms=sum(p50 * weight for p50, weight in weights) / total if total else None,
        max_ms=max((tick.max_ms for tick in since if tick.max_ms is not None), default=None),
        throughput_rps=sum(tick.throughput_rps for tick in latest),
        in_flight=sum(tick.in_flight for tick in latest),
    )


def _merge(
    results: Sequence[LoadResult], seconds: float, rate: float, windows: tuple[Window, ...], client: ClientFacts
) -> LoadResult:
    responses = [result.response for result in results if result.response is not None]
    makespans = [result.makespan_s for result in results if result.makespan_s is not None]
    firsts = [result.first_ms for result in results if result.first_ms is not None]
    return LoadResult(
        requests=sum(result.requests for result in results),
        errors=_merge_errors(result.errors for result in results),
        duration_s=seconds,
        throughput_rps=rate,
        request=merge(*(result.request for result in results)),
        service=merge(*(result.service for result in results)),
        connect=merge(*(result.connect for result in results)),
        response=merge(*responses) if responses else None,
        makespan_s=max(makespans, default=None),
        burst_errors=sum(result.burst_errors for result in results),
        first_ms=firsts[0] if firsts else None,
        windows=windows,
        server_timing=_merge_timings(result.server_timing for result in results),
        workers=_add_up(result.workers for result in results),
        addresses=_add_up(result.addresses for result in results),
        client=client,
        flags=tuple(sorted({flag for result in results for flag in result.flags})),
        samples=tuple(sample for result in results for sample in result.samples),
        origin=_merge_origins([result.origin for result in results if result.origin is not None]),
    )


def _merge_origins(origins: Sequence[Origin]) -> Origin | None:
    """The origin of successive runs: the most workers, and of all else what went least well."""
    if not origins:
        return None
    skews = [origin.start_skew_ms for origin in origins if origin.start_skew_ms is not None]
    return Origin(
        workers=max(origin.workers for origin in origins),
        hosts=max(origin.hosts for origin in origins),
        lost=max(origin.lost for origin in origins),
        start_skew_ms=max(skews, default=None),
        clock_offset_ms=max((origin.clock_offset_ms for origin in origins), key=abs),
        offset_error_ms=max(origin.offset_error_ms for origin in origins),
    )


def _same_window(parts: Sequence[Window]) -> Window:
    latency: Counts = merge(*(part.latency for part in parts))
    return Window(
        seconds=max(part.seconds for part in parts),
        requests=sum(part.requests for part in parts),
        p50_ms=shown_quantile_ms(latency, 0.5),
        latency=latency,
    )


def _merge_errors(parts: Iterable[dict[str, ErrorKind]]) -> dict[str, ErrorKind]:
    merged: dict[str, ErrorKind] = {}
    for errors in parts:
        for kind, error in errors.items():
            known = merged.get(kind)
            merged[kind] = ErrorKind(count=error.count + known.count, example=known.example) if known else error
    return merged


def _merge_timings(parts: Iterable[dict[str, Timing]]) -> dict[str, Timing]:
    merged: dict[str, Timing] = {}
    for timings in parts:
        for name, timing in timings.items():
            known = merged.get(name, Timing(sum_ms=0.0, count=0))
            merged[name] = Timing(sum_ms=known.sum_ms + timing.sum_ms, count=known.count + timing.count)
    return merged


def _add_up(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for counts in parts:
        for name, number in counts.items():
            total[name] = total.get(name, 0) + number
    return total


def _merge_facts(
    facts: Sequence[ClientFacts], *, wall: Callable[[list[float]], float], together: Callable[[list[float]], float]
) -> ClientFacts:
    """``wall`` puts wall times together, ``together`` what processes hold at the same time: clients and memory."""
    lags = [fact.lag_ms_p99 for fact in facts if fact.lag_ms_p99 is not None]
    concurrency = [fact.concurrency for fact in facts if fact.concurrency is not None]
    return ClientFacts(
        cpu_s=sum(fact.cpu_s for fact in facts),
        wall_s=wall([fact.wall_s for fact in facts]),
        busiest=max(fact.busiest for fact in facts),
        lag_ms_p99=max(lags, default=None),
        late=sum(fact.late for fact in facts),
        late_busy=sum(fact.late_busy for fact in facts),
        sent=sum(fact.sent for fact in facts),
        connects=sum(fact.connects for fact in facts),
        concurrency=together(concurrency) if concurrency else None,
        peak_rss_mb=together([fact.peak_rss_mb for fact in facts]),
    )
