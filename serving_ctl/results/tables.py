"""Tables of strings, made once: the screen, the command line and every export print the same cells."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec

from serving_ctl import formatting
from serving_ctl.events import CellFinished, Ladder, Target
from serving_ctl.results.metrics import LADDER_METRICS, Metric
from serving_ctl.results.rates import geometric_mean_of, numerator, row_comparisons, values_by_round
from serving_ctl.results.record import RunRecord
from serving_ctl.stats.rounds import Comparison, Verdict

PENDING = "·"
FIRST_RATE, GROUP = 3, 4
"""Where a ratio table's first rate begins, behind #, size and the first target's value; and how many cells it has."""
FLAG_MEANINGS = {
    "UNSTABLE": "throughput or median still moved by more than 10 % within a cell",
    "CLIENT-LIMITED": "the load process was the limit; the server could do more",
    "CLIENT-BOUND": "within 2 × of what the load process itself needs",
    "ADDRESSES-CHANGED": "tasks of the service were replaced within the cell; no inference time",
    "CLIENTS-CHANGED": "the user changed the number of clients within the cell",
    "ERRORS": "requests failed and are in no time shown; see the table of failed requests",
    "FOREIGN-TRAFFIC": "somebody else sent requests in the window; no inference time",
    "INCOMPLETE-DRAIN": "requests were still under way when the grace after the window was over",
    "OVER-LIMIT": "even the smallest load was above the limit",
    "SKIPPED": "the cell was ended early by the user",
    "WORKER-LOST": "a load process was lost: here the cell was measured again, on a cluster the others went on",
}
SIZE_LABELS = {
    "batch": "batch size",
    "concurrency": "clients",
    "rate-limit": "p99 limit, ms",
    "client-limit": "p99 limit, ms",
}


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


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """The first target against one other at one size, as a number: ``ratio`` = first / other, its 95 % interval."""

    server: str
    """The other target's server."""
    name: str
    """What results call it."""
    state: RowState
    ratio: float | None = None
    low: float | None = None
    high: float | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line: its strings, and for the ratio bars their numbers."""

    cells: tuple[str, ...]
    state: RowState = RowState.WAITING
    """Of a ratio table with several rates: what holds for all of them, else ``EVEN``."""
    ratio: float | None = None
    """That to the second target."""
    rates: tuple[Rate, ...] = ()
    """Of a ratio table: one for each target after the first."""

    def against(self, number: int) -> tuple[str, ...]:
        """Of a ratio table: the cells of the target behind rate ``number`` – its value, rate, interval, verdict."""
        begin = FIRST_RATE + GROUP * number
        return self.cells[begin : begin + GROUP]


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
    """# | size | first | second | rate | 95 % CI | verdict, one row a size (R16, R17).

    Each further target adds the last four columns again: its value, and the first's rate to it by the same rule.
    """
    first, *others = record.targets
    comparisons = {size: row_comparisons(record, ladder, size, metric) for size in ladder.sizes}
    return Table(
        title=f"{ladder.name}: {metric.label}",
        columns=(
            Column(label="#"),
            Column(label=SIZE_LABELS[ladder.kind]),
            Column(label=first.label, unit=metric.unit),
            *(column for other in others for column in _group_columns(other, metric)),
        ),
        rows=tuple(
            _ratio_row(record, ladder, metric, number, size, found)
            for number, (size, found) in enumerate(comparisons.items(), 1)
        ),
        notes=(
            _direction(record, metric, [one for found in comparisons.values() for one in found]),
            f"{metric.label} = {metric.formula}.",
            *flag_notes(flag for cell in record.cells if cell.cell.ladder == ladder.name for flag in flags_of(cell)),
        ),
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
                " ".join(failure.example.split()),
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


def verdict_text(first: Target, other: Target, comparison: Comparison, metric: Metric) -> str:
    """The verdict in words: ``embedded faster``, ``tie``, ``inconclusive, about 12 rounds``."""
    match comparison.verdict:
        case Verdict.FIRST:
            return f"{first.name} {metric.better_word}"
        case Verdict.SECOND:
            return f"{other.name} {metric.better_word}"
        case Verdict.TIE:
            return "tie"
    if comparison.rounds_needed is None:
        return "inconclusive"
    even = comparison.rounds_needed + comparison.rounds_needed % 2  # --rounds takes even numbers
    return f"inconclusive, about {formatting.count(even)} rounds"


def _group_columns(other: Target, metric: Metric) -> tuple[Column, ...]:
    return (
        Column(label=other.label, unit=metric.unit),
        Column(label="rate"),
        Column(label="95 % CI"),
        Column(label="verdict", numeric=False),
    )


def _ratio_row(
    record: RunRecord,
    ladder: Ladder,
    metric: Metric,
    number: int,
    size: int,
    comparisons: tuple[Comparison | None, ...],
) -> Row:
    first, *others = record.targets
    groups = [
        _against_first(record, ladder, metric, size, other, comparison)
        for other, comparison in zip(others, comparisons, strict=True)
    ]
    own = record.finished(ladder.name, size, first.server)
    head = (formatting.count(number), formatting.count(size), _value(numerator(own, metric, comparisons), own))
    rates = tuple(rate for _, rate in groups)
    return Row(
        cells=(*head, *(cell for cells, _ in groups for cell in cells)),
        state=_joint_state([rate.state for rate in rates]),
        ratio=rates[0].ratio,
        rates=rates,
    )


def _against_first(
    record: RunRecord, ladder: Ladder, metric: Metric, size: int, other: Target, comparison: Comparison | None
) -> tuple[tuple[str, ...], Rate]:
    """The four cells of ``other`` – value, rate, interval, verdict – and the rate as a number."""
    pair = record.targets[0], other
    done = [record.finished(ladder.name, size, target.server) for target in pair]
    current = record.current
    here = current is not None and (current.ladder, current.size) == (ladder.name, size)
    measuring = here and current is not None and current.server in {target.server for target in pair}
    flags = [f"[{flag}]" for flag in sorted({flag for cells in done for cell in cells for flag in flags_of(cell)})]
    if comparison is None:
        state = RowState.MEASURING if measuring else _unmeasured_state(record, done)
        blank = formatting.MISSING if state is RowState.FAILED or record.end is not None else PENDING
        words = [_reason(record, pair, metric, done, state), *flags]
        cells = (_value(geometric_mean_of(done[1], metric), done[1]), blank, blank, " ".join(words).strip())
        return cells, Rate(server=other.server, name=other.name, state=state)
    rounds = min(len(cells) for cells in done)
    complete = record.end is not None or rounds >= record.started.rounds
    words = [verdict_text(*pair, comparison, metric), *flags]
    if not complete:
        words = [f"round {rounds} of {record.started.rounds}"]
    state = _compared_state(comparison) if complete else (RowState.MEASURING if measuring else RowState.PARTIAL)
    cells = (
        formatting.significant(comparison.second),
        formatting.ratio(comparison.ratio),
        formatting.interval(comparison.low, comparison.high),
        " ".join(words),
    )
    return cells, Rate(
        server=other.server,
        name=other.name,
        state=state,
        ratio=comparison.ratio,
        low=comparison.low,
        high=comparison.high,
    )


def _joint_state(states: list[RowState]) -> RowState:
    """The state of a row: what its rates agree on; else the first of these that one of them is in, else ``EVEN``."""
    if len(set(states)) == 1:
        return states[0]
    return next(
        (one for one in (RowState.MEASURING, RowState.PARTIAL, RowState.FAILED) if one in states), RowState.EVEN
    )


def _compared_state(comparison: Comparison) -> RowState:
    states = {Verdict.FIRST: RowState.BETTER, Verdict.SECOND: RowState.WORSE}
    return states.get(comparison.verdict, RowState.EVEN)


def _unmeasured_state(record: RunRecord, done: list[tuple[CellFinished, ...]]) -> RowState:
    if all(done) or (record.end is not None and any(done)):
        return RowState.FAILED
    return RowState.PARTIAL if any(done) else RowState.WAITING


def _reason(
    record: RunRecord,
    pair: tuple[Target, Target],
    metric: Metric,
    done: list[tuple[CellFinished, ...]],
    state: RowState,
) -> str:
    """Why a row has no ratio: skipped, all requests failed, too few requests, not measured, or not yet."""
    if state is RowState.MEASURING:
        return "measuring"
    lacking = [
        f"{target.name} {_lack(cells)}"
        for target, cells in zip(pair, done, strict=True)
        if cells and not values_by_round(cells, metric)
    ]
    if lacking:
        return "; ".join(lacking)
    return "not reached" if record.end is not None else ""


def _lack(cells: tuple[CellFinished, ...]) -> str:
    """Why none of ``cells`` has a value."""
    if skipped := next((cell.skipped for cell in cells if cell.skipped), ""):
        return f"skipped: {skipped}"
    if all("OVER-LIMIT" in cell.flags for cell in cells):
        return "is above the limit at any load"
    if all(cell.steps for cell in cells):
        return "held at no load that could be judged"
    if not any(cell.requests for cell in cells):
        failure = next((failure.kind for cell in cells for failure in cell.failures), "no answer")
        return f"failed: {failure}"
    few = all(cell.request.p50_ms is None for cell in cells)
    return "answered too few requests" if few else "not measured"


def flags_of(cell: CellFinished) -> tuple[str, ...]:
    """The cell's flags, and ERRORS when requests failed: a time without them looks better than it was."""
    return (*cell.flags, "ERRORS") if cell.failures else cell.flags


def _value(value: float | None, cells: tuple[CellFinished, ...]) -> str:
    """One server's number; a dash when its finished ``cells`` gave none, a dot before the first of them."""
    return formatting.significant(value) if value is not None or cells else PENDING


def _direction(record: RunRecord, metric: Metric, comparisons: Iterable[Comparison | None]) -> str:
    first, second, *more = record.targets
    divisor = "the server at its left" if more else second.label
    better = "above 1" if metric.higher_is_better else "below 1"
    measured = {comparison.rounds for comparison in comparisons if comparison}
    rounds = measured if record.end is not None and measured else {record.started.rounds}
    least = f"{formatting.count(min(rounds))} to " if len(rounds) > 1 else ""
    return (
        f"rate = {first.label} / {divisor}; {better} {first.name} is {metric.better_word}. "
        f"Intervals are 95 % over {least}{formatting.plural(max(rounds), 'round')}, for each row by itself."
    )


def flag_notes(flags: Iterable[str]) -> tuple[str, ...]:
    """What each of ``flags`` means, a sentence each."""
    return tuple(f"[{flag}] {FLAG_MEANINGS.get(flag, 'see the recording')}." for flag in sorted(set(flags)))
