"""What a face shows, as one value. ``advance(progress, event) → progress`` is pure; both faces and the tests use it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from serving_ctl.events import (
    CellStarted,
    CellTick,
    Event,
    LogLine,
    RunFinished,
    RunStarted,
    ServerChanged,
    ServerSampled,
)
from serving_ctl.results.record import RunRecord

KEPT_SAMPLES = 120
KEPT_TICKS = 600
KEPT_LINES = 500


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """All a face knows: the servers, their last minutes, and the run."""

    servers: Mapping[str, ServerChanged] = {}
    samples: Mapping[str, tuple[ServerSampled, ...]] = {}
    logs: Mapping[str, tuple[str, ...]] = {}
    run: RunRecord | None = None
    started: CellStarted | None = None
    """The cell in flight."""
    tick: CellTick | None = None
    """Its newest tick."""
    ticks: tuple[CellTick, ...] = ()
    """The last ticks with a latency, of all cells of the run, oldest first; the chart."""

    @property
    def is_running(self) -> bool:
        """True while a run is on."""
        return self.run is not None and self.run.end is None

    @property
    def fraction(self) -> float:
        """Share of the run's cells that are behind it, skipped ones too, 0 … 1."""
        if self.run is None or self.started is None:
            return 0.0
        if isinstance(self.run.end, RunFinished):
            return 1.0
        return (self.started.number - (self.run.current is not None)) / self.started.total


def advance(progress: Progress, event: Event) -> Progress:
    """``progress`` after ``event``."""
    change = msgspec.structs.replace
    match event:
        case ServerChanged(server=server):
            return change(progress, servers={**progress.servers, server: event})
        case ServerSampled(server=server):
            kept = (*progress.samples.get(server, ()), event)[-KEPT_SAMPLES:]
            return change(progress, samples={**progress.samples, server: kept})
        case LogLine(server=server, text=text):
            lines = (*progress.logs.get(server, ()), text)[-KEPT_LINES:]
            return change(progress, logs={**progress.logs, server: lines})
        case RunStarted():
            return change(progress, run=RunRecord(started=event), started=None, tick=None, ticks=())
        case CellTick(p50_ms=p50):
            ticks = progress.ticks if p50 is None else (*progress.ticks, event)[-KEPT_TICKS:]
            return change(progress, tick=event, ticks=ticks)
    run = progress.run.with_event(event) if progress.run else None
    started = event if isinstance(event, CellStarted) else progress.started
    return change(progress, run=run, started=started, tick=None)
