"""Two kept runs side by side: what differs between them, then how each cell changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.geometry import Size
from textual.screen import ModalScreen

from serving_ctl.results.tables import Table
from tui.drawing import Line, Span, line, wrap
from tui.widgets.drawn import Drawn
from tui.widgets.sheet import sheet_lines


def comparison_lines(tables: Sequence[Table], width: int) -> list[Line]:
    """All tables, each with its title above and its notes below."""
    lines: list[Line] = []
    for table in tables:
        lines.append(line(Span(table.title, "strong")))
        lines += sheet_lines(table, width, mixed=True) if table.rows else []
        lines += [line(Span(part, "quiet")) for note in table.notes for part in wrap(note, width)]
        lines.append(())
    return lines


class Sheets(Drawn):
    """The tables."""

    def __init__(self, tables: Sequence[Table]) -> None:
        super().__init__()
        self._tables = tables

    def draw(self, size: Size) -> Sequence[Line]:
        """As many lines as they take."""
        return comparison_lines(self._tables, size.width)


class ComparisonScreen(ModalScreen[None]):
    """Scrolls."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter", "app.pop_screen", "close")]
    DEFAULT_CSS = """
    ComparisonScreen {
        align: center middle;
        #comparison { width: 96%; height: auto; max-height: 92%; border: round $accent; background: $surface;
                      padding: 0 1; border-title-style: bold; scrollbar-size: 1 1; }
    }
    """

    def __init__(self, tables: Sequence[Table]) -> None:
        super().__init__()
        self._tables = tables

    def compose(self) -> ComposeResult:
        """One scrolling sheet."""
        with VerticalScroll(id="comparison") as sheet:
            sheet.border_title = "two runs compared"
            sheet.border_subtitle = "↑ ↓ scroll · Escape closes"
            yield Sheets(self._tables)
