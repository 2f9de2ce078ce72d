"""A run as events fold into it, and the recording that keeps it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from run_samples import (
    BATCH,
    FLASK,
    TF,
    cell,
    cut_short,
    ended,
    every_kind_of_row,
    measuring,
    pair,
    record,
    skipped,
    started,
)

from serving_ctl.errors import ConfigError
from serving_ctl.events import CellStarted, LogLine, RunFinished, ServerSampled
from serving_ctl.results.record import RecordingWriter, fold_record, read_record

RUN = started(BATCH)
CELLS = [*pair(BATCH, 1, 1, 1.0, 2.0), *pair(BATCH, 2, 1, 1.5, 2.5)]


def write_all(path: Path, events) -> None:
    with RecordingWriter(path) as writer:
        for event in events:
            writer.write(event)


def test_a_run_without_cells():
    found = record(of=RUN)
    assert (found.started, found.cells, found.current, found.end) == (RUN, (), None, None)


def test_a_cell_is_current_until_it_is_finished():
    begun = CellStarted(cell=CELLS[0].cell, number=1, total=8, left_s=1.0)
    assert record(begun, of=RUN).current == CELLS[0].cell
    assert record(begun, CELLS[0], of=RUN).current is None
    assert record(begun, cut_short(RUN), of=RUN).current is None


def test_other_events_change_nothing():
    other = [
        LogLine(server=FLASK, text="x"),
        ServerSampled(server=FLASK, cpu_percent=1.0, memory_mb=1.0, processes=5),
    ]
    assert record(*CELLS, *other, of=RUN) == record(*CELLS, of=RUN)


def test_the_last_run_of_a_recording_counts():
    later = started(BATCH, rounds=2)
    found = fold_record([RUN, *CELLS, ended(RUN), later, CELLS[0]], "r.jsonl")
    assert found.started == later
    assert found.cells == (CELLS[0],)
    assert found.end is None


def test_events_before_the_run_are_passed_over():
    assert fold_record([LogLine(server=FLASK, text="x"), CELLS[0], RUN, CELLS[1]], "r.jsonl").cells == (CELLS[1],)


def test_events_without_a_run_say_how_to_record_one():
    with pytest.raises(ConfigError, match=r"r\.jsonl: holds no run.*--events"):
        fold_record([LogLine(server=FLASK, text="x")], "r.jsonl")


def test_finished_rounds_come_in_round_order():
    rounds = [cell(TF, BATCH, 1, number, 1.0) for number in (3, 1, 2)]
    found = record(*rounds, *CELLS[1:], of=RUN)
    assert [c.cell.round for c in found.finished(BATCH.name, 1, TF)] == [1, 2, 3]
    assert found.finished(BATCH.name, 8, TF) == ()
    assert found.finished("other", 1, TF) == ()


def test_ladder_and_targets():
    found = record(of=RUN)
    assert found.ladder(BATCH.name) == BATCH
    assert [target.server for target in found.targets] == [TF, FLASK]


@pytest.mark.parametrize("whole", [every_kind_of_row(), measuring()], ids=["finished", "running"])
def test_a_recording_gives_the_same_run_again(tmp_path, whole):
    path = tmp_path / "r.jsonl"
    in_flight = [CellStarted(cell=whole.current, number=1, total=8, left_s=1.0)] if whole.current else []
    end = [whole.end] if whole.end else []
    write_all(path, [whole.started, *whole.cells, *in_flight, *end])
    assert read_record(path) == whole


def test_a_recording_cut_in_the_middle_of_a_line_keeps_the_cells_before(tmp_path):
    path = tmp_path / "r.jsonl"
    write_all(path, [RUN, *CELLS, ended(RUN)])
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        lines = whole[:length].count(b"\n")
        if lines == 0:
            with pytest.raises(ConfigError):
                read_record(path)
            continue
        found = read_record(path)
        assert found.cells == tuple(CELLS[: lines - 1])
        assert found.end is None


def test_a_finished_cell_is_on_disk_before_the_next_begins(tmp_path):
    path = tmp_path / "r.jsonl"
    with RecordingWriter(path) as writer:
        writer.write(RUN)
        for number, finished in enumerate(CELLS, 1):
            writer.write(CellStarted(cell=finished.cell, number=number, total=8, left_s=1.0))
            writer.write(finished)
            assert read_record(path).cells == tuple(CELLS[:number])


def test_the_folder_of_a_recording_is_made(tmp_path):
    path = tmp_path / "runs" / "today" / "r.jsonl"
    write_all(path, [RUN])
    assert read_record(path).started == RUN


def test_a_recording_that_cannot_be_opened_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "r.jsonl", tmp_path):
        with pytest.raises(ConfigError, match="recording cannot be written") as caught, RecordingWriter(path):
            pass
        assert str(path) in str(caught.value)


def test_a_closed_recording_takes_no_events(tmp_path):
    with RecordingWriter(tmp_path / "r.jsonl") as writer:
        writer.write(RUN)
    with pytest.raises(ConfigError, match="closed"):
        writer.write(CELLS[0])


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_is_said_in_words():
    with pytest.raises(ConfigError, match="No space left"), RecordingWriter(Path("/dev/full")) as writer:
        writer.write(RUN)


def test_a_run_that_never_began_leaves_an_earlier_recording_alone(tmp_path):
    """The servers start after the recording is opened; when they do not, nothing was measured and nothing is lost."""
    path = tmp_path / "r.jsonl"
    write_all(path, [RUN, *CELLS, ended(RUN)])
    before = path.read_bytes()
    with RecordingWriter(path):
        pass
    assert path.read_bytes() == before


def test_a_skipped_cell_is_a_finished_cell():
    found = record(skipped(FLASK, BATCH, 8), of=RUN)
    assert found.finished(BATCH.name, 8, FLASK)[0].skipped == "saturated"


def test_the_end_is_kept():
    assert isinstance(record(ended(RUN), of=RUN).end, RunFinished)
    assert record(cut_short(RUN), of=RUN).end == cut_short(RUN)
