"""The kept runs: what goes in comes out, several processes at once, and every way in which a file can be bad."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from results.run_samples import (
    BATCH,
    CLIENTS,
    FLASK,
    TF,
    cell,
    cut_short,
    ended,
    every_kind_of_row,
    failures,
    measuring,
    record,
    skipped,
    started,
)

from serving_ctl.errors import ConfigError, Exit, StoreError, TfServeError
from serving_ctl.events import encode_event
from serving_ctl.results import schema, store
from serving_ctl.results.histograms import decode_buckets
from serving_ctl.results.keeper import Keeper
from serving_ctl.results.overview import history_table
from serving_ctl.results.record import RunRecord, read_record
from serving_ctl.results.store import Damaged, Store, open_store

ROOT = Path(__file__).parents[2]
REAL = ROOT / "tests" / "data" / "batch-small.jsonl"


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "runs.sqlite3"


def silent(text: str) -> None:
    raise AssertionError(f"nothing should have been said: {text}")


def keep(path: Path, kept: RunRecord, run_id: str | None = None) -> RunRecord:
    """Put a whole run into the store at ``path``, under another id if wanted; gives the run as it was put."""
    run_id = run_id or kept.started.run_id
    begun = msgspec.structs.replace(kept.started, run_id=run_id)
    end = msgspec.structs.replace(kept.end, run_id=run_id) if kept.end else None
    with Store(path) as opened:
        opened.begin(begun)
        for one in kept.cells:
            opened.keep(run_id, one)
        if end:
            opened.finish(end, ())
    return msgspec.structs.replace(kept, started=begun, end=end, current=None)


def read(path: Path, reference: str) -> RunRecord:
    with Store(path) as opened:
        return opened.record(opened.find(reference))


def simple_run(**fields) -> RunRecord:
    run = msgspec.structs.replace(started(BATCH), **fields)
    return record(cell(TF, BATCH, 1, 1, 1.0), cell(FLASK, BATCH, 1, 1, 2.0), ended(run), of=run)


class TestRoundTrip:
    @pytest.mark.parametrize("run", [every_kind_of_row, measuring, simple_run, lambda: read_record(REAL)])
    def test_a_run_comes_out_as_it_went_in(self, path, run):
        put = keep(path, run())
        assert read(path, put.started.run_id) == put

    def test_errors_flags_skipped_cells_and_the_fingerprint(self, path):
        run = msgspec.structs.replace(started(BATCH, CLIENTS), fingerprint={"CPU": "A", "cores": "2"})
        whole = record(
            cell(TF, BATCH, 1, 1, failures=failures(40, "reset"), flags=("UNSTABLE", "CLIENT-BOUND")),
            skipped(FLASK, CLIENTS, 1000),
            cut_short(run),
            of=run,
        )
        found = read(path, keep(path, whole).started.run_id)
        assert found.started.fingerprint == {"CPU": "A", "cores": "2"}
        assert found.cells == whole.cells
        assert found.end == whole.end
        rows = sqlite3.connect(path).execute("SELECT key, value FROM fingerprint ORDER BY key").fetchall()
        assert rows == [("CPU", "A"), ("cores", "2")]

    def test_histograms_are_in_the_standard_encoding(self, path):
        real = read_record(REAL)
        keep(path, real)
        texts = sqlite3.connect(path).execute("SELECT histogram FROM cell ORDER BY rowid").fetchall()
        assert [decode_buckets(text) for (text,) in texts] == [kept.histogram for kept in real.cells]

    def test_an_earlier_recorder_s_run_without_newer_fields(self, path):
        put = keep(path, simple_run())
        database = sqlite3.connect(path)
        database.execute("UPDATE run SET started = json_remove(started, '$.fingerprint')")
        database.execute("UPDATE cell SET finished = json_remove(finished, '$.server_cpu_s')")
        database.commit()
        database.close()
        assert read(path, put.started.run_id) == put


class TestFind:
    def test_by_id_beginning_last_and_baseline(self, path):
        for number in range(3):
            keep(path, simple_run(), f"2026010{number}-aa")
        with Store(path) as opened:
            opened.name_baseline("main", "20260100-aa")
            assert opened.find("20260101-aa") == "20260101-aa"
            assert opened.find("20260101") == "20260101-aa"
            assert opened.find("last") == "20260102-aa"
            assert opened.find("last~2") == "20260100-aa"
            assert opened.find("main") == "20260100-aa"
            opened.name_baseline("main", "20260102-aa")
            assert opened.find("main") == "20260102-aa"

    @pytest.mark.parametrize("reference", ["nothing", "2026", "last~7", "last~x", ""])
    def test_none_or_several(self, path, reference):
        for number in range(2):
            keep(path, simple_run(), f"2026010{number}-aa")
        with Store(path) as opened, pytest.raises(ConfigError) as caught:
            opened.find(reference)
        assert "2 runs" in str(caught.value) or "history" in str(caught.value)

    def test_nothing_is_kept(self, path):
        with Store(path) as opened, pytest.raises(ConfigError, match="0 kept"):
            opened.find("last")

    def test_a_deleted_run_takes_cells_and_baseline_with_it(self, path):
        keep(path, simple_run(), "one")
        with Store(path) as opened:
            opened.name_baseline("main", "one")
            opened.delete("one")
            assert opened.summaries() == ()
            assert opened.baselines() == {}
        assert sqlite3.connect(path).execute("SELECT count(*) FROM cell").fetchone() == (0,)


class TestSummaries:
    def test_newest_first_with_state_and_reason(self, path):
        keep(path, simple_run(), "1")
        run = started(BATCH)
        keep(path, record(cell(TF, BATCH, 1, 1, 1.0), cut_short(run), of=run), "2")
        cancelled = msgspec.structs.replace(cut_short(run, "cancelled."), cancelled=True)
        keep(path, record(cancelled, of=run), "3")
        keep(path, measuring(), "4")
        with Store(path) as opened:
            found = opened.summaries()
        assert [(one.run_id, one.state, one.cells, one.planned) for one in found] == [
            ("4", "no end", 3, 32),
            ("3", "cancelled", 0, 32),
            ("2", "failed", 1, 32),
            ("1", "finished", 2, 32),
        ]
        assert found[2].reason.startswith("flask stopped")
        assert found[1].reason == ""


class TestBadFiles:
    @pytest.mark.parametrize("content", [b"this is no database, " * 400, b"SQLite format 3\0" + b"\xff" * 5000])
    def test_a_damaged_file_is_moved_aside_and_said_so(self, path, content):
        path.write_bytes(content)
        said = []
        with open_store(path, said.append) as opened:
            assert opened.summaries() == ()
        (aside,) = path.parent.glob("runs.sqlite3.damaged-*")
        assert aside.read_bytes() == content
        assert "damaged" in said[0]
        assert aside.name in said[0]

    def test_pages_damaged_in_the_middle(self, path):
        for number in range(30):
            keep(path, every_kind_of_row(), str(number))
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(size // 2)
            file.write(b"\xa5" * 20_000)
        with pytest.raises(Damaged):
            Store(path)
        said = []
        with open_store(path, said.append) as opened:
            keep_id = simple_run().started
            opened.begin(keep_id)
        assert len(said) == 1

    def test_an_older_schema_is_migrated(self, path, monkeypatch):
        put = keep(path, simple_run())
        step = ("ALTER TABLE run ADD COLUMN note TEXT NOT NULL DEFAULT ''",)
        monkeypatch.setattr(store, "MIGRATIONS", (*schema.MIGRATIONS, step))
        assert read(path, put.started.run_id) == put
        database = sqlite3.connect(path)
        assert database.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS) + 1,)
        assert database.execute("SELECT note FROM run").fetchall() == [("",)]

    def test_a_migration_that_fails_changes_nothing(self, path, monkeypatch):
        put = keep(path, simple_run())
        with monkeypatch.context() as patch:
            patch.setattr(store, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE other (x)", "no SQL")))
            with pytest.raises(StoreError, match="syntax"):
                Store(path)
        assert read(path, put.started.run_id) == put
        assert ("other",) not in sqlite3.connect(path).execute("SELECT name FROM sqlite_schema").fetchall()

    def test_a_newer_schema_is_refused_and_left_alone(self, path):
        keep(path, simple_run())
        database = sqlite3.connect(path)
        database.execute("PRAGMA user_version = 99")
        database.close()
        before = path.read_bytes()
        with pytest.raises(StoreError, match="newer tfserve-tui") as caught:
            open_store(path, silent)
        assert caught.value.exit_code == Exit.INCOMPLETE
        assert path.read_bytes() == before

    def test_a_run_that_reads_as_nothing(self, path):
        put = keep(path, simple_run())
        database = sqlite3.connect(path)
        database.execute("UPDATE cell SET histogram = 'zzzz' WHERE server = 'flask'")
        database.commit()
        database.close()
        with pytest.raises(StoreError, match="cannot be read"):
            read(path, put.started.run_id)

    @pytest.mark.parametrize(("column", "value"), [("started", "{}"), ("ended", "{]"), ("rates", "7")])
    def test_a_run_that_cannot_be_read_hides_no_other(self, path, column, value):
        put = keep(path, simple_run())
        keep(path, every_kind_of_row(), "other")
        database = sqlite3.connect(path)
        database.execute(f"UPDATE run SET {column} = ? WHERE id = ?", (value, put.started.run_id))
        database.commit()
        database.close()
        with Store(path) as opened:
            good, bad = opened.summaries()
            assert (good.run_id, good.state) == ("other", "finished")
            assert (bad.run_id, bad.state, bad.cells) == (put.started.run_id, "unreadable", len(put.cells))
            assert f"forget {put.started.run_id}" in history_table([good, bad]).notes[0]
            if column != "rates":
                with pytest.raises(StoreError, match="cannot be read"):
                    opened.record(put.started.run_id)
            opened.delete(put.started.run_id)
            assert [run.run_id for run in opened.summaries()] == ["other"]

    def test_a_folder_in_its_place(self, path):
        path.mkdir()
        with pytest.raises(StoreError, match="cannot be opened"):
            open_store(path, silent)

    def test_no_folder(self, tmp_path):
        with pytest.raises(StoreError, match="TFSERVE_DATA_DIR"):
            open_store(tmp_path / "absent" / "runs.sqlite3", silent)


def full(opened: Store) -> None:
    """From now on the file may not grow: what SQLite then says is what a full disk makes it say."""
    pages = opened._database.execute("PRAGMA page_count").fetchone()[0]
    opened._database.execute(f"PRAGMA max_page_count = {pages}")


def read_only(opened: Store) -> None:
    opened._database.execute("PRAGMA query_only = ON")


class TestKeeper:
    @pytest.fixture
    def spare(self, tmp_path) -> Path:
        return tmp_path / "spare" / "run.jsonl"

    def test_keeps_a_whole_run_with_its_rates(self, path, spare):
        run = every_kind_of_row()
        keeper = Keeper(lambda: path, spare, silent)
        for event in (run.started, *run.cells, run.end):
            keeper(event)
        keeper.close()
        assert read(path, "last") == run
        assert not spare.exists()
        with Store(path) as opened:
            (summary,) = opened.summaries()
        assert [rate.ladder for rate in summary.rates] == ["batch-small", "concurrency"]
        assert 0 < summary.rates[0].low <= summary.rates[0].high

    @pytest.mark.parametrize(("breaks", "why"), [(full, "the disk is full"), (read_only, "read-only")])
    def test_a_store_that_fails_in_the_middle_loses_nothing(self, path, spare, breaks, why):
        run, said = read_record(REAL), []
        keeper = Keeper(lambda: path, spare, said.append)
        keeper(run.started)
        for number, one in enumerate(run.cells):
            if number == 5:
                breaks(keeper._store)
            keeper(one)
        keeper(run.end)
        keeper.close()
        assert read_record(spare) == run
        assert len(said) == 1
        assert why in said[0]
        assert str(spare) in said[0]
        kept = read(path, "last")
        assert kept.cells == run.cells[: len(kept.cells)]
        assert len(kept.cells) >= 5

    def test_a_folder_that_cannot_be_used(self, tmp_path, spare):
        def no_folder() -> Path:
            raise ConfigError("/nowhere: cannot be made: read-only file system.")

        said, run = [], simple_run()
        keeper = Keeper(no_folder, spare, said.append)
        for event in (run.started, *run.cells, run.end):
            keeper(event)
        keeper.close()
        assert read_record(spare) == run
        assert "/nowhere" in said[0]

    def test_neither_store_nor_spare(self, tmp_path, path):
        (tmp_path / "file").touch()
        path.mkdir()
        said, run = [], simple_run()
        keeper = Keeper(lambda: path, tmp_path / "file" / "run.jsonl", said.append)
        for event in (run.started, *run.cells, run.end):
            keeper(event)
        keeper.close()
        assert len(said) == 1
        assert "export it before you leave" in said[0]

    def test_a_run_deleted_while_it_is_measured(self, path, spare):
        run, said = simple_run(), []
        keeper = Keeper(lambda: path, spare, said.append)
        keeper(run.started)
        keeper(run.cells[0])
        with Store(path) as other:
            other.delete(run.started.run_id)
        keeper(run.cells[1])
        keeper(run.end)
        keeper.close()
        assert read_record(spare) == run
        assert len(said) == 1


WRITER = """
import sys
from pathlib import Path
from serving_ctl.events import CellFinished, read_recording, RunStarted
from serving_ctl.results.store import open_store
import msgspec

