"""Two kept runs side by side: what differs between them first, then how each cell changed (R24)."""

from __future__ import annotations

import msgspec

from serving_ctl import formatting
from serving_ctl.errors import ConfigError
from serving_ctl.events import Ladder
from serving_ctl.results.metrics import LADDER_METRICS, Metric
from serving_ctl.results.rates import values_by_round
from serving_ctl.results.record import RunRecord
from serving_ctl.results.tables import SIZE_LABELS, Column, Row, RowState, Table, flag_notes, flags_of
from serving_ctl.stats.rounds import Verdict
from serving_ctl.stats.welch import Change, change_between

NOT_COMPARED = {"service", "infer"}
"""Parts of the request time: they explain a change and do not judge it."""


class CellChange(msgspec.Struct, frozen=True, kw_only=True):
    """How one server at one size changed in one metric; ``change`` is None where a run has no value."""

    ladder: str
    kind: str
    size: int
    server: str
    name: str
    """What results call the server: ``tf-serving``, ``embedded``, ``flask``."""
    metric: str
    change: Change | None
    reason: str = ""
    flags: tuple[str, ...] = ()
    """Of the cells in both runs: what says that a number is to be trusted less."""


class RunComparison(msgspec.Struct, frozen=True, kw_only=True):
    """All that differs between run A and run B."""

    a: str
    b: str
    differences: tuple[tuple[str, str, str], ...]
    """(what, in A, in B)."""
    changes: tuple[CellChange, ...]

    def regressions(self, limit: float) -> tuple[CellChange, ...]:
        """Cells whose whole interval lies above ``limit``: surely that many times worse in B."""
        return tuple(c for c in self.changes if c.change and c.change.low is not None and c.change.low > limit)

    @property
    def unjudged(self) -> int:
        """Cells without an interval, which therefore cannot be called a regression."""
        return sum(cell.change is None or cell.change.low is None for cell in self.changes)


def compare_records(a: RunRecord, b: RunRecord) -> RunComparison:
    """Run B against run A. Raises ConfigError when they share no cell."""
    shared = [(ladder, _twin(ladder, b)) for ladder in a.started.ladders]
    changes = tuple(
        _cell_change(a, b, ladder, size, server, metric)
        for ladder, twin in shared
        if twin is not None
        for metric in LADDER_METRICS[ladder.kind]
        if metric.key not in NOT_COMPARED
        for size in ladder.sizes
        if size in twin.sizes
        for server in _shared_servers(a, b)
    )
    if not any(cell.change for cell in changes):
        raise ConfigError(
            f"runs {a.started.run_id} ({a.started.preset}) and {b.started.run_id} ({b.started.preset}) have no "
            "measured cell in common; compare two runs of the same preset."
        )
    return RunComparison(a=a.started.run_id, b=b.started.run_id, differences=differences(a, b), changes=changes)


def differences(a: RunRecord, b: RunRecord) -> tuple[tuple[str, str, str], ...]:
    """(what, in A, in B) for everything of the fingerprints that is not the same (R24)."""
    old, new = described(a), described(b)
    keys = dict.fromkeys((*old, *new))
    found = ((key, old.get(key, "not recorded"), new.get(key, "not recorded")) for key in keys)
    return tuple(line for line in found if line[1] != line[2])


def described(record: RunRecord) -> dict[str, str]:
    """The fingerprint of a run with what every recording says of it."""
    run = record.started
    servers = {f"{target.server} server": f"{target.label}, {target.version}" for target in run.targets}
    forms = {f"{ladder.name} requests": _requests(ladder) for ladder in run.ladders}
    return {
        "preset": run.preset,
        "profile": run.profile,
        "rounds": formatting.count(run.rounds),
        "model": run.model,
        "signature": run.signature,
        "seed": str(run.seed),
        "tfserve-tui": run.tool_version,
        **servers,
        **forms,
        **run.fingerprint,
    }


