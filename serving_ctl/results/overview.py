"""The list of kept runs as a table, for the command line and the History pane alike."""

from __future__ import annotations

from collections.abc import Sequence

from serving_ctl import formatting
from serving_ctl.results.record import RunSummary
from serving_ctl.results.tables import Column, Row, RowState, Table

COLUMNS = ("run", "called", "preset", "model", "servers", "rate", "end", "cells", "profile")
"""What tells runs of one preset apart stands first, within 80 columns; a run's id begins with its day and time."""
_STATES = {
    "failed": RowState.FAILED,
    "unreadable": RowState.FAILED,
    "no end": RowState.PARTIAL,
    "cancelled": RowState.PARTIAL,
}


def history_table(runs: Sequence[RunSummary]) -> Table:
    """One row a run, in the order given."""
    return Table(
        title="Kept runs",
        columns=tuple(Column(label=label, numeric=label == "cells") for label in COLUMNS),
        rows=tuple(_row(run) for run in runs),
        notes=tuple(f"{run.reason} `tfserve-tui forget {run.run_id}` takes it out." for run in runs if _is_lost(run)),
    )


def rates_text(run: RunSummary) -> str:
    """The range of ratios of each ladder, with the divisor's name where there are several."""
    ranges = (f"{rate.other} {formatting.ratio_range(rate.low, rate.high)}".strip() for rate in run.rates)
    return ", ".join(ranges) or formatting.MISSING


def _is_lost(run: RunSummary) -> bool:
    return run.state == "unreadable"


def _row(run: RunSummary) -> Row:
    return Row(
        cells=(
            run.run_id,
            ", ".join(run.baselines),
            run.preset,
            run.model,
            " / ".join(run.runtimes or run.targets) or formatting.MISSING,
            rates_text(run),
            run.state,
            f"{formatting.count(run.cells)} of {'?' if _is_lost(run) else formatting.count(run.planned)}",
            run.profile,
        ),
        state=_STATES.get(run.state, RowState.EVEN),
    )