path, recording, name, pause = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
events = read_recording(recording)
with open_store(path, print) as store:
    for event in events:
        if isinstance(event, RunStarted):
            store.begin(msgspec.structs.replace(event, run_id=name))
        if isinstance(event, CellFinished):
            store.keep(name, event)
            print("kept", flush=True)
"""


def writer(path: Path, recording: Path, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(recording), name, ""],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Path:
    """The real recording without its ticks."""
    real = read_record(REAL)
    file = tmp_path_factory.mktemp("short") / "run.jsonl"
    file.write_bytes(b"".join(encode_event(event) for event in (real.started, *real.cells, real.end)))
    return file


def test_processes_write_and_read_at_once(path, short):
    """Three new processes make the same new file and write a run each, while this one reads."""
    real = read_record(REAL)
    running = [writer(path, short, f"run-{number}") for number in range(3)]
    while any(process.poll() is None for process in running):
        if path.exists():
            with open_store(path, silent) as opened:
                for one in opened.summaries():
                    found = opened.record(one.run_id)
                    assert found.cells == real.cells[: len(found.cells)]
    outputs = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], outputs
    assert [read(path, f"run-{number}").cells for number in range(3)] == [real.cells] * 3


def test_killed_at_any_moment_no_finished_cell_is_lost(path, short):
    """A writer is killed after it has said 'kept' n times, n spread over the whole run; then the file is looked at."""
    real = read_record(REAL)
    for number in range(20):
        name = f"run-{number:02}"
        process = writer(path, short, name)
        assert process.stdout is not None
        said = 0
        while said < number * 4 + 1 and process.stdout.readline():
            said += 1
        process.kill()
        said += process.stdout.read().count("kept\n")
        process.communicate()
        with open_store(path, silent) as opened:
            found = opened.record(name)
            assert len(found.cells) >= said, f"killed after {said} cells"
            assert found.cells == real.cells[: len(found.cells)]
            assert found.end is None
    with Store(path) as opened:
        assert len(opened.summaries()) == 20
        assert opened._database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_errors_are_for_people(path):
    assert issubclass(StoreError, TfServeError)
    with Store(path) as opened:
        read_only(opened)
        with pytest.raises(StoreError) as caught:
            opened.begin(simple_run().started)
    assert str(path) in str(caught.value)
    assert "TFSERVE_DATA_DIR" in str(caught.value)