def comparison_tables(comparison: RunComparison) -> tuple[Table, ...]:
    """What differs, then one table a ladder and metric, in the order of the runs' own tables."""
    groups: dict[tuple[str, str, str], list[CellChange]] = {}
    for cell in comparison.changes:
        groups.setdefault((cell.ladder, cell.kind, cell.metric), []).append(cell)
    metrics = {(kind, metric.key): metric for kind, found in LADDER_METRICS.items() for metric in found}
    return (
        _difference_table(comparison),
        *(_change_table(ladder, kind, metrics[kind, key], cells) for (ladder, kind, key), cells in groups.items()),
    )


def _difference_table(comparison: RunComparison) -> Table:
    rows = tuple(Row(cells=line) for line in comparison.differences)
    return Table(
        title=f"What differs: A {comparison.a}, B {comparison.b}",
        columns=tuple(Column(label=label, numeric=False) for label in ("what", "A", "B")),
        rows=rows,
        notes=() if rows else ("Nothing that is recorded differs.",),
    )


def _change_table(ladder: str, kind: str, metric: Metric, cells: list[CellChange]) -> Table:
    formula = "A / B" if metric.higher_is_better else "B / A"
    return Table(
        title=f"{ladder}: {metric.label}, A against B",
        columns=(
            Column(label=SIZE_LABELS[kind]),
            Column(label="server", numeric=False),
            Column(label="A", unit=metric.unit),
            Column(label="B", unit=metric.unit),
            Column(label=formula),
            Column(label="95 % CI"),
            Column(label="verdict", numeric=False),
        ),
        rows=tuple(_change_row(cell, metric) for cell in cells),
        notes=(
            f"Above 1 B is worse. Welch's interval over the rounds of each run, for each row by itself ({formula}).",
            *flag_notes({flag for cell in cells for flag in cell.flags}),
        ),
    )


def _change_row(cell: CellChange, metric: Metric) -> Row:
    head = (formatting.count(cell.size), cell.name)
    change = cell.change
    if change is None:
        blanks = (formatting.MISSING,) * 4
        return Row(cells=(*head, *blanks, cell.reason), state=RowState.FAILED)
    better = {Verdict.FIRST: "A", Verdict.SECOND: "B"}.get(change.verdict)
    verdict = f"{better} {metric.better_word}" if better else str(change.verdict)
    if change.low is None:
        verdict = "one round only: no interval"
    verdict = " ".join([verdict, *(f"[{flag}]" for flag in cell.flags)])
    return Row(
        cells=(
            *head,
            formatting.significant(change.before),
            formatting.significant(change.after),
            formatting.ratio(change.ratio),
            formatting.interval(change.low, change.high),
            verdict,
        ),
        state={"A": RowState.WORSE, "B": RowState.BETTER}.get(better or "", RowState.EVEN),
        ratio=change.ratio,
    )


def _cell_change(a: RunRecord, b: RunRecord, ladder: Ladder, size: int, server: str, metric: Metric) -> CellChange:
    cells = [run.finished(ladder.name, size, server) for run in (a, b)]
    sides = [list(values_by_round(found, metric).values()) for found in cells]
    lacking = " and ".join(name for name, values in zip("AB", sides, strict=True) if not values)
    return CellChange(
        ladder=ladder.name,
        kind=ladder.kind,
        size=size,
        server=server,
        name=next(target.name for target in b.targets if target.server == server),
        metric=metric.key,
        change=None if lacking else change_between(*sides, higher_is_better=metric.higher_is_better),
        reason=f"not measured in {lacking}" if lacking else "",
        flags=tuple(sorted({flag for found in cells for cell in found for flag in flags_of(cell)})),
    )


def _twin(ladder: Ladder, other: RunRecord) -> Ladder | None:
    """The ladder of ``other`` that measured the same: name, kind, clients and instances a request."""
    same = (ladder.name, ladder.kind, ladder.clients, ladder.batch)
    return next((one for one in other.started.ladders if (one.name, one.kind, one.clients, one.batch) == same), None)


def _shared_servers(a: RunRecord, b: RunRecord) -> tuple[str, ...]:
    others = {target.server for target in b.targets}
    return tuple(target.server for target in a.targets if target.server in others)


def _requests(ladder: Ladder) -> str:
    return f"{ladder.form} form{', gzip' if ladder.gzip else ''}"
