"""The drawing of the live chart, as pure functions: slots of ticks → lines of spans, all servers on one scale from 0.

A slot is one size in one round: the place where all servers were asked the same. A line joins its ticks; the server's
own shape stands at the slot's median, so that they can be told apart without colour. Other charts use the canvas too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import msgspec

from serving_ctl import formatting
from serving_ctl.events import CellTick
from tui.drawing import Line, Span, server_glyph, server_role

SLOT_LEAST, SLOT_MOST = 7, 24
"""Columns of a slot: a size of 10,000 fits below it, and few slots fill the plot."""
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Braille: bits of the left and the right column, from the top down."""
BRAILLE = 0x2800
SUBROWS = 4
MIDDLE = 1.5
"""Dots below the middle of a row: a tick's value lies beside its label, a mark in the row of the nearest label."""
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """The ticks of one size in one round: for each server its medians in ms, oldest first."""

    ladder: str
    size: int
    round: int
    values: Mapping[str, tuple[float, ...]]


def slots_of(ticks: Sequence[CellTick]) -> list[Slot]:
    """The slots of a run's measured ticks, in the order they were begun; warm-ups are left out."""
    found: dict[tuple[str, int, int], dict[str, list[float]]] = {}
    for tick in ticks:
        if tick.phase == "warmup" or tick.p50_ms is None or not math.isfinite(tick.p50_ms):
            continue
        key = (tick.cell.ladder, tick.cell.size, tick.cell.round)
        found.setdefault(key, {}).setdefault(tick.cell.server, []).append(tick.p50_ms)
    return [
        Slot(ladder=ladder, size=size, round=number, values={name: tuple(ms) for name, ms in values.items()})
        for (ladder, size, number), values in found.items()
    ]


def nice_scale(highest: float, most: int) -> tuple[float, ...]:
    """Round ticks from 0 to just above ``highest``, at most ``most`` steps: (0, 2, 4, 6)."""
    if not highest > 0:
        return (0.0, 1.0)
    raw = highest / max(1, most)
    unit = 10.0 ** math.floor(math.log10(raw))
    step = unit * next(step for step in STEPS if step * unit >= raw * (1 - 1e-9))
    return tuple(round(number * step, 12) for number in range(math.ceil(highest / step - 1e-9) + 1))


def fitted_scale(highest: float, rows: int) -> tuple[float, ...]:
    """Of the scales with at most five steps the one on whose evenly spaced labels ``highest`` stands highest.

    One or two steps say less than three, and are taken only where that gains much height.
    """
    scales = [nice_scale(highest, most) for most in range(5, 0, -1)]
    fitting = [scale for scale in scales if len(scale) <= max(2, rows)] or scales[-1:]

    def merit(scale: tuple[float, ...]) -> float:
        return highest / scale[-1] * _labelled_rows(scale, rows) * math.sqrt(min(3, len(scale) - 1))

    return max(fitting, key=merit)


def _labelled_rows(scale: Sequence[float], rows: int) -> int:
    """Rows from the lowest label to the highest, as many between any two."""
    steps = len(scale) - 1
    return (rows - 1) // steps * steps


def tick_text(value: float) -> str:
    """A round number on the axis, as short as it can be: 0, 2.5, 1,000."""
    whole = value == int(value)
    return formatting.count(int(value)) if whole else f"{value:.10g}"


