"""Two runs side by side: what differs first, ratios with their intervals, regressions, and what cannot be compared."""

from __future__ import annotations

import msgspec
import pytest
from results.run_samples import (
    BATCH,
    CLIENTS,
    DOCKER,
    FLASK,
    TF,
    cell,
    ended,
    every_kind_of_row,
    failures,
    pair,
    record,
    relabelled,
    started,
)

from serving_ctl.errors import ConfigError
from serving_ctl.results.compare import compare_records, comparison_tables, described, differences
from serving_ctl.results.record import RunRecord

NOISE = (0.99, 1.01, 1.0, 1.005)


def run_of(factor: float = 1.0, rounds: int = 4, **fields) -> RunRecord:
    run = msgspec.structs.replace(started(BATCH, rounds=rounds), **fields)
    events = [
        one
        for number, noise in enumerate(NOISE[:rounds], 1)
        for size in BATCH.sizes
        for one in pair(BATCH, size, number, size * noise * factor, 2.0 * size * noise)
    ]
    return record(*events, ended(run), of=run)


def test_a_slower_server_is_a_regression_and_the_other_none():
    comparison = compare_records(run_of(), run_of(1.3))
    worse = comparison.regressions(1.1)
    assert {cell.server for cell in worse} == {TF}
    assert [cell.size for cell in worse] == list(BATCH.sizes)
    assert all(cell.change.ratio == pytest.approx(1.3) for cell in worse)
    assert comparison.regressions(1.29) == ()
    assert compare_records(run_of(1.3), run_of()).regressions(1.0) == ()


def test_less_throughput_is_above_one_too():
    def run(seconds: float) -> RunRecord:
        whole = started(CLIENTS)
        cells = [one for n, noise in enumerate(NOISE, 1) for one in pair(CLIENTS, 1, n, seconds * noise, 2.0 * noise)]
        return record(*cells, ended(whole), of=whole)

    comparison = compare_records(run(1.0), run(2.0))
    by_metric = {c.metric: c.change.ratio for c in comparison.changes if c.server == TF and c.change}
    assert by_metric["throughput"] == pytest.approx(2.0)
    assert by_metric["request"] == pytest.approx(2.0)
    assert "A / B" in next(t for t in comparison_tables(comparison) if "throughput" in t.title).columns[4].label


def test_what_differs_comes_first():
    a = run_of(fingerprint={"CPU": "old", "cores": "2"})
    b = relabelled(run_of(fingerprint={"CPU": "new", "cores": "2", "oneDNN": "on"}), DOCKER)
    found = differences(a, b)
    assert ("CPU", "old", "new") in found
    assert ("oneDNN", "not recorded", "on") in found
    assert any(what == "tf-serving server" and "docker" in new for what, _, new in found)
    assert all(what != "cores" for what, _, _ in found)
    table = comparison_tables(compare_records(a, b))[0]
    assert table.title.startswith("What differs")
    assert [row.cells for row in table.rows] == list(found)


def test_the_same_run_differs_in_nothing():
    run = run_of(fingerprint={"CPU": "A"})
    table = comparison_tables(compare_records(run, run))[0]
    assert table.rows == ()
    assert "Nothing" in table.notes[0]
    assert all(c.change.ratio == 1 for c in compare_records(run, run).changes)


def test_json_form_and_compression_are_told():
    run = run_of()
    zipped = msgspec.structs.replace(BATCH, form="column", gzip=True)
    other = msgspec.structs.replace(run, started=msgspec.structs.replace(run.started, ladders=(zipped,)))
    assert described(run)["batch-small requests"] == "row form"
    assert ("batch-small requests", "row form", "column form, gzip") in differences(run, other)


def test_one_round_is_compared_but_not_judged():
    comparison = compare_records(run_of(rounds=4), run_of(3.0, rounds=1))
    assert comparison.regressions(1.0) == ()
    assert comparison.unjudged == len(comparison.changes)
    row = comparison_tables(comparison)[1].rows[0]
    assert row.cells[4:] == ("2.97", "–", "one round only: no interval")


def test_a_cell_with_errors_only_is_blank_with_the_reason():
    whole = started(BATCH)
    broken = record(
        *pair(BATCH, 1, 1, 1.0, 2.0), cell(TF, BATCH, 2, 1, failures=failures(9)), cell(FLASK, BATCH, 2, 1, 3.0),
        ended(whole), of=whole,
    )  # fmt: skip
    comparison = compare_records(run_of(), broken)
    row = next(r for t in comparison_tables(comparison)[1:] for r in t.rows if r.cells[:2] == ("2", "embedded"))
    assert row.cells[2:] == ("–", "–", "–", "–", "not measured in B")


@pytest.mark.parametrize(
    "other",
    [
        lambda: record(of=started(BATCH)),
        lambda: record(cell(TF, CLIENTS, 1, 1, 1.0), of=started(CLIENTS)),
        lambda: record(cell(TF, BATCH, 1, 1, 1.0), of=started(msgspec.structs.replace(BATCH, clients=4))),
    ],
    ids=["nothing measured", "another ladder", "other clients"],
)
def test_runs_without_a_common_cell_are_refused(other):
    with pytest.raises(ConfigError, match="no measured cell in common"):
        compare_records(run_of(), other())


def test_every_cell_is_a_string_of_its_column():
    for table in comparison_tables(compare_records(every_kind_of_row(), every_kind_of_row())):
        assert {len(row.cells) for row in table.rows} <= {len(table.columns)}
        assert all("nan" not in text and "inf" not in text for row in table.rows for text in row.cells)
