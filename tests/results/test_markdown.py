"""Markdown of a run: a golden document, and cells that a Markdown reader gives back unchanged."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from markdown_it import MarkdownIt
from run_samples import BATCH, DOCKER, cut_short, every_kind_of_row, pair, record, relabelled, started

from serving_ctl.errors import ConfigError
from serving_ctl.events import Fact
from serving_ctl.results.document import all_tables
from serving_ctl.results.export import FORMATS, check_export, write_export
from serving_ctl.results.export.markdown import markdown_document, markdown_table
from serving_ctl.results.tables import Column, Row, Table

GOLDEN = Path(__file__).with_name("every-kind-of-row.md")
READER = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough")


def cells_read(document: str) -> list[list[list[str]]]:
    """Rows of cells of each table, as a reader of the rendered document sees them."""
    tables: list[list[list[str]]] = []
    for token in READER.parse(document):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type == "inline" and tables and token.level > 1:
            assert all(child.type in {"text", "text_special"} for child in token.children or ()), token.content
            tables[-1][-1].append("".join(child.content for child in token.children or ()))
    return tables


def test_the_golden_document():
    assert markdown_document(every_kind_of_row()) == GOLDEN.read_text(encoding="utf-8")


def test_the_rows_are_counted_as_in_the_original():
    document = markdown_document(every_kind_of_row())
    assert "| 序号 # | batch size |" in document
    assert "| # |" not in document


def test_the_document_holds_the_tables_cell_for_cell():
    whole = every_kind_of_row()
    tables = all_tables(whole)
    read = cells_read(markdown_document(whole))
    assert len(read) == len(tables)
    for table, (headings, *rows) in zip(tables, read, strict=True):
        assert headings[1:] == [column.heading for column in table.columns][1:]
        assert rows == [[" ".join(cell.split()) for cell in row.cells] for row in table.rows]


@pytest.mark.parametrize(
    "text",
    [
        "a | b",
        "C:\\models\\|x",
        "<unk> and <b>bold</b>",
        "line\nbreak\r\n and tab\t.",
        "`input_ids` of `None`",
        "*starred* and **more**",
        "_under_ and __twice__",
        "[text](http://127.0.0.1)",
        "![picture](x.png)",
        "~~struck~~",
        "&lt; stays &amp; stays",
        "text_cnn_v2",
        "# 1",
        "",
    ],
)
def test_any_text_comes_out_of_a_cell_as_it_went_in(text):
    table = Table(title="t", columns=(Column(label="what"), Column(label="how")), rows=(Row(cells=("1", text)),))
    assert cells_read("\n".join(markdown_table(table)))[0][1] == ["1", " ".join(text.split())]


def test_an_embedded_server_is_never_called_tf_serving():
    assert "tf-serving" not in markdown_document(every_kind_of_row())
    assert "tf-serving docker" in markdown_document(relabelled(every_kind_of_row(), DOCKER))


def test_a_run_that_ended_early_says_so_above_its_tables():
    run = started(BATCH)
    document = markdown_document(record(*pair(BATCH, 1, 1, 1.0, 2.0), cut_short(run), of=run))
    above = document[: document.index("## ")]
    assert "flask stopped in the middle of the run: killed." in above
    assert "| 1 | 1 | 1.00 | 2.00 | 0.50 |" in document


def test_a_recording_that_was_cut_off_says_so_above_its_tables():
    document = markdown_document(record(*pair(BATCH, 1, 1, 1.0, 2.0), of=started(BATCH)))
    assert "cut off" in document[: document.index("## ")]


def test_a_finished_run_claims_no_early_end():
    head = markdown_document(every_kind_of_row()).partition("## ")[0]
    assert "**" not in head


def test_the_head_names_what_was_measured():
    head = markdown_document(every_kind_of_row()).partition("## ")[0]
    for fact in (
        "embedded (TF-Serving-compatible) (2.21.0)",
        "flask gunicorn 4 × sync (27.0.0)",
        "text_cnn v1",
        "signature text",
        "quick",
        "4 rounds",
        "2026-01-02T03:04:05+00:00",
        "20260102-030405-ab12",
    ):
        assert fact in head


def test_a_fact_cannot_break_the_card():
    run = msgspec.structs.replace(started(BATCH), facts=(Fact(key="a|b", mark="warn", short="", text="x\ny | z"),))
    assert cells_read(markdown_document(record(of=run)))[-1][1] == ["!", "a|b", "x y | z"]


def test_export_writes_the_document(tmp_path):
    path = tmp_path / "out.md"
    path.write_text("an older export")
    write_export(every_kind_of_row(), path)
    assert path.read_text(encoding="utf-8") == GOLDEN.read_text(encoding="utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["out.md"]


@pytest.mark.parametrize("name", ["out.txt", "out", "out.md.bak", ".md"])
def test_an_unknown_ending_names_the_known_ones(tmp_path, name):
    with pytest.raises(ConfigError, match=r"\.md") as caught:
        check_export(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    with pytest.raises(ConfigError):
        write_export(every_kind_of_row(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_said_before_anything_is_measured(tmp_path):
    with pytest.raises(ConfigError, match="folder"):
        check_export(tmp_path / "nowhere" / "out.md")


def test_a_folder_in_the_file_s_place_is_said_before_anything_is_measured(tmp_path):
    (tmp_path / "out.md").mkdir()
    with pytest.raises(ConfigError, match=r"out\.md"):
        check_export(tmp_path / "out.md")


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    (tmp_path / "out.md").mkdir()
    with pytest.raises(ConfigError, match=r"out\.md"):
        write_export(every_kind_of_row(), tmp_path / "out.md")
    assert [file.name for file in tmp_path.iterdir()] == ["out.md"]


def test_markdown_is_a_known_format():
    assert ".md" in FORMATS