def plot_lines(slots: Sequence[Slot], width: int, height: int, *, planned: int = 0) -> list[Line]:
    """The chart in ``height`` lines: the plot, its axis, and the sizes below it.

    ``planned`` slots share the width where there are few; of many the newest are in sight.
    """
    rows = height - 2
    if rows < 2 or width < 20:
        return []
    margin = margin_of(fitted_scale(_highest(slots), rows))
    across = max(SLOT_LEAST, min(SLOT_MOST, (width - margin) // max(planned, len(slots), 1)))
    shown = slots[-((width - margin) // across) :]
    scale = fitted_scale(_highest(shown), rows)  # of the slots in sight alone
    margin = margin_of(scale)
    canvas = Canvas(width - margin, rows, scale)
    for number, slot in enumerate(shown):
        canvas.put_slot(slot, number * across, across - 1, is_growing=number == len(shown) - 1)
    return [*labelled_rows(canvas, scale), *_axis(shown, margin, width, across)]


def labelled_rows(canvas: Canvas, scale: Sequence[float]) -> list[Line]:
    """The canvas with its axis at the left: a label at each tick of ``scale``."""
    inner = sorted(scale[1:-1], key=canvas.off_centre, reverse=True)
    order = (*inner, scale[0], scale[-1])  # of several in one row the scale's end is named, else the nearest
    labels = {canvas.row_of(value): tick_text(value) for value in order}
    room = margin_of(scale) - 2
    return [
        (Span(labels.get(row, "").rjust(room), "quiet"), Span(" ┤" if row in labels else " │", "faint"), *spans)
        for row, spans in enumerate(canvas.lines())
    ]


def _highest(slots: Sequence[Slot]) -> float:
    return max((ms for slot in slots for values in slot.values.values() for ms in values), default=0.0)


def margin_of(scale: Sequence[float]) -> int:
    """Columns of the axis and its labels."""
    return max(len(tick_text(value)) for value in scale) + 2


class Canvas:
    """Dots and marks on a grid of ``width`` × ``height`` cells; the ticks of ``scale`` stand evenly spaced.

    ``is_log``: values stand by their logarithm, and the scale's ends take the whole height.
    """

    def __init__(self, width: int, height: int, scale: Sequence[float], *, is_log: bool = False) -> None:
        self.width, self.height = width, height
        self._bottom, self._top, self._is_log = scale[0], scale[-1], is_log
        self._reach = SUBROWS * (height - 1 if is_log else _labelled_rows(scale, height))
        self._bits: dict[tuple[int, int], int] = {}
        self._roles: dict[tuple[int, int], str] = {}
        self._marks: dict[tuple[int, int], str] = {}

    def row_of(self, value: float) -> int:
        """The row of cells that ``value`` falls into, 0 at the top."""
        return self._subrow(value) // SUBROWS

    def off_centre(self, value: float) -> float:
        """How far ``value`` lies from the middle of its row, in rows."""
        return abs((1 - self._share(value)) * (self.height - 1) - self.row_of(value))

    def put_slot(self, slot: Slot, column: int, inner: int, *, is_growing: bool) -> None:
        """All ticks of ``slot`` on ``inner`` columns from ``column`` on, and each server's mark at its median.

        Ticks are spread over the slot's columns; those of a slot that ``is_growing`` fill it from the left.
        """
        for server, values in slot.values.items():
            spread = max(len(values), 2 * inner) if is_growing else len(values)
            points = [
                (2 * column + number * 2 * inner // spread, self._subrow(value)) for number, value in enumerate(values)
            ]
            for point, following in zip(points, points[1:] or points, strict=False):
                self._stroke(point, following, server_role(server))
        for place, (server, values) in enumerate(slot.values.items()):
            median = sorted(values)[(len(values) - 1) // 2]
            self.put_mark(column + inner // 2 - 1 + 2 * place, median, server)

    def put_line(self, points: Sequence[tuple[int, float]], server: str) -> None:
        """A line of dots through (column, value) points, from the middle of each column."""
        places = [(2 * column, self._subrow(value)) for column, value in points]
        for start, end in pairwise(places):
            self._stroke(start, end, server_role(server))

    def put_mark(self, column: int, value: float, server: str) -> None:
        """The server's own shape; the one put last is seen."""
        cell = (column, self.row_of(value))
        self._marks[cell], self._roles[cell] = server_glyph(server), server_role(server)

    def lines(self) -> list[Line]:
        """The grid as lines of spans, runs of one role together."""
        return [self._line(row) for row in range(self.height)]

    def _subrow(self, value: float) -> int:
        last = self.height * SUBROWS - 1
        return last - round(min(1.0, max(0.0, self._share(value))) * self._reach + MIDDLE)

    def _share(self, value: float) -> float:
        """Where ``value`` stands between the scale's ends, 0 … 1."""
        if not self._is_log:
            return (value - self._bottom) / (self._top - self._bottom)
        if value <= 0:
            return 0.0
        return math.log(value / self._bottom) / math.log(self._top / self._bottom)

    def _stroke(self, start: tuple[int, int], end: tuple[int, int], role: str) -> None:
        """Dots from one tick to the next: a line that can be followed by eye."""
        steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
        for step in range(steps + 1):
            across = start[0] + round((end[0] - start[0]) * step / steps)
            down = start[1] + round((end[1] - start[1]) * step / steps)
            self._dot(across, down, role)

    def _dot(self, subcolumn: int, subrow: int, role: str) -> None:
        cell = (subcolumn // 2, subrow // SUBROWS)
        self._bits[cell] = self._bits.get(cell, 0) | DOTS[subcolumn % 2][subrow % SUBROWS]
        if cell not in self._marks:
            self._roles[cell] = role

    def _line(self, row: int) -> Line:
        spans: list[Span] = []
        for column in range(self.width):
            cell = (column, row)
            bits = self._bits.get(cell, 0)
            text = self._marks.get(cell) or (chr(BRAILLE + bits) if bits else " ")
            role = self._roles.get(cell, "")
            if spans and spans[-1].role == role:
                spans[-1] = Span(spans[-1].text + text, role)
            else:
                spans.append(Span(text, role))
        return tuple(spans)


def _axis(shown: Sequence[Slot], margin: int, width: int, across: int) -> list[Line]:
    room = width - margin
    rule = list("".join("┴" if column % across == across - 1 else "─" for column in range(room)))
    for number, text in _rounds(shown, across):
        rule[number * across : number * across + len(text)] = text
    sizes = "".join(formatting.count(slot.size).center(across - 1) + " " for slot in shown)
    return [
        (Span(" " * (margin - 1) + "└", "faint"), *_written("".join(rule[:room]))),
        (Span(" " * margin + sizes[:room], "quiet"),),
    ]


def _rounds(shown: Sequence[Slot], across: int) -> list[tuple[int, str]]:
    """(slot, text) where a round begins: its name as long as its slots are wide."""
    begins = [number for number, slot in enumerate(shown) if not number or shown[number - 1].round != slot.round]
    found = []
    for begin, end in pairwise([*begins, len(shown)]):
        names = (f"round {shown[begin].round}", f"r{shown[begin].round}")
        found.append((begin, next((name for name in names if len(name) < (end - begin) * across), "")))
    return found


def _written(rule: str) -> Line:
    """A rule with words in it: they are read, it is not."""
    return tuple(Span(text, "faint" if text[0] in "─┴" else "quiet") for text in re.findall(r"[─┴]+|[^─┴]+", rule))
