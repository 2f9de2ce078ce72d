"""The kept runs: one SQLite file in WAL mode, which several processes may read and write at once.

Every cell is committed and on disk when it finishes. A damaged file is moved aside, never overwritten; an older schema
is migrated, a newer one refused.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from serving_ctl.config import data_dir
from serving_ctl.errors import ConfigError, StoreError
from serving_ctl.events import CellFinished, RunFailed, RunFinished, RunStarted, Target
from serving_ctl.results.histograms import decode_buckets, encode_buckets
from serving_ctl.results.record import RateRange, RunRecord, RunSummary
from serving_ctl.results.schema import MIGRATIONS

FILE_NAME = "runs.sqlite3"
BUSY_S = 10.0
FULL_BYTES = 100_000
"""With less room on the disk SQLite's input/output error means that it is full."""
LAST = "last"
UNREADABLE, UNKNOWN = "unreadable", "?"
_DAMAGED = {"SQLITE_CORRUPT", "SQLITE_NOTADB"}
_REASONS = {
    "SQLITE_FULL": "the disk is full; make room, then try again",
    "SQLITE_READONLY": "it is read-only; point TFSERVE_DATA_DIR to a folder that can be written",
    "SQLITE_CANTOPEN": "it cannot be opened; point TFSERVE_DATA_DIR to a folder that can be written",
    "SQLITE_BUSY": f"another process held it for more than {BUSY_S:.0f} s; try again",
    "SQLITE_IOERR": "the disk reports an input/output error",
    "SQLITE_CORRUPT": "it is damaged; the next run moves it aside and begins a new one",
    "SQLITE_NOTADB": "it is damaged; the next run moves it aside and begins a new one",
}
_End = RunFinished | RunFailed
_encode = msgspec.json.Encoder().encode
_decode_end = msgspec.json.Decoder(_End).decode
_decode_rates = msgspec.json.Decoder(tuple[RateRange, ...]).decode


class Damaged(StoreError):
    """The file is no database, or its pages contradict each other."""


def store_path() -> Path:
    """Where the runs are kept. Raises ConfigError when the folder cannot be made."""
    return data_dir() / FILE_NAME


def open_store(path: Path, tell: Callable[[str], None]) -> Store:
    """The store at ``path``, made when absent. A damaged one is moved aside, which ``tell`` gets a sentence of.

    Raises StoreError.
    """
    try:
        return Store(path)
    except Damaged:
        aside = _move_aside(path)
        tell(f"{path} was damaged and is now {aside.name}; a new one was begun. Nothing in it was changed.")
        return Store(path)


