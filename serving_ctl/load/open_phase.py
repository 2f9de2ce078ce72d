"""The window of an open loop: requests are sent when they are due, by whichever client is free (R3)."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns

from serving_ctl.load.alarm import alarm
from serving_ctl.load.client import Client, Core
from serving_ctl.load.phase import Phase
from serving_ctl.load.recorder import Recorder
from serving_ctl.load.schedule import OpenLoop
from serving_ctl.load.work import LoadSpec, Tick


class OpenPhase(Phase):
    """Idle clients wait here for the next arrival; a client that becomes free while one is overdue takes it at once."""

    rule: OpenLoop

    def __init__(self, core: Core, rule: OpenLoop, spec: LoadSpec, emit: Callable[[Tick], None]) -> None:
        super().__init__("window", core, rule, spec, emit)
        self.recorder = Recorder(rule.started_ns, open_loop=True)
        self._alarm = alarm(core.loop, self._send_due)

    async def run(self, clients: list[Client]) -> None:
        """Until the schedule is over and the last answer is in, or the drain's grace is over (R5)."""
        try:
            await super().run(clients)
        finally:
            self._alarm.close()

    def _parked(self, client: Client) -> None:
        """A client is free and nothing is due yet."""
        self._active -= 1
        self.finished_ns = perf_counter_ns()
        if self.rule.leaving:
            self.rule.leaving -= 1
            self._leave(client)
        else:
            self._idle.append(client)
        if not self.rule.paused:
            self._alarm.set(self.rule.next_ns)

    def _send_due(self) -> None:
        """The next request's time has come, or the end."""
        rule, now = self.rule, perf_counter_ns()
        rule.ringing = True
        while self._idle and rule.next_ns <= now and not (rule.paused or rule.is_over(now)):
            self._active += 1
            self._idle.popleft().go()
        rule.ringing = False
        if rule.is_over(now):
            self._stop(now)
            self._end_if_quiet(now)
        elif self._idle and not rule.paused:
            self._alarm.set(rule.next_ns)
