"""Tables of strings, made once: the screen, the command line and every export print the same cells."""

from __future__ import annotations

import enum

import msgspec

from serving_ctl import formatting
from serving_ctl.events import CellFinished, Ladder
from serving_ctl.results.metrics import LADDER_METRICS, Metric
from serving_ctl.results.record import RunRecord
from serving_ctl.stats.rounds import Comparison, Verdict, compare_rounds

PENDING = "·"
SIZE_LABELS = {"batch": "batch size", "concurrency": "clients"}


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column's heading, its unit (may be empty) and whether it holds numbers (set to the right)."""

    label: str
    unit: str = ""
    numeric: bool = True

    @property
    def heading(self) -> str:
        """Label and unit in one line."""
        return f"{self.label} {self.unit}".strip()


class RowState(enum.StrEnum):
    """How far a row is; ``BETTER``, ``WORSE`` and ``EVEN`` speak of the first target."""

    WAITING = "waiting"
    MEASURING = "measuring"
    PARTIAL = "partial"
    BETTER = "better"
    WORSE = "worse"
    EVEN = "even"
    FAILED = "failed"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line: its strings, and for the ratio bar its number."""

    cells: tuple[str, ...]
    state: RowState = RowState.WAITING
    ratio: float | None = None


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A titled table of strings with the sentences that belong under it."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def ladder_tables(record: RunRecord) -> tuple[Table, ...]:
    """All ratio tables of a run: for each ladder the headline, then its further metrics, then what failed."""
    tables = [
        ratio_table(record, ladder, metric)
        for ladder in record.started.ladders
        for metric in LADDER_METRICS[ladder.kind]
    ]
    failures = failure_table(record)
    return (*tables, failures) if failures.rows else tuple(tables)


def headline_table(record: RunRecord, ladder: Ladder) -> Table:
    """The table that answers the question for one ladder."""
    return ratio_table(record, ladder, LADDER_METRICS[ladder.kind][0])


def ratio_table(record: RunRecord, ladder: Ladder, metric: Metric) -> Table:
    """# | size | first | second | rate | 95 % CI | verdict, one row a size (R16, R17)."""
    first, second = record.targets
    return Table(
        title=f"{ladder.name}: {metric.label}",
        columns=(
            Column(label="#"),
            Column(label=SIZE_LABELS[ladder.kind]),
            Column(label=first.label, unit=metric.unit),
            Column(label=second.label, unit=metric.unit),
            Column(label="rate"),
            Column(label="95 % CI"),
            Column(label="verdict", numeric=False),
        ),
        rows=tuple(_ratio_row(record, ladder, size, metric, number) for number, size in enumerate(ladder.sizes, 1)),
        notes=(_direction(record, metric), f"{metric.label} = {metric.formula}.", *_flag_notes(record, ladder)),
    )


def fairness_table(record: RunRecord) -> Table:
    """The fairness card (R23)."""
    words = {"ok": "✓", "warn": "!", "info": ""}
    return Table(
        title="Fairness card",
        columns=(
            Column(label="", numeric=False),
            Column(label="what", numeric=False),
            Column(label="how it was", numeric=False),
        ),
        rows=tuple(Row(cells=(words[fact.mark], fact.key, fact.text)) for fact in record.started.facts),
    )


def failure_table(record: RunRecord) -> Table:
    """Failed requests by kind with the first example (R10); no rows when none failed."""
    names = {target.server: target.name for target in record.started.targets}
    rows = tuple(
        Row(
            cells=(
                cell.cell.ladder,
                formatting.count(cell.cell.size),
                names[cell.cell.server],
                formatting.count(cell.cell.round),
                failure.kind,
                formatting.count(failure.count),
                failure.example,
            ),
            state=RowState.FAILED,
        )
        for cell in record.cells
        for failure in cell.failures
    )
    columns = ("test", "size", "server", "round", "error", "requests", "first example")
    numeric = {"size", "round", "requests"}
    return Table(
        title="Failed requests",
        columns=tuple(Column(label=label, numeric=label in numeric) for label in columns),
        rows=rows,
    )


def row_comparison(record: RunRecord, ladder: Ladder, size: int, metric: Metric) -> Comparison | None:
    """The comparison over the rounds both servers finished at ``size``; None before the first such pair."""
    values = [_by_round(record.finished(ladder.name, size, target.server), metric) for target in record.targets]
    paired = sorted(values[0].keys() & values[1].keys())
    if not paired:
        return None
    return compare_rounds(
        [values[0][r] for r in paired], [values[1][r] for r in paired], higher_is_better=metric.higher_is_better
    )


def verdict_text(record: RunRecord, comparison: Comparison, metric: Metric) -> str:
    """The verdict in words: ``embedded faster``, ``tie``, ``inconclusive, about 12 rounds``."""
    first, second = record.targets
    match comparison.verdict:
        case Verdict.FIRST:
            return f"{first.name} {metric.better_word}"
        case Verdict.SECOND:
            return f"{second.name} {metric.better_word}"
        case Verdict.TIE:
            return "tie"
    needed = comparison.rounds_needed
    return "inconclusive" + (f", about {formatting.count(needed)} rounds" if needed else "")


