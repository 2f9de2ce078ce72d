"""A run as tidy CSV: one row for each test, metric, size and server, with the numbers and the strings shown of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from serving_ctl.events import Ladder
from serving_ctl.results.metrics import LADDER_METRICS, Metric
from serving_ctl.results.record import RunRecord
from serving_ctl.results.tables import geometric_mean_of, ratio_table, row_comparison

COLUMNS = (
    *("run", "started_at", "preset", "test", "kind", "size", "metric", "unit", "server", "label", "version"),
    *("value", "value_shown", "rate", "rate_low", "rate_high", "rate_shown", "interval_shown", "verdict"),
)


def csv_document(record: RunRecord) -> str:
    """All ratio tables; a number that was not measured is empty, what is shown of it is as on the screen."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for ladder in record.started.ladders:
        for metric in LADDER_METRICS[ladder.kind]:
            writer.writerows(_rows(record, ladder, metric))
    return text.getvalue()


def _rows(record: RunRecord, ladder: Ladder, metric: Metric) -> Iterator[tuple[object, ...]]:
    run = record.started
    for size, row in zip(ladder.sizes, ratio_table(record, ladder, metric).rows, strict=True):
        comparison = row_comparison(record, ladder, size, metric)
        rate = (comparison.ratio, comparison.low, comparison.high) if comparison else (None, None, None)
        both = (comparison.first, comparison.second) if comparison else None
        for column, target in enumerate(record.targets):
            cells = record.finished(ladder.name, size, target.server)
            value = both[column] if both else geometric_mean_of(cells, metric)
            yield (
                *(run.run_id, run.started_at, run.preset, ladder.name, ladder.kind, size, metric.key, metric.unit),
                *(target.server, target.label, target.version, value, row.cells[2 + column]),
                *(*rate, row.cells[4], row.cells[5], row.cells[6]),
            )
