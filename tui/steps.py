"""Which tables a run has and in which order the keys step through them."""

from __future__ import annotations

import msgspec

from serving_ctl.events import Ladder
from serving_ctl.results.metrics import LADDER_METRICS, Metric
from serving_ctl.results.record import RunRecord
from serving_ctl.results.tables import Table, failure_table, ratio_table


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One table: a ladder seen through a metric, or without them the failed requests."""

    ladder: Ladder | None = None
    metric: Metric | None = None

    def table(self, record: RunRecord) -> Table:
        """The table as every other face prints it."""
        if self.ladder is None or self.metric is None:
            return failure_table(record)
        return ratio_table(record, self.ladder, self.metric)


def steps_of(record: RunRecord) -> tuple[Step, ...]:
    """All tables of ``ladder_tables``, in its order."""
    steps = [
        Step(ladder=ladder, metric=metric)
        for ladder in record.started.ladders
        for metric in LADDER_METRICS[ladder.kind]
    ]
    failed = any(cell.failures for cell in record.cells)
    return (*steps, Step()) if failed else tuple(steps)


def step_in_flight(record: RunRecord) -> int:
    """The number of the headline table of the ladder that is, or was last, being measured; else of the first."""
    cell = record.current or (record.cells[-1].cell if record.cells else None)
    names = [step.ladder.name if step.ladder else "" for step in steps_of(record)]
    return names.index(cell.ladder) if cell else 0