def _ratio_row(record: RunRecord, ladder: Ladder, size: int, metric: Metric, number: int) -> Row:
    comparison = row_comparison(record, ladder, size, metric)
    done = [record.finished(ladder.name, size, target.server) for target in record.targets]
    measuring = record.current is not None and (record.current.ladder, record.current.size) == (ladder.name, size)
    head = (formatting.count(number), formatting.count(size))
    if comparison is None:
        sides = [_alone(cells, metric) for cells in done]
        state = RowState.MEASURING if measuring else _unmeasured_state(record, done)
        return Row(cells=(*head, *sides, PENDING, PENDING, _reason(record, done, state)), state=state)
    complete = record.end is not None or min(len(cells) for cells in done) >= record.started.rounds
    words = verdict_text(record, comparison, metric)
    flags = sorted({flag for cells in done for cell in cells for flag in _flags(cell)})
    if not complete:
        words = f"round {min(len(c) for c in done)} of {record.started.rounds}"
    return Row(
        cells=(
            *head,
            formatting.significant(comparison.first),
            formatting.significant(comparison.second),
            formatting.ratio(comparison.ratio),
            formatting.interval(comparison.low, comparison.high),
            " ".join([words, *(f"[{flag}]" for flag in flags)]) if complete else words,
        ),
        state=_compared_state(comparison) if complete else (RowState.MEASURING if measuring else RowState.PARTIAL),
        ratio=comparison.ratio,
    )


def _compared_state(comparison: Comparison) -> RowState:
    states = {Verdict.FIRST: RowState.BETTER, Verdict.SECOND: RowState.WORSE}
    return states.get(comparison.verdict, RowState.EVEN)


def _unmeasured_state(record: RunRecord, done: list[tuple[CellFinished, ...]]) -> RowState:
    if all(done) or (record.end is not None and any(done)):
        return RowState.FAILED
    return RowState.PARTIAL if any(done) else RowState.WAITING


def _reason(record: RunRecord, done: list[tuple[CellFinished, ...]], state: RowState) -> str:
    """Why a row has no ratio: skipped, failed requests, withheld, or not yet."""
    if state is RowState.MEASURING:
        return "measuring"
    reasons = []
    for target, cells in zip(record.targets, done, strict=True):
        if skipped := next((cell.skipped for cell in cells if cell.skipped), ""):
            reasons.append(f"{target.name} skipped: {skipped}")
        elif failed := next((failure for cell in cells for failure in cell.failures), None):
            reasons.append(f"{target.name}: {failed.kind}")
    if reasons:
        return "; ".join(reasons)
    if state is RowState.FAILED:
        return "not measured"
    return "not reached" if record.end is not None else ""


def _flags(cell: CellFinished) -> tuple[str, ...]:
    """The cell's flags, and ERRORS when requests failed: a time without them looks better than it was."""
    return (*cell.flags, "ERRORS") if cell.failures else cell.flags


def _alone(cells: tuple[CellFinished, ...], metric: Metric) -> str:
    values = list(_by_round(cells, metric).values())
    if not values:
        return formatting.MISSING if cells else PENDING
    return formatting.significant(compare_rounds(values, values).first)


def _by_round(cells: tuple[CellFinished, ...], metric: Metric) -> dict[int, float]:
    """The metric's values that can be compared: measured and above zero."""
    values = ((cell.cell.round, metric.value(cell)) for cell in cells)
    return {number: value for number, value in values if value is not None and value > 0}


def _direction(record: RunRecord, metric: Metric) -> str:
    first, second = record.targets
    better = "above 1" if metric.higher_is_better else "below 1"
    return (
        f"rate = {first.label} / {second.label}; {better} {first.name} is {metric.better_adjective}. "
        f"Intervals are 95 % over {formatting.plural(record.started.rounds, 'round')}, for each row by itself."
    )


def _flag_notes(record: RunRecord, ladder: Ladder) -> tuple[str, ...]:
    meanings = {
        "UNSTABLE": "throughput or median still moved by more than 10 % within a cell (R9)",
        "CLIENT-LIMITED": "the load process was the limit; the server could do more (R3, R12)",
        "CLIENT-BOUND": "within 2 × of what the load process itself needs (R12)",
        "ERRORS": "requests failed and are in no time shown (R10); see the table of failed requests",
        "FOREIGN-TRAFFIC": "somebody else sent requests in the window; no inference time (R20)",
    }
    seen = {flag for cell in record.cells if cell.cell.ladder == ladder.name for flag in _flags(cell)}
    return tuple(f"[{flag}] {meanings.get(flag, 'see the recording')}." for flag in sorted(seen))
