"""The distribution of the selected row: both servers' request times as bars over one axis that starts at 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.geometry import Size

from serving_ctl import formatting
from serving_ctl.events import CellFinished, Target
from serving_ctl.results.record import RunRecord
from serving_ctl.results.tables import SIZE_LABELS
from tui.drawing import Line, Span, cut_line, flow, left, line, server_glyph, server_role
from tui.widgets.drawn import Drawn
from tui.widgets.plot import nice_scale, tick_text
from tui.widgets.row_details import Choice

BLOCKS = " ▁▂▃▄▅▆▇█"
LABEL_COLUMNS = 13
EMPTY = "Filled in when a cell of this row has finished."
FINISHED = "This run kept no distribution of the row."
CUT_AT = 0.995
"""Share of the requests that the axis covers; the rest is counted at its end, so that one outlier hides nothing."""

Bins = tuple[tuple[float, int], ...]
"""(ms, requests), ascending."""


def histogram_lines(
    targets: Sequence[Target], bins: Mapping[str, Bins], heading: str, width: int, height: int
) -> list[Line]:
    """Legend, one band of bars a server on one scale of requests, and the axis in ms."""
    room = width - LABEL_COLUMNS
    filled = {server: values for server, values in bins.items() if values}
    title = line(Span(f"{heading}: request time, all rounds", "strong"))
    if not filled or room < 20:
        return [
            cut_line(title, width),
            line(Span(FINISHED if bins else EMPTY, "quiet")),
        ]
    ticks = nice_scale(max(_covered(values) for values in filled.values()), max(2, room // 14))
    columns = {server: _columns(values, ticks[-1], room) for server, values in filled.items()}
    most = max(max(counts) for counts, _ in columns.values())
    legend = flow([title, line(Span(f"highest bar {formatting.count(most)} requests", "quiet"))], width)
    rows = max(1, (height - len(legend) - 2) // max(1, len(targets)))
    lines = list(legend)
    for target in targets:
        counts, beyond = columns.get(target.server, ([0] * room, 0))
        lines += _band(target, counts, beyond, most, rows)
    return [cut_line(spans, width) for spans in (*lines, *_axis(ticks, room))]


def merged_bins(cells: Sequence[CellFinished]) -> Bins:
    """The request times of several rounds together, exactly (R14)."""
    counts: dict[int, int] = {}
    for cell in cells:
        for bucket, count in cell.histogram:
            counts[bucket] = counts.get(bucket, 0) + count
    if not counts:
        return ()
    from serving_ctl.engine import bucket_ms

    buckets = sorted(counts)
    return tuple(zip(bucket_ms(buckets), (counts[bucket] for bucket in buckets), strict=True))


def _covered(values: Bins) -> float:
    """The time below which ``CUT_AT`` of the requests lie, ms."""
    total, seen = sum(count for _, count in values), 0
    for ms, count in values:
        seen += count
        if seen >= CUT_AT * total:
            return ms
    return values[-1][0]


def _columns(values: Bins, top: float, room: int) -> tuple[list[int], int]:
    """Requests a column of the axis, and how many lie beyond its end."""
    counts, beyond = [0] * room, 0
    for ms, count in values:
        if ms <= top:
            counts[min(room - 1, int(ms / top * room))] += count
        else:
            beyond += count
    return counts, beyond


def _band(target: Target, counts: Sequence[int], beyond: int, most: int, rows: int) -> list[Line]:
    """One server's bars, ``rows`` high, its name at the left of the lowest row."""
    lines = []
    for row in range(rows):
        below = (rows - 1 - row) * 8
        text = "".join(BLOCKS[max(0, min(8, _eighths(count, most, rows) - below))] for count in counts)
        label = f"{server_glyph(target.server)} {target.name}" if row == rows - 1 else ""
        if row == 0 and beyond:
            note = f"{formatting.count(beyond)} ▸"
            text = text[: -len(note)] + note
        role = server_role(target.server)
        lines.append(line(Span(left(label, LABEL_COLUMNS - 1) + " ", f"strong {role}"), Span(text, role)))
    return lines


def _eighths(count: int, most: int, rows: int) -> int:
    """Height of a bar in eighths of a row; what is there is seen."""
    return max(1, round(count / most * rows * 8)) if count else 0


def _axis(ticks: Sequence[float], room: int) -> list[Line]:
    rule, texts = list("─" * room), list(" " * (room + LABEL_COLUMNS))
    for value in ticks:
        column = min(room - 1, round(value / ticks[-1] * room))
        rule[column] = "┴"
        text = tick_text(value) + (" ms" if value == ticks[-1] else "")
        begin = min(LABEL_COLUMNS + column - len(text) // 2, len(texts) - len(text))
        texts[begin : begin + len(text)] = text
    return [
        line(Span(" " * LABEL_COLUMNS + "".join(rule), "faint")),
        line(Span("".join(texts), "quiet")),
    ]


class HistogramChart(Drawn):
    """The distribution of one row."""

    DEFAULT_CSS = """
    HistogramChart { height: 1fr; width: 1fr; background: $surface; padding: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__(id="histogram")
        self._heading = ""
        self._targets: tuple[Target, ...] = ()
        self._cells: dict[str, tuple[CellFinished, ...]] = {}
        self._bins: dict[str, Bins] = {}

    def show_choice(self, choice: Choice) -> None:
        """Show another row, or the same one with more finished cells."""
        if choice.ladder is None:
            return
        cells = _cells_of(choice.record, choice.ladder.name, choice.size)
        heading = f"{SIZE_LABELS[choice.ladder.kind]} {formatting.count(choice.size)}"
        if (cells, heading) == (self._cells, self._heading):
            return
        self._cells, self._heading, self._targets = cells, heading, choice.record.targets
        self._bins = {}
        self.redraw()

    def draw(self, size: Size) -> Sequence[Line]:
        """The bands at this size; histograms are merged when they are first seen."""
        if not self._bins:
            self._bins = {server: merged_bins(cells) for server, cells in self._cells.items() if cells}
        return histogram_lines(self._targets, self._bins, self._heading, size.width, size.height)


def _cells_of(record: RunRecord, ladder: str, size: int) -> dict[str, tuple[CellFinished, ...]]:
    return {target.server: record.finished(ladder, size, target.server) for target in record.targets}
