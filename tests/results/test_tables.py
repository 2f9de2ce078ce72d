"""The tables every face prints: rows as far as they are, ratios, verdicts and the reasons for blanks."""

from __future__ import annotations

import pytest
from run_samples import (
    BATCH,
    CLIENTS,
    DOCKER,
    EMBEDDED,
    FLASK,
    TF,
    cell,
    cut_short,
    ended,
    every_kind_of_row,
    failures,
    measuring,
    pair,
    parts,
    record,
    relabelled,
    skipped,
    started,
)

from serving_ctl.events import Cell, CellStarted, Latency
from serving_ctl.results.metrics import (
    INFERENCE_TIME,
    LADDER_METRICS,
    MAKESPAN,
    REQUEST_TIME,
    SERVICE_TIME,
    THROUGHPUT,
)
from serving_ctl.results.rates import row_comparison
from serving_ctl.results.tables import (
    RowState,
    failure_table,
    fairness_table,
    headline_table,
    ladder_tables,
    ratio_table,
)
from serving_ctl.results.text import table_text
from serving_ctl.stats.rounds import compare_rounds

RUN = started(BATCH)


def rows(whole, ladder=BATCH, metric=REQUEST_TIME):
    return ratio_table(whole, ladder, metric).rows


def finished_pairs(size=1, rounds=4, first=1.0, second=2.0, **fields):
    return [event for number in range(1, rounds + 1) for event in pair(BATCH, size, number, first, second, **fields)]


def in_flight(size, server=TF):
    return CellStarted(cell=Cell(ladder=BATCH.name, size=size, server=server, round=1), number=1, total=8, left_s=1.0)


def test_columns_are_the_original_s_with_interval_and_verdict():
    columns = headline_table(record(of=RUN), BATCH).columns
    assert [column.heading for column in columns] == [
        "#",
        "batch size",
        "embedded (TF-Serving-compatible) ms",
        "flask gunicorn 4 × sync ms",
        "rate",
        "95 % CI",
        "verdict",
    ]
    assert [column.numeric for column in columns] == [True] * 6 + [False]


def test_a_row_that_waits_shows_its_size_only():
    row = rows(record(of=RUN))[3]
    assert row.cells[:2] == ("4", "8")
    assert set(row.cells[2:6]) == {"·"}
    assert (row.state, row.ratio) == (RowState.WAITING, None)


def test_rows_fill_as_cells_finish():
    found = rows(measuring())
    assert [row.state for row in found] == [
        RowState.PARTIAL,
        RowState.MEASURING,
        RowState.WAITING,
        RowState.WAITING,
    ]
    assert found[0].cells == ("1", "1", "1.00", "2.00", "0.50", "–", "round 1 of 4")
    assert found[0].ratio == pytest.approx(0.5)
    assert found[1].cells[:4] == ("2", "2", "1.50", "·")


def test_a_row_in_flight_again_keeps_its_numbers():
    found = rows(record(*finished_pairs(rounds=2), in_flight(1), of=RUN))[0]
    assert found.state is RowState.MEASURING
    assert found.cells[2:5] == ("1.00", "2.00", "0.50")
    assert "2 of 4" in found.cells[6]


@pytest.mark.parametrize(
    ("first", "second", "state", "words"),
    [
        (1.0, 2.0, RowState.BETTER, "embedded faster"),
        (2.0, 1.0, RowState.WORSE, "flask faster"),
        (1.0, 1.01, RowState.EVEN, "tie"),
    ],
)
def test_a_complete_row_says_the_verdict(first, second, state, words):
    row = rows(record(*finished_pairs(first=first, second=second), of=RUN))[0]
    assert (row.state, row.cells[6]) == (state, words)


def test_an_undecided_row_says_how_many_rounds_would_do():
    row = rows(every_kind_of_row())[2]
    assert row.state is RowState.EVEN
    assert row.cells[6].startswith("inconclusive, about 588 rounds")


def test_more_throughput_is_better():
    run = started(CLIENTS)
    cells = [event for number in range(1, 5) for event in pair(CLIENTS, 1, number, 1.0, 2.0)]
    row = rows(record(*cells, of=run), CLIENTS, THROUGHPUT)[0]
    assert row.cells[2:5] == ("1,000", "500", "2.00")
    assert row.state is RowState.BETTER
    assert row.cells[6].startswith("embedded")


def test_the_ratio_is_of_the_rounds_both_finished():
    cells = [*finished_pairs(rounds=2), cell(TF, BATCH, 1, 3, 100.0), cell(FLASK, BATCH, 1, 4, 0.001)]
    found = row_comparison(record(*cells, of=RUN), BATCH, 1, REQUEST_TIME)
    assert found == compare_rounds([1.0, 1.0], [2.0, 2.0])


