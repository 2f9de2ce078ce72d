"""What is known about the selected row: all its metrics, where the time went, the tail, failures and flags."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import msgspec
from textual.geometry import Size

from serving_ctl import formatting
from serving_ctl.events import CellFinished, Ladder, Part, Target
from serving_ctl.results.metrics import LADDER_METRICS
from serving_ctl.results.record import RunRecord
from serving_ctl.results.tables import SIZE_LABELS, Column, Row, Table, ratio_table
from tui.drawing import Line, Span, cut_line, flow, left, line, right, server_glyph, server_role, wrap
from tui.widgets.drawn import Drawn
from tui.widgets.sheet import INTERVAL, RATIO, VERDICT, sheet_lines

PART_FILLS = {"connect": "░", "network": "▒", "json": "▓", "queue": "▚", "graph": "█"}
NAME_COLUMNS, SUM_COLUMNS, BAR_MOST = 13, 8, 60


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The selected row: the size of a ladder, or the full text of a failure."""

    record: RunRecord
    ladder: Ladder | None = None
    size: int = 0
    text: str = ""


def detail_lines(choice: Choice, width: int) -> list[Line]:
    """All about the choice."""
    if choice.ladder is None:
        return [line(part) for part in wrap(choice.text, width)]
    done = {
        target.server: choice.record.finished(choice.ladder.name, choice.size, target.server)
        for target in choice.record.targets
    }
    sides = tuple(target.server for target in choice.record.targets)
    noun = SIZE_LABELS[choice.ladder.kind]
    title = f"{noun} {formatting.count(choice.size)}"
    if not any(done.values()):
        waits = " is not measured yet; its details appear here as its cells finish."
        if choice.record.end is not None:
            waits = " was not measured."
        return [line(Span(title, "strong"), Span(waits, "quiet"))]
    lines = [
        *sheet_lines(metrics_table(choice.record, choice.ladder, choice.size, title), width, sides=sides, mixed=True),
        *waterfall_lines(choice.record.targets, done, width),
        *(spans for target in choice.record.targets for spans in _tail(target, done[target.server], width)),
    ]
    return [cut_line(spans, width) for spans in lines]


def metrics_table(record: RunRecord, ladder: Ladder, size: int, title: str) -> Table:
    """The row of ``size`` from every table of its ladder: one line a metric."""
    place = ladder.sizes.index(size)
    metrics = LADDER_METRICS[ladder.kind]
    tables = [ratio_table(record, ladder, metric) for metric in metrics]
    rows = tuple(
        Row(cells=(f"{metric.label}, {metric.unit}", *table.rows[place].cells[2:]), state=table.rows[place].state)
        for metric, table in zip(metrics, tables, strict=True)
    )
    names = (Column(label=target.name) for target in record.targets)
    columns = (
        column if column.label in {RATIO, INTERVAL, VERDICT} else next(names) for column in tables[0].columns[2:]
    )
    return Table(title="", columns=(Column(label=title, numeric=False), *columns), rows=rows)


def waterfall_lines(targets: Sequence[Target], done: dict[str, tuple[CellFinished, ...]], width: int) -> list[Line]:
    """Both servers' parts of the mean request as bars on one scale, each with its legend; none without parts."""
    means = {target.server: mean_parts(done[target.server]) for target in targets}
    longest = max((sum(part.ms for part in parts) for parts in means.values()), default=0.0)
    if longest <= 0:
        return []
    names = [name for name in PART_FILLS if any(part.name == name for parts in means.values() for part in parts)]
    return [
        _waterfall_heading(names, width),
        *(_waterfall(target, means[target.server], names, longest, width) for target in targets),
    ]


def mean_parts(cells: Sequence[CellFinished]) -> tuple[Part, ...]:
    """Each part's mean over the rounds that have it, in the order of the first."""
    found: dict[str, list[Part]] = {}
    for cell in cells:
        for part in cell.parts:
            found.setdefault(part.name, []).append(part)
    return tuple(
        Part(
            name=name,
            ms=sum(part.ms for part in parts) / len(parts),
            plus_minus_ms=max(part.plus_minus_ms for part in parts),
        )
        for name, parts in found.items()
    )