class Store:
    """One connection to the file. Use it in the thread that made it, and close it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._explained():
            self._database = _connect(path)
        try:
            with self._explained():
                self._prepare()
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def begin(self, started: RunStarted) -> None:
        """Keep the begin of a run. Raises StoreError."""
        with self._writing() as write:
            write(
                "INSERT INTO run (id, started_at, started) VALUES (?, ?, ?)",
                (started.run_id, started.started_at, _text(started)),
            )
            for key, value in started.fingerprint.items():
                write("INSERT INTO fingerprint VALUES (?, ?, ?)", (started.run_id, key, value))

    def keep(self, run_id: str, finished: CellFinished) -> None:
        """Keep one finished cell; it is on disk when this returns. Raises StoreError."""
        cell = finished.cell
        values = (
            *(run_id, cell.ladder, cell.size, cell.server, cell.round),
            *(finished.request.p50_ms, finished.request.p99_ms, finished.throughput_rps),
            _text(msgspec.structs.replace(finished, histogram=())),
            encode_buckets(finished.histogram),
        )
        with self._writing() as write:
            write("INSERT INTO cell VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    def finish(self, end: _End, rates: tuple[RateRange, ...]) -> None:
        """Keep the end of a run. Raises StoreError."""
        with self._writing() as write:
            write("UPDATE run SET ended = ?, rates = ? WHERE id = ?", (_text(end), _text(rates), end.run_id))

    def summaries(self) -> tuple[RunSummary, ...]:
        """All kept runs, newest first, one that cannot be read with the reason. Raises StoreError."""
        names: dict[str, list[str]] = {}
        for name, run_id in self._rows("SELECT name, run FROM baseline ORDER BY name"):
            names.setdefault(run_id, []).append(name)
        rows = self._rows(
            "SELECT id, started_at, started, ended, rates, (SELECT count(*) FROM cell WHERE run = id) "
            "FROM run ORDER BY rowid DESC"
        )
        return tuple(_summary(*row, baselines=tuple(names.get(row[0], ()))) for row in rows)

    def find(self, reference: str) -> str:
        """The id of a run by id, unique beginning of an id, baseline's name, ``last`` or ``last~N`` (N runs before).

        Raises ConfigError when there is none, or more than one.
        """
        ids = [run_id for (run_id,) in self._rows("SELECT id FROM run ORDER BY rowid DESC")]
        if reference in ids:
            return reference
        for (run_id,) in self._rows("SELECT run FROM baseline WHERE name = ?", (reference,)):
            return str(run_id)
        if (back := _runs_back(reference)) is not None:
            if back < len(ids):
                return str(ids[back])
            raise ConfigError(f"no run {reference!r}: {len(ids)} kept; `tfserve-tui history` lists them.")
        found = [run_id for run_id in ids if run_id.startswith(reference)] if reference else []
        if len(found) == 1:
            return str(found[0])
        if found:
            few = ", ".join(found[:3])
            raise ConfigError(f"{reference!r} begins {len(found)} runs ({few}, …); write more of the id.")
        raise ConfigError(f"no run or baseline {reference!r}; `tfserve-tui history` lists what is kept.")

    def record(self, run_id: str) -> RunRecord:
        """The whole of a kept run. Raises ConfigError when it is not there, StoreError when it cannot be read."""
        for started, ended in self._rows("SELECT started, ended FROM run WHERE id = ?", (run_id,)):
            rows = self._rows("SELECT finished, histogram FROM cell WHERE run = ? ORDER BY rowid", (run_id,))
            return RunRecord(
                started=_started(run_id, started),
                cells=tuple(_cell(run_id, finished, histogram) for finished, histogram in rows),
                end=_ended(run_id, ended),
            )
        raise ConfigError(f"no run {run_id!r}; `tfserve-tui history` lists what is kept.")

    def delete(self, run_id: str) -> None:
        """Forget a run, and the baselines that name it. Raises StoreError."""
        with self._writing() as write:
            write("DELETE FROM run WHERE id = ?", (run_id,))

    def baselines(self) -> dict[str, str]:
        """Run ids by baseline name. Raises StoreError."""
        return dict(self._rows("SELECT name, run FROM baseline ORDER BY name"))

    def name_baseline(self, name: str, run_id: str) -> None:
        """Call a run ``name`` from now on; an earlier baseline of that name is another run again. Raises StoreError."""
        with self._writing() as write:
            write(
                "INSERT INTO baseline VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET run = excluded.run", (name, run_id)
            )

    def _prepare(self) -> None:
        """Check the file, set how it is written, bring its schema up to date."""
        database = self._database
        if database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise Damaged(self._problem("SQLITE_CORRUPT"))
        database.execute("PRAGMA foreign_keys = ON")
        if database.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS):
            database.execute("PRAGMA synchronous = FULL")
            return
        _until_free(lambda: database.execute("PRAGMA journal_mode = WAL"))
        database.execute("PRAGMA synchronous = FULL")
        with self._writing() as write:
            version = write("PRAGMA user_version").fetchone()[0]
            if version > len(MIGRATIONS):
                raise StoreError(
                    f"{self.path}: was written by a newer tfserve-tui (schema {version}, this one knows "
                    f"{len(MIGRATIONS)}); update tfserve-tui, or point TFSERVE_DATA_DIR elsewhere."
                )
            for statement in (one for step in MIGRATIONS[version:] for one in step):
                write(statement)
            write(f"PRAGMA user_version = {len(MIGRATIONS)}")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        """One transaction: all or nothing, on disk at its end. Raises StoreError."""
        with self._explained():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database.execute
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with self._explained():
            return self._database.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors in words."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            name = "_".join(error.sqlite_errorname.split("_")[:2]) if hasattr(error, "sqlite_errorname") else ""
            kind = Damaged if name in _DAMAGED else StoreError
            raise kind(self._problem(name, str(error))) from None

    def _problem(self, name: str, text: str = "") -> str:
        if name == "SQLITE_IOERR" and shutil.disk_usage(self.path.parent).free < FULL_BYTES:
            name = "SQLITE_FULL"  # which SQLite says of its file, not of the memory that it shares with others
        return f"{self.path}: {_REASONS.get(name, text)}."


def _connect(path: Path) -> sqlite3.Connection:
    """A connection that waits for others; a file that cannot be written here is at least read."""
    readable_only = path.exists() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))
    how = "?immutable=1" if readable_only else "?mode=rwc"
    return sqlite3.connect(f"{path.absolute().as_uri()}{how}", uri=True, timeout=BUSY_S, isolation_level=None)


def _until_free(change: Callable[[], object]) -> None:
    """SQLite does not wait by itself when two processes turn a new file to WAL at once."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            change()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _move_aside(path: Path) -> Path:
    """Rename the file and what belongs to it; returns its new name. Raises StoreError."""
    aside = path.with_name(f"{path.name}.damaged-{datetime.datetime.now():%Y%m%d-%H%M%S-%f}")
    try:
        for ending in ("-wal", "-shm", ""):
            part = path.with_name(path.name + ending)
            if part.exists():
                part.rename(aside.with_name(aside.name + ending))
    except OSError as error:
        raise StoreError(f"{path}: is damaged and cannot be moved aside: {error.strerror}.") from None
    return aside


