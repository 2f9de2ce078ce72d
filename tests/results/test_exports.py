"""Every export of a run: the same cells everywhere, whatever the run went through; files whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from results.run_samples import (
    BATCH,
    EVERY_RUN_OF_TWO,
    FLASK,
    TF,
    a_search,
    cell,
    ended,
    every_kind_of_row,
    failures,
    few_requests,
    nothing,
    only_errors,
    record,
    started,
    three_targets,
)

from serving_ctl import formatting
from serving_ctl.errors import ConfigError
from serving_ctl.events import Part
from serving_ctl.results.details import detail_tables, split_table
from serving_ctl.results.document import all_tables
from serving_ctl.results.export import FORMATS, check_export, is_stdout, render, write_export
from serving_ctl.results.export.csv import COLUMNS
from serving_ctl.results.histograms import decode_buckets
from serving_ctl.results.metrics import REQUEST_TIME
from serving_ctl.results.record import RunRecord, read_record
from serving_ctl.results.series import SPECTRUM, bars, curves, spectra
from serving_ctl.results.tables import Table, ladder_tables, ratio_table
from serving_ctl.results.text import table_text

REAL = Path(__file__).parents[1] / "data" / "batch-small.jsonl"
SVG = "{http://www.w3.org/2000/svg}"


RUNS = {"real": lambda: read_record(REAL), "three targets": three_targets, **EVERY_RUN_OF_TWO}
every_run = pytest.mark.parametrize("name", RUNS)


class Tables(HTMLParser):
    """The cells of all tables of a page, row by row, under the heading before each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self._into: list[str] | None = None
        self._heading = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        if tag == "h2":
            self._heading, self._into = "", None
        elif tag == "table":
            self.tables[self._heading] = []
        elif tag == "tr":
            self.tables[self._heading].append([])
        elif tag in {"td", "th"}:
            self.tables[self._heading][-1].append("")

    def handle_data(self, data) -> None:
        if self.lasttag == "h2":
            self._heading += data
        elif self.lasttag in {"td", "th"} and self.tables:
            self.tables[self._heading][-1][-1] += data.strip("\n")


def exported(run: RunRecord, ending: str) -> str:
    return render(run, Path(f"x{ending}")).decode("utf-8")


def unescaped(text: str) -> str:
    return text.replace("\\", "")


@every_run
def test_the_same_cells_everywhere(name):
    """Golden: what the screen's table says is what CLI, Markdown, HTML, CSV and JSON say, cell for cell."""
    run = RUNS[name]()
    page = Tables(exported(run, ".html")).tables
    markdown = [unescaped(line) for line in exported(run, ".md").splitlines()]
    document = json.loads(exported(run, ".json"))["tables"]
    for table in all_tables(run):
        assert page[table.title][1:] == [list(row.cells) for row in table.rows]
        assert page[table.title][0] == [column.heading for column in table.columns]
        lines = table_text(table).splitlines()
        for number, row in enumerate(table.rows):
            assert unescaped(f"| {' | '.join(' '.join(c.split()) for c in row.cells)} |") in markdown
            position = 0
            for text in row.cells:
                position = lines[3 + number].index(text, position) + len(text)
    assert [[row["cells"] for row in table["rows"]] for table in document] == [
        [list(row.cells) for row in table.rows] for table in ladder_tables(run)
    ]


@every_run
def test_csv_has_a_row_for_each_size_and_server_and_the_cells_of_the_tables(name):
    run = RUNS[name]()
    rows = list(csv.DictReader(io.StringIO(exported(run, ".csv"))))
    assert rows == [] or tuple(rows[0]) == COLUMNS
    shown = {(r["test"], r["metric"], int(r["size"]), r["server"]): r for r in rows}
    assert len(shown) == len(rows)
    for ladder in run.started.ladders:
        for size, row in zip(ladder.sizes, ratio_table(run, ladder, _headline(ladder)).rows, strict=True):
            several = len(row.rates) > 1
            for place, target in enumerate(run.targets):
                found = shown[ladder.name, _headline(ladder).key, size, target.server]
                text, *rate = row.against(max(place - 1, 0))
                if place == 0:
                    text, rate = row.cells[2], [""] * 3 if several else rate
                assert found["value_shown"] == text
                assert [found["rate_shown"], found["interval_shown"], found["verdict"]] == rate
                if found["value"]:
                    assert formatting.significant(float(found["value"])) == text
                if found["rate"]:
                    assert formatting.ratio(float(found["rate"])) == rate[0]