def _waterfall_heading(names: Sequence[str], width: int) -> Line:
    columns = [right(f"{PART_FILLS[name]} {name}", _part_columns(name)) for name in names]
    title = left("mean request, ms", _bar_room(names, width) + NAME_COLUMNS)
    return line(Span(title, "quiet"), Span("".join([*columns, right("sum", SUM_COLUMNS)]), "quiet"))


def _waterfall(target: Target, parts: Sequence[Part], names: Sequence[str], longest: float, width: int) -> Line:
    """One server's bar and the numbers of its parts; a dash for a part it does not have."""
    room = _bar_room(names, width)
    found = {part.name: part for part in parts}
    ends = [round(end / longest * room) for end in accumulate(found[name].ms for name in names if name in found)]
    fills = [PART_FILLS[name] for name in names if name in found]
    bar = "".join(fill * (end - begin) for fill, begin, end in zip(fills, [0, *ends], ends, strict=False))
    numbers = [right(_part_text(found.get(name)), _part_columns(name)) for name in names]
    total = formatting.significant(sum(part.ms for part in parts) if parts else None)
    return line(
        Span(left(f"{server_glyph(target.server)} {target.name}", NAME_COLUMNS), server_role(target.server)),
        Span(left(bar, room), server_role(target.server)),
        "".join([*numbers, right(total, SUM_COLUMNS)]),
    )


def _bar_room(names: Sequence[str], width: int) -> int:
    return max(4, min(BAR_MOST, width - NAME_COLUMNS - SUM_COLUMNS - sum(_part_columns(name) for name in names)))


def _part_columns(name: str) -> int:
    return len(name) + 4


def _part_text(part: Part | None) -> str:
    """A part, or a dash where there is none or it is smaller than the resolution of its source (R20)."""
    is_there = part is not None and part.ms > 0 and part.ms >= part.plus_minus_ms
    return formatting.significant(part.ms if part and is_there else None)


def _tail(target: Target, cells: Sequence[CellFinished], width: int) -> list[Line]:
    """Quantiles of the newest round, the connect, the rate; then failures and flags of all rounds."""
    if not cells:
        return []
    newest = cells[-1]
    numbers = [
        ("p90", newest.request.p90_ms),
        ("p99", newest.request.p99_ms),
        ("max", newest.request.max_ms),
    ]
    if not newest.parts:
        numbers.append(("connect p50", newest.connect.p50_ms))
    if newest.client_floor_ms is not None:
        numbers.append(("client's own floor", newest.client_floor_ms))
    pieces = [line(Span(f"{server_glyph(target.server)} {target.name}", server_role(target.server)))]
    pieces += [line(Span(f"{name} ", "quiet"), formatting.significant(value)) for name, value in numbers]
    rate = formatting.significant(newest.throughput_rps or None)
    where = f"(round {newest.cell.round}, n = {formatting.count(newest.request.n)})"
    pieces += [line(rate, Span(" req/s", "quiet")), line(Span(where, "quiet"))]
    return [*flow(pieces, width, gap=2), *_remarks(cells, width)]


def _remarks(cells: Sequence[CellFinished], width: int) -> list[Line]:
    lines: list[Line] = []
    for cell in cells:
        for failure in cell.failures:
            text = f"✗ round {cell.cell.round}: {formatting.count(failure.count)} × {failure.kind}: {failure.example}"
            lines += [(Span(part, "worse"),) for part in wrap(text, width)[:2]]
        if cell.skipped:
            lines.append(cut_line((Span(f"✗ round {cell.cell.round}: skipped, {cell.skipped}", "warn"),), width))
    flags = sorted({flag for cell in cells for flag in cell.flags})
    return [*lines, *flow([line(Span(f"! {flag}", "warn")) for flag in flags], width)]


class RowDetails(Drawn):
    """The details of one row."""

    DEFAULT_CSS = """
    RowDetails { height: auto; max-height: 12; background: $surface; }
    """

    def __init__(self) -> None:
        super().__init__(id="row-details")
        self._choice: Choice | None = None

    def show_choice(self, choice: Choice | None) -> None:
        """Show another row, or the same one with more finished cells."""
        if choice != self._choice:
            self._choice = choice
            self.redraw()

    def draw(self, size: Size) -> Sequence[Line]:
        """The details."""
        return detail_lines(self._choice, size.width) if self._choice else []
