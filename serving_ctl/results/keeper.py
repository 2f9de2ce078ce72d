"""Keeps a run in the store while it is measured; when the store fails, in a recording instead, and says so once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from serving_ctl.errors import ConfigError, TfServeError
from serving_ctl.events import CellFinished, Event, RunFailed, RunFinished, RunStarted
from serving_ctl.results.rates import rate_ranges
from serving_ctl.results.record import RateRange, RecordingWriter, RunRecord
from serving_ctl.results.store import Store, open_store


class Keeper:
    """A sink of one run's events. ``spare`` is where they go when the store fails; ``tell`` gets what went wrong.

    Nothing here ends the run: what cannot be kept at all can still be exported.
    """

    def __init__(self, path: Callable[[], Path], spare: Path, tell: Callable[[str], None]) -> None:
        self._path, self._spare, self._tell = path, spare, tell
        self._store: Store | None = None
        self._recording: RecordingWriter | None = None
        self._record: RunRecord | None = None
        self._keep: Callable[[Event], None] = self._keep_in_store

    def __call__(self, event: Event) -> None:
        """Keep ``event`` if it is the begin, a finished cell or the end of the run."""
        if isinstance(event, RunStarted):
            self._record = RunRecord(started=event)
        elif self._record is not None and isinstance(event, CellFinished | RunFinished | RunFailed):
            self._record = self._record.with_event(event)
        else:
            return
        try:
            self._keep(event)
        except TfServeError as error:
            self._step_back(error)

    def close(self) -> None:
        """Let go of the file."""
        if self._store is not None:
            self._store.close()
        if self._recording is not None:
            self._recording.__exit__(None, None, None)

    def _keep_in_store(self, event: Event) -> None:
        assert self._record is not None
        match event:
            case RunStarted():
                self._store = open_store(self._path(), self._tell)
                self._store.begin(event)
            case CellFinished() if self._store:
                self._store.keep(self._record.started.run_id, event)
            case RunFinished() | RunFailed() if self._store:
                self._store.finish(event, rates_of(self._record))

    def _step_back(self, error: TfServeError) -> None:
        """From the store to the spare recording, which gets the whole run so far; from that to memory alone."""
        if self._recording is not None:
            self._keep = _forget
            self._tell(f"{error} The run is now only in this process: export it before you leave.")
            return
        self._recording = RecordingWriter(self._spare)
        self._keep = self._recording.write
        try:
            self._recording.__enter__()
            for event in self._so_far():
                self._recording.write(event)
        except ConfigError as second:
            self._step_back(second)
            return
        self._tell(f"The run is not kept in the history: {error} Its recording is {self._spare}.")

    def _so_far(self) -> tuple[Event, ...]:
        assert self._record is not None
        return (self._record.started, *self._record.cells, *([self._record.end] if self._record.end else []))


def rates_of(record: RunRecord) -> tuple[RateRange, ...]:
    """The range of ratios of each ladder that has any."""
    return tuple(found for ladder in record.started.ladders for found in rate_ranges(record, ladder))


def _forget(event: Event) -> None:
    """The last resort: the event stays in memory, with whoever else listens."""