def _headline(ladder):
    from serving_ctl.results.metrics import LADDER_METRICS

    return LADDER_METRICS[ladder.kind][0]


@every_run
@pytest.mark.parametrize("ending", FORMATS)
def test_every_run_can_be_written_in_every_format(name, ending, tmp_path):
    path = tmp_path / f"out{ending}"
    write_export(RUNS[name](), path)
    content = path.read_bytes()
    if name == "died":
        assert content == render(RUNS[name](), path), "the same run gives the same bytes"
    assert list(tmp_path.iterdir()) == [path]
    if ending == ".png":
        assert content.startswith(b"\x89PNG")
    if ending == ".svg":
        assert ET.fromstring(content).tag == f"{SVG}svg"
    if ending in {".md", ".html", ".csv"}:
        words = content.decode("utf-8").replace(">", " ").replace("<", " ").split()
        assert {"nan", "inf", "NaN", "None"}.isdisjoint(words)


def test_json_is_schema_1_and_holds_the_whole_run():
    run = read_record(REAL)
    document = json.loads(exported(run, ".json"))
    assert document["schema"] == 1
    assert set(document) == {"schema", "run", "tables"}
    restored = document["run"]
    for written in restored["cells"]:
        written["histogram"] = decode_buckets(written["histogram"])
    assert msgspec.convert(restored, RunRecord) == run


class TestHtml:
    def test_needs_no_network_and_no_script(self):
        page = exported(read_record(REAL), ".html")
        assert "<script" not in page
        assert "@import" not in page
        assert not [word for word in ("src=", "<link", "url(http") if word in page]
        hosts = {part.split("/")[0] for part in page.split("http://")[1:]}
        assert hosts <= {"www.w3.org", "127.0.0.1:8501,", "127.0.0.1:7123,", "127.0.0.1:8501<", "127.0.0.1:7123<"}

    def test_charts_take_their_colours_from_the_style_sheet(self):
        page = exported(read_record(REAL), ".html")
        drawn = page[page.index('<div class="charts">') : page.index("</div>", page.index('<div class="charts">'))]
        assert drawn.count("<svg ") == 5
        assert "var(--first)" in drawn
        assert "#0a58b8" not in drawn
        assert "prefers-color-scheme: dark" in page
        for figure in drawn.split("<figure>")[1:]:
            svg = figure[figure.index("<svg ") : figure.index("</svg>") + 6]
            assert ET.fromstring(svg).tag == f"{SVG}svg"

    def test_what_a_server_said_cannot_become_markup(self):
        run = started(BATCH)
        evil = failures(3, "5xx", "<script>alert('&')</script>")
        page = exported(record(cell(TF, BATCH, 1, 1, failures=evil), ended(run), of=run), ".html")
        assert "<script" not in page
        assert "&lt;script&gt;" in page


class TestSeries:
    def test_bands_hold_their_middle(self):
        run = read_record(REAL)
        first, second = curves(run, run.started.ladders[0], REQUEST_TIME)
        assert (first.name, second.name) == ("embedded", "flask")
        for curve in (first, second):
            assert curve.sizes == tuple(range(1, 11))
            for low, middle, high in zip(curve.low, curve.values, curve.high, strict=True):
                assert 0 < low <= middle <= high

    def test_a_spectrum_ascends_and_stops_where_the_requests_cannot_tell(self):
        run = read_record(REAL)
        for line in spectra(run, run.started.ladders[0], 1):
            assert list(line.times_ms) == sorted(line.times_ms)
            assert 0.99 < line.percentiles[-1] < SPECTRUM[-1]

    def test_bars_hold_what_the_table_says(self):
        run = every_kind_of_row()
        table = split_table(run, BATCH)
        (bar,) = [bar for bar in bars(run, BATCH) if (bar.size, bar.server) == (1, TF)]
        assert dict(bar.parts) == pytest.approx({"json": 0.2, "queue": 0.1, "graph": 0.9})
        row = next(row for row in table.rows if row.cells[:2] == ("1", "embedded"))
        assert row.cells[2:] == ("–", "–", "0.200", "0.100", "0.900")

    def test_nothing_measured_draws_nothing(self):
        assert curves(nothing(), BATCH, REQUEST_TIME) == ()
        assert spectra(only_errors(), BATCH, 1) == ()
        assert bars(only_errors(), BATCH) == ()


