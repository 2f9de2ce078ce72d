"""One stretch of a load run (warm-up, burst or window): starts the clients, ticks, stops them by the rule, drains.

Also where pause, resume, skip and a changed number of clients take effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections import deque
from collections.abc import Callable, Iterable
from time import perf_counter_ns

from serving_ctl.load.client import Client, Core
from serving_ctl.load.recorder import Recorder, Slice
from serving_ctl.load.schedule import ClosedLoop, level
from serving_ctl.load.work import Fault, LoadSpec, Tick
from serving_ctl.stats.latency import shown_quantile_ms

_SWEEPS_PER_TIMEOUT = 100


class Phase:
    """Runs ``clients`` under ``rule`` once. All ``*_ns`` are ``perf_counter_ns`` stamps, 0 while not reached."""

    def __init__(self, name: str, core: Core, rule: ClosedLoop, spec: LoadSpec, emit: Callable[[Tick], None]) -> None:
        self.name = name
        self.rule = rule
        self.recorder = Recorder(rule.started_ns)
        self.started_ns = rule.started_ns
        self.stopped_ns = 0
        self.finished_ns = 0
        self.paused_ns = 0
        self.answered_at_stop = 0
        self.busy_ns_at_stop = 0.0
        self.cpu_s_at_stop = 0.0
        self.cpu_s = 0.0
        self.drain_was_cut = False
        self.was_disturbed = False
        """True after a pause or a change of clients: Little's law is then not judged."""
        self.clients: list[Client] = []
        self._core, self._spec, self._emit = core, spec, emit
        self._idle: deque[Client] = deque()
        self._active = 0
        self._quiet = asyncio.Event()
        self._paused_at_ns = 0
        self._swept_ns = self.started_ns

    async def run(self, clients: list[Client]) -> None:
        """Until the rule is over and the last answer is in, or the drain's grace is over (R5)."""
        self.clients = clients
        self._core.rule, self._core.recorder, self._core.parked = self.rule, self.recorder, self._parked
        self._core.rests = 0
        cpu_s = _cpu_s()
        self.cpu_s_at_stop = -cpu_s
        self._start(tuple(clients))
        while not self._quiet.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._quiet.wait(), self._spec.tick_s)
            self._tick(perf_counter_ns())
        self._stop(self.finished_ns)
        self.cpu_s = _cpu_s() - cpu_s

    @property
    def by_count(self) -> bool:
        """True when an exact number of requests is asked for: the last answers then belong to the run."""
        return self._spec.stop.seconds == 0

    @property
    def seconds(self) -> float:
        """Length of the sending part, without pauses."""
        return (self.stopped_ns - self.started_ns - self.paused_ns) / 1e9

    def pause(self) -> None:
        """Send nothing more until ``resume``; what is in flight is answered and counted."""
        if not self.rule.paused:
            self.rule.paused = self.was_disturbed = True
            self._paused_at_ns = perf_counter_ns()
            self.recorder.fold(self._paused_at_ns)

    def resume(self) -> None:
        """Go on where ``pause`` stopped."""
        if not self.rule.paused:
            return
        now = perf_counter_ns()
        self.rule.paused = False
        self.rule.shift(now - self._paused_at_ns)
        self.paused_ns += now - self._paused_at_ns
        self.recorder.skip_time(now)
        idle = tuple(self._idle)
        self._idle.clear()
        self._start(idle)

    def skip(self) -> None:
        """Stop sending now; what is in flight is drained."""
        self.rule.stop()
        self.resume()

    def change_clients(self, change: int) -> None:
        """Add clients, or let some leave as soon as they are idle; one always stays."""
        self.was_disturbed = True
        if change > 0:
            newcomers = [self._core.new_client() for _ in range(change)]
            self.clients += newcomers
            self._start(newcomers)
            return
        change = max(change, 1 - len(self.clients) + self.rule.leaving)
        while change and self._idle:
            self._leave(self._idle.pop())
            change += 1
        self.rule.leaving -= change

    def _end_if_quiet(self, now: int) -> None:
        """The phase is done when nothing more will be sent and nothing is under way."""
        if self._active == 0 and not self.rule.paused and self.rule.is_over(now):
            self._stop(now)
            self._quiet.set()

    def _start(self, clients: Iterable[Client]) -> None:
        clients = tuple(clients)
        self._active += len(clients)
        for client in clients:
            client.go()
        self._end_if_quiet(perf_counter_ns())

    def _leave(self, client: Client) -> None:
        client.halt()
        self.clients.remove(client)

    def _parked(self, client: Client) -> None:
        """A client has nothing to send: the rule is over, or it is to pause or to leave."""
        now = perf_counter_ns()
        self._active -= 1
        if self.rule.is_over(now):
            self._stop(now)
            self.finished_ns = now
        elif self.rule.leaving:
            self.rule.leaving -= 1
            self._leave(client)
        else:
            self._idle.append(client)
        self._end_if_quiet(now)

    def _stop(self, now: int) -> None:
        """Note the moment at which sending ended and what was under way then."""
        if self.stopped_ns:
            return
        self.stopped_ns = now
        self.recorder.fold(now)
        self.recorder.slicing = self.by_count
        self.answered_at_stop = self.recorder.request.n
        under_way = (now - since for client in self.clients if (since := client.in_flight_since_ns))
        self.busy_ns_at_stop = self.recorder.busy_ns + sum(under_way)
        self.cpu_s_at_stop += _cpu_s()

    def _tick(self, now: int) -> None:
        if self.rule.is_over(now):
            self._stop(now)
        elif self._spec.stages and self._spec.rate_rps is None and not self.rule.paused:
            self._follow_ramp(now)
        self._fail_overdue(now)
        if self.stopped_ns and now - self.stopped_ns > self._spec.drain_s * 1e9:
            self._cut_drain(now)
        piece = self.recorder.fold(now)
        self._emit(self._describe(now, piece))

    def _follow_ramp(self, now: int) -> None:
        """Closed loop with stages: as many clients as the ramp asks for by now."""
        wanted = level(self._spec.clients, self._spec.stages, (now - self.started_ns - self.paused_ns) / 1e9)
        change = max(round(wanted), 1) - (len(self.clients) - self.rule.leaving)
        if change:
            self.change_clients(change)

    def _fail_overdue(self, now: int) -> None:
        """Fail what is under way for longer than the timeout; looked for at most a hundred times in its length."""
        timeout_ns = int(self._spec.timeout_s * 1e9)
        if now - self._swept_ns < timeout_ns / _SWEEPS_PER_TIMEOUT:
            return
        self._swept_ns = now
        for client in tuple(self.clients):
            since = client.in_flight_since_ns
            if since and now - since > timeout_ns:
                kind = Fault.CONNECT_TIMEOUT if client.since_ns else Fault.READ_TIMEOUT
                client.give_up(kind, f"no answer within {self._spec.timeout_s:g} s")

    def _cut_drain(self, now: int) -> None:
        self.drain_was_cut = True
        text = f"not answered {self._spec.drain_s:g} s after the end of the window"
        if self._core.waiting:
            self.recorder.error(Fault.UNFINISHED, text, times=len(self._core.waiting))
            self._core.waiting.clear()
        for client in tuple(self.clients):
            if client.in_flight_since_ns:
                client.give_up(Fault.UNFINISHED, text)
        self._active = 0
        self.finished_ns = now
        self._quiet.set()

    def _describe(self, now: int, piece: Slice) -> Tick:
        latency = piece.latency
        return Tick(
            elapsed_s=((self._paused_at_ns if self.rule.paused else now) - self.started_ns - self.paused_ns) / 1e9,
            phase="drain" if self.stopped_ns and self._active else self.name,
            requests=self.recorder.answered,
            errors=self.recorder.errored,
            tick_requests=latency.n,
            p50_ms=shown_quantile_ms(latency, 0.5),
            max_ms=latency.max_us / 1e3 if latency.count else None,
            throughput_rps=latency.n / piece.seconds if piece.seconds > 0 else 0.0,
            in_flight=self._active,
        )


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
