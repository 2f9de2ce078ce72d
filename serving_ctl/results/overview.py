"""The list of kept runs as a table, for the command line and the History pane alike."""

from __future__ import annotations

from collections.abc import Sequence

from serving_ctl import formatting
from serving_ctl.results.record import RunSummary
from serving_ctl.results.tables import Column, Row, RowState, Table

_STATES = {"failed": RowState.FAILED, "no end": RowState.PARTIAL, "cancelled": RowState.PARTIAL}


def history_table(runs: Sequence[RunSummary]) -> Table:
    """One row a run, in the order given."""
    columns = ("run", "preset", "profile", "servers", "cells", "rate", "end", "baseline")
    return Table(
        title="Kept runs",
        columns=tuple(Column(label=label, numeric=label == "cells") for label in columns),
        rows=tuple(_row(run) for run in runs),
    )


def _row(run: RunSummary) -> Row:
    rates = (formatting.ratio_range(rate.low, rate.high) for rate in run.rates)
    return Row(
        cells=(
            run.run_id,
            run.preset,
            run.profile,
            " / ".join(run.targets),
            f"{formatting.count(run.cells)} of {formatting.count(run.planned)}",
            ", ".join(rates) or formatting.MISSING,
            run.state,
            ", ".join(run.baselines),
        ),
        state=_STATES.get(run.state, RowState.EVEN),
    )