class TestDetails:
    def test_cpu_and_memory_of_each_server(self):
        run = started(BATCH, rounds=2)
        used = {"server_cpu_s": 0.8, "client_cpu_percent": 12.0}
        cells = [
            cell(TF, BATCH, 1, 1, 1.0, server_memory_mb=300.0, **used),
            cell(TF, BATCH, 1, 2, 1.0, server_memory_mb=310.0, **used),
            cell(FLASK, BATCH, 1, 1, 2.0),
        ]
        (table,) = [t for t in detail_tables(record(*cells, ended(run), of=run)) if "used" in t.title]
        assert table.rows[0].cells == ("1", "embedded", "2.00", "310", "12.0")
        assert table.rows[1].cells == ("1", "flask", "–", "–", "–")

    def test_an_external_server_without_metrics_has_a_blank_and_the_note_says_why(self):
        run = started(BATCH, rounds=2)
        known = (Part(name="json", ms=0.1), Part(name="graph", ms=0.5))
        cells = [cell(TF, BATCH, 1, 1, 1.0), cell(FLASK, BATCH, 1, 1, 2.0, parts=known)]
        table = split_table(record(*cells, ended(run), of=run), BATCH)
        assert table.rows[0].cells[2:] == ("–",) * 5
        assert table.rows[1].cells[2:] == ("–", "–", "0.100", "–", "0.500")
        assert "blank where" in table.notes[0]

    def test_a_search_shows_its_steps_and_why_there_is_no_limit(self):
        run = a_search()
        (steps,) = detail_tables(run)
        assert steps.rows[0].cells == ("20", "embedded", "1", "512", "4.00", "511", "3,000", "0", "held")
        (ratios,) = ladder_tables(run)
        assert ratios.rows[0].cells[2:4] == ("512", "–")
        assert "flask is above the limit at any load" in ratios.rows[0].cells[6]

    def test_tables_without_any_value_are_left_out(self):
        assert detail_tables(nothing()) == ()
        titles = [table.title for table in detail_tables(read_record(REAL))]
        assert titles == ["batch-small: percentiles of the request time", "batch-small: where the time went"]

    def test_a_percentile_that_so_few_requests_cannot_tell_is_blank(self):
        table: Table = detail_tables(few_requests())[0]
        assert table.rows[0].cells[2:] == ("6", "0.900", "–", "–", "–", "–", "1.20")


class TestTargets:
    @pytest.mark.parametrize(("path", "found"), [("-", True), ("-.csv", True), ("a.md", False), ("x/-.md", False)])
    def test_stdout(self, path, found):
        assert is_stdout(Path(path)) is found

    def test_a_dash_alone_is_markdown(self):
        assert render(every_kind_of_row(), Path("-")) == render(every_kind_of_row(), Path("a.md"))

    @pytest.mark.parametrize("path", ["a.pdf", "noending", "-.pdf"])
    def test_an_unknown_ending_names_the_known(self, path):
        with pytest.raises(ConfigError, match=r"\.md, \.csv, \.json, \.html, \.svg, \.png"):
            check_export(Path(path))

    def test_a_file_that_stood_there_survives_a_failed_write(self, tmp_path, monkeypatch):
        path = tmp_path / "out.md"
        path.write_text("before")
        path.with_name(".out.md.unfinished").mkdir()
        with pytest.raises(ConfigError, match="cannot be written"):
            write_export(every_kind_of_row(), path)
        assert path.read_text() == "before"
