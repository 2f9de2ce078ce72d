"""Version folders: numbering, never overwriting, nothing left behind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from textcnn_export.errors import ExportError
from textcnn_export.release import LAST_VERSION, free_version, publish, staging_folder


def test_next_version_counts_numbers_only(tmp_path: Path) -> None:
    assert free_version(tmp_path / "absent", None) == 1
    for name in ("9", "010", "old", "99.bak", "٣"):
        (tmp_path / name).mkdir()
    assert free_version(tmp_path, None) == 11


def test_a_taken_version_is_refused_however_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "007").mkdir()
    with pytest.raises(ExportError, match=r"7 exists and is never overwritten; leave out --version"):
        free_version(tmp_path, 7)


def test_no_number_after_the_last_one(tmp_path: Path) -> None:
    (tmp_path / str(LAST_VERSION)).mkdir()
    with pytest.raises(ExportError, match="the last one; choose one with --version"):
        free_version(tmp_path, None)


def test_an_abandoned_export_leaves_neither_files_nor_folders(tmp_path: Path) -> None:
    model_folder = tmp_path / "new" / "text_cnn"
    with pytest.raises(KeyboardInterrupt), staging_folder(model_folder) as staged:  # noqa: PT012
        assert not staged.name.isdecimal()
        (staged / "variables").mkdir()
        (staged / "variables" / "half").write_text("x")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_an_abandoned_export_keeps_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "text_cnn" / "1").mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt), staging_folder(tmp_path / "text_cnn"):
        raise KeyboardInterrupt
    assert [entry.name for entry in (tmp_path / "text_cnn").iterdir()] == ["1"]


def test_exports_that_end_at_the_same_moment_each_get_a_version(tmp_path: Path) -> None:
    together = Barrier(8)

    def export(content: str) -> Path:
        with staging_folder(tmp_path / "text_cnn") as staged:
            (staged / "content").write_text(content)
            together.wait(timeout=30)
            return publish(staged, None)

    names = [f"export {number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(export, names))
    assert sorted(int(folder.name) for folder in folders) == list(range(1, 9))
    assert [(folder / "content").read_text() for folder in folders] == names
    assert len(list((tmp_path / "text_cnn").iterdir())) == 8


def test_only_one_of_two_exports_gets_the_version_both_asked_for(tmp_path: Path) -> None:
    together = Barrier(2)

    def export(content: str) -> str:
        try:
            with staging_folder(tmp_path / "text_cnn") as staged:
                (staged / "content").write_text(content)
                together.wait(timeout=30)
                publish(staged, 5)
        except ExportError as error:
            return str(error)
        return content

    with ThreadPoolExecutor(2) as pool:
        said = set(pool.map(export, ("first", "second")))
    winner = (tmp_path / "text_cnn" / "5" / "content").read_text()
    assert winner in said
    assert any("5 exists and is never overwritten" in text for text in said)
    assert [entry.name for entry in (tmp_path / "text_cnn").iterdir()] == ["5"]
