"""Runs of more than two targets: every rate is what a run of those two alone would say, everywhere it is told."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import msgspec
import pytest
from results.run_samples import (
    AP,
    BATCH,
    EU,
    EVERY_RUN_OF_TWO,
    US,
    cell,
    ended,
    only_two,
    record,
    started,
    three_targets,
)

from serving_ctl.errors import ConfigError
from serving_ctl.events import CellStarted, RunStarted
from serving_ctl.results.compare import compare_records
from serving_ctl.results.details import detail_tables
from serving_ctl.results.document import all_tables, sentences
from serving_ctl.results.export import render
from serving_ctl.results.export.charts import styles_of
from serving_ctl.results.keeper import rates_of
from serving_ctl.results.metrics import LADDER_METRICS, REQUEST_TIME
from serving_ctl.results.overview import history_table
from serving_ctl.results.record import RunRecord, fold_record
from serving_ctl.results.series import curves
from serving_ctl.results.store import Store
from serving_ctl.results.tables import RowState, headline_table, ratio_table


def in_flight() -> RunRecord:
    """The run of three in its last cells: one of us's is being measured."""
    whole = three_targets()
    return msgspec.structs.replace(whole, cells=whole.cells[:-3], end=None, current=whole.cells[-1].cell)


def moments() -> dict[str, RunRecord]:
    """The run of three after each of its events."""
    whole = three_targets()
    found = {"begun": record(of=whole.started), "ended": whole, "in flight": in_flight()}
    for count in range(1, len(whole.cells), 4):
        found[f"{count} cells"] = record(*whole.cells[:count], of=whole.started)
    return found


@pytest.mark.parametrize("metric", LADDER_METRICS["batch"], ids=lambda metric: metric.key)
@pytest.mark.parametrize("whole", moments().values(), ids=moments().keys())
def test_every_rate_is_that_of_a_run_of_those_two_alone(whole, metric):
    table = ratio_table(whole, BATCH, metric)
    for number, other in enumerate((US, AP)):
        alone = ratio_table(only_two(whole, other), BATCH, metric)
        assert table.columns[3 + 4 * number : 7 + 4 * number] == alone.columns[3:]
        for row, expected in zip(table.rows, alone.rows, strict=True):
            assert row.against(number) == expected.against(0) == expected.cells[3:]
            assert row.rates[number] == expected.rates[0]
            assert (row.rates[number].ratio, row.rates[number].state) == (expected.ratio, expected.state)


@pytest.mark.parametrize("name", EVERY_RUN_OF_TWO)
def test_a_table_of_two_has_seven_columns_as_ever(name):
    whole = EVERY_RUN_OF_TWO[name]()
    for ladder in whole.started.ladders:
        table = headline_table(whole, ladder)
        assert [column.label for column in table.columns][4:] == ["rate", "95 % CI", "verdict"]
        assert {len(row.cells) for row in table.rows} <= {7}
        assert all((row.ratio, row.state) == (row.rates[0].ratio, row.rates[0].state) for row in table.rows)


def test_the_first_stands_once_and_its_number_is_the_numerator_of_every_rate():
    row = headline_table(three_targets(), BATCH).rows[0]
    assert row.cells[:3] == ("1", "1", "0.997")
    assert row.against(0) == ("1.99", "0.50", "0.50 – 0.50", "eu faster")
    assert row.against(1)[1:] == ("1.00", "1.00 – 1.00", "tie")
    assert row.state is RowState.EVEN, "better than one, even with the other"


def test_a_target_that_failed_or_lacks_rounds_costs_the_others_nothing():
    _, failed, short, waiting = headline_table(three_targets(), BATCH).rows
    assert failed.against(0) == ("–", "–", "–", "us failed: 5xx [ERRORS]")
    assert failed.against(1) == ("2.00", "1.50", "1.50 – 1.50", "ap faster [UNSTABLE]")
    assert failed.state is RowState.FAILED
    assert (short.cells[2], short.against(0)[0], short.against(1)[0]) == ("3.99", "4.00", "8.00")
    assert [rate.ratio for rate in short.rates] == [pytest.approx(0.9973, abs=1e-4), pytest.approx(0.4973, abs=1e-4)]
    assert (waiting.state, waiting.against(1)[3]) == (RowState.WAITING, "not reached")


def test_the_cell_in_flight_marks_its_own_rates_only():
    row = headline_table(in_flight(), BATCH).rows[2]
    assert row.state is RowState.MEASURING
    assert [rate.state for rate in row.rates] == [RowState.MEASURING, RowState.PARTIAL]


def test_the_note_says_what_is_divided_by_what():
    assert (
        "rate = eu external / the server at its left; below 1 eu is faster"
        in headline_table(three_targets(), BATCH).notes[0]
    )
    assert "eu external (?) against us external (?) and ap external (?); model" in sentences(three_targets())[1]


