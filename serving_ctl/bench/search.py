"""Finds the highest load that a server holds under a p99 limit: doubling, then bisection, one load run a step.

``next_load`` and ``verdict`` are pure; ``Search`` measures. Rates are an open loop, clients a closed one (R2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec

from serving_ctl.bench.presets import RATE_LIMIT
from serving_ctl.bench.steering import Steering
from serving_ctl.events import Step
from serving_ctl.load.local import HERE, Load
from serving_ctl.load.work import BUSY_LIMIT, LATE_LIMIT, LoadResult, LoadSpec, StopRule, Tick, Warmup
from serving_ctl.stats.latency import shown_quantile_ms, smallest_n

STEP_REQUESTS = 3000
STEP_S = 10.0
"""A step ends with whichever is reached first, but never before p99 can be told (R15)."""
LEAST_STEP_S = 3.0
"""A fast server's 3,000 answers are too short a time to judge stability by."""
MAX_ERROR_SHARE = 0.001
PRECISION = 1.05
"""The search ends when the lowest load that failed is within 5 % of the highest that held."""
FIRST = {True: 32.0, False: 1.0}
LEAST = {True: 4.0, False: 1.0}
MOST = {True: 65_536.0, False: 8192.0}
"""First, smallest and largest load, by whether it is a rate."""
SATURATED_TICKS = 8
MOST_STEPS = 30
HELD, CLIENT_LIMITED, ABOVE, UNSTABLE = "held", "client-limited", "p99 above the limit", "unstable"
NOT_THE_SERVERS = {CLIENT_LIMITED: "CLIENT-LIMITED", UNSTABLE: "UNSTABLE"}
"""Failures that say nothing of the server's limit, and the flag of a search that they ended."""
DOUBTFUL = {ABOVE, *NOT_THE_SERVERS}
"""Measured once more before it counts: what moved may have been the machine."""
LOST = "WORKER-LOST"
"""So is a step in which a part of the load was lost."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """How a search ended: its steps, and what the highest load that held measured (None when none did)."""

    steps: tuple[Step, ...]
    best: LoadResult | None
    results: tuple[LoadResult, ...]
    skipped: bool = False

    @property
    def limit(self) -> float | None:
        """The highest load that held."""
        return max((step.load for step in self.steps if step.verdict == HELD), default=None)

    @property
    def end_flag(self) -> str | None:
        """The flag of the failure right above the limit when that was not the server's doing: it may hold more."""
        failed = _failed_above(self.steps, self.limit)
        return NOT_THE_SERVERS.get(failed[0].verdict) if failed else None


def next_load(steps: Sequence[Step], *, is_rate: bool) -> float | None:
    """The load of the next step: doubled until one fails (halved until one holds), then the middle; None at the end.

    Behind a failure that was not the server's doing one look further up is taken: what holds there overrules it.
    """
    if len(steps) >= MOST_STEPS:
        return None
    if not steps:
        return FIRST[is_rate]
    held = max((step.load for step in steps if step.verdict == HELD), default=None)
    failed = _failed_above(steps, held)
    is_to_go_up = not failed or (len(failed) == 1 and failed[0].verdict in NOT_THE_SERVERS)
    if is_to_go_up and (further := 2 * max(step.load for step in steps)) <= MOST[is_rate]:
        return further
    if not failed:
        return None
    lowest = failed[0].load
    if held is None:
        return lowest / 2 if lowest / 2 >= LEAST[is_rate] else None
    middle = (held + lowest) / 2 if is_rate else math.floor((held + lowest) / 2)
    return None if lowest <= held * PRECISION or middle == held else float(middle)


def _failed_above(steps: Sequence[Step], held: float | None) -> list[Step]:
    """The steps that failed above the highest load that held, lowest first."""
    failed = (step for step in steps if step.verdict != HELD and step.load > (held or 0))
    return sorted(failed, key=lambda step: step.load)