def test_rounds_finished_in_any_order_are_paired_by_number():
    cells = [
        cell(TF, BATCH, 1, 1, 1.0),
        cell(FLASK, BATCH, 1, 1, 2.0),
        cell(FLASK, BATCH, 1, 2, 8.0),
        cell(TF, BATCH, 1, 2, 4.0),
    ]
    found = row_comparison(record(*cells, of=RUN), BATCH, 1, REQUEST_TIME)
    assert found == compare_rounds([1.0, 4.0], [2.0, 8.0])


def test_without_a_pair_there_is_no_comparison():
    assert row_comparison(record(cell(TF, BATCH, 1, 1, 1.0), of=RUN), BATCH, 1, REQUEST_TIME) is None


def test_a_server_that_only_failed_is_a_failed_row_with_the_other_s_number():
    row = rows(every_kind_of_row())[3]
    assert row.cells[:6] == ("4", "8", "5.00", "–", "–", "–")
    assert "flask" in row.cells[6]
    assert "reset" in row.cells[6]
    assert "embedded" not in row.cells[6]
    assert (row.state, row.ratio) == (RowState.FAILED, None)


def test_both_servers_failed():
    cells = [cell(server, BATCH, 1, 1, failures=failures(9, kind)) for server, kind in ((TF, "4xx"), (FLASK, "reset"))]
    row = rows(record(*cells, ended(RUN), of=RUN))[0]
    assert row.cells[2:4] == ("–", "–")
    ours, theirs = row.cells[6].split(";")
    assert "embedded" in ours
    assert "4xx" in ours
    assert "flask" in theirs
    assert "reset" in theirs


def test_a_saturated_server_is_skipped_and_said():
    cells = [cell(TF, BATCH, 8, 1, 5.0), skipped(FLASK, BATCH, 8)]
    row = rows(record(*cells, of=RUN))[3]
    assert row.cells[2:4] == ("5.00", "–")
    assert row.cells[6].startswith("flask skipped: saturated")
    assert row.state is RowState.FAILED


def test_a_few_failures_are_flagged_beside_the_verdict_and_explained():
    found = ratio_table(every_kind_of_row(), BATCH, REQUEST_TIME)
    assert found.rows[2].cells[6].endswith("[ERRORS] [UNSTABLE]")
    assert any(note.startswith("[UNSTABLE]") for note in found.notes)
    assert any(note.startswith("[ERRORS]") for note in found.notes)


def test_a_flag_is_explained_under_its_own_ladder_only():
    found = ratio_table(every_kind_of_row(), CLIENTS, MAKESPAN)
    assert not any(note.startswith("[UNSTABLE]") for note in found.notes)


@pytest.mark.parametrize(
    "flag",
    ["UNSTABLE", "CLIENT-LIMITED", "CLIENT-BOUND", "FOREIGN-TRAFFIC", "INCOMPLETE-DRAIN", "SKIPPED", "WORKER-LOST"],
)
def test_every_flag_that_a_cell_can_carry_is_explained(flag):
    found = headline_table(record(*finished_pairs(flags=(flag,)), of=RUN), BATCH)
    note = next(note for note in found.notes if note.startswith(f"[{flag}]"))
    assert "see the recording" not in note


def test_nothing_measured_is_a_blank_with_a_reason():
    """An external server without metrics: no inference time on its side."""
    cells = [
        event
        for number in range(1, 5)
        for event in (cell(TF, BATCH, 1, number, 1.0), cell(FLASK, BATCH, 1, number, 2.0, parts=parts(0.7)))
    ]
    row = rows(record(*cells, ended(RUN), of=RUN), metric=INFERENCE_TIME)[0]
    assert row.cells[2:4] == ("–", "0.700")
    assert row.ratio is None
    assert "embedded not measured" in row.cells[6]
    assert "flask" not in row.cells[6]


def test_a_few_failures_are_not_blamed_for_a_number_that_was_never_taken():
    cells = [
        event
        for number in range(1, 5)
        for event in (cell(TF, BATCH, 1, number, 1.0), cell(FLASK, BATCH, 1, number, 2.0, failures=failures(1)))
    ]
    row = rows(record(*cells, ended(RUN), of=RUN), metric=INFERENCE_TIME)[0]
    assert "not measured" in row.cells[6]
    assert "5xx" not in row.cells[6]


def test_a_median_that_is_withheld_says_that_the_requests_were_too_few():
    """R15: four requests have no median; nothing failed."""
    few = Latency(n=4, mean_ms=9.0, min_ms=8.0, max_ms=10.0)
    cells = [cell(server, BATCH, 1, 1, 9.0, requests=4, request=few) for server in (TF, FLASK)]
    row = rows(record(*cells, ended(RUN), of=RUN))[0]
    assert row.cells[2:4] == ("–", "–")
    assert "few" in row.cells[6]


def test_a_run_cut_short_keeps_what_it_has():
    whole = record(*finished_pairs(rounds=2), cell(TF, BATCH, 2, 1, 1.5), cut_short(RUN), of=RUN)
    first, second, third, _ = rows(whole)
    assert first.cells[2:5] == ("1.00", "2.00", "0.50")
    assert first.state is RowState.BETTER
    assert second.cells[2] == "1.50"
    assert second.state is RowState.FAILED
    assert second.cells[6]
    assert third.cells[6] == "not reached"
    assert third.state is RowState.WAITING