def test_what_explains_the_rates_has_a_line_for_each_target():
    for table in detail_tables(three_targets()):
        assert [row.cells[1] for row in table.rows[:3]] == ["eu", "us", "ap"]


def test_csv_has_a_row_for_each_target_with_its_own_rate():
    rows = list(csv.DictReader(io.StringIO(render(three_targets(), Path("-.csv")).decode())))
    found = {row["server"]: row for row in rows if (row["metric"], row["size"]) == ("request", "1")}
    table = headline_table(three_targets(), BATCH).rows[0]
    assert list(found) == ["eu", "us", "ap"]
    assert (found["eu"]["value_shown"], found["eu"]["rate"], found["eu"]["verdict"]) == (table.cells[2], "", "")
    for number, name in enumerate(("us", "ap")):
        one = found[name]
        shown = tuple(one[key] for key in ("value_shown", "rate_shown", "interval_shown", "verdict"))
        assert shown == table.against(number)
        assert float(one["rate"]) == pytest.approx(table.rates[number].ratio)


def test_html_colours_each_verdict_by_its_own_rate():
    page = render(three_targets(), Path("a.html")).decode()
    assert '<td class="better">eu faster</td>' in page
    assert '<td class="worse">ap faster [UNSTABLE]</td>' in page
    assert '<td class="failed">us failed: 5xx [ERRORS]</td>' in page
    assert "var(--third)" in page


def test_every_target_of_a_chart_looks_its_own():
    many = tuple(msgspec.structs.replace(EU, server=f"s{n}") for n in range(6))
    styles = styles_of(RunRecord(started=started(BATCH, first=EU, others=many[1:])))
    assert len(styles) == len({colour for colour, _ in styles.values()}) == len({mark for _, mark in styles.values()})
    assert [curve.server for curve in curves(three_targets(), BATCH, REQUEST_TIME)] == ["eu", "us", "ap"]


def test_the_store_and_the_history_hold_three(tmp_path):
    whole = three_targets()
    with Store(tmp_path / "runs.sqlite3") as store:
        store.begin(whole.started)
        for one in whole.cells:
            store.keep(whole.started.run_id, one)
        store.finish(whole.end, rates_of(whole))
        (summary,) = store.summaries()
        assert store.record(whole.started.run_id) == whole
    assert (summary.planned, summary.runtimes) == (3 * 4 * 4, ("eu external", "us external", "ap external"))
    (row,) = history_table([summary]).rows
    assert "eu external / us external / ap external" in row.cells
    assert "us 0.50 … 1.00, ap 0.50 … 1.50" in row.cells


def test_what_tells_runs_of_one_preset_apart_stands_within_80_columns(tmp_path):
    with Store(tmp_path / "runs.sqlite3") as store:
        for run_id, name in (("20260102-030405-aaaa", "embedded"), ("20260102-030506-bbbb", "docker")):
            fingerprint = {"embedded runtime": name, "flask runtime": "gunicorn"}
            begun = msgspec.structs.replace(started(BATCH), run_id=run_id, fingerprint=fingerprint)
            store.begin(begun)
        store.name_baseline("main", "20260102-030405-aaaa")
        table = history_table(store.summaries())
    widths = [max(len(row.cells[n]) for row in table.rows) for n in range(5)]
    assert [column.label for column in table.columns][:5] == ["run", "called", "preset", "model", "servers"]
    assert sum(widths) + 2 * 4 <= 80
    assert [row.cells[:5] for row in table.rows] == [
        ("20260102-030506-bbbb", "", "batch-small", "text_cnn v1", "docker / gunicorn"),
        ("20260102-030405-aaaa", "main", "batch-small", "text_cnn v1", "embedded / gunicorn"),
    ]


def test_two_runs_are_compared_over_the_targets_they_share():
    whole = three_targets()
    comparison = compare_records(whole, only_two(whole, AP))
    assert {change.server for change in comparison.changes} == {"eu", "ap"}
    assert ("us server", "us external, ?", "not recorded") in comparison.differences


def test_a_recording_of_one_target_has_no_ratio_and_says_so():
    lonely = msgspec.structs.replace(started(BATCH), targets=(EU,))
    with pytest.raises(ConfigError, match="fewer than two servers"):
        fold_record([lonely], "alone.jsonl")


def test_nothing_measured_of_three_is_all_there_and_blank():
    run: RunStarted = started(BATCH, first=EU, others=(US, AP))
    waiting = CellStarted(cell=cell("us", BATCH, 1, 1).cell, number=1, total=9, left_s=1.0)
    for whole in (record(of=run), record(waiting, of=run), record(ended(run), of=run)):
        for table in all_tables(whole)[:3]:
            assert [len(row.cells) for row in table.rows] == [11] * 4
