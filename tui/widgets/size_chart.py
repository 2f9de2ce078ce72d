"""The chart of a table: one point a size and server with its 95 % interval, as pure functions and a widget.

A ladder such as 1 … 10 has plain axes, the upright one from zero; one such as 1 … 10,000 has logarithmic ones and says
so: on plain ones its small sizes would lie flat on the ground. How values become lines of dots is the plot's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from textual.geometry import Size

from serving_ctl import formatting
from serving_ctl.events import Ladder
from serving_ctl.results.metrics import Metric
from serving_ctl.results.record import RunRecord
from serving_ctl.results.series import Curve, curves
from serving_ctl.results.tables import SIZE_LABELS
from tui.drawing import Line, Span, flow, line, server_glyph, server_role
from tui.widgets.drawn import Drawn
from tui.widgets.plot import Canvas, fitted_scale, labelled_rows, margin_of
from tui.widgets.row_details import Choice

LOG_FROM = 20.0
"""The largest through the smallest from which on an axis is logarithmic."""
MEDIANS = {"request", "service"}
"""Metrics that are a median over requests."""
HIGH_MOST = 1.5
"""Intervals reach this many times the largest value; those of two rounds go much further and are cut at the edge."""
LEAST_COLUMNS, ROOMY = 24, 9
ASIDE = 2
"""Columns between the points of one size, so that the intervals of two servers stand beside each other."""
CROWDED = 4
"""Servers from which on they stand one column apart."""
EMPTY = "No cell of this test has finished."


def size_chart_lines(
    found: Sequence[Curve], ladder: Ladder, metric: Metric, width: int, height: int, *, size: int | None = None
) -> list[Line]:
    """Legend, plot and sizes in ``height`` lines; the legend tells the values at ``size``, the selected one."""
    is_log = bool(ladder.sizes) and ladder.sizes[-1] / max(1, ladder.sizes[0]) >= LOG_FROM
    values = [value for curve in found for value in curve.values if math.isfinite(value)]
    is_high = is_log and bool(values) and max(values) / min(values) >= LOG_FROM
    brief = height < ROOMY
    heading = _heading(ladder, metric, is_log, is_high, brief=brief)
    legend = flow([heading, *(_legend(curve, size, brief=brief) for curve in found)], width, gap=2 if brief else 3)
    rows = height - len(legend) - 2
    if not values:
        return [*legend, line(Span(EMPTY, "quiet"))]
    if rows < 2 or width < LEAST_COLUMNS:
        return legend
    highest = min(HIGH_MOST * max(values), max(high for curve in found for high in curve.high))
    scale = log_scale(min(values), highest) if is_high else fitted_scale(highest, rows)
    canvas = Canvas(width - margin_of(scale), rows, scale, is_log=is_high)
    columns = columns_of(ladder.sizes, canvas.width, is_log=is_log)
    for place, curve in enumerate(found):
        apart = ASIDE if len(found) < CROWDED else 1
        aside = place * apart - (len(found) - 1) * apart // 2
        _put(canvas, curve, [columns[one] + aside for one in curve.sizes])
    return [*legend, *labelled_rows(canvas, scale), *_size_axis(columns, margin_of(scale), width, size)]


def log_scale(lowest: float, highest: float) -> tuple[float, ...]:
    """From 1, 2 or 5 times a power of ten below ``lowest`` to one above ``highest``, and the powers between them."""
    bottom = 10.0 ** math.floor(math.log10(lowest))
    start = max(step * bottom for step in (1, 2, 5) if step * bottom <= lowest)
    top = 10.0 ** math.floor(math.log10(highest))
    end = min(step * top for step in (1, 2, 5, 10) if step * top >= highest)
    powers = (10.0**power for power in range(round(math.log10(bottom)), round(math.log10(top)) + 1))
    return (start, *(power for power in powers if start < power < end), end)


def columns_of(sizes: Sequence[int], room: int, *, is_log: bool) -> dict[int, int]:
    """The column of each size, the first and the last with a margin for their labels."""
    places = [math.log10(max(1, size)) if is_log else float(size) for size in sizes]
    edge = min(room // 8, 5)
    reach = max(1e-9, places[-1] - places[0])
    if len(sizes) == 1:
        return {sizes[0]: room // 2}
    return {
        size: edge + round((place - places[0]) / reach * (room - 1 - 2 * edge))
        for size, place in zip(sizes, places, strict=True)
    }


def _put(canvas: Canvas, curve: Curve, columns: Sequence[int]) -> None:
    """One server's line, with an upright one for each interval and its shape at each value."""
    canvas.put_line(list(zip(columns, curve.values, strict=True)), curve.server)
    for column, value, low, high in zip(columns, curve.values, curve.low, curve.high, strict=True):
        canvas.put_line([(column, low), (column, high)], curve.server)
        canvas.put_mark(column, value, curve.server)


