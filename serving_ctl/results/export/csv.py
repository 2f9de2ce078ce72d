"""A run as tidy CSV: one row for each test, metric, size and server, with the numbers and the strings shown of them.

The rate in a row is the first server's to this one. In the first's own row it is that to the other one, where there is
only one, and empty where there are several.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from serving_ctl.events import Ladder
from serving_ctl.results.metrics import LADDER_METRICS, Metric
from serving_ctl.results.rates import geometric_mean_of, numerator, row_comparisons
from serving_ctl.results.record import RunRecord
from serving_ctl.results.tables import ratio_table

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
        comparisons = row_comparisons(record, ladder, size, metric)
        for place, target in enumerate(record.targets):
            cells = record.finished(ladder.name, size, target.server)
            one = max(place - 1, 0)
            comparison, shown = comparisons[one], row.against(one)
            if place == 0:
                value, value_shown = numerator(cells, metric, comparisons), row.cells[2]
                if len(comparisons) > 1:
                    comparison, shown = None, ("",) * len(shown)
            else:
                value = comparison.second if comparison else geometric_mean_of(cells, metric)
                value_shown = shown[0]
            rate = (comparison.ratio, comparison.low, comparison.high) if comparison else (None, None, None)
            yield (
                *(run.run_id, run.started_at, run.preset, ladder.name, ladder.kind, size, metric.key, metric.unit),
                *(target.server, target.label, target.version, value, value_shown),
                *(*rate, *shown[1:]),
            )