def verdict(result: LoadResult, limit_ms: float, *, saturated: bool) -> str:
    """``held``, or in a few words why not."""
    errors = sum(error.count for error in result.errors.values())
    if errors > MAX_ERROR_SHARE * (errors + result.requests):
        return "errors"
    p99 = shown_quantile_ms(result.latency, 0.99)
    if p99 is None and not saturated:
        return "too few answers"
    if saturated or p99 is None or p99 > limit_ms or "INCOMPLETE-DRAIN" in result.flags:
        # A late send only makes the latency larger: what holds all the same holds.
        return CLIENT_LIMITED if _is_client_limited(result) else "saturated" if saturated else ABOVE
    return HELD if result.is_stable is not False else UNSTABLE


class Search:
    """One search at one server. ``base`` gives a step's load spec without a load; ``show`` gets every tick."""

    def __init__(
        self,
        kind: str,
        limit_ms: float,
        base: Callable[[], LoadSpec],
        steering: Steering,
        show: Callable[[Tick], None],
        load: Load = HERE,
    ) -> None:
        self._is_rate = kind == RATE_LIMIT
        self._limit_ms, self._base, self._steering, self._show = limit_ms, base, steering, show
        self._source = load

    async def run(self) -> Found:
        """Steps until the limit is known, or the user skips the cell. Raises LoadError."""
        steps: list[Step] = []
        results: list[LoadResult] = []
        best: LoadResult | None = None
        while (load := next_load(steps, is_rate=self._is_rate)) is not None:
            result, step = await self._step(load, is_first=not steps)
            if step.verdict in DOUBTFUL or LOST in result.flags:
                result, step = await self._step(load, is_first=False)
            if self._steering.is_skipped:
                break
            steps.append(step)
            results.append(result)
            if step.verdict == HELD and step.load == max(one.load for one in steps if one.verdict == HELD):
                best = result
        return Found(steps=tuple(steps), best=best, results=tuple(results), skipped=self._steering.is_skipped)

    async def _step(self, load: float, *, is_first: bool) -> tuple[LoadResult, Step]:
        control = self._steering.next_load()
        watch = _Watch(self._limit_ms, control.skip, self._show)
        result = await self._source.run(self._spec(load, is_first=is_first), on_tick=watch, control=control)
        step = Step(
            load=load,
            verdict=verdict(result, self._limit_ms, saturated=watch.saturated),
            p99_ms=shown_quantile_ms(result.latency, 0.99),
            throughput_rps=result.throughput_rps,
            requests=result.requests,
            errors=sum(error.count for error in result.errors.values()),
        )
        return result, step

    def _spec(self, load: float, *, is_first: bool) -> LoadSpec:
        base = self._base()
        # As many connections as requests can be under way at the limit, twice over: the client is not to be the limit.
        clients = math.ceil(2 * load * self._limit_ms / 1000) + 8 if self._is_rate else round(load)
        brief = Warmup(seconds=0.3, workers=0)
        return msgspec.structs.replace(
            base,
            clients=min(clients, round(MOST[False])),
            rate_rps=load if self._is_rate else None,
            warmup=base.warmup if is_first else brief,
            burst=False,
            stop=StopRule(
                requests=max(STEP_REQUESTS, round(load) if not self._is_rate else 0),
                seconds=LEAST_STEP_S,
                max_seconds=STEP_S,
                floor_requests=smallest_n(0.99),
            ),
        )


class _Watch:
    """Passes ticks on, and ends a step that can only fail: medians far above the limit, or mostly errors."""

    def __init__(self, limit_ms: float, end: Callable[[], None], show: Callable[[Tick], None]) -> None:
        self.saturated = False
        self._limit_ms, self._end, self._show = limit_ms, end, show
        self._above = 0

    def __call__(self, tick: Tick) -> None:
        self._show(tick)
        if tick.phase != "window" or self.saturated:
            return
        late = tick.p50_ms is not None and tick.p50_ms > 2 * self._limit_ms
        failing = tick.errors > 100 and tick.errors > 0.1 * tick.requests
        self._above = self._above + 1 if late or failing else 0
        if self._above >= SATURATED_TICKS:
            self.saturated = True
            self._end()


def _is_client_limited(result: LoadResult) -> bool:
    """The load process was the limit; sends that were late because every client waited are the server's doing."""
    client = result.client
    return client.busiest > BUSY_LIMIT or client.late - client.late_busy > LATE_LIMIT * client.sent
