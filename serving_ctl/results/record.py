"""One run as kept: its plan, its finished cells, its end. Built by folding events; written and read as JSON lines."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from serving_ctl.errors import ConfigError
from serving_ctl.events import (
    Cell,
    CellFinished,
    CellStarted,
    Event,
    Ladder,
    RunFailed,
    RunFinished,
    RunStarted,
    Target,
    encode_event,
    read_recording,
)


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A run so far, or a whole one. ``current`` is the cell being measured."""

    started: RunStarted
    cells: tuple[CellFinished, ...] = ()
    current: Cell | None = None
    end: RunFinished | RunFailed | None = None

    def with_event(self, event: Event) -> RunRecord:
        """The record after ``event``; events of other things leave it as it is."""
        match event:
            case CellStarted(cell=cell):
                return msgspec.structs.replace(self, current=cell)
            case CellFinished():
                return msgspec.structs.replace(self, cells=(*self.cells, event), current=None)
            case RunFinished() | RunFailed():
                return msgspec.structs.replace(self, end=event, current=None)
            case _:
                return self

    def finished(self, ladder: str, size: int, server: str) -> tuple[CellFinished, ...]:
        """The finished rounds of one server at one size, in round order."""
        found = [c for c in self.cells if (c.cell.ladder, c.cell.size, c.cell.server) == (ladder, size, server)]
        return tuple(sorted(found, key=lambda cell: cell.cell.round))

    def ladder(self, name: str) -> Ladder:
        """The ladder of that name."""
        return next(ladder for ladder in self.started.ladders if ladder.name == name)

    @property
    def targets(self) -> tuple[Target, ...]:
        """The measured servers: the numerator of every ratio (R17), then what it is divided by, one or more."""
        return self.started.targets


class RateRange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The smallest and the largest ratio of one ladder's headline table (R17)."""

    ladder: str
    low: float
    high: float
    other: str = ""
    """What the first target was divided by, where there are several."""


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A kept run as a list shows it."""

    run_id: str
    started_at: str
    """ISO 8601 with offset."""
    preset: str
    title: str
    profile: str
    rounds: int
    model: str
    targets: tuple[str, ...]
    """Labels of the measured servers, the numerator of every ratio first."""
    runtimes: tuple[str, ...] = ()
    """How they ran, in a word or two each: ``docker``, ``embedded``, ``gunicorn``, ``eu external``."""
    cells: int
    """Finished cells."""
    planned: int
    state: str
    """``finished``, ``cancelled``, ``failed``, ``no end`` for one that was cut off or is still measured, ``unreadable``
    for one whose begin or end the store cannot read: of that only id, time and cells are known."""
    reason: str = ""
    """Why it ended early, or cannot be read."""
    duration_s: float | None = None
    rates: tuple[RateRange, ...] = ()
    baselines: tuple[str, ...] = ()
    """Names it was given."""


def fold_record(events: Iterable[Event], source: str) -> RunRecord:
    """The last run of a recording's events. Raises ConfigError when ``source`` holds none."""
    record: RunRecord | None = None
    for event in events:
        if isinstance(event, RunStarted):
            if len(event.targets) < 2:
                raise ConfigError(f"{source}: run {event.run_id} measured fewer than two servers; there is no ratio.")
            record = RunRecord(started=event)
        elif record is not None:
            record = record.with_event(event)
    if record is None:
        raise ConfigError(f"{source}: holds no run; record one with `tfserve-tui run PRESET --events FILE.jsonl`.")
    return record


def read_record(path: Path) -> RunRecord:
    """The last run in the recording ``path``. Raises ConfigError."""
    return fold_record(read_recording(path), str(path))


class RecordingWriter:
    """Writes events to a ``.jsonl`` file; on disk once per cell, so that a crash costs at most the cell in flight.

    The file is made at the first event: a run that never begins leaves an earlier recording alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None
        self._open = False

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._problem(error.strerror) from None
        if self.path.is_dir() or not os.access(self.path if self.path.exists() else self.path.parent, os.W_OK):
            raise self._problem("it is a folder" if self.path.is_dir() else "permission denied")
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        if self._file:
            # A full disk was said by the write that met it; closing only meets it again.
            with contextlib.suppress(OSError):
                self._file.close()

    def write(self, event: Event) -> None:
        """Write ``event``. Raises ConfigError when the disk is full; what was written stays readable."""
        if not self._open:
            raise self._problem("it is closed")
        try:
            self._file = self._file or self.path.open("wb")
            self._file.write(encode_event(event))
            if isinstance(event, RunStarted | CellFinished | RunFinished | RunFailed):
                self._file.flush()
        except OSError as error:
            raise self._problem(error.strerror) from None

    def _problem(self, reason: str | None) -> ConfigError:
        return ConfigError(f"{self.path}: the recording cannot be written: {reason}.")