def test_a_run_cut_short_does_not_claim_rounds_it_has_not():
    whole = record(*finished_pairs(rounds=2), cut_short(RUN), of=RUN)
    assert not any("over 4 rounds" in note for note in headline_table(whole, BATCH).notes)


def test_one_round_has_a_ratio_and_no_interval():
    row = rows(record(*finished_pairs(rounds=1), cut_short(RUN), of=RUN))[0]
    assert row.cells[4:6] == ("0.50", "–")
    assert row.cells[6].startswith("inconclusive")


def test_a_run_without_a_cell_has_all_its_rows():
    found = rows(record(cut_short(RUN), of=RUN))
    assert [row.cells[1] for row in found] == ["1", "2", "4", "8"]
    assert all(row.cells[6] == "not reached" for row in found)


def test_the_direction_is_said_once():
    latency, throughput = (
        ratio_table(every_kind_of_row(), CLIENTS, metric).notes[0] for metric in (MAKESPAN, THROUGHPUT)
    )
    for note in (latency, throughput):
        assert "embedded (TF-Serving-compatible) / flask gunicorn 4 × sync" in note
    assert "below 1 embedded is faster" in latency
    assert "above 1 embedded is better" in throughput


def test_every_table_says_its_formula():
    for table in ladder_tables(every_kind_of_row()):
        if table.title != "Failed requests":
            assert any(" = " in note for note in table.notes[1:])


def test_each_ladder_has_its_tables_in_order():
    titles = [table.title for table in ladder_tables(every_kind_of_row())]
    assert titles == [
        "batch-small: request time",
        "batch-small: service time",
        "batch-small: inference time",
        "concurrency: makespan",
        "concurrency: throughput",
        "concurrency: request time",
        "concurrency: inference time",
        "Failed requests",
    ]


def test_no_failure_no_table_of_failures():
    assert "Failed requests" not in {t.title for t in ladder_tables(record(*finished_pairs(), of=RUN))}


def test_failures_name_server_kind_count_and_first_example():
    found = failure_table(every_kind_of_row())
    assert ("concurrency", "10", "flask", "1", "read timeout", "400", "503: busy") in {r.cells for r in found.rows}
    assert all(row.state is RowState.FAILED for row in found.rows)


def test_an_embedded_server_never_reads_like_tensorflow_serving():
    whole = every_kind_of_row()
    texts = [table_text(table) for table in (*ladder_tables(whole), fairness_table(whole))]
    assert not [text for text in texts if "tf-serving" in text]
    docker = relabelled(whole, DOCKER)
    assert "tf-serving faster" in table_text(headline_table(docker, BATCH))
    assert "tf-serving docker ms" in table_text(headline_table(docker, BATCH))


def test_fairness_marks():
    assert [row.cells[:2] for row in fairness_table(every_kind_of_row()).rows] == [
        ("!", "keep-alive"),
        ("✓", "predictions"),
        ("", "machine"),
    ]


@pytest.mark.parametrize(
    ("metric", "unit", "value"),
    [
        (REQUEST_TIME, "ms", 2.0),
        (SERVICE_TIME, "ms", 1.8),
        (INFERENCE_TIME, "ms", 0.9),
        (MAKESPAN, "s", 0.25),
        (THROUGHPUT, "requests/s", 500.0),
    ],
)
def test_metrics_read_their_number_from_a_cell(metric, unit, value):
    full = cell(TF, CLIENTS, 10, 1, 2.0, parts=parts(0.7, 0.2), makespan_s=0.25)
    assert metric.value(full) == pytest.approx(value)
    assert metric.unit == unit
    assert metric.value(cell(TF, CLIENTS, 10, 1, failures=failures(3))) is None


def test_the_headline_of_each_kind_is_what_the_original_tabulated():
    assert LADDER_METRICS["batch"][0] is REQUEST_TIME
    assert LADDER_METRICS["concurrency"][0] is MAKESPAN


def test_text_is_aligned_and_one_line_a_row():
    for table in ladder_tables(every_kind_of_row()):
        lines = table_text(table).splitlines()
        assert lines[0] == table.title
        assert len(lines) == 3 + len(table.rows) + len(table.notes)


def test_text_sets_numbers_to_the_right():
    table = headline_table(every_kind_of_row(), BATCH)
    heading, _, *lines = table_text(table).splitlines()[1:]
    right = heading.index("batch size") + len("batch size")
    for line, row in zip(lines, table.rows, strict=False):
        assert line[:right].endswith(row.cells[1])


def test_embedded_is_the_name_and_the_label_is_whole():
    assert EMBEDDED.name not in {TF, FLASK}
    assert headline_table(every_kind_of_row(), BATCH).columns[2].label == EMBEDDED.label
