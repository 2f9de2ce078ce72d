"""The growing result table of the Bench pane, with a cursor; rows are painted one by one as cells finish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.geometry import Size
from textual.message import Message

from serving_ctl import formatting
from serving_ctl.results.record import RunRecord
from serving_ctl.results.tables import RowState, Table
from tui import keys
from tui.drawing import Line, Span, apart, line
from tui.steps import Step
from tui.widgets.drawn import Drawn
from tui.widgets.sheet import MORE, heading_depth, sheet_lines

TITLE_LINES = 1
BEHIND = f"  {MORE} more servers in the export"


def _which(number: int, total: int) -> Line:
    """Which table this is, between the keys that show the one before and the one behind it."""
    back, on = keys.say("{step_table_minus_1}"), keys.say("{step_table_1}")
    return line(Span(back, "key"), Span(f" table {number + 1} of {total} ", "quiet"), Span(on, "key"))


class RatioTable(Drawn, can_focus=True):
    """One table of the run. Up and down move the cursor; the row's details are somebody else's."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("table")]
    DEFAULT_CSS = """
    RatioTable { height: auto; }
    """

    class RowSelected(Message):
        """The cursor stands on another row, or another table is shown."""

        def __init__(self, row: int) -> None:
            super().__init__()
            self.row = row

    class DetailsToggled(Message):
        """The details of the row were asked for, or are no longer wanted."""

    def __init__(self) -> None:
        super().__init__(id="ratio-table")
        self.cursor = 0
        self.follows = True
        """The cursor goes with the row that is being measured, until a key or the mouse moves it."""
        self._table: Table | None = None
        self._shown: tuple[RunRecord, Step, int] | None = None
        self._which: Line = ()
        self._sides: tuple[str, ...] = ()
        self._above = TITLE_LINES

    def show_table(self, record: RunRecord, step: Step, number: int, total: int) -> None:
        """Show the table ``number`` (from 0) of ``total``."""
        if self._shown == (record, step, total) and self._table is not None:
            return
        self._shown = (record, step, total)
        self._table, self._sides = step.table(record), tuple(target.server for target in record.targets)
        self._which = _which(number, total) if total > 1 else ()
        measured = [n for n, row in enumerate(self._table.rows) if row.state is RowState.MEASURING]
        if self.follows and (measured or record.end is not None):
            self.cursor = measured[0] if measured else 0
        self.cursor = max(0, min(self.cursor, len(self._table.rows) - 1))
        self.redraw()

    def draw(self, size: Size) -> Sequence[Line]:
        """Title, headings and the rows around the cursor."""
        if self._table is None:
            return []
        rows = self._visible_rows(size)
        sheet = sheet_lines(self._table, size.width, sides=self._sides, cursor=self.cursor, rows=rows)
        hidden = len(self._table.rows) - len(rows)
        more = f"  ↕ {formatting.plural(hidden, 'more row')}" if hidden else ""
        headings = sheet[: len(sheet) - len(rows)]
        more += BEHIND if any(MORE in span.text for spans in headings for span in spans) else ""
        name = line(Span(self._table.title, "strong"), Span(more, "warn"))
        lines = [apart(name, self._which, size.width), *sheet]
        self._above = len(lines) - len(rows)
        if size.height and len(lines) > size.height:  # the selected row outlasts title and headings
            cut = len(lines) - size.height
            self._above -= cut
            return lines[cut:]
        return lines

    def action_move(self, rows: int) -> None:
        """Move the cursor."""
        if self._table is None or not self._table.rows:
            return
        self._select(max(0, min(len(self._table.rows) - 1, self.cursor + rows)))

    def action_toggle_details(self) -> None:
        """Ask for the details in place of the chart."""
        self.post_message(self.DetailsToggled())

    def on_click(self, event: events.Click) -> None:
        """Select the row under the mouse."""
        if self._table is None:
            return
        rows = self._visible_rows(self.content_size)
        index = event.y - self._above
        if 0 <= index < len(rows):
            self._select(rows[index])

    def _select(self, row: int) -> None:
        self.cursor, self.follows = row, False
        self.redraw()
        self.post_message(self.RowSelected(row))

    def _visible_rows(self, size: Size) -> range:
        """The rows that fit, with the cursor among them; all while the height is being asked for."""
        count = len(self._table.rows) if self._table else 0
        if self._table is None or not size.height:
            return range(count)
        room = max(1, size.height - TITLE_LINES - heading_depth(self._table, size.width, sides=self._sides))
        first = max(0, min(self.cursor - room // 2, count - room))
        return range(first, min(count, first + room))
