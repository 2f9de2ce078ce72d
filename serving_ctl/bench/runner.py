"""Measures a plan cell by cell: warm-up, window, extension while unstable, split; emits events and knows no face."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from serving_ctl.api.prometheus import Scrape
from serving_ctl.bench.endpoint import Endpoint, Follower, scrape
from serving_ctl.bench.plan import (
    FLOOR_REQUESTS,
    MAX_CELL_SECONDS,
    SATURATED_CELLS,
    Plan,
    is_saturated,
    round_order,
    server_order,
)
from serving_ctl.bench.presets import SEARCHES
from serving_ctl.bench.search import Found, Search
from serving_ctl.bench.steering import Steering
from serving_ctl.bench.usage import UsageMeter, Used
from serving_ctl.bench.waterfall import scrape_parts, timing_parts
from serving_ctl.errors import LoadError, RunIncomplete
from serving_ctl.events import (
    Cell,
    CellFinished,
    CellStarted,
    CellTick,
    Event,
    Failure,
    Ladder,
    Latency,
    Part,
    RunFailed,
    RunFinished,
    RunStarted,
)
from serving_ctl.load.calibrate import Calibration, mark_client_bound
from serving_ctl.load.local import HERE, Load
from serving_ctl.load.pool import merge_results
from serving_ctl.load.work import LoadResult, LoadSpec, StopRule, Tick, Warmup
from serving_ctl.stats.latency import Counts, mean_ms, shown_quantile_ms

EXTENSIONS = 3
CLIENTS_CHANGED = "CLIENTS-CHANGED"
ADDRESSES_CHANGED = "ADDRESSES-CHANGED"
SKIPPED = "SKIPPED"
OVER_LIMIT = "OVER-LIMIT"
CONNECTION_FAULTS = {"connect refused", "connect failed", "reset"}

Scrapes = tuple[tuple[Scrape, ...], tuple[Scrape, ...]]
"""Before and after a load, of each address."""


class Runner:
    """One run of one plan. ``bodies`` maps (ladder, size) to the JSON-lines file of its request bodies.

    ``alive`` says in one sentence why a server is gone, or None while it runs; ``used`` what it has used so far.
    """

    def __init__(
        self,
        plan: Plan,
        endpoints: Mapping[str, Endpoint],
        bodies: Mapping[tuple[str, int], Path],
        emit: Callable[[Event], None],
        alive: Callable[[str], Awaitable[str | None]],
        used: Callable[[str], Awaitable[Used | None]],
        steering: Steering,
        load: Load = HERE,
    ) -> None:
        self._plan = plan
        self._endpoints = endpoints
        self._bodies = bodies
        self._emit = emit
        self._alive = alive
        self._used = used
        self._steering = steering
        self._source = load
        self._calibrations: dict[tuple[str, int], Calibration | None] = {}
        self._saturated: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._skipped: set[tuple[str, int, str]] = set()
        self._clock = _Estimate(plan)

    async def run(self, started: RunStarted) -> None:
        """Emit ``started``, measure every cell, emit the end.

        Raises RunIncomplete when a server died; RunFailed has been emitted then, as it has when the task was cancelled.
        """
        began = time.perf_counter()
        self._emit(started)
        try:
            for ladder in self._plan.ladders:
                for number in range(1, self._plan.rounds + 1):
                    for size in round_order(ladder, number, self._plan.seed):
                        await self._measure_size(ladder, size, number)
        except BaseException as error:
            cancelled = isinstance(error, asyncio.CancelledError | KeyboardInterrupt)
            reason = "cancelled." if cancelled else str(error) or type(error).__name__
            self._emit(
                RunFailed(
                    run_id=started.run_id, duration_s=time.perf_counter() - began, reason=reason, cancelled=cancelled
                )
            )
            raise
        self._emit(RunFinished(run_id=started.run_id, duration_s=time.perf_counter() - began))

    async def _measure_size(self, ladder: Ladder, size: int, number: int) -> None:
        """All servers at one size, one right after the other (R16)."""
        for server in server_order(tuple(self._endpoints), number):
            cell = Cell(ladder=ladder.name, size=size, server=server, round=number)
            if (ladder.name, size, server) in self._skipped:
                self._clock.skip(ladder, size)
                continue
            if number == 1 and self._saturated[ladder.name, server] >= SATURATED_CELLS:
                self._skipped.add((ladder.name, size, server))
                self._clock.skip(ladder, size)
                self._emit(CellFinished(cell=cell, skipped="saturated"))
                continue
            await self._measure_cell(cell, ladder)

    async def _measure_cell(self, cell: Cell, ladder: Ladder) -> None:
        await self._steering.next_cell(cell.size if ladder.kind == "concurrency" else ladder.clients)
        began = time.perf_counter()
        self._emit(self._clock.started(cell))
        finished = await self._cell_result(cell, ladder)
        if self._steering.was_changed and not finished.skipped:
            finished = msgspec.structs.replace(finished, flags=(*finished.flags, CLIENTS_CHANGED))
        self._emit(finished)
        self._clock.finish(ladder, cell.size, time.perf_counter() - began)
        if cell.round == 1 and is_saturated(finished, self._plan.timeout_s):
            self._saturated[cell.ladder, cell.server] += 1
        broken = any(failure.kind in CONNECTION_FAULTS for failure in finished.failures)
        if broken and (gone := await self._alive(cell.server)):
            raise RunIncomplete(f"{cell.server} stopped in the middle of the run: {gone}")

    async def _cell_result(self, cell: Cell, ladder: Ladder) -> CellFinished:
        """The cell measured; when the load engine could not do it, the cell carries that and the run goes on."""
        try:
            spec = self._spec(cell, ladder)
            if ladder.kind in SEARCHES:
                return await self._search(cell, ladder)
            calibration = await self._calibration(cell, spec)
            result, scrapes, used = await self._load(cell, spec)
        except LoadError as error:
            return CellFinished(cell=cell, failures=(Failure(kind="load engine", count=1, example=str(error)),))
        if calibration:
            result = mark_client_bound(result, calibration)
        floor_ms = calibration.floor_ms if calibration else None
        burst = cell.size if ladder.kind == "concurrency" else 0
        finished = finish_cell(cell, result, scrapes, burst, floor_ms)
        cpu_s, memory_mb = used or (None, None)
        return msgspec.structs.replace(finished, server_cpu_s=cpu_s, server_memory_mb=memory_mb)

    async def _search(self, cell: Cell, ladder: Ladder) -> CellFinished:
        """The highest load under the cell's p99 limit; the figures kept are those of that load."""
        follower = self._follower(cell, self._endpoints[cell.server].predict_urls())
        meter = UsageMeter(follower.used)

        def show(tick: Tick) -> None:
            self._emit(_cell_tick(cell, tick))

        base = partial(self._spec, cell, ladder)
        try:
            await meter.start()
            found = await Search(ladder.kind, cell.size, base, self._steering, show, self._source).run()
        finally:
            await meter.cancel()
        finished = finish_search(cell, found)
        changed = (ADDRESSES_CHANGED,) if follower.moved else ()
        return msgspec.structs.replace(finished, flags=(*finished.flags, *changed))

    def _follower(self, cell: Cell, urls: Sequence[str]) -> Follower:
        return Follower(self._endpoints[cell.server], self._steering, partial(self._used, cell.server), urls)

    async def _calibration(self, cell: Cell, spec: LoadSpec) -> Calibration | None:
        """The client's own floor for these bodies and clients, measured once a run (R12); None when it cannot be."""
        key = cell.ladder, cell.size
        if key not in self._calibrations:
            try:
                self._calibrations[key] = await self._source.calibrate(spec)
            except LoadError:
                # The cell can be measured all the same; its floor is then blank.
                self._calibrations[key] = None
        return self._calibrations[key]

    async def _load(self, cell: Cell, spec: LoadSpec) -> tuple[LoadResult, Scrapes | None, Used | None]:
        """Warm up, scrape, measure, extend while unstable (R9), scrape (R20)."""
        endpoint = self._endpoints[cell.server]
        follower = self._follower(cell, (spec.url, *spec.also))
        meter = UsageMeter(follower.used)
        before: tuple[Scrape, ...] | None = None

        async def look() -> None:
            nonlocal before
            before = await scrape(endpoint)
            await meter.start()

        def show(tick: Tick) -> None:
            self._emit(_cell_tick(cell, tick))

        further = msgspec.structs.replace(spec, burst=False, warmup=None)
        try:
            control = self._steering.next_load()
            result = await self._source.run(spec, on_tick=show, on_warm=look, control=control)
            for _ in range(EXTENSIONS):
                if result.is_stable is not False or SKIPPED in result.flags or follower.moved:
                    break
                more = await self._source.run(further, on_tick=show, control=self._steering.next_load())
                result = merge_results([result, more])
            used = await meter.stop()
        finally:
            await meter.cancel()
        after = await scrape(endpoint) if before else None
        if follower.moved:
            # Counters of tasks that are gone, or new, are no difference to be taken.
            result, after = msgspec.structs.replace(result, flags=(*result.flags, ADDRESSES_CHANGED)), None
        return result, (before, after) if before and after else None, used

    def _spec(self, cell: Cell, ladder: Ladder) -> LoadSpec:
        concurrent = ladder.kind == "concurrency"
        endpoint = self._endpoints[cell.server]
        clients = cell.size if concurrent else ladder.clients
        url, *also = endpoint.predict_urls()
        return LoadSpec(
            url=url,
            also=tuple(also),
            movable=endpoint.places is not None,
            headers=(("Content-Type", "application/json"), *endpoint.client.headers.items()),
            bodies_file=str(self._bodies[ladder.name, cell.size]),
            gzip=ladder.gzip,
            clients=clients,
            warmup=Warmup(seconds=self._plan.warmup_seconds, workers=endpoint.workers),
            stop=StopRule(
                # Fewer than one answer a client would measure how the window fills and drains, not a steady state.
                requests=max(self._plan.min_requests, clients),
                seconds=self._plan.min_seconds,
                max_seconds=MAX_CELL_SECONDS,
                floor_requests=FLOOR_REQUESTS,
            ),
            burst=concurrent,
            seed=self._plan.seed,
            timeout_s=self._plan.timeout_s,
        )