def _runs_back(reference: str) -> int | None:
    """0 for ``last``, N for ``last~N``, None for anything else."""
    word, mark, number = reference.partition("~")
    if word != LAST or (mark and not number.isdecimal()):
        return None
    return int(number or 0)


def _text(value: object) -> str:
    return _encode(value).decode("utf-8")


def _started(run_id: str, text: str) -> RunStarted:
    try:
        return msgspec.json.decode(text, type=RunStarted)
    except msgspec.DecodeError as error:
        raise _unreadable(run_id, error) from None


def _ended(run_id: str, text: str | None) -> _End | None:
    try:
        return _decode_end(text) if text else None
    except msgspec.DecodeError as error:
        raise _unreadable(run_id, error) from None


def _rates(run_id: str, text: str) -> tuple[RateRange, ...]:
    try:
        return _decode_rates(text)
    except msgspec.DecodeError as error:
        raise _unreadable(run_id, error) from None


def _cell(run_id: str, text: str, histogram: str) -> CellFinished:
    try:
        finished = msgspec.json.decode(text, type=CellFinished)
        return msgspec.structs.replace(finished, histogram=decode_buckets(histogram))
    except ValueError as error:  # msgspec's errors are ValueErrors too
        raise StoreError(f"a cell of run {run_id} cannot be read: {error}.") from None


def _unreadable(run_id: str, error: Exception) -> StoreError:
    return StoreError(f"run {run_id} cannot be read: {error}.")


def _summary(
    run_id: str,
    started_at: str,
    started: str,
    ended: str | None,
    rates: str,
    cells: int,
    *,
    baselines: tuple[str, ...],
) -> RunSummary:
    """One row; one that cannot be read must not hide the others, so that it is listed with the reason."""
    try:
        run, end = _started(run_id, started), _ended(run_id, ended)
        ranges = _rates(run_id, rates)
    except StoreError as error:
        return RunSummary(
            run_id=run_id,
            started_at=started_at,
            preset=UNKNOWN,
            title=UNKNOWN,
            profile=UNKNOWN,
            rounds=0,
            model=UNKNOWN,
            targets=(),
            cells=cells,
            planned=0,
            state=UNREADABLE,
            reason=str(error),
            baselines=baselines,
        )
    failed = isinstance(end, RunFailed)
    return RunSummary(
        run_id=run_id,
        started_at=run.started_at,
        preset=run.preset,
        title=run.title,
        profile=run.profile,
        rounds=run.rounds,
        model=run.model,
        targets=tuple(target.label for target in run.targets),
        runtimes=tuple(_runtime(target, run.fingerprint) for target in run.targets),
        cells=cells,
        planned=len(run.targets) * run.rounds * sum(len(ladder.sizes) for ladder in run.ladders),
        state=_state(end),
        reason=end.reason if isinstance(end, RunFailed) and not end.cancelled else "",
        duration_s=end.duration_s if end else None,
        rates=() if failed and not cells else ranges,
        baselines=baselines,
    )


def _runtime(target: Target, fingerprint: dict[str, str]) -> str:
    """How a server ran, as short as it can be told; who runs an external one is its name."""
    runtime = fingerprint.get(f"{target.name} runtime", "")
    return target.label if runtime in {"", "external"} else runtime


def _state(end: _End | None) -> str:
    if end is None:
        return "no end"
    if isinstance(end, RunFinished):
        return "finished"
    return "cancelled" if end.cancelled else "failed"
