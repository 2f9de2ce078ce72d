"""Between the engine's events and the screen: folds events, hands progress on at a bounded rate, plays recordings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from serving_ctl.bench.progress import Progress, advance
from serving_ctl.events import CellTick, Event, RunFailed
from serving_ctl.results.record import RunRecord

FRAME_S = 0.2
"""Seconds between two frames: five a second look alive and cost little."""
BURST = 500
"""Recorded events folded in one go before the screen gets its turn."""


class Bridge:
    """Folds every event into ``progress`` and calls ``deliver(progress)`` at most once a frame."""

    def __init__(self, deliver: Callable[[Progress], object], frame_s: float = FRAME_S) -> None:
        self.progress = Progress()
        self._deliver = deliver
        self._frame_s = frame_s
        self._earliest = 0.0
        self._due: asyncio.TimerHandle | None = None

    def emit(self, event: Event) -> None:
        """Take in one event; called in the event loop's thread."""
        self.progress = advance(self.progress, event)
        if self._due is None:
            loop = asyncio.get_running_loop()
            self._due = loop.call_at(max(self._earliest, loop.time()), self._hand_on)

    def show(self, run: RunRecord) -> None:
        """Take a kept run as the one in sight; one without an end is told as cut off, for nothing measures it now."""
        if run.end is None:
            reason = "it was cut off before its end."
            run = msgspec.structs.replace(
                run, end=RunFailed(run_id=run.started.run_id, duration_s=0.0, reason=reason), current=None
            )
        self.progress = msgspec.structs.replace(self.progress, run=run, started=None, tick=None, ticks=())
        self._deliver(self.progress)

    def _hand_on(self) -> None:
        self._due = None
        self._earliest = asyncio.get_running_loop().time() + self._frame_s
        self._deliver(self.progress)


async def play(events: Iterable[Event], emit: Callable[[Event], None], speed: float) -> None:
    """Emit recorded ``events`` in their own pace times ``speed``; 0 emits them as fast as they are taken."""
    elapsed_s = 0.0
    for number, event in enumerate(events):
        if isinstance(event, CellTick):
            wait_s = event.elapsed_s - elapsed_s
            elapsed_s = event.elapsed_s
            if speed > 0 and wait_s > 0:
                await asyncio.sleep(wait_s / speed)
        if speed <= 0 and number % BURST == 0:
            await asyncio.sleep(0)
        emit(event)