def _heading(ladder: Ladder, metric: Metric, is_log: bool, is_high: bool, *, brief: bool) -> Line:
    median = "p50 " if metric.key in MEDIANS else ""
    name = metric.unit if brief else f"{median}{metric.label}, {metric.unit} "
    by = "" if brief else f"by {SIZE_LABELS[ladder.kind]}"
    axes = "both axes log" if is_high else "sizes log, from 0" if is_log else "from 0"
    return line(Span(name, "strong"), Span(f"{by} · {axes}" if by else f" · {axes}", "quiet"))


def _legend(curve: Curve, size: int | None, *, brief: bool) -> Line:
    """The server's shape and name, and its value at the selected size with the interval, unless ``brief``."""
    name = Span(f"{server_glyph(curve.server)} {curve.name}", f"strong {server_role(curve.server)}")
    if size not in curve.sizes:
        return line(name)
    place = curve.sizes.index(size)
    low, value, high = (formatting.significant(one[place]) for one in (curve.low, curve.values, curve.high))
    interval = Span(f" ({low} – {high})" if low != high and not brief else "", "quiet")
    return line(name, Span(f" at {formatting.count(size)}: ", "quiet"), value, interval)


def _size_axis(columns: dict[int, int], margin: int, width: int, selected: int | None) -> list[Line]:
    """The rule with a tick at each size, and below it those sizes that have room; the selected one always."""
    rule, texts = list("─" * (width - margin)), list(" " * width)
    for column in columns.values():
        rule[column] = "┴"
    order = sorted(columns, key=lambda size: (size != selected, list(columns).index(size)))
    begin = end = 0
    for size in order:
        text = formatting.count(size)
        start = max(0, min(margin + columns[size] - len(text) // 2, width - len(text)))
        if all(one == " " for one in texts[max(0, start - 1) : start + len(text) + 1]):
            texts[start : start + len(text)] = text
            begin, end = (start, start + len(text)) if size == selected else (begin, end)
    row = "".join(texts)
    marked = (Span(row[:begin], "quiet"), Span(row[begin:end], "strong"), Span(row[end:], "quiet"))
    return [(Span(" " * (margin - 1) + "└" + "".join(rule), "faint"),), marked]


class SizeChart(Drawn):
    """The chart of the table in sight."""

    DEFAULT_CSS = """
    SizeChart { height: 1fr; width: 1fr; background: $surface; }
    """

    def __init__(self) -> None:
        super().__init__(id="size-chart")
        self._shown: tuple[RunRecord, Ladder, Metric, int] | None = None
        self._curves: tuple[Curve, ...] = ()

    def show_curves(self, choice: Choice, metric: Metric | None) -> None:
        """Show the curves of another table, the same with more finished cells, or another size selected."""
        if choice.ladder is None or metric is None:
            return
        shown = (choice.record, choice.ladder, metric, choice.size)
        if shown == self._shown:
            return
        if self._shown is None or self._shown[:3] != shown[:3]:
            self._curves = curves(choice.record, choice.ladder, metric)
        self._shown = shown
        self.redraw()

    def draw(self, size: Size) -> Sequence[Line]:
        """The chart at this size."""
        if self._shown is None:
            return []
        _, ladder, metric, chosen = self._shown
        return size_chart_lines(self._curves, ladder, metric, size.width, size.height, size=chosen)