class _Estimate:
    """How long the rest of a run takes: the plan's guess, corrected by the cells measured so far."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._left_s = plan.expected_s
        self._expected_s = 0.0
        self._spent_s = 0.0
        self._number = 0

    def started(self, cell: Cell) -> CellStarted:
        self._number += 1
        correction = self._spent_s / self._expected_s if self._expected_s else 1.0
        return CellStarted(cell=cell, number=self._number, total=self._plan.cells, left_s=self._left_s * correction)

    def skip(self, ladder: Ladder, size: int) -> None:
        self._number += 1
        self._left_s -= self._plan.expected_cell_s(ladder, size)

    def finish(self, ladder: Ladder, size: int, seconds: float) -> None:
        expected = self._plan.expected_cell_s(ladder, size)
        self._left_s -= expected
        self._expected_s += expected
        self._spent_s += seconds


def finish_cell(
    cell: Cell,
    result: LoadResult,
    scrapes: Scrapes | None,
    burst: int = 0,
    client_floor_ms: float | None = None,
) -> CellFinished:
    """What is kept of a load result: distributions in ms, parts, failures, flags; ``burst`` requests came before it."""
    if SKIPPED in result.flags and not result.requests and not result.errors:
        return CellFinished(cell=cell, skipped="by the user")
    parts = timing_parts(result)
    flags = list(result.flags)
    if not parts and scrapes:
        earlier, later = (sum(one.requests for one in each) for each in scrapes)
        if later - earlier == result.requests + burst - result.burst_errors:
            parts = scrape_parts(result, *scrapes)
        elif not result.errors:
            flags.append("FOREIGN-TRAFFIC")
    if result.is_stable is False:
        flags.append("UNSTABLE")
    client = result.client
    return CellFinished(
        cell=cell,
        requests=result.requests,
        duration_s=result.duration_s,
        throughput_rps=result.throughput_rps,
        request=latency(result.request),
        service=latency(result.service),
        connect=latency(result.connect),
        makespan_s=result.makespan_s,
        parts=_kept(parts),
        failures=tuple(Failure(kind=k, count=e.count, example=e.example) for k, e in sorted(result.errors.items())),
        flags=tuple(flags),
        client_floor_ms=client_floor_ms,
        client_cpu_percent=100 * client.cpu_s / client.wall_s if client.wall_s else 0.0,
        addresses=result.addresses,
        histogram=tuple(zip(result.request.index, result.request.count, strict=True)),
        origin=result.origin,
    )


def finish_search(cell: Cell, found: Found) -> CellFinished:
    """What is kept of a search: the best step's figures and all steps; without a best one, why all failed."""
    if found.skipped:
        return CellFinished(cell=cell, skipped="by the user", steps=found.steps)
    best = found.best
    if best is None:
        errors = merge_results(found.results).errors
        failures = tuple(Failure(kind=k, count=e.count, example=e.example) for k, e in sorted(errors.items()))
        flag = found.end_flag or OVER_LIMIT
        return CellFinished(cell=cell, flags=(flag,), failures=failures, steps=found.steps)
    finished = finish_cell(cell, best, None)
    return msgspec.structs.replace(
        finished,
        request=latency(best.latency),
        flags=tuple(dict.fromkeys((*finished.flags, *([found.end_flag] if found.end_flag else ())))),
        histogram=tuple(zip(best.latency.index, best.latency.count, strict=True)),
        limit=found.limit,
        steps=found.steps,
    )


def latency(counts: Counts) -> Latency:
    """The distribution of a histogram in ms, quantiles as far as rule R15 shows them."""
    if not counts.n:
        return Latency(n=0)
    return Latency(
        n=counts.n,
        mean_ms=mean_ms(counts),
        p50_ms=shown_quantile_ms(counts, 0.5),
        p90_ms=shown_quantile_ms(counts, 0.9),
        p95_ms=shown_quantile_ms(counts, 0.95),
        p99_ms=shown_quantile_ms(counts, 0.99),
        p999_ms=shown_quantile_ms(counts, 0.999),
        min_ms=counts.min_us / 1000,
        max_ms=counts.max_us / 1000,
    )


def _kept(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    return tuple(part for part in parts if part.ms > 0)


def _cell_tick(cell: Cell, tick: Tick) -> CellTick:
    return CellTick(
        cell=cell,
        phase=tick.phase,
        elapsed_s=tick.elapsed_s,
        requests=tick.requests,
        errors=tick.errors,
        p50_ms=tick.p50_ms,
        max_ms=tick.max_ms,
        throughput_rps=tick.throughput_rps,
    )
