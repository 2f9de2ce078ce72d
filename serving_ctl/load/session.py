"""One load run inside its process: the order of the phases, the client's checks of itself (R12), the result.

Talks to its surroundings through two callables only; processes and pipes are ``worker`` and ``pool``.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import resource
import ssl
import sys
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter_ns

import msgspec
import numpy as np

from serving_ctl.load import wire
from serving_ctl.load.answer import HeadMemory
from serving_ctl.load.balance import Address, Balance, names
from serving_ctl.load.client import Client, Core, Destination
from serving_ctl.load.open_phase import OpenPhase
from serving_ctl.load.phase import Phase
from serving_ctl.load.schedule import ClosedLoop, OpenLoop, WarmUpLoop, arrivals
from serving_ctl.load.work import BUSY_LIMIT, LATE_LIMIT, ClientFacts, LoadResult, LoadSpec, StopRule, Tick, Warmup

_LAG_PERIOD_S = 0.01
_LITTLE_LIMIT = 0.05
_JUDGED_FROM_S = 0.2
"""Shorter windows say nothing about the client's own limits."""


class Session:
    """Runs one ``LoadSpec`` on the running loop. ``start`` is awaited between warm-up and the first counted request, so
    that several processes start together."""

    def __init__(self, spec: LoadSpec, emit: Callable[[Tick], None], start: Callable[[], Awaitable[None]]) -> None:
        target = wire.parse_url(spec.url)
        bodies, headers = wire.read_bodies(spec.bodies_file), spec.headers
        if spec.gzip:
            bodies, headers = wire.compress(bodies), (*headers, ("Content-Encoding", "gzip"))
        self._bodies, self._headers = bodies, headers
        self._requests = requests = wire.assemble(target, spec.method, headers, bodies)
        self._spec, self._emit, self._start = spec, emit, start
        self._next_request = itertools.islice(itertools.cycle(requests), spec.first_body % len(requests), None).__next__
        self._core = Core(ssl.create_default_context() if target.tls else None)
        self._balance: Balance | None = None
        if spec.also or spec.movable:
            self._balance = Balance(self._core, self._addresses((spec.url, *spec.also)))
        self._core.new_client = self._balance.client if self._balance else self._only(target)
        self._clients = [self._core.new_client() for _ in range(spec.clients)]
        self._phase: Phase | None = None
        self._first_ns: int | None = None
        self._skipped = self._paused = False
        self._change = 0
        self._lags_ms: list[float] = []

    async def run(self) -> LoadResult:
        """The whole run."""
        try:
            if self._spec.warmup is not None:
                await self._warm_up(self._spec.warmup)
            # A collection inside a window would be measured as latency (R6), and one now would delay the agreed start;
            # objects alive by then are never garbage.
            gc.collect()
            await self._start()
            gc.freeze()
            gc.disable()
            burst = await self._burst() if self._spec.burst else None
            return self._result(await self._window(), burst)
        finally:
            for client in self._clients:
                client.halt()

    def pause(self) -> None:
        """Send nothing until ``resume``, in the phases to come neither."""
        self._paused = True
        if self._phase is not None:
            self._phase.pause()

    def resume(self) -> None:
        """Go on after ``pause``."""
        self._paused = False
        if self._phase is not None:
            self._phase.resume()

    def skip(self) -> None:
        """End this run early: the phases still to come are empty, the result holds what was measured."""
        self._skipped = True
        if self._phase is not None:
            self._phase.skip()

    def change_clients(self, change: int) -> None:
        """Add (or, negative, take away) clients: in the phase that runs, before and in the warm-up for the window."""
        if self._phase is not None and self._phase.name != "warmup":
            self._phase.change_clients(change)
        else:
            self._change += change

    def redirect(self, urls: Sequence[str]) -> None:
        """The addresses have changed: clients of one that is gone move on with their next request. Nothing happens in a
        load that is not movable. Raises LoadError for a URL that cannot be used."""
        if self._balance is not None and urls:
            self._balance.use(self._addresses(urls))
            phase = self._phase
            self._balance.redirect({*self._clients, *(phase.clients if phase else ())})

    def _only(self, target: wire.Target) -> Callable[[], Client]:
        to = self._destination(target)
        self._core.memories = [to.memory]
        return lambda: Client(self._core, to)

    def _destination(self, target: wire.Target) -> Destination:
        return Destination(target, wire.resolve(target), HeadMemory(self._spec.method))

    def _addresses(self, urls: Sequence[str]) -> list[Address]:
        targets = [wire.parse_url(url) for url in urls]
        known = {one.target: one for one in self._balance.addresses} if self._balance else {}
        return [
            known.get(target) or Address(self._destination(target), name, self._words(target))
            for target, name in zip(targets, names(targets), strict=True)
        ]

    def _words(self, target: wire.Target) -> dict[bytes, bytes]:
        own = wire.assemble(target, self._spec.method, self._headers, self._bodies)
        return dict(zip(self._requests, own, strict=True))

    async def _run_phase(self, phase: Phase, clients: list[Client]) -> Phase:
        self._phase = phase
        if self._skipped:
            phase.rule.stop()
        elif self._paused:
            phase.pause()
        await phase.run(clients)
        if self._first_ns is None:
            self._first_ns = phase.recorder.first_ns
        return phase

    async def _warm_up(self, warmup: Warmup) -> None:
        """Throw-away requests (R7), by enough clients at once to meet every worker of a server."""
        number = max(min(self._spec.clients, max(warmup.clients, 1 + len(self._spec.also))), 2 * warmup.workers)
        extra = [self._core.new_client() for _ in range(number - self._spec.clients)]
        rule = WarmUpLoop(warmup, self._next_request, perf_counter_ns(), lambda: len(self._core.recorder.workers))
        phase = Phase("warmup", self._core, rule, self._spec, self._emit)
        await self._run_phase(phase, self._clients[:number] + extra)
        for client in extra:
            client.halt()

    async def _burst(self) -> Phase:
        """Every client connects and sends one request, all at once (R13, R19)."""
        for client in self._clients:
            client.drop()
        stop = StopRule(requests=len(self._clients), max_seconds=None)
        rule = ClosedLoop(stop, self._next_request, perf_counter_ns())
        return await self._run_phase(Phase("burst", self._core, rule, self._spec, self._emit), self._clients)

    async def _window(self) -> Phase:
        self._change_number()
        self._core.want_samples(self._spec.samples)
        if self._balance:
            self._balance.count_anew()
        lag = asyncio.create_task(self._measure_lag())
        try:
            return await self._run_phase(self._window_phase(), self._clients)
        finally:
            lag.cancel()

    def _change_number(self) -> None:
        """Carry out the changes that were asked for before any counted request; one client always stays."""
        number = max(len(self._clients) + self._change, 1)
        for client in self._clients[number:]:
            client.halt()
        del self._clients[number:]
        self._clients += [self._core.new_client() for _ in range(number - len(self._clients))]

    def _window_phase(self) -> Phase:
        spec = self._spec
        if spec.stages:
            seconds = sum(stage.seconds for stage in spec.stages)
            spec = msgspec.structs.replace(spec, stop=StopRule(seconds=seconds, max_seconds=seconds, floor_requests=0))
        now = perf_counter_ns()
        if spec.rate_rps is None:
            return Phase("window", self._core, ClosedLoop(spec.stop, self._next_request, now), spec, self._emit)
        poisson = spec.arrivals == "poisson"
        due = arrivals(spec.rate_rps, spec.stages, poisson=poisson, seed=spec.seed)
        highest = max(spec.rate_rps, *(stage.target for stage in spec.stages), 0.0)
        return OpenPhase(self._core, OpenLoop(spec.stop, self._next_request, now, due, highest), spec, self._emit)

    async def _measure_lag(self) -> None:
        """How much later than asked this loop wakes up (R12)."""
        while True:
            asked = perf_counter_ns()
            await asyncio.sleep(_LAG_PERIOD_S)
            self._lags_ms.append(max((perf_counter_ns() - asked) / 1e6 - _LAG_PERIOD_S * 1e3, 0.0))

    def _result(self, window: Phase, burst: Phase | None) -> LoadResult:
        recorder = window.recorder
        # By count, the last answers belong to the run; by time, what is drained after it does not count as throughput.
        ended_ns = window.finished_ns if window.by_count else window.stopped_ns
        seconds = (ended_ns - window.started_ns - window.paused_ns) / 1e9
        answered = recorder.request.n if window.by_count else window.answered_at_stop
        client = self._facts(window)
        return LoadResult(
            requests=recorder.request.n,
            errors=recorder.errors,
            duration_s=seconds,
            throughput_rps=answered / seconds if seconds > 0 else 0.0,
            request=recorder.request.counts(),
            service=recorder.service.counts(),
            connect=recorder.connect.counts(),
            response=recorder.response.counts() if recorder.open_loop else None,
            makespan_s=(burst.finished_ns - burst.started_ns - burst.paused_ns) / 1e9 if burst else None,
            burst_errors=burst.recorder.errored if burst else 0,
            first_ms=self._first_ns / 1e6 if self._first_ns is not None else None,
            windows=recorder.windows(),
            server_timing=recorder.server_timing,
            workers=recorder.workers,
            addresses=self._balance.counts() if self._balance else {},
            client=client,
            flags=self._flags(window, client),
            samples=tuple(body.decode("utf-8", "replace") for body in self._core.samples),
        )

    def _facts(self, window: Phase) -> ClientFacts:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return ClientFacts(
            cpu_s=window.cpu_s,
            wall_s=(window.finished_ns - window.started_ns) / 1e9,
            busiest=window.cpu_s_at_stop / window.seconds if window.seconds >= _JUDGED_FROM_S else 0.0,
            lag_ms_p99=float(np.percentile(self._lags_ms, 99)) if self._lags_ms else None,
            late=window.rule.late,
            late_busy=window.rule.late_busy,
            sent=window.rule.sent,
            connects=self._core.connects,
            concurrency=window.busy_ns_at_stop / 1e9 / window.seconds if window.seconds > 0 else None,
            peak_rss_mb=peak / 1e6 if sys.platform == "darwin" else peak / 1e3,
        )

    def _flags(self, window: Phase, facts: ClientFacts) -> tuple[str, ...]:
        flags = []
        too_late = facts.late > LATE_LIMIT * facts.sent
        if facts.busiest > BUSY_LIMIT or too_late or self._breaks_little(window, facts):
            flags.append("CLIENT-LIMITED")
        if window.drain_was_cut:
            flags.append("INCOMPLETE-DRAIN")
        if self._skipped:
            flags.append("SKIPPED")
        return tuple(flags)

    def _breaks_little(self, window: Phase, facts: ClientFacts) -> bool:
        """|N − X·C| / N above 5 % (R12), with X·C the mean number of requests under way, exact at the edges.

        Not judged when clients rested after errors, paused or changed in number: they are then idle on purpose.
        """
        if (
            window.recorder.open_loop
            or window.was_disturbed
            or self._core.rests
            or window.seconds < _JUDGED_FROM_S
            or facts.concurrency is None
        ):
            return False
        clients = min(len(window.clients), facts.sent)
        return abs(clients - facts.concurrency) / clients > _LITTLE_LIMIT
